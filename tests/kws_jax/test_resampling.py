"""Sound in pieces becomes what the whole becomes: resampled, mixed and doubted alike."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from kws_jax.data.audio import read_audio
from kws_jax.data.inputs import file_chunks
from kws_jax.data.resampling import Resampler, at_16_khz
from tests.tolerances import CLOSED_FORM

RATES = (4_000, 8_000, 11_025, 12_345, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)


@pytest.mark.parametrize("rate", RATES)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(0, 1_500), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_pieces_give_what_the_whole_gives(rate: int, lengths: list[int], seed: int):
    samples = np.random.default_rng(seed).normal(size=sum(lengths))
    resampler, divisor = Resampler(rate), math.gcd(rate, 16_000)
    pieces = [resampler.push(piece) for piece in np.split(samples, np.cumsum(lengths)[:-1])]
    whole = resample_poly(samples, 16_000 // divisor, rate // divisor) if len(samples) else samples
    np.testing.assert_allclose(np.concatenate([*pieces, resampler.flush()]), whole, rtol=0, atol=CLOSED_FORM)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_nothing_waits_longer_than_the_filter_and_a_round(rate: int):
    """Half a step of the base is 40 ms."""
    resampler, block = Resampler(rate), np.zeros(rate // 25)
    given = np.cumsum([len(resampler.push(block)) for _ in range(10)])
    assert (np.arange(1, 11) * 640 - given).max() <= 0.012 * 16_000


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_file_in_blocks_is_the_file_read_whole(
    tmp_path: Path, rate: int, channels: int, monkeypatch: pytest.MonkeyPatch
):
    samples = np.random.default_rng(rate).normal(0, 0.1, (rate // 2 + 7, channels))
    soundfile.write(tmp_path / "a.wav", samples, rate, "FLOAT")
    whole = read_audio(tmp_path / "a.wav")
    monkeypatch.setattr("kws_jax.data.decoding.BLOCK", 1_001)
    chunks = list(file_chunks(tmp_path / "a.wav"))
    assert len(chunks) > 8
    assert max(map(len, chunks)) < 1_500
    np.testing.assert_allclose(np.concatenate(chunks), whole, rtol=0, atol=CLOSED_FORM)


NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000)
ODD = {
    "turned over": (np.stack([NOISE, -NOISE], 1), "the channels cancel each other"),
    "dead": (np.stack([NOISE, 0 * NOISE], 1), "1 of 2 channels are silent, so their mean is 6 dB quieter"),
    "dead but one": (np.stack([0 * NOISE, NOISE, 0 * NOISE], 1), "2 of 3 channels are silent.* 10 dB quieter"),
    "integers": (np.round(NOISE * 32_768)[:, None], r"samples reach 1\.\d+e\+04, but 1 is full scale"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_is_said_once(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture):
    samples, message = ODD[name]
    soundfile.write(tmp_path / "a.wav", samples, 16_000, "FLOAT")
    read_audio(tmp_path / "a.wav")
    list(at_16_khz([samples] * 15, 16_000))  # as soon as ten seconds are heard, and not again
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all(re.search(message, words) for words in said), said


@pytest.mark.parametrize(
    "samples",
    [np.stack([NOISE, 0.5 * NOISE], 1), np.stack([NOISE, NOISE[::-1]], 1), 0 * NOISE[:, None], 5 * NOISE[:, None]],
)
def test_what_is_fine_is_not_warned_of(samples: np.ndarray, caplog: pytest.LogCaptureFixture):
    """Among it what is quieter on one side, unlike on both, silent, or goes a little beyond full scale."""
    list(at_16_khz([samples], 16_000))
    assert not caplog.records


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_where_a_sample_is_not_finite_is_said(bad: float):
    samples = np.zeros((48_000, 2))
    samples[36_000, 1] = bad
    with pytest.raises(ValueError, match=r"NaN or infinite sample at 1\.75 s"):
        list(at_16_khz([np.zeros((48_000, 2)), samples], 48_000))


@pytest.mark.parametrize("rate", [0, 3_999, 192_001])
def test_no_sound_has_such_a_rate(rate: int):
    with pytest.raises(ValueError, match=f"sample rate of {rate} Hz"):
        list(at_16_khz([np.zeros((9, 1))], rate))
