"""What a stream accepts as samples: the one rule, in NumPy alone. torch_ref.samples is its twin."""

import numpy as np

LOUDEST = 32_768.0  # amplitude: samples beyond it are clipped, so that no power overflows float32


def checked_samples(samples: np.ndarray, sample_rate: int, expected_rate: int) -> np.ndarray:
    """One channel of finite samples as float32; digital silence, no samples and samples beyond [-1, 1] are fine.

    Args:
        samples: Amplitudes in [-1, 1] of any float type; beyond +-`LOUDEST` they are clipped.
        sample_rate: Of the samples, in Hz.
        expected_rate: Of the model, in Hz.

    Raises:
        TypeError: If the samples are no floats.
        ValueError: If they are not finite, have more axes than one, or another sample rate than the model's.
    """
    samples = np.asarray(samples)
    if sample_rate != expected_rate:
        raise ValueError(f"samples at {sample_rate} Hz, but the model hears {expected_rate} Hz: resample them first")
    if samples.dtype.kind in "iu":
        raise TypeError(f"samples are {samples.dtype}: divide 16-bit PCM by 32768 (kws_jax.data.to_float does)")
    if samples.dtype.kind != "f":
        raise TypeError(f"samples are {samples.dtype}: give floats in [-1, 1]")
    if samples.ndim != 1:
        raise ValueError(f"samples have shape {samples.shape}: give one channel, with one axis")
    if (wrong := np.flatnonzero(~np.isfinite(samples))).size:
        raise ValueError(f"sample {wrong[0]} is {samples[wrong[0]]}: samples must be finite")
    return np.clip(samples, -LOUDEST, LOUDEST).astype(np.float32)
