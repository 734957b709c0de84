"""Recordings cut at their pauses: words are found where they were put, whatever lies between them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kws_jax.data.corpus import CLIP_LENGTH
from kws_jax.data.takes import EDGE, MAX_TAKE, clip_of, takes

RATE = 16_000
NEAR = 0.075  # s: a frame, its hop, and the edge that is added
WORD = st.tuples(st.floats(0.25, 0.9), st.floats(0.35, 2.0), st.floats(-12.0, 0.0))  # seconds, pause behind, dB


def recorded(words: list[tuple[float, float, float]], floor: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A recording of noise bursts for words, in noise `floor` dB below full scale, and where they are in seconds."""
    rng, time, where = np.random.default_rng(seed), 0.5, []
    samples = 10 ** (floor / 20) * rng.standard_normal(round((1.0 + sum(a + b for a, b, _ in words)) * RATE))
    for length, pause, level in words:
        start, end = round(time * RATE), round((time + length) * RATE)
        samples[start:end] += 0.2 * 10 ** (level / 20) * rng.standard_normal(end - start)
        where.append((start, end))
        time += length + pause
    return samples.astype(np.float32), np.array(where)


@settings(max_examples=40, deadline=None)
@given(st.lists(WORD, min_size=2, max_size=6), st.sampled_from([-120.0, -60.0, -50.0]), st.integers(0, 99))
def test_words_are_found_where_they_are(words: list[tuple[float, float, float]], floor: float, seed: int):
    samples, where = recorded(words, floor, seed)
    found = takes(samples)
    assert len(found) == len(where)
    assert np.abs(found - where).max() <= NEAR * RATE


def test_a_short_silence_is_within_a_word():
    samples, _ = recorded([(0.3, 0.12, 0.0), (0.2, 1.0, 0.0), (0.3, 1.0, 0.0)], -60.0, 0)
    assert len(takes(samples)) == 2


def test_clicks_breath_and_hum_are_no_words():
    samples, where = recorded([(0.5, 1.0, 0.0), (0.5, 1.0, 0.0)], -60.0, 0)
    samples[8_000 - 3_200 : 8_000 - 3_000] = 0.5  # a click of 12 ms before the first word
    samples[-8_000:-4_000] += 0.002  # far softer than a word
    assert len(takes(samples)) == len(where)


def test_a_short_recording_holds_one_take():
    samples, where = recorded([(0.2, 0.3, -10.0), (0.3, 0.0, 0.0)], -60.0, 0)
    assert samples.size < 1.9 * RATE
    found = takes(samples[: int(1.5 * RATE)])
    assert np.abs(found - where[1:]).max() <= NEAR * RATE


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(10), np.zeros(40_000), np.full(40_000, 0.3)])
def test_where_nothing_stands_out_there_is_no_take(samples: np.ndarray):
    assert takes(samples).shape == (0, 2)
    assert takes(np.random.default_rng(0).standard_normal(samples.size)).shape == (0, 2)


@given(st.integers(0, 60_000), st.integers(1_000, int(MAX_TAKE * RATE)), st.integers(0, 3_000), st.integers(0, 3_000))
def test_a_clip_is_what_was_recorded_with_the_take_in_its_middle(start: int, length: int, before: int, behind: int):
    samples = np.arange(1, 80_001, dtype=np.float32) / 80_000
    end = min(start + length, samples.size)
    left, right = max(0, start - before), min(samples.size, end + behind)
    clip = clip_of(samples, np.array([start, end]), left, right)
    assert clip.shape == (CLIP_LENGTH,)
    heard = np.flatnonzero(clip)
    first = max(left, (start + end - CLIP_LENGTH) // 2)
    np.testing.assert_array_equal(clip[heard], samples[first : first + heard.size])
    assert (np.diff(heard) == 1).all()
    assert heard.size >= end - start, "the whole take"
    assert abs((heard[0] - first) - (CLIP_LENGTH - (start + end)) // 2) <= 1, "in its middle"


def test_takes_have_their_edges():
    samples, where = recorded([(0.5, 1.0, 0.0), (0.5, 1.0, 0.0)], -60.0, 0)
    found = takes(samples)
    assert (where[:, 0] - found[:, 0] >= EDGE * RATE / 2).all()
    assert (found[:, 1] - where[:, 1] >= EDGE * RATE / 2).all()
