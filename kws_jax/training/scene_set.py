"""Training on scenes: windows of hours of glued audio, in which every step of a carried GRU state is judged.

A model that was trained on single clips has only ever heard the first second after a zero state, and never what a
microphone hears between words. Here a window of a scene is heard as a stream hears it, with noise and gain of its own,
and what counts is what counts in use: one step near a keyword's end that is sure of it, and none elsewhere.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn
from jaxtyping import Array, Bool, Float, Int

from kws_jax.array_types import Key, MelPower
from kws_jax.config import SAMPLE_RATE, CrnnConfig, FrontendConfig
from kws_jax.evaluation.stream_metrics import HIT_TOLERANCE
from kws_jax.training.augment import Augmentation, add_noise, gain

BEFORE_END, AFTER_END = 0.08, 0.6  # s about a word's end, in which a step must be sure of it
WORST = 4  # one window in so many counts once more, with the surest of the steps that must be quiet


class SceneTargets(NamedTuple):
    """What the frames of windows ask of the steps that end with them.

    Attributes:
        word: Number of the keyword, from 1, that a step must be sure of; 0 where there is none.
        is_quiet: Whether a step must not be sure of a keyword.
    """

    word: Int[Array, "batch frames"]
    is_quiet: Bool[Array, "batch frames"]


class SceneSet(NamedTuple):
    """Scenes on the device, end to end.

    Attributes:
        power: Mel power.
        word: For each frame, the number of the keyword, from 1, whose end a step that ends with the frame must hear.
        is_quiet: Whether no keyword is near.
        first: For each keyword, the frame it begins with.
        last: For each keyword, the last frame that has its number.
        noise: Mel power that windows draw their noise from.
        rounding: Mel power of what rounding to 16 bits adds, which is all that is left of the softest sounds.
    """

    power: Float[Array, "all_frames mels"]
    word: Int[Array, " all_frames"]
    is_quiet: Bool[Array, " all_frames"]
    first: Int[Array, " keywords"]
    last: Int[Array, " keywords"]
    noise: Float[Array, "noise_frames mels"]
    rounding: Float[Array, "rounding_frames mels"]


def frame_targets(
    frontend: FrontendConfig, num_frames: int, intervals: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`word`, `is_quiet`, `first` and `last` of one scene.

    Args:
        frontend: Front end.
        num_frames: Of the scene.
        intervals: Of the keywords, (keywords, 2), start and end in seconds, ascending.
    """
    time = (np.arange(num_frames) * frontend.hop_length + frontend.padding) / SAMPLE_RATE  # of each frame's right edge
    starts, ends = intervals[:, 0], intervals[:, 1]
    word, is_quiet = np.zeros(num_frames, np.int32), np.ones(num_frames, bool)
    first, opens, closes, rests = (
        np.searchsorted(time, at) for at in (starts, ends - BEFORE_END, ends + AFTER_END, ends + HIT_TOLERANCE)
    )
    for number, (begin, open_, close, rest) in enumerate(zip(first, opens, closes, rests, strict=True), start=1):
        is_quiet[begin:rest] = False
        word[max(open_, begin) : close] = number  # the next word takes over where it ends first
    return word, is_quiet, first, closes - 1


def join_scenes(
    frontend: FrontendConfig,
    powers: Iterable[np.ndarray],
    intervals: Sequence[np.ndarray],
    noise: np.ndarray,
    rounding: np.ndarray,
) -> SceneSet:
    """Scenes end to end.

    Args:
        frontend: Front end.
        powers: Mel power of each scene, (frames, mels).
        intervals: Of the keywords of each, (keywords, 2), start and end in seconds, ascending.
        noise: Mel power of noise, (frames, mels).
        rounding: Mel power of rounding to 16 bits, (frames, mels), longer than a window.
    """
    parts, frames, words = [], 0, 0
    for power, keywords in zip(powers, intervals, strict=True):
        word, is_quiet, first, last = frame_targets(frontend, len(power), keywords)
        parts.append((power, np.where(word > 0, word + words, 0), is_quiet, first + frames, last + frames))
        frames, words = frames + len(power), words + len(keywords)
    power, word, is_quiet, first, last = (np.concatenate(part) for part in zip(*parts, strict=True))
    columns: list[Any] = [power, word.astype(np.int32), is_quiet, first.astype(np.int32), last.astype(np.int32)]
    columns += [noise, rounding]
    return SceneSet(*columns)


