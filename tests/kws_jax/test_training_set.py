"""Clips moved within a hop, and the draws of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments.architectures import FRONTIER
from experiments.setting import Setting
from hypothesis import given
from hypothesis import strategies as st
from test_pipeline import write_corpus
from test_sweep import task_of

from experiments.study.training import _material
from kws_jax.config import FrontendConfig
from kws_jax.training.recipe import Recipe
from kws_jax.training.training_set import cached_mel_power, moved, phase_offsets
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
def test_phases_are_equally_spaced_round_zero(phases: int, spacing: int):
    hop = phases * spacing
    offsets = phase_offsets(hop, phases)
    assert offsets[0] == 0
    assert max(map(abs, offsets)) <= hop / 2
    assert sorted(offset % hop for offset in offsets) == [spacing * phase for phase in range(phases)]


def test_every_draw_takes_a_phase(tmp_path: Path):
    write_corpus(tmp_path / "corpus")
    task = task_of(tmp_path / "corpus", tmp_path / "out")
    one = Setting("one", "", "", model=FRONTIER, recipe=Recipe())
    frontend, clips = FRONTIER.frontend, task.corpus.waveforms[task.split.training]
    plain, draw_plain = _material(one, frontend, task)
    corpus, draw = _material(replace(one, phases=4), frontend, task)
    count = len(clips)
    np.testing.assert_array_equal(corpus.labels, np.tile(plain.labels, 4))
    for phase, offset in enumerate(phase_offsets(frontend.hop_length, 4)):
        expected = cached_mel_power(frontend, moved(clips, offset))
        np.testing.assert_array_equal(corpus.power[count * phase : count * (phase + 1)], expected)
    for epoch in range(3):
        np.testing.assert_array_equal(draw(epoch) % count, draw_plain(epoch))
        shares = np.bincount(draw(epoch) // count, minlength=4) / len(draw(epoch))
        assert shares.min() > 0.15
    assert (draw(0) // count != draw(1) // count).any()
    with pytest.raises(ValueError, match="phases are of cached mel power"):
        replace(one, phases=4, augments_waveforms=True)
