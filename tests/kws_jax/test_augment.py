"""Each augmentation against a loop that undoes or repeats it, and its draws against their distribution."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kws_jax.errors import UserError
from kws_jax.training import augment
from kws_jax.training.augment import Augmentation
from tests.tolerances import SAME_FRAMEWORK

CLIPS, FRAMES, MELS, NOISE_FRAMES = 256, 20, 6, 33
KEY = jax.random.key(0)
POWER = np.random.default_rng(0).uniform(0.5, 2, (CLIPS, FRAMES, MELS)).astype(np.float32)
NOISE = np.random.default_rng(1).uniform(0.1, 3, (NOISE_FRAMES, MELS)).astype(np.float32)
NOTHING = Augmentation(0, (0.0, 0.0), 0.0, (0.0, 0.0), 0, 0)
FOUR_SIGMA = 4  # bounds on counts: wrong once in 16,000 seeds, and the seeds are fixed

shift = jax.jit(augment.shift, static_argnums=2)
gain = jax.jit(augment.gain, static_argnums=2)
add_noise = jax.jit(augment.add_noise, static_argnums=(3, 4))
mask = jax.jit(augment.mask, static_argnums=(2, 3))


def assert_uniform(draws: list[int], low: int, high: int) -> None:
    """Every whole number from low to high turns up, and each as often as the others."""
    counts = np.array([draws.count(value) for value in range(low, high + 1)])
    assert counts.sum() == len(draws), "a draw is out of range"
    share = 1 / counts.shape[0]
    assert np.abs(counts - len(draws) * share).max() < FOUR_SIGMA * np.sqrt(len(draws) * share * (1 - share))


def _loop_shift(clip: np.ndarray, offset: int) -> np.ndarray:
    return np.array([clip[min(max(t - offset, 0), FRAMES - 1)] for t in range(FRAMES)])


def test_shift_moves_whole_frames_and_repeats_the_edge():
    offsets = []
    for clip, moved in zip(POWER, np.asarray(shift(KEY, POWER, 3)), strict=True):
        offsets += [offset for offset in range(-FRAMES, FRAMES) if np.array_equal(moved, _loop_shift(clip, offset))]
    assert_uniform(offsets, -3, 3)


def test_gain_is_one_number_of_decibels_a_clip():
    decibels = 10 * np.log10(np.asarray(gain(KEY, POWER, (-12.0, 6.0)), np.float64) / POWER)
    np.testing.assert_allclose(decibels, np.broadcast_to(decibels[:, :1, :1], decibels.shape), atol=10 * SAME_FRAMEWORK)
    assert_uniform(np.floor(decibels[:, 0, 0]).astype(int).tolist(), -12, 5)


def test_noise_has_the_ratio_it_was_drawn_with():
    noisy = np.asarray(add_noise(KEY, POWER, NOISE, 0.5, (5.0, 30.0)), np.float64)
    ratios, starts = [], []
    for clip, changed in zip(POWER.astype(np.float64), noisy, strict=True):
        added = changed - clip
        if not added.any():
            continue
        ratios.append(10 * np.log10(clip.mean() / added.mean()))
        spread = [np.ptp(added / NOISE[s : s + FRAMES]) / added.mean() for s in range(NOISE_FRAMES - FRAMES + 1)]
        starts.append(int(np.argmin(spread)))
    assert abs(len(ratios) - CLIPS / 2) < FOUR_SIGMA * np.sqrt(CLIPS / 4)
    assert_uniform(np.floor(ratios).astype(int).tolist(), 5, 29)
    assert_uniform(starts, 0, NOISE_FRAMES - FRAMES)


def test_silence_and_noise_in_every_combination_stay_finite():
    silence = np.zeros_like(POWER)
    np.testing.assert_array_equal(add_noise(KEY, silence, NOISE, 1.0, (5.0, 5.0)), silence)
    np.testing.assert_array_equal(add_noise(KEY, POWER, np.zeros_like(NOISE), 1.0, (5.0, 5.0)), POWER)


def test_noise_that_is_absent_or_too_short():
    np.testing.assert_array_equal(
        augment.add_noise(KEY, jnp.asarray(POWER), jnp.zeros((0, MELS)), 1.0, (5.0, 5.0)), POWER
    )
    with pytest.raises(UserError, match="19 frames of background noise are less than a clip's 20"):
        augment.add_noise(KEY, jnp.asarray(POWER), jnp.asarray(NOISE[: FRAMES - 1]), 1.0, (5.0, 5.0))


@pytest.mark.parametrize(("axis", "max_width"), [(1, 7), (2, 4), (2, 6), (2, 99)])
def test_mask_fills_one_band_with_the_clips_mean(axis: int, max_width: int):
    size = POWER.shape[axis]
    widths, starts, ends = [], set(), set()
    for clip, masked in zip(POWER, np.asarray(mask(KEY, POWER, max_width, axis)), strict=True):
        changed = np.flatnonzero((masked != clip).any(axis=2 - axis))
        widths.append(changed.size)
        if changed.size:
            band = slice(changed[0], changed[-1] + 1)
            assert changed.size == changed[-1] + 1 - changed[0], "one band without gaps"
            expected = clip.copy()
            np.moveaxis(expected, axis - 1, 0)[band] = clip.mean(dtype=np.float64)
            np.testing.assert_allclose(masked, expected, atol=SAME_FRAMEWORK)
            starts.add(changed[0])
            ends.add(changed[-1])
    assert_uniform(widths, 0, min(max_width, size))
    assert min(starts) == 0
    assert max(ends) == size - 1


POWER_CHANGED = jax.jit(partial(augment.augment_power, noise=jnp.asarray(NOISE), ranges=Augmentation()))
MASKED = jax.jit(partial(augment.mask_frames, ranges=Augmentation(max_masked_mels=4, max_masked_frames=9)))


@pytest.mark.parametrize("change", [POWER_CHANGED, MASKED], ids=["power", "log-mel"])
def test_draws_follow_the_key_and_nothing_else(change: Callable):
    same = np.broadcast_to(POWER[:1], POWER.shape)
    first = np.asarray(change(KEY, same))
    np.testing.assert_array_equal(first, change(KEY, same))
    assert (first != np.asarray(change(jax.random.key(1), same))).any()
    assert np.unique(first, axis=0).shape[0] > 5, "equal clips are changed each in its own way"
    others = np.concatenate([same[:1], POWER[1:]])
    np.testing.assert_array_equal(np.asarray(change(KEY, others))[0], first[0], "a clip's change is its own affair")
    assert first.dtype == np.float32
    assert np.isfinite(first).all()


def test_ranges_of_zero_change_nothing():
    log_mel = np.log(POWER)
    power = jax.jit(augment.augment_power, static_argnums=3)(KEY, POWER, NOISE, NOTHING)
    np.testing.assert_array_equal(power, POWER)
    masked = jax.jit(augment.mask_frames, static_argnums=2)(KEY, log_mel, NOTHING)
    np.testing.assert_array_equal(masked, log_mel)
