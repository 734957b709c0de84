"""Sounds that nobody speaks, from a generator of random numbers: what no detector may take for a word."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32

from kws_jax.config import SAMPLE_RATE

__all__ = ["SOUNDS", "sound"]

PIECE = 6.0  # seconds after which pitch, pace and level are drawn anew
LEVEL = (-40.0, -3.0)  # dBFS of a piece's peak
FREQUENCIES = (80.0, 7_000.0)  # Hz, of tones
PARTIALS = 12  # of a hum and of a note
SCALE = (0, 2, 4, 5, 7, 9, 11)  # semitones


def sound(kind: str, seconds: float, rng: np.random.Generator) -> Float32[np.ndarray, "samples"]:
    """A sound at 16 kHz, in pieces of at most PIECE seconds that are drawn anew, each at a level of its own.

    Args:
        kind: One of SOUNDS.
        seconds: At least a sample long.
        rng: Source of randomness: the same state gives the same sound.
    """
    length, piece = round(seconds * SAMPLE_RATE), round(PIECE * SAMPLE_RATE)
    return np.concatenate(
        [_levelled(SOUNDS[kind](min(piece, length - first), rng), rng) for first in range(0, length, piece)]
    )


def _levelled(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    level, peak = 10.0 ** (rng.uniform(*LEVEL) / 20), np.abs(samples).max()
    return (samples * (level / (peak or 1.0))).astype(np.float32)


def _pink(length: int, rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(length))
    return np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), length)


def _tones(length: int, rng: np.random.Generator) -> np.ndarray:
    """One after the other, each pure or sweeping, some with a pause behind."""

    def tones() -> Iterator[tuple[np.ndarray, float]]:
        while True:
            start, end = np.exp(rng.uniform(math.log(FREQUENCIES[0]), math.log(FREQUENCIES[1]), 2))
            pitch = np.geomspace(start, end if rng.random() < 0.5 else start, int(rng.uniform(0.05, 2) * SAMPLE_RATE))
            tone = np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE)
            yield tone, len(tone) / SAMPLE_RATE + max(0.0, rng.uniform(-0.3, 0.3))

    return _laid(length, tones())


def _hum(length: int, rng: np.random.Generator) -> np.ndarray:
    return _note(length, rng.choice([50.0, 60.0]), rng)


def _clicks(length: int, rng: np.random.Generator) -> np.ndarray:
    """A sample or a few, at random moments, 1 to 30 a second."""
    moments = rng.integers(0, length, 1 + rng.poisson(rng.uniform(1, 30) * length / SAMPLE_RATE))
    clicks = np.zeros(length)
    clicks[moments] = rng.standard_normal(len(moments))
    return np.convolve(clicks, np.exp(-np.arange(64) / rng.uniform(0.2, 12)))[:length]


def _claps(length: int, rng: np.random.Generator) -> np.ndarray:
    """Bursts of noise that fade within 5 to 60 ms, at an unsteady pace."""
    pace, decay = rng.uniform(0.15, 1), rng.uniform(0.005, 0.06)
    return _laid(length, iter(lambda: (_burst(decay, rng), pace * rng.uniform(0.7, 1.3)), None))


def _music(length: int, rng: np.random.Generator) -> np.ndarray:
    """Chords and notes of one key that fade, on a steady beat that a drum plays too."""
    key, beat, decay = rng.uniform(80, 250), rng.uniform(0.25, 0.8), rng.uniform(0.1, 0.8)

    def chords() -> Iterator[tuple[np.ndarray, float]]:
        while True:
            seconds = beat * rng.choice([0.5, 1.0, 2.0])
            samples = round(2 * seconds * SAMPLE_RATE)
            steps = rng.choice(SCALE, rng.integers(1, 4)) + 12 * rng.integers(0, 3)
            chord = sum(_note(samples, key * 2.0 ** (step / 12), rng) for step in steps)
            time = np.arange(samples) / SAMPLE_RATE
            yield chord * np.minimum(time / 0.01, 1) * np.exp(-time / decay), seconds

    drum = _laid(length, iter(lambda: (_burst(0.03, rng), beat), None))
    return _laid(length, chords()) + rng.uniform(0, 1) * drum


def _laid(length: int, events: Iterator[tuple[np.ndarray, float]]) -> np.ndarray:
    """Events, each with the seconds until the next one begins, until `length` samples are full."""
    laid, position = np.zeros(length), 0
    while position < length:
        event, seconds = next(events)
        laid[position : position + len(event)] += event[: length - position]
        position += round(seconds * SAMPLE_RATE)
    return laid


def _note(length: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """A periodic sound whose partials have random phases, and amplitudes that fall with their number."""
    numbers = np.arange(1, min(PARTIALS, int(SAMPLE_RATE / 2 / pitch)) + 1)
    amplitudes, phases = rng.uniform(0, 1, len(numbers)) / numbers, rng.uniform(0, 2 * np.pi, len(numbers))
    time = np.arange(length) / SAMPLE_RATE
    return amplitudes @ np.sin(2 * np.pi * pitch * numbers[:, None] * time + phases[:, None])


def _burst(decay: float, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(round(5 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    return rng.standard_normal(len(time)) * np.exp(-time / decay)


SOUNDS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "silence": lambda length, rng: np.zeros(length),
    "white": lambda length, rng: rng.standard_normal(length),
}
SOUNDS |= {"pink": _pink, "tones": _tones, "hum": _hum, "clicks": _clicks, "claps": _claps, "music": _music}
