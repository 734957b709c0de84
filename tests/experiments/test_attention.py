"""Attention over a clip, and sensitivity to pruning: from checkpoints and clips to what is drawn."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from experiments import attention as attention_map
from experiments import report, sensitivity
from kws_jax import checkpoint
from kws_jax.config import SAMPLE_RATE, FrontendConfig
from kws_jax.data.corpus import load_corpus
from kws_jax.data.splits import split_official
from kws_jax.errors import UserError
from kws_jax.evaluation.metrics import auroc_error
from kws_jax.model import Crnn
from kws_jax.training.losses import cross_entropy
from kws_jax.training.pruning import full_masks, importance
from tests.helpers.fake_records import few, write_results
from tests.helpers.models import TOY, noise, random_variables
from tests.tolerances import SAME_FRAMEWORK, SCORES

SMALL = replace(TOY, frontend=FrontendConfig(num_mels=12), gru_layers=1, max_window_length=20)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for word, level in (("happy", 0.3), ("bed", 0.01)):
        (folder / word).mkdir()
        for speaker in range(60):
            soundfile.write(folder / word / f"{speaker:08x}_nohash_0.wav", level * rng.normal(size=16_000), 16_000)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = [folder / "teacher-happy" / "flax", folder / "student-happy" / "flax"]
    for path, config in zip(paths, (TOY, SMALL), strict=True):
        checkpoint.save(path, config, random_variables(config), about={"keyword": "happy"})
    return paths


def test_attention_is_the_models_own(checkpoints):
    waveform = noise(0, 1, 16_000)[0]
    for path, config in zip(checkpoints, (TOY, SMALL), strict=True):
        heard = attention_map.listen(path, waveform)
        frames = config.frontend.num_frames(16_000)
        assert heard.name == path.parent.name
        assert heard.weights.shape == (config.num_steps(frames),)
        assert heard.weights.sum() == pytest.approx(1, abs=SAME_FRAMEWORK)
        ends = np.array([config.step_end(step) for step in range(len(heard.weights))])
        middles = (ends - config.receptive_field / 2) / SAMPLE_RATE
        np.testing.assert_allclose(heard.times, middles, atol=SAME_FRAMEWORK)


def test_attention_is_drawn_over_the_clips_time(checkpoints, data, tmp_path):
    attention_map.main(tuple(checkpoints), data, tmp_path / "a" / "attention.png")
    assert (tmp_path / "a" / "attention.png").stat().st_size > 10_000
    heard = [attention_map.listen(path, noise(0, 1, 16_000)[0]) for path in checkpoints]
    figure = attention_map.attention_figure(noise(0, 1, 16_000)[0], heard, "a clip")
    top, *strips = figure.axes
    assert top.get_xlim() == strips[0].get_xlim() == pytest.approx((-0.005, 1.005))
    for axes, one in zip(strips, heard, strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), one.times)
        assert np.mean(axes.lines[0].get_ydata()) == pytest.approx(1, abs=SAME_FRAMEWORK)


def test_attention_of_other_keywords_or_of_no_clip_is_an_error(checkpoints, data, tmp_path):
    other = tmp_path / "flax"
    checkpoint.save(other, TOY, random_variables(TOY), about={"keyword": "bed"})
    with pytest.raises(UserError, match="one and the same keyword"):
        attention_map.main((checkpoints[0], other), data, tmp_path / "a.png")
    with pytest.raises(UserError, match="no clip 99"):
        attention_map.main((checkpoints[0],), data, tmp_path / "a.png", clip=99)
    with pytest.raises(UserError, match="at least one"):
        attention_map.main((), data, tmp_path / "a.png")


@pytest.mark.slow
def test_unit_scores_are_the_mean_over_batches(monkeypatch):
    monkeypatch.setattr(sensitivity, "BATCH_SIZE", 4)
    params = random_variables(TOY)["params"]
    rng = np.random.default_rng(0)
    log_mel = jnp.asarray(rng.normal(size=(8, 40, 12)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 2, 8))
    each = []
    for half in (slice(0, 4), slice(4, 8)):

        def loss(params, half=half):
            return cross_entropy(Crnn(TOY).apply({"params": params}, log_mel[half])[0], labels[half])

        each.append(importance(params, jax.jit(jax.grad(loss))(params), full_masks(TOY)))
    scores = sensitivity.unit_scores(TOY, params, log_mel, labels)
    for found, *parts in zip(scores, *each, strict=True):
        np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=SAME_FRAMEWORK)


@pytest.mark.slow
def test_sensitivity_is_measured_on_validation_speakers_and_drawn(checkpoints, data, tmp_path, monkeypatch):
    monkeypatch.setattr(sensitivity, "BATCHES", 1)
    monkeypatch.setattr(sensitivity, "SHARES", (0.0, 0.5))
    results = write_results(tmp_path / "results", few()[:2])
    sensitivity.main(checkpoints[1], data, "happy", results / "sensitivity" / "student.json")
    (table,) = sensitivity.read_tables(results)
    whole = [row["error"] for row in table["rows"] if not row["removed"]]
    corpus = load_corpus(data)
    validation = split_official(corpus).validation
    assert 0 < len(validation) < len(corpus.names)
    waveforms = np.asarray(corpus.waveforms[validation], np.float32) / 32_768
    outputs = [attention_map.listen(checkpoints[1], waveform).probability for waveform in waveforms]
    expected = auroc_error(np.array(outputs), corpus.labels("happy")[validation])
    assert whole == pytest.approx([expected] * len(whole), abs=SCORES)
    assert {row["part"] for row in table["rows"]} == {"conv", "gru layer 0", "attention"}
    figure = sensitivity.sensitivity_figure([table, table | {"model": "again"}])
    assert [axes.get_title() for axes in figure.axes] == ["student-happy", "again"]
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]
    report.main(results, tmp_path)
    assert (tmp_path / report.SENSITIVITY).is_file()
    assert f"]({report.SENSITIVITY})" in (tmp_path / "REPORT.md").read_text()
    (tmp_path / report.SENSITIVITY).unlink()
    with pytest.raises(UserError, match=r"sensitivity\.png is stale"):
        report.main(results, tmp_path, check=True)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"rows": []})])
def test_what_is_no_table_is_an_error(text, tmp_path):
    (tmp_path / "sensitivity").mkdir()
    (tmp_path / "sensitivity" / "x.json").write_text(text)
    with pytest.raises(UserError, match="no table of sensitivities"):
        sensitivity.read_tables(tmp_path)
