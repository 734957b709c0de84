"""Attention over a clip: from checkpoints and clips to what is drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import attention
from experiments.plots import save
from experiments.streams.attention import attention_figure, attention_of
from kws_jax import checkpoint
from kws_jax.checkpoint import About
from kws_jax.config import SAMPLE_RATE, FrontendConfig
from kws_jax.errors import UserError
from tests.helpers.models import TOY, noise, random_variables
from tests.tolerances import SAME_FRAMEWORK

SMALL = replace(TOY, frontend=FrontendConfig(num_mels=12, compression="pcen"), gru_layers=1, max_window_length=20)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = [folder / "teacher", folder / "student"]
    for path, config in zip(paths, (TOY, SMALL), strict=True):
        checkpoint.save(path, config, random_variables(config), About("happy"))
    return paths


def test_attention_is_the_models_own(checkpoints):
    waveform = noise(0, 1, 16_000)[0]
    for path, config in zip(checkpoints, (TOY, SMALL), strict=True):
        heard = attention_of(path, waveform)
        frames = config.frontend.num_frames(16_000)
        assert heard.name == path.name
        assert heard.weights.shape == (config.num_steps(frames),)
        assert heard.weights.sum() == pytest.approx(1, abs=SAME_FRAMEWORK)
        ends = np.array([config.step_end(step) for step in range(len(heard.weights))])
        middles = (ends - config.receptive_field / 2) / SAMPLE_RATE
        np.testing.assert_allclose(heard.times, middles, atol=SAME_FRAMEWORK)


def test_attention_is_drawn_over_the_clips_time(checkpoints, scene_corpus, tmp_path):
    attention.main(tuple(checkpoints), scene_corpus, tmp_path / "a" / "attention.png")
    assert (tmp_path / "a" / "attention.png").stat().st_size > 10_000
    attention.main(tuple(checkpoints), scene_corpus, tmp_path / "attention.svg")
    assert "<svg" in (tmp_path / "attention.svg").read_text()
    with pytest.raises(UserError, match=r"attention\.odd is no picture, by its 'odd'"):
        attention.main(tuple(checkpoints), scene_corpus, tmp_path / "attention.odd")
    heard = [attention_of(path, noise(0, 1, 16_000)[0]) for path in checkpoints]
    figure = attention_figure(noise(0, 1, 16_000)[0], heard, "a clip of $x^$, which is no formula")
    save(figure, tmp_path / "formula.png")
    top, *strips = figure.axes
    assert top.get_xlim() == strips[0].get_xlim() == pytest.approx((-0.005, 1.005))
    for axes, one in zip(strips, heard, strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), one.times)
        assert np.mean(axes.lines[0].get_ydata()) == pytest.approx(1, abs=SAME_FRAMEWORK)


def test_attention_of_other_keywords_or_of_no_clip_is_an_error(checkpoints, scene_corpus, tmp_path):
    other = tmp_path / "flax"
    checkpoint.save(other, TOY, random_variables(TOY), About("bed"))
    with pytest.raises(UserError, match="one and the same keyword"):
        attention.main((checkpoints[0], other), scene_corpus, tmp_path / "a.png")
    with pytest.raises(UserError, match="no clip 99"):
        attention.main((checkpoints[0],), scene_corpus, tmp_path / "a.png", clip=99)
    with pytest.raises(UserError, match="at least one"):
        attention.main((), scene_corpus, tmp_path / "a.png")