def windows(
    key: Key, scenes: SceneSet, starts: Int[Array, " batch"], num_frames: int, ranges: Augmentation | None
) -> tuple[MelPower, SceneTargets]:
    """Windows of scenes with noise, gain and rounding drawn anew; a keyword that is not all inside asks for nothing.

    Args:
        key: Randomness.
        scenes: Scenes.
        starts: First frame of each window.
        num_frames: Of a window.
        ranges: Of gain and noise; None leaves windows as they are.
    """
    index = starts[:, None] + jnp.arange(num_frames)
    power, word, is_quiet = scenes.power[index], scenes.word[index], scenes.is_quiet[index]
    number = jnp.maximum(word - 1, 0)
    is_inside = (scenes.first[number] >= starts[:, None]) & (scenes.last[number] < starts[:, None] + num_frames)
    if ranges is not None:
        noise_key, gain_key, where_key, which_key = jax.random.split(key, 4)
        power = add_noise(noise_key, power, scenes.noise, ranges.noise_rate, ranges.snr)
        power = gain(gain_key, power, ranges.gain)
        # Digital silence stays silent in every other window.
        at = jax.random.randint(where_key, starts.shape, 0, scenes.rounding.shape[0] - num_frames + 1)
        is_rounded = jax.random.bernoulli(which_key, 0.5, starts.shape)[:, None, None]
        power += jnp.where(is_rounded, scenes.rounding[at[:, None] + jnp.arange(num_frames)], 0.0)
    return power, SceneTargets(jnp.where(is_inside, word, 0), is_quiet)


def scene_loss(
    logits: Float[Array, "batch steps classes"], targets: SceneTargets, config: CrnnConfig
) -> Float[Array, ""]:
    """Max-pooling loss of keywords, and cross-entropy of the steps that must be quiet, with weight on the worst.

    mean over keywords of softplus(-max margin) + mean over quiet steps of softplus(margin) + mean over the worst quiet
    step of each of the worst windows of the same: one window in WORST, and one at least. A false alarm an hour is one
    step in many thousands, so the very worst counts.

    Args:
        logits: Of every step; a margin is that of the keyword minus that of the rest.
        targets: Of the windows' frames.
        config: Of the model.

    References:
        Sun et al.: Max-Pooling Loss Training of Long Short-Term Memory Networks for Small-Footprint Keyword
            Spotting, 2016.
    """
    margins = logits[..., 1] - logits[..., 0]
    last_frame = jnp.arange(margins.shape[1]) * config.stride_frames + config.kernel_frames - 1
    word, is_quiet = targets.word[:, last_frame], targets.is_quiet[:, last_frame]
    # Words are numbered in the order of time: in a window they are the lowest number and those after it.
    lowest = jnp.min(jnp.where(word > 0, word, jnp.iinfo(word.dtype).max), axis=1, keepdims=True)
    seconds = targets.word.shape[1] * config.frontend.hop_length / SAMPLE_RATE
    numbers = lowest + jnp.arange(int(seconds / 0.5) + 2)  # more than there can be
    said = jnp.max(jnp.where(word[:, None] == numbers[..., None], margins[:, None], -jnp.inf), axis=2)
    is_said = jnp.isfinite(said)
    missed = jnp.sum(jnp.where(is_said, nn.softplus(-jnp.where(is_said, said, 0.0)), 0.0)) / jnp.maximum(
        is_said.sum(), 1
    )
    alarm = jnp.where(is_quiet, nn.softplus(margins), 0.0)
    worst = jax.lax.top_k(alarm.max(axis=1), max(1, len(alarm) // WORST))[0].mean()
    return missed + alarm.sum() / jnp.maximum(is_quiet.sum(), 1) + worst
