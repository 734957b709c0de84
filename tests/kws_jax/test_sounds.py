"""Sounds that nobody speaks are as long and as loud as they should be, and the same for the same seed."""

import numpy as np
import pytest

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.sounds import LEVEL, PIECE, SOUNDS, sound

SECONDS = 2 * PIECE + 0.5


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds_are_seeded_finite_and_at_a_level(kind: str):
    one, again, other = (sound(kind, SECONDS, np.random.default_rng([seed, 1])) for seed in (0, 0, 1))
    assert one.shape == (round(SECONDS * SAMPLE_RATE),)
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, again)
    if kind == "silence":
        assert not one.any()
        return
    assert not np.array_equal(one, other)
    peaks = [
        np.abs(piece).max() for piece in np.split(one, [round(PIECE * SAMPLE_RATE), round(2 * PIECE * SAMPLE_RATE)])
    ]
    assert all(LEVEL[0] <= 20 * np.log10(peak) <= LEVEL[1] for peak in peaks)
    assert len(set(peaks)) == 3, "every piece has a level of its own"


def power_by_octave(kind: str) -> np.ndarray:
    """Of 500 to 1,000 Hz, and of 2,000 to 4,000."""
    power = np.square(np.abs(np.fft.rfft(sound(kind, PIECE, np.random.default_rng(0)))))
    return np.array([power[round(low * PIECE) : round(2 * low * PIECE)].sum() for low in (500, 2_000)])


def test_noise_is_white_or_pink():
    """White noise has four times the power two octaves up; pink noise has the same."""
    for kind, ratio in (("white", 4.0), ("pink", 1.0)):
        low, high = power_by_octave(kind)
        assert high / low == pytest.approx(ratio, rel=0.1)


def test_a_hum_is_of_the_mains():
    spectrum = np.abs(np.fft.rfft(sound("hum", PIECE, np.random.default_rng(3))))
    loud = np.flatnonzero(spectrum > 0.01 * spectrum.max()) / PIECE
    assert loud[0] in (50, 60)
    assert len(loud) > 5
    np.testing.assert_array_equal(loud % loud[0], 0)
