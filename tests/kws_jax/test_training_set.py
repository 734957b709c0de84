"""Clips moved within a hop, and the draws of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.study.material import LEAST_NOISE, joined_mel_power, noise_power, training_material
from experiments.study.settings import STUDENT_314X, Setting
from kws_jax.config import SAMPLE_RATE, FrontendConfig
from kws_jax.data.audio import to_float
from kws_jax.training.recipe import Recipe
from kws_jax.training.training_set import cached_mel_power, framing_offsets, moved
from tests.helpers.models import noise
from tests.helpers.tiny_corpus import task_of
from tests.tolerances import SAME_FRAMEWORK

FRONTEND = FrontendConfig(window_length=64, hop_length=32, num_mels=6)


@given(st.integers(-9, 9))
def test_what_is_moved_is_mirrored_at_the_edges(offset: int):
    clips = np.random.default_rng(0).integers(-(2**15), 2**15, (3, 10)).astype(np.int16)
    after = moved(clips, offset)
    assert (after.shape, after.dtype) == (clips.shape, clips.dtype)
    for index in range(10):
        source = abs(index - offset)
        np.testing.assert_array_equal(after[:, index], clips[:, source if source < 10 else 18 - source])


def test_a_hop_later_is_a_frame_later():
    clips = (3e3 * np.random.default_rng(0).normal(size=(4, 640))).astype(np.int16)
    before, after = (cached_mel_power(FRONTEND, moved(clips, offset)) for offset in (0, FRONTEND.hop_length))
    np.testing.assert_allclose(after[:, 3:-2], before[:, 2:-3], rtol=SAME_FRAMEWORK, atol=SAME_FRAMEWORK)


@given(st.integers(1, 8), st.integers(1, 100))
def test_framings_are_equally_spaced_round_zero(framings: int, spacing: int):
    hop = framings * spacing
    offsets = framing_offsets(hop, framings)
    assert offsets[0] == 0
    assert max(map(abs, offsets)) <= hop / 2
    assert sorted(offset % hop for offset in offsets) == [spacing * framing for framing in range(framings)]


def test_a_recording_has_one_level_as_pcm_and_as_floats():
    pcm = (3e3 * np.random.default_rng(0).normal(size=640)).astype(np.int16)
    twice = joined_mel_power(FRONTEND, (pcm, to_float(pcm)))
    np.testing.assert_array_equal(*np.split(twice, 2))


def test_every_draw_takes_a_framing(tone_corpus: Path, tmp_path: Path):
    task = task_of(tone_corpus, tmp_path)
    one = Setting("one", "", "", model=STUDENT_314X, recipe=Recipe())
    clips = task.corpus.waveforms[task.split.training]
    plain, draw_plain = training_material(one, STUDENT_314X, task)
    corpus, draw = training_material(replace(one, framings=4), STUDENT_314X, task)
    count = len(clips)
    np.testing.assert_array_equal(corpus.labels, np.tile(plain.labels, 4))
    for framing, offset in enumerate(framing_offsets(STUDENT_314X.frontend.hop_length, 4)):
        expected = cached_mel_power(STUDENT_314X.frontend, moved(clips, offset))
        np.testing.assert_array_equal(corpus.power[count * framing : count * (framing + 1)], expected)
    for epoch in range(3):
        np.testing.assert_array_equal(draw(epoch) % count, draw_plain(epoch))
        shares = np.bincount(draw(epoch) // count, minlength=4) / len(draw(epoch))
        assert shares.min() > 0.15
    assert (draw(0) // count != draw(1) // count).any()


@pytest.mark.parametrize("seconds", [0.0, 1.0, 3.7])
def test_little_noise_is_heard_again_and_again(seconds: float):
    recordings = [noise(0, 1, round(seconds * SAMPLE_RATE))[0]] if seconds else []
    once, power = joined_mel_power(FRONTEND, recordings), noise_power(FRONTEND, recordings)
    assert len(power) * FRONTEND.hop_length >= LEAST_NOISE * SAMPLE_RATE
    assert len(power) % len(once) == 0
    np.testing.assert_array_equal(power, np.resize(once, power.shape))
