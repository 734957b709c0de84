"""What a stream accepts as samples."""

import numpy as np

__all__ = ["LOUDEST", "checked_samples"]

LOUDEST = 32_768.0  # amplitude: samples beyond it are clipped, so that no power overflows float32


def checked_samples(samples: np.ndarray, sample_rate: int, expected_rate: int) -> np.ndarray:
    """One channel of finite samples as float32, or a TypeError or ValueError; silence and beyond [-1, 1] is fine."""
    samples = np.asarray(samples)
    if sample_rate != expected_rate:
        raise ValueError(f"samples at {sample_rate} Hz, but the model hears {expected_rate} Hz: resample them first")
    if samples.dtype.kind in "iu":
        raise TypeError(f"samples are {samples.dtype}: divide 16-bit PCM by 32768")
    if samples.dtype.kind != "f":
        raise TypeError(f"samples are {samples.dtype}: give floats in [-1, 1]")
    if samples.ndim != 1:
        raise ValueError(f"samples have shape {samples.shape}: give one channel, with one axis")
    if (wrong := np.flatnonzero(~np.isfinite(samples))).size:
        raise ValueError(f"sample {wrong[0]} is {samples[wrong[0]]}: samples must be finite")
    return np.clip(samples, -LOUDEST, LOUDEST).astype(np.float32)
