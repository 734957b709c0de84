"""Sound: files, pipes and microphones to float32 samples at 16 kHz, and what a stream accepts as samples."""

import math
import sys
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from kws_jax.config import SAMPLE_RATE
from kws_jax.errors import UserError

SUFFIXES = (".wav", ".flac", ".ogg")
FULL_SCALE = 32_768  # int16 steps per unit of amplitude
LOUDEST = 32_768.0  # amplitude: samples beyond it are clipped, so that no power overflows float32
FILE_BLOCK = 10 * SAMPLE_RATE  # samples
PIPE_BLOCK = 65_536  # bytes at most: a pipe's capacity, so about 2 s; what has arrived is taken at once
MICROPHONE_BLOCK = SAMPLE_RATE // 25  # samples: 40 ms, half a step of the base


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


def read_audio(path: str | Path, max_seconds: float | None = None) -> Float32[np.ndarray, "samples"]:
    """Decodes a file to 16 kHz: channels are averaged, other sample rates resampled by a polyphase filter.

    A 16-bit mono file at 16 kHz comes out exactly as `to_float` of its PCM.

    Args:
        path: Anything libsndfile reads.
        max_seconds: Decode no more than this from the start; None for all of it.

    Raises:
        OSError, soundfile.SoundFileError: The file cannot be opened or decoded.
        ValueError: It holds no samples, NaN or infinity, or claims a sample rate outside 4 to 192 kHz.
    """
    with soundfile.SoundFile(path) as sound:
        sample_rate = sound.samplerate
        if not 4_000 <= sample_rate <= 192_000:
            raise ValueError(f"sample rate of {sample_rate} Hz")
        frames = -1 if max_seconds is None else math.ceil(max_seconds * sample_rate)
        samples = sound.read(frames, dtype="float64", always_2d=True).mean(axis=1)
    if not len(samples):
        raise ValueError("no samples")
    if not np.isfinite(samples).all():
        raise ValueError("NaN or infinite samples")
    if sample_rate != SAMPLE_RATE:
        divisor = math.gcd(sample_rate, SAMPLE_RATE)
        from scipy.signal import resample_poly  # half a second to import, which few files need

        samples = resample_poly(samples, SAMPLE_RATE // divisor, sample_rate // divisor)
    return samples.astype(np.float32)


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


def open_source(source: str | None, microphone: bool) -> Iterator[np.ndarray]:
    """Chunks of samples at 16 kHz, in [-1, 1].

    Raises:
        UserError: If there is not exactly one source, or no such file.
    """
    if (source is None) != microphone:
        raise UserError("name one source: a sound file, - for standard input, or --microphone")
    if source is None:
        return microphone_chunks()
    if source == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed: pipe 16-bit PCM, one channel, 16 kHz, into it")
        return pcm_chunks(cast(BufferedIOBase, sys.stdin.buffer))
    if not Path(source).exists():
        raise UserError(f"no file {source}")
    return file_chunks(Path(source))


def file_chunks(path: Path) -> Iterator[np.ndarray]:
    """A sound file in blocks, so that its length does not matter; whole where it must be resampled.

    Channels are averaged, as in `read_audio`.

    Raises:
        UserError: If the file cannot be decoded, or holds no samples, NaN or infinity.
    """
    try:
        with soundfile.SoundFile(path) as sound:
            if not (is_resampled := sound.samplerate != SAMPLE_RATE):
                yield from _blocks(sound)
        if is_resampled:
            yield read_audio(path)
    except (OSError, TypeError, ValueError, soundfile.SoundFileError) as error:
        raise UserError(f"{path}: {error}") from error


def _blocks(sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
    heard = 0
    while len(block := sound.read(FILE_BLOCK, dtype="float64", always_2d=True)):
        samples = block.mean(axis=1)
        if not np.isfinite(samples).all():
            raise ValueError(f"NaN or infinite sample at {(heard + np.argmin(np.isfinite(samples))) / SAMPLE_RATE} s")
        yield samples.astype(np.float32)
        heard += len(samples)
    if not heard:
        raise ValueError("no samples")


def pcm_chunks(pipe: BufferedIOBase) -> Iterator[np.ndarray]:
    """Samples of raw PCM (16 bits, little-endian) as they arrive; half a sample at the end is left out, and said.

    Raises:
        UserError: If nothing arrives.
    """
    rest, heard = b"", 0
    while data := pipe.read1(PIPE_BLOCK):
        data = rest + data
        heard += len(data) // 2
        rest = data[len(data) // 2 * 2 :]
        yield to_float(np.frombuffer(data, "<i2", len(data) // 2))
    if rest:
        print("warning: left out half a sample at the end: is this 16-bit PCM?", file=sys.stderr)
    if not heard:
        raise UserError("no samples on standard input: it takes 16-bit PCM, one channel, 16 kHz")


def microphone_chunks() -> Iterator[np.ndarray]:
    """Samples of the default microphone, without end.

    Raises:
        UserError: If sounddevice, its PortAudio library or a microphone is missing.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        remedy = "pip install -e '.[microphone]' in the checkout, and PortAudio where the wheel has none"
        raise UserError(f"no microphone without sounddevice ({error}): {remedy}") from error
    try:
        with sounddevice.InputStream(SAMPLE_RATE, MICROPHONE_BLOCK, channels=1, dtype="float32") as microphone:
            while True:
                samples, overflowed = microphone.read(MICROPHONE_BLOCK)
                if overflowed:
                    print("warning: samples were lost: this machine is too busy", file=sys.stderr, flush=True)
                yield samples[:, 0]
    except (sounddevice.PortAudioError, ValueError) as error:
        raise UserError(f"no microphone: {error}") from error
