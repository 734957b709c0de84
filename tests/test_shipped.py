"""The shipped checkpoints on real clips: both sides agree, every format streams as it runs offline, scores hold."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments.settings import BY_NAME
from scipy.special import softmax
from test_streaming_classes import offline, offline_by_steps

from conversion.files import to_module
from conversion.parity import compare
from experiments.run import resolved
from experiments.study.judging import in_format, margins_of
from experiments.study.provenance import is_of
from experiments.study.records import read_record, read_records
from experiments.study.task import find_source, make_task
from kws_jax import checkpoint, streaming
from kws_jax.data.audio import to_float
from kws_jax.data.corpus import load_corpus
from kws_jax.data.splits import split_official
from kws_jax.evaluation.metrics import auroc_error
from kws_jax.frontend import log_mel
from kws_jax.model import Crnn
from tests.tolerances import CROSS_FRAMEWORK, FLOAT16_STREAM, QINT8_STREAM, SCORES
from torch_ref.frontend import MelPower
from torch_ref.streaming import StreamingKws

ROOT = Path(__file__).parents[1]
TRAINED = ("fair_base", "pooled_attention", "pooled_stream", "twenty_light", "frontier")
REFERENCES = {
    "fp32": (offline, CROSS_FRAMEWORK),
    "fp16": (offline, FLOAT16_STREAM),
    "qint8": (offline_by_steps, QINT8_STREAM),
    "int8": (offline, CROSS_FRAMEWORK),
    "int5": (offline, CROSS_FRAMEWORK),
    "int4": (offline, CROSS_FRAMEWORK),
}


def shipped(name: str) -> tuple:
    return checkpoint.restore(ROOT / "checkpoints" / f"{name}-happy" / "flax")


@pytest.fixture(scope="module")
def clips(real_data: Path) -> np.ndarray:
    """Every fortieth clip of the testing speakers, (clips, samples)."""
    corpus = load_corpus(real_data)
    return to_float(corpus.waveforms[split_official(corpus).testing[::40]])


@pytest.fixture(scope="module")
def track(clips: np.ndarray) -> np.ndarray:
    """Twenty clips end to end, and a bit of another."""
    return clips[:21].ravel()[: 20 * 16_000 + 77]


def test_records_are_of_the_settings_as_they_stand():
    for record in read_records(ROOT / "results" / "records"):
        setting = resolved(BY_NAME[record.setting["name"]], synthetic=record.corpus == "synthetic", quick=False)
        assert is_of(record.setting, setting), record.name


@pytest.mark.parametrize("name", ["base", "pooled_stream"])
def test_both_sides_agree(name: str, clips: np.ndarray):
    config, variables = shipped(name)
    found = compare(to_module(config, variables), variables, config, clips)
    assert max(found.logits, found.attention, found.mel_power) < CROSS_FRAMEWORK, found


@pytest.mark.parametrize("number_format", REFERENCES)
@pytest.mark.parametrize("name", TRAINED)
def test_every_format_streams_as_it_runs_offline(name: str, number_format: str, track: np.ndarray):
    reference, tolerance = REFERENCES[number_format]
    config, variables = shipped(name)
    model = in_format(to_module(config, variables), number_format)
    stream = StreamingKws(model, config.max_window_length)
    pieces = [stream.push(chunk)[1] for chunk in np.array_split(track, 9)]
    streamed = np.concatenate([*pieces, stream.flush()[1]])
    expected = reference(model, MelPower(model.config), config.max_window_length, track)
    np.testing.assert_allclose(streamed, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", TRAINED)
def test_the_jax_stream_is_offline(name: str, track: np.ndarray):
    config, variables = shipped(name)
    stream = streaming.StreamingKws(variables["params"], config)
    streamed = np.concatenate([stream.push(track)[1], stream.flush()[1]])
    every_step = jax.jit(partial(Crnn(config).apply, method="every_step"))
    logits = every_step(variables, log_mel(config.frontend, jnp.asarray(track)[None]))
    expected = softmax(logits[0], axis=1)[:, 1]
    np.testing.assert_allclose(streamed, expected, rtol=0, atol=CROSS_FRAMEWORK)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base", "pooled_stream"])
def test_scores_are_those_recorded(name: str, real_data: Path, tmp_path: Path):
    record = read_record(ROOT / "results" / "records" / f"{name}-happy-official-0.json")
    source = find_source(real_data, ("happy",), None, tmp_path)
    task = make_task(source, load_corpus(source.folder), "happy", "official", 0, tmp_path)
    if task.corpus.fingerprint != record.data["fingerprint"]:
        pytest.skip("other clips than those of the record")
    margins = margins_of(to_module(*shipped(name)), task, task.split.held_out)
    assert abs(auroc_error(margins, task.labels[task.split.held_out]) - record.held_out.auroc_error) < SCORES
