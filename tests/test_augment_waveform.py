"""Augmentation of samples against loops, and against the same augmentation of mel power."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import noise
from tolerances import LOG_MEL_NOISE, SAME_FRAMEWORK

from kws_jax import augment
from kws_jax.augment import Augmentation
from kws_jax.config import FrontendConfig
from kws_jax.errors import UserError
from kws_jax.frontend import log_compress, mel_power

FRONTEND = FrontendConfig(window_length=128, hop_length=64, num_mels=12)
CLIPS, HOPS, NOISE_HOPS = 128, 30, 41
SAMPLES = HOPS * FRONTEND.hop_length
KEY = jax.random.key(0)
RANGES = Augmentation(max_shift=5)
WAVEFORM = noise(0, CLIPS, SAMPLES)
# A hum that swells, so that a stretch from elsewhere is louder or softer.
NOISE = noise(1, 1, NOISE_HOPS * FRONTEND.hop_length)[0] * np.geomspace(0.1, 10, NOISE_HOPS * 64).astype(np.float32)

shift = jax.jit(partial(augment.shift_waveform, max_shift=5, hop_length=64))
gain = jax.jit(partial(augment.gain_waveform, decibels=RANGES.gain))
add_noise = jax.jit(partial(augment.add_noise_waveform, rate=0.5, decibels=RANGES.snr, hop_length=64))
augmented = jax.jit(partial(augment.augment_waveform, ranges=RANGES, frontend=FRONTEND))
to_mel = jax.jit(partial(mel_power, FRONTEND))


def drawn_shifts() -> np.ndarray:
    """Hops that each clip was moved by, read off its middle."""
    moved, middle = np.asarray(shift(KEY, WAVEFORM)), slice(10 * 64, 20 * 64)
    fits = [
        [np.array_equal(after[middle], before[10 * 64 - hops * 64 :][: 10 * 64]) for hops in range(-5, 6)]
        for before, after in zip(WAVEFORM, moved, strict=True)
    ]
    assert (np.sum(fits, axis=1) == 1).all(), "every clip moved by whole hops within the range"
    return np.argmax(fits, axis=1) - 5


def test_shift_moves_whole_hops_and_mirrors_the_edge():
    hops = drawn_shifts()
    assert set(hops) == set(range(-5, 6))
    for before, after, offset in zip(WAVEFORM, np.asarray(shift(KEY, WAVEFORM)), hops * 64, strict=True):
        padded = np.pad(before, 5 * 64, mode="reflect")
        np.testing.assert_array_equal(after, padded[5 * 64 - offset :][:SAMPLES])


def test_shift_commutes_with_the_front_end_up_to_the_edges():
    hops, frames = drawn_shifts(), HOPS + 1
    before = np.asarray(log_compress(FRONTEND, augment.shift(KEY, to_mel(WAVEFORM), 5)))
    after = np.asarray(log_compress(FRONTEND, to_mel(shift(KEY, WAVEFORM))))
    edge = FRONTEND.right_frames  # frames that see the new edge's mirror image, not what was cut off
    for mel_side, wave_side, offset in zip(before, after, hops, strict=True):
        inner = slice(offset, frames - edge) if offset > 0 else slice(edge, frames + offset)
        np.testing.assert_allclose(wave_side[inner], mel_side[inner], rtol=0, atol=LOG_MEL_NOISE)


def test_gain_is_one_number_a_clip_and_commutes_with_the_front_end():
    louder = np.asarray(gain(KEY, WAVEFORM), np.float64)
    decibels = 20 * np.log10(np.linalg.norm(louder, axis=1) / np.linalg.norm(WAVEFORM.astype(np.float64), axis=1))
    assert -12 <= decibels.min() < -10
    assert 4 < decibels.max() <= 6
    np.testing.assert_allclose(louder, WAVEFORM * 10 ** (decibels[:, None] / 20), atol=SAME_FRAMEWORK)
    before = log_compress(FRONTEND, augment.gain(KEY, to_mel(WAVEFORM), RANGES.gain))
    after = log_compress(FRONTEND, to_mel(gain(KEY, WAVEFORM)))
    np.testing.assert_allclose(after, before, rtol=0, atol=LOG_MEL_NOISE)


def test_noise_is_a_stretch_at_the_ratio_of_sample_power():
    stretches = np.stack([NOISE[start * 64 :][:SAMPLES] for start in range(NOISE_HOPS - HOPS + 1)]).astype(np.float64)
    ratios, starts = [], set()
    for clip, noisy in zip(WAVEFORM.astype(np.float64), np.asarray(add_noise(KEY, WAVEFORM, NOISE)), strict=True):
        added = noisy - clip
        if not added.any():
            continue
        scales = (stretches @ added) / (stretches**2).sum(1)
        errors = np.abs(scales[:, None] * stretches - added).max(1)
        assert errors.min() < SAME_FRAMEWORK
        starts.add(int(errors.argmin()))
        ratios.append(10 * np.log10((clip**2).mean() / (added**2).mean()))
    assert abs(len(ratios) - CLIPS / 2) < 4 * np.sqrt(CLIPS / 4)
    assert starts == set(range(NOISE_HOPS - HOPS + 1))
    assert 5 <= min(ratios) < 7
    assert 28 < max(ratios) <= 30


def test_both_domains_draw_the_same():
    """Clips of one tone and noise of another interfere nowhere, so mel power adds up as it is assumed to."""
    time = np.arange(NOISE_HOPS * 64) / FRONTEND.sample_rate
    swell = np.geomspace(0.1, 10, time.size)
    clip = (np.sin(2 * np.pi * 2_000 * time) * swell)[:SAMPLES].astype(np.float32)
    hum = (np.sin(2 * np.pi * 5_000 * time) * swell[::-1]).astype(np.float32)
    clips = np.broadcast_to(clip, (CLIPS, SAMPLES))
    waves = np.asarray(to_mel(augmented(KEY, clips, hum)))
    mels = np.asarray(augment.augment_power(KEY, to_mel(clips), to_mel(hum[None])[0], RANGES))
    inner = slice(5 + FRONTEND.right_frames, -5 - FRONTEND.right_frames)
    # Beside the tones' bands there is only leakage.
    loud = mels[:, inner].mean(1) > 0.01 * mels[:, inner].mean(1).max(1, keepdims=True)
    decibels = 10 * np.log10(waves[:, inner].mean(1)[loud] / mels[:, inner].mean(1)[loud])
    assert np.abs(decibels).max() < 1
    assert np.ptp(10 * np.log10(mels.mean((1, 2)))) > 15, "the draws differ by more than the tolerance"


def test_draws_follow_the_key_and_nothing_else():
    same = np.broadcast_to(WAVEFORM[:1], WAVEFORM.shape)
    first = np.asarray(augmented(KEY, same, NOISE))
    np.testing.assert_array_equal(first, augmented(KEY, same, NOISE))
    assert (first != np.asarray(augmented(jax.random.key(1), same, NOISE))).any()
    assert np.unique(first, axis=0).shape[0] == CLIPS
    others = np.concatenate([same[:1], WAVEFORM[1:]])
    np.testing.assert_array_equal(np.asarray(augmented(KEY, others, NOISE))[0], first[0])


def test_ranges_of_zero_silence_and_absent_noise():
    nothing = Augmentation(0, (0.0, 0.0), 0.0, (0.0, 0.0), 0, 0)
    unchanged = augment.augment_waveform(KEY, jnp.asarray(WAVEFORM), jnp.asarray(NOISE), nothing, FRONTEND)
    np.testing.assert_array_equal(unchanged, WAVEFORM)
    np.testing.assert_array_equal(augmented(KEY, np.zeros_like(WAVEFORM), NOISE), np.zeros_like(WAVEFORM))
    np.testing.assert_array_equal(add_noise(KEY, WAVEFORM, np.zeros_like(NOISE)), WAVEFORM)
    np.testing.assert_array_equal(add_noise(KEY, WAVEFORM, NOISE[:0]), WAVEFORM)


def test_too_short_for_the_ranges():
    with pytest.raises(UserError, match=r"1919 samples of background noise are less than a clip's 1920"):
        add_noise(KEY, WAVEFORM, NOISE[: SAMPLES - 1])
    with pytest.raises(UserError, match="320 samples cannot shift by 5 hops of 64"):
        shift(KEY, WAVEFORM[:, :320])
