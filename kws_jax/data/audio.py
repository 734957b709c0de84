"""Sound: files to float32 samples at 16 kHz, and what a stream accepts as samples."""

import logging
import math
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.decoding import Oddity, blocks, open_sound
from kws_jax.data.resampling import Resampler
from kws_jax.errors import printable
from kws_jax.files import written

__all__ = [
    "FULL_SCALE",
    "LOUDEST",
    "SUFFIXES",
    "as_float",
    "checked_samples",
    "decode",
    "is_sound_file",
    "read_audio",
    "to_float",
    "to_pcm",
    "write_wav",
]

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
FULL_SCALE = 32_768  # int16 steps per unit of amplitude
LOUDEST = 32_768.0  # amplitude: samples beyond it are clipped, so that no power overflows float32

logger = logging.getLogger(__name__)


def is_sound_file(path: Path) -> bool:
    """Whether a path's name is a sound file's, in capitals or not, and no hidden file's."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def to_float(waveforms: Int16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
    """PCM as amplitudes in [-1, 1): divided by 32,768, which is exact in float32."""
    return waveforms.astype(np.float32) / np.float32(FULL_SCALE)


def as_float(waveforms: np.ndarray) -> np.ndarray:
    """Amplitudes of PCM; what is amplitudes already stays as it is."""
    return to_float(waveforms) if waveforms.dtype == np.int16 else waveforms


def to_pcm(waveforms: Float32[np.ndarray, "*axes"]) -> Int16[np.ndarray, "*axes"]:
    """Amplitudes as 16-bit PCM, rounded and clipped: the inverse of `to_float`."""
    return np.clip(np.rint(waveforms * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def read_audio(path: str | Path, max_seconds: float | int | None = None) -> Float32[np.ndarray, "samples"]:
    """Decodes a file to 16 kHz: channels are averaged, other sample rates resampled by a polyphase filter.

    A 16-bit mono file at 16 kHz comes out exactly as `to_float` of its PCM. What is odd about it is warned of.

    Args:
        path: Anything libsndfile reads.
        max_seconds: Decode no more than this from the start; None for all of it.

    Raises:
        OSError, ValueError, soundfile.SoundFileError: The file cannot be opened or decoded, is no regular
            file, holds no samples, NaN or infinity, or claims a sample rate outside 4 to 192 kHz.
    """
    samples, odd = decode(path, max_seconds)
    if odd:
        logger.warning("%s: %s", printable(str(path)), odd)
    return samples


def decode(
    path: str | Path, max_seconds: float | int | None = None
) -> tuple[Float32[np.ndarray, "samples"], str | None]:
    """The samples of `read_audio`, and what is odd about them."""
    oddity, parts = Oddity(), []
    with open_sound(path) as sound, np.errstate(all="ignore"):  # what is not finite is said below
        resampler = Resampler(sound.samplerate)
        for block in blocks(sound, math.inf if max_seconds is None else math.ceil(max_seconds * sound.samplerate)):
            oddity.add(block)
            parts.append(resampler.push(block.mean(axis=1)).astype(np.float32))
    if not parts:
        raise ValueError("no samples")
    samples = np.concatenate([*parts, resampler.flush().astype(np.float32)])
    if not np.isfinite(samples).all():
        raise ValueError("NaN or infinite samples")
    return samples, oddity.found()


def write_wav(path: Path, pcm: Int16[np.ndarray, "samples"]) -> None:
    """Writes 16-bit PCM at 16 kHz as a WAV, whatever the name, whole or not at all."""
    with written(path) as part:
        soundfile.write(part, pcm, SAMPLE_RATE, subtype="PCM_16", format="WAV")


def checked_samples(samples: np.ndarray, sample_rate: int, expected_rate: int) -> np.ndarray:
    """One channel of finite samples as float32; digital silence, no samples and samples beyond [-1, 1] are fine.

    Args:
        samples: Amplitudes in [-1, 1] of any float type; beyond +-`LOUDEST` they are clipped.
        sample_rate: Of the samples, in Hz.
        expected_rate: Of the model, in Hz.

    Raises:
        TypeError: If the samples are no floats, or some of them are masked.
        ValueError: If they are not finite, have more axes than one, or another sample rate than the model's.
    """
    if np.ma.is_masked(samples):
        raise TypeError("samples are masked: fill what is missing first")
    samples = np.asarray(samples)
    if sample_rate != expected_rate:
        raise ValueError(f"samples at {sample_rate} Hz, but the model hears {expected_rate} Hz: resample them first")
    if samples.dtype.kind in "iu":
        raise TypeError(f"samples are {samples.dtype}: divide 16-bit PCM by 32768 (kws_jax.data.audio.to_float does)")
    if samples.dtype.kind != "f":
        raise TypeError(f"samples are {samples.dtype}: give floats in [-1, 1]")
    if samples.ndim != 1:
        raise ValueError(f"samples have shape {samples.shape}: give one channel, with one axis")
    if samples.dtype == np.float32 and np.abs(samples).max(initial=0.0) <= LOUDEST:
        return samples  # as nearly always; of NaN, nothing is less or equal
    if (wrong := np.flatnonzero(~np.isfinite(samples))).size:
        raise ValueError(f"sample {wrong[0]} is {samples[wrong[0]]}: samples must be finite")
    return np.clip(samples, -LOUDEST, LOUDEST).astype(np.float32)
