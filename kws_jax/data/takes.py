"""A recording cut at its pauses: the words in it, each as a clip of a second."""

import math

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy.lib.stride_tricks import sliding_window_view

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.corpus import CLIP_LENGTH

__all__ = ["MAX_TAKE", "clip_of", "takes"]

FRAME, HOP = SAMPLE_RATE // 40, SAMPLE_RATE // 100  # samples: 25 ms of sound are measured every 10 ms
PART = math.gcd(FRAME, HOP)  # samples
PAUSE = 0.2  # s: a shorter silence lies within a word, before a "t" say
MIN_TAKE = 0.1  # s: what is shorter is a click
MAX_TAKE = 0.96  # s: what is longer does not fit into a clip with its edges
EDGE = 0.04  # s of what is around a word that belong to it: its soft ends
SINGLE = 1.6  # s: a recording that is no longer holds one take
RANGE = 12.0  # dB: in a recording whose loudest and softest frames are nearer than that, no word stands out
SHARE = 0.35  # of that range, that a word's frames are above,
DEPTH = 25.0  # dB: and this much below the loudest at most
LEAST_POWER = 1e-10  # of a frame, so that digital silence has a level


def takes(samples: Float[np.ndarray, " samples"]) -> Int[np.ndarray, "takes 2"]:
    """First and last sample (exclusive) of everything that is said between pauses, however long; ascending.

    Frames with less than PAUSE between them are of one take. Of a short recording, the take with most energy is the
    word, and the rest is breath or a click.

    Args:
        samples: A whole recording at 16 kHz, in [-1, 1].
    """
    level = _level(samples)
    softest, loudest = np.quantile(level, (0.1, 0.98)) if level.size else (0.0, 0.0)
    if loudest - softest < RANGE:
        return np.zeros((0, 2), np.int64)
    speech = np.flatnonzero(level > max(softest + SHARE * (loudest - softest), loudest - DEPTH))
    joints = np.flatnonzero(np.diff(speech) * HOP > PAUSE * SAMPLE_RATE)
    first, last = speech[[0, *(joints + 1)]], speech[[*joints, -1]]
    found = np.stack([first * HOP, last * HOP + FRAME], axis=1)
    found = found[found[:, 1] - found[:, 0] - FRAME >= MIN_TAKE * SAMPLE_RATE]
    if len(found) > 1 and samples.size <= SINGLE * SAMPLE_RATE:
        found = max(found, key=lambda take: float(np.square(samples[slice(*take)], dtype=np.float64).sum()))[None]
    edge = round(EDGE * SAMPLE_RATE)
    return np.stack([np.maximum(found[:, 0] - edge, 0), np.minimum(found[:, 1] + edge, samples.size)], axis=1)


def clip_of(
    samples: Float[np.ndarray, " samples"], take: Int[np.ndarray, "2"], left: int = 0, right: int | None = None
) -> Float32[np.ndarray, " second"]:
    """A clip of a second with a take in its middle, and around it what was recorded there.

    Args:
        samples: The recording.
        take: First and last sample (exclusive), at most MAX_TAKE apart.
        left: First sample that is not of the word before.
        right: First sample that is of the word behind; the recording's end by default.
    """
    start = (int(take[0]) + int(take[1]) - CLIP_LENGTH) // 2
    low, high = max(start, left, 0), min(start + CLIP_LENGTH, samples.size if right is None else right)
    clip = np.zeros(CLIP_LENGTH, np.float32)
    clip[low - start : high - start] = samples[low:high]
    return clip


def _level(samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " frames"]:
    """Level of every frame in dB."""
    if samples.size < FRAME:
        return np.zeros(0)
    parts = samples[: samples.size // PART * PART].reshape(-1, PART)
    energy = np.einsum("ij,ij->i", parts, parts, dtype=np.float64)
    power = sliding_window_view(energy, FRAME // PART)[:: HOP // PART].sum(axis=1) / FRAME
    return 10 * np.log10(power + LEAST_POWER)
