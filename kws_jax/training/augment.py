"""Augmentation of mel power, drawn anew for every clip; pure functions, `key` first.

Working on mel power instead of samples lets the Fourier transform be computed once and for all, which is where the
training time of a small model goes. Independent sounds add in power, a gain multiplies it, and a shift in time moves
whole frames.

What that leaves out is the interference of clip and noise. Augmenting samples took four times as long to train, and
over three seeds made no difference outside the interval.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kws_jax.array_types import Frames, Key, MelPower
from kws_jax.errors import UserError, check_ranges

MOST_DECIBELS = 200.0
SILENCE = 1e-12  # added to power that is divided by


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random augmentations, each uniform.

    Attributes:
        max_shift: Largest shift either way, in frames (10 = 100 ms).
        gain: Lowest and highest gain, in dB.
        noise_rate: Share of clips that get background noise.
        snr: Lowest and highest ratio of clip to noise, in dB of mean mel power. In most clips and
            noises of Speech Commands it agrees to 0.1 dB with that of mean sample power; in those that rumble below
            the first mel band they are up to 3 dB apart.
        max_masked_mels: Widest mask over mel bands (SpecAugment's F).
        max_masked_frames: Widest mask over frames (SpecAugment's T).

    Raises:
        UserError: If a number is out of its range.
    """

    max_shift: int = 10
    gain: tuple[float, float] = (-12.0, 6.0)
    noise_rate: float = 0.5
    snr: tuple[float, float] = (5.0, 30.0)
    max_masked_mels: int = 15
    max_masked_frames: int = 35

    def __post_init__(self) -> None:
        check_ranges(self, max_shift=(0, 10**4), noise_rate=(0, 1))
        check_ranges(self, max_masked_mels=(0, 10**4), max_masked_frames=(0, 10**4))
        for name, (low, high) in (("gain", self.gain), ("snr", self.snr)):
            if not -MOST_DECIBELS <= low <= high <= MOST_DECIBELS:
                raise UserError(f"{name} is {low:g} to {high:g}: it ascends within {MOST_DECIBELS:g} dB either way")


def shift(key: Key, power: MelPower, max_shift: int) -> MelPower:
    """Moves each clip by up to `max_shift` frames; the edge frame fills what is vacated."""
    batch, frames, _ = power.shape
    offset = jax.random.randint(key, (batch, 1), -max_shift, max_shift + 1)
    source = jnp.clip(jnp.arange(frames) - offset, 0, frames - 1)
    return jnp.take_along_axis(power, source[..., None], axis=1)


def gain(key: Key, power: MelPower, decibels: tuple[float, float]) -> MelPower:
    """Multiplies each clip by a gain."""
    level = jax.random.uniform(key, (power.shape[0], 1, 1), minval=decibels[0], maxval=decibels[1])
    return power * 10.0 ** (level / 10.0)


def add_noise(
    key: Key,
    power: MelPower,
    noise: Float[Array, "noise_frames mels"],
    rate: float,
    decibels: tuple[float, float],
) -> MelPower:
    """Adds a random stretch of background noise to a share of the clips, at a random signal-to-noise ratio.

    Without noise (no frames of it) the clips are returned as they are.

    Raises:
        UserError: If there is less noise than a clip is long.
    """
    batch, frames, _ = power.shape
    if noise.shape[0] == 0:
        return power
    if noise.shape[0] < frames:
        raise UserError(f"{noise.shape[0]} frames of background noise are less than a clip's {frames}: record more")
    start, ratio = _draw_noise(key, batch, noise.shape[0] - frames + 1, rate, decibels)
    stretch = noise[start + jnp.arange(frames)]
    loudness = power.mean((1, 2), keepdims=True) / (stretch.mean((1, 2), keepdims=True) + SILENCE)
    return power + (loudness * ratio[..., None]) * stretch


def _draw_noise(
    key: Key, batch: int, num_starts: int, rate: float, decibels: tuple[float, float]
) -> tuple[Int[Array, "batch 1"], Float[Array, "batch 1"]]:
    """Where each clip's stretch of noise starts, and its power over the clip's; 0 for clips that get none."""
    which, where, level = jax.random.split(key, 3)
    start = jax.random.randint(where, (batch, 1), 0, num_starts)
    snr = jax.random.uniform(level, (batch, 1), minval=decibels[0], maxval=decibels[1])
    chosen = jax.random.bernoulli(which, rate, (batch, 1))
    return start, jnp.where(chosen, 10.0 ** (-snr / 10.0), 0.0)


def mask(key: Key, frames: Frames, max_width: int, axis: int) -> Frames:
    """Fills one random band of each clip, of up to `max_width` mels or frames, with the clip's mean.

    The mean, and not the logarithm of nothing, keeps batch-norm statistics alike in training and use.

    Args:
        key: Randomness.
        frames: Of clips.
        max_width: Widest band; the width is uniform over the whole numbers from 0 to it, or to the axis's size.
        axis: 1 masks frames, 2 masks mels.

    Raises:
        ValueError: If it is another axis.

    References:
        Park et al.: SpecAugment, 2019.
    """
    if axis not in (1, 2):
        raise ValueError(f"axis {axis} is neither frames (1) nor mels (2)")
    batch, size = frames.shape[0], frames.shape[axis]
    width_key, start_key = jax.random.split(key)
    width = jax.random.randint(width_key, (batch, 1), 0, min(max_width, size) + 1)
    start = jax.random.randint(start_key, (batch, 1), 0, size - width + 1)
    position = jnp.arange(size)
    inside = (position >= start) & (position < start + width)
    inside = jnp.expand_dims(inside, 3 - axis)
    return jnp.where(inside, frames.mean((1, 2), keepdims=True), frames)


def augment_power(
    key: Key, power: MelPower, noise: Float[Array, "noise_frames mels"], ranges: Augmentation
) -> MelPower:
    """Shift, gain and noise, in this order."""
    shift_key, gain_key, noise_key = jax.random.split(key, 3)
    power = gain(gain_key, shift(shift_key, power, ranges.max_shift), ranges.gain)
    return add_noise(noise_key, power, noise, ranges.noise_rate, ranges.snr)


def mask_frames(key: Key, frames: Frames, ranges: Augmentation) -> Frames:
    """One mask over mels and one over frames."""
    mel_key, frame_key = jax.random.split(key)
    masked = mask(mel_key, frames, ranges.max_masked_mels, axis=2)
    return mask(frame_key, masked, ranges.max_masked_frames, axis=1)
