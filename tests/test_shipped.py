"""The shipped checkpoints, on real clips or on synthetic speech: both sides agree, streams are offline, scores hold."""

import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from scipy.special import softmax

from conversion.files import read_module, to_module
from conversion.parity import compare
from experiments.streams.demo import glue
from experiments.study.judging import margins_of
from experiments.study.provenance import is_current
from experiments.study.records import read_record, read_records
from experiments.study.scaling import resolved
from experiments.study.settings import BY_NAME, SETTINGS, deployed_model
from experiments.study.task import find_source, make_task
from kws_jax import checkpoint, streaming
from kws_jax.data.audio import read_audio, to_float
from kws_jax.data.corpus import load_corpus
from kws_jax.data.sources import NO_SOURCES
from kws_jax.data.splits import split_official
from kws_jax.data.synthetic import generate_demo_tracks
from kws_jax.detector import Detector
from kws_jax.evaluation.metrics import auroc_error
from kws_jax.evaluation.stream_metrics import HIT_TOLERANCE
from kws_jax.model import Crnn, frames_of
from kws_jax.state_dict import from_variables
from tests.helpers.streams import heard, offline, offline_by_steps
from tests.helpers.torch_models import numbers_of
from tests.tolerances import CROSS_FRAMEWORK, FLOAT16_STREAM, QINT8_STREAM, SCORES
from torch_ref.streaming import StreamingKws

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "checkpoints").glob("*/*.safetensors"))
STREAMED = {
    "base": (offline, CROSS_FRAMEWORK),
    "student_21x_stream_int8": (offline, CROSS_FRAMEWORK),
    "base_fp16": (offline, FLOAT16_STREAM),
    "student_12x_attention_qint8": (offline_by_steps, QINT8_STREAM),
    "student_314x_int5": (offline, CROSS_FRAMEWORK),
    "student_12x_attention_int4": (offline, CROSS_FRAMEWORK),
}


def shipped(setting: str) -> Path:
    return ROOT / "checkpoints" / "happy" / f"{setting}.safetensors"


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> np.ndarray:
    """Twenty seconds and a bit: clips of testing speakers end to end, or what synthetic voices say."""
    if "KWS_DATA" not in os.environ:
        pytest.importorskip("espeakng_loader", reason="needs real clips in KWS_DATA, or espeakng-loader")
        folder = generate_demo_tracks(tmp_path_factory.mktemp("speech") / "demo", "happy")
        pieces = [soundfile.read(folder / f"{name}.wav", dtype="float32")[0] for name in ("keyword", "before", "after")]
        return np.concatenate(pieces)[: 20 * 16_000 + 77]
    corpus = load_corpus(request.getfixturevalue("real_data"))
    return to_float(corpus.waveforms[split_official(corpus).testing[::40]])[:21].ravel()[: 20 * 16_000 + 77]


def test_every_setting_is_shipped():
    assert {path.stem for path in FILES} == {setting.name for setting in SETTINGS}


@pytest.mark.parametrize(
    "keyword", ["happy", *(pytest.param(word, marks=pytest.mark.slow) for word in ("bed", "right"))]
)
def test_both_sides_read_what_was_judged(keyword: str):
    """Bit for bit the numbers that the PyTorch module of the same file computes with, and what a detector asks for."""
    for path in [path for path in FILES if path.parent.name == keyword]:
        config, variables, about = checkpoint.load(path)
        setting = BY_NAME[path.stem]
        assert (about.keyword, about.setting, about.number_format) == (keyword, path.stem, setting.number_format)
        assert about.threshold is not None, path
        assert about.smoothing is not None, path
        assert config == deployed_model(setting)
        numbers = numbers_of(read_module(path)[1])
        for key, array in from_variables(variables, config).items():
            assert array.tobytes() == numbers[key].tobytes(), (path, key)


@pytest.mark.parametrize("setting", ["base", "student_21x_hop20_int8"])
def test_both_sides_agree(setting: str, track: np.ndarray):
    config, variables = checkpoint.restore(shipped(setting))
    found = compare(to_module(config, variables), variables, config, track[: 20 * 16_000].reshape(20, 16_000))
    assert max(found.layers[name] for name in ("logits", "attention", "mel power")) < CROSS_FRAMEWORK, found


@pytest.mark.parametrize("setting", STREAMED)
def test_every_format_streams_as_it_runs_offline(setting: str, track: np.ndarray):
    reference, tolerance = STREAMED[setting]
    config, model = read_module(shipped(setting))
    _, streamed = heard(StreamingKws(model), np.array_split(track, 9))
    assert len(streamed) == config.num_steps(config.frontend.num_frames(len(track)))
    np.testing.assert_allclose(streamed, reference(model, track), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "setting", ["student_21x_stream_int8", pytest.param("student_314x_int5", marks=pytest.mark.slow)]
)
def test_the_jax_stream_is_offline(setting: str, track: np.ndarray):
    config, variables = checkpoint.restore(shipped(setting))
    _, streamed = heard(streaming.StreamingKws(variables["params"], config), [track])
    every_step = jax.jit(partial(Crnn(config).apply, method="every_step"))
    logits = every_step(variables, frames_of(variables, config, jnp.asarray(track)[None]))
    np.testing.assert_allclose(streamed, softmax(logits[0], axis=1)[:, 1], rtol=0, atol=CROSS_FRAMEWORK)


@pytest.mark.slow
def test_no_demo_wakes_the_detector_but_by_its_word(tmp_path: Path):
    """Synthetic voices, which it was not trained on: it hears the word from some of them, and nothing else."""
    pytest.importorskip("espeakng_loader")
    config, variables, about = checkpoint.load(shipped("student_21x_stream_int8"))
    words = []
    for seed in range(10):
        folder = generate_demo_tracks(tmp_path / str(seed), "happy", seed)
        glued = glue(*(read_audio(folder / f"{name}.wav") for name in ("before", "keyword", "after")))
        steps = heard(streaming.StreamingKws(variables["params"], config), [to_float(glued.pcm)])
        found = list(Detector(about.detector(config)).push(*steps))
        begin, end = glued.start / 16_000, glued.end / 16_000 + HIT_TOLERANCE
        assert all(begin <= one.time <= end for one in found), seed
        words.append(len(found))
    assert max(words) == 1
    assert words[3] == 1, "the demo's own"
    assert sum(words) >= 3


def test_records_are_of_the_settings_as_they_stand():
    for record in read_records(ROOT / "results"):
        setting = BY_NAME[record.setting["name"]]
        assert is_current(record.setting, resolved(setting, record.data["training"]["clips"], quick=False)), record.name


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["base", "student_21x_stream_int8", "student_314x_int5"])
def test_scores_are_those_recorded(setting: str, real_data: Path, tmp_path: Path):
    record = read_record(ROOT / "results" / "runs" / f"{setting}-happy-official-0" / "record.json")
    source = find_source(real_data, ("happy",), NO_SOURCES, tmp_path)
    task = make_task(source, load_corpus(source.folder), "happy", "official", 0, tmp_path)
    if task.corpus.fingerprint != record.data["fingerprint"]:
        pytest.skip("other clips than those of the record")
    margins = margins_of(read_module(shipped(setting))[1], task, task.split.held_out)
    assert abs(auroc_error(margins, task.labels[task.split.held_out]) - record.held_out.auroc_error) < SCORES
