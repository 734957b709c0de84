"""The benchmark: that what is timed is the model, and that a quick run on toys leaves a whole file."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from conversion.files import from_module, to_module
from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import growth, microcontroller, parts, timing
from experiments.benchmark import training as training_speed
from experiments.benchmark.__main__ import chosen_models
from experiments.benchmark.measuring import runtimes
from experiments.report.benchmark import Benchmark
from experiments.study import workers
from experiments.study.settings import BY_NAME, STUDENT_21X
from experiments.study.workers import Outcome
from kws_jax import checkpoint, cost
from kws_jax.compiled.source import c_source
from kws_jax.config import BASE, CrnnConfig
from kws_jax.data.audio import to_float, to_pcm
from kws_jax.detector import Detector
from kws_jax.errors import UserError
from kws_jax.model import predict
from kws_jax.state_dict import from_variables
from kws_jax.streaming import StreamingKws
from tests.helpers.models import PCEN, TOY, noise, random_variables
from tests.helpers.streams import heard
from tests.helpers.toy_training import CONFIG
from tests.tolerances import C_AND_JAX, CROSS_FRAMEWORK, GRADIENT, ONNX_AND_JAX, SAME_FRAMEWORK
from torch_ref.model import CRNN
from torch_ref.qint8 import to_fp16, to_qint8

ROOT = Path(__file__).parents[2]
VARIABLES = random_variables(TOY)
each_config = pytest.mark.parametrize("config", [TOY, PCEN], ids=["toy", "pcen"])


@pytest.mark.slow
@each_config
def test_what_is_timed_in_one_call_is_the_models_probability(config: CrnnConfig):
    samples, variables = timing.some_audio(1)[None], random_variables(config)
    expected = softmax(predict(variables, config, jnp.asarray(samples)), axis=1)[0, 1]
    model = to_module(config, variables)
    for timed in (timing.jax_clip(variables["params"], config), timing.torch_clip(model)):
        assert timed.seconds == 1.0
        np.testing.assert_allclose(timed.call(), [expected], rtol=0, atol=CROSS_FRAMEWORK)


@pytest.mark.parametrize("convert", [lambda model: model, to_fp16, to_qint8], ids=["fp32", "fp16", "qint8"])
def test_a_timed_stream_takes_a_step_a_call(convert: Callable[[CRNN], CRNN]):
    streams = [timing.torch_stream(convert(to_module(TOY, VARIABLES)))]
    streams += [timing.jax_stream(VARIABLES["params"], TOY), timing.c_stream(VARIABLES["params"], TOY)]
    for timed in streams:
        assert timed.seconds == TOY.block_size / 16_000
        steps = [timed.call()[1] for _ in range(TOY.warmup_blocks + 3)]
        assert [len(probabilities) for probabilities in steps] == [0] * TOY.warmup_blocks + [1] * 3
        assert len({float(probabilities[0]) for probabilities in steps[TOY.warmup_blocks :]}) == 3, "its state moves on"


def test_the_timed_scan_is_the_stream():
    timed = timing.jax_scan(VARIABLES["params"], TOY, 0.7)
    stream = timing.streaming.StreamingKws(VARIABLES["params"], TOY)
    _, expected = stream.push(timing.some_audio(0.7)[: round(timed.seconds * 16_000)])
    np.testing.assert_allclose(timed.call()[0, TOY.warmup_blocks :], expected, rtol=0, atol=CROSS_FRAMEWORK)


@pytest.mark.slow
def test_onnx_is_the_stream():
    pytest.importorskip("onnxruntime")
    timed = timing.onnx_stream(VARIABLES["params"], TOY)
    assert timed is not None
    block = timing.some_audio(TOY.step_duration)
    _, expected = timing.streaming.StreamingKws(VARIABLES["params"], TOY).push(np.tile(block, TOY.warmup_blocks + 4))
    probabilities = [float(timed.call()[0]) for _ in range(TOY.warmup_blocks + 4)]
    np.testing.assert_allclose(probabilities[TOY.warmup_blocks :], expected, rtol=0, atol=ONNX_AND_JAX)


@pytest.mark.slow
@pytest.mark.parametrize("most", [16, 300])
def test_growth_is_measured_up_to_its_end(most: int, monkeypatch: pytest.MonkeyPatch):
    """Of each size what is called is the size's: a push's steps, a step's streams."""
    monkeypatch.setattr(growth.accounting, "measure", lambda *calls, **_: [float(len(call()[-1])) for call in calls])
    monkeypatch.setattr(growth, "hidden_calls", lambda batch_size: lambda size: {})
    monkeypatch.setattr(growth, "HIDDEN", ())
    monkeypatch.setattr(growth.timing, "some_audio", lambda seconds: noise(0, 1, round(seconds * 16_000))[0])
    rows = growth.growth([("toy", TOY)], 4, most)
    audio = [row for row in rows if row["of"] == "seconds of audio"]
    assert [(row["size"], row["what"]) for row in audio] == [
        (size, what) for size in growth.LENGTHS if size <= most for what in ("C", "JAX")
    ]
    for row in audio:  # the same stream is pushed again and again, so that its warm-up may be over
        steps = round(row["size"] / TOY.step_duration)
        assert abs(row["milliseconds"] / 1e3 - steps) <= TOY.warmup_blocks + 1
    streams = {row["size"]: row["milliseconds"] / 1e3 for row in rows if row["of"] == "streams"}
    assert streams == {size: TOY.num_classes for size in growth.STREAMS if size <= most}


def test_parts_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts.accounting, "measure", lambda *calls, **_: [number + 1.0 for number in range(len(calls))])
    rows = parts.parts("toy", TOY, 4, 1)
    assert [row["microseconds"] for row in rows] == [1e6] * len(rows), "each is what it takes more than the last"
    assert [row["of"] for row in rows] == ["push"] * 4 + ["training step"] * 5


@pytest.mark.slow
def test_parts_are_of_the_real_thing():
    calls = parts.push_calls(TOY)
    values = [calls["model"]() for _ in range(TOY.warmup_blocks + 1)]
    steps = [calls["checks and times"]()[1] for _ in range(TOY.warmup_blocks + 1)]
    assert values[-1] == steps[-1], "the same step with and without the class about it"
    training = parts.training_calls(CONFIG, 4)
    loss, gradient = training["backward"]()
    assert float(loss) == pytest.approx(float(training["forward"]()), abs=SAME_FRAMEWORK)
    assert max(float(abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0


def test_seconds_are_per_second_of_audio(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timing.accounting, "measure", lambda *calls, **_: [call() for call in calls])
    timed = [timing.Timed(lambda: 3.0, 2.0), timing.Timed(lambda: 3.0, 6.0)]
    assert timing.seconds_per_second(*timed) == [1.5, 0.5]


@pytest.mark.slow
@pytest.mark.parametrize("config", [TOY, PCEN], ids=["toy", "pcen"])
@pytest.mark.parametrize("source", ["mel power", "samples"])
def test_training_steps_of_both_frameworks_learn_the_same(
    source: str, config: CrnnConfig, monkeypatch: pytest.MonkeyPatch
):
    """From equal weights, a first loss is equal; later steps lower it in both."""
    variables, config = random_variables(config), replace(config, gru_dropout=0.0)
    model = to_module(config, variables).train()
    monkeypatch.setattr(training_speed.model, "CRNN", lambda task: model)
    monkeypatch.setattr(training_speed, "init_variables", lambda key, config: variables)
    steps = [make(config, 4, source) for make in (training_speed.torch_step, training_speed.jax_step)]
    first = [step() for step in steps]
    assert abs(first[0] - first[1]) < GRADIENT
    assert max(step() for step in steps for _ in range(20)) < min(first)
    trained = from_module(model, config)["params"]["classifier"]["kernel"]
    assert (trained != variables["params"]["classifier"]["kernel"]).any()


@pytest.mark.slow
def test_the_command_leaves_a_whole_file(tmp_path: Path):
    """Measured in a process of its own; only the numbers mean little."""
    checkpoint.save(tmp_path / "toy", TOY, VARIABLES)
    words = ["-m", "experiments.benchmark", str(tmp_path / "toy"), "--quick", "--out", str(tmp_path / "out.json")]
    run = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found.keys() == Benchmark.__annotations__.keys()
    assert {(row["of"], row["model"]) for row in found["growth"]} == {
        *itertools.product(("seconds of audio", "streams"), ("base", "toy")),
        ("hidden units", "base"),
    }
    assert min(row["milliseconds"] for row in found["growth"]) > 0
    assert {row["of"] for row in found["parts"]} == {"push", "training step"}
    assert found["state_bytes"]["toy"] == cost.state_bytes(TOY)
    for peer in found["peers"]:  # where it is installed
        assert peer["times_cheaper"].keys() == peer["times_cheaper_in_jax"].keys() == {"base", "toy"}
    assert set(found["environment"]) == {"commit", "versions", "device"}
    assert [(row["runtime"], row["model"]) for row in found["inference"]] == [
        (runtime, model) for runtime in runtimes(TOY, 1.0) for model in ("base", "toy")
    ]
    for base, toy in zip(found["inference"][::2], found["inference"][1::2], strict=True):
        assert base["ratio_to_base"] == 1.0
        ratio = base["microseconds_per_second"] / toy["microseconds_per_second"]
        assert toy["ratio_to_base"] == pytest.approx(ratio)
        assert (base["step_milliseconds"], toy["step_milliseconds"]) == (80.0, 1e3 * TOY.step_duration)
    assert [row["ratio_to_torch"] is None for row in found["training"]] == [False] * 4 + [True] * 2
    assert min(row["clips_per_second"] for row in found["training"]) > 0


def test_models_are_chosen_one_an_architecture():
    chosen = chosen_models(())
    assert len({config for _, config in chosen}) == len(chosen) > 0
    assert BASE not in dict(chosen).values()
    assert all(not config.batch_norm for _, config in chosen)
    assert {name for name, _ in chosen} <= BY_NAME.keys()
    with pytest.raises(UserError, match="'nothing' is neither a setting nor a checkpoint"):
        chosen_models(("nothing",))


def test_a_setting_that_starts_from_another_is_measured_as_it_is_deployed():
    """A pruned one is smaller than its source; a quantized one has its sizes."""
    ((name, pruned),) = chosen_models(("pruned_10x",))
    assert (name, pruned.conv_channels, pruned.gru_hidden, pruned.attention_width) == ("pruned_10x", 2, 16, 8)
    assert replace(pruned, conv_channels=8, gru_hidden=64, attention_width=64) == BASE
    assert chosen_models(("student_21x_int8",)) == [("student_21x_int8", replace(STUDENT_21X, batch_norm=False))]
    assert "pruned_10x" in dict(chosen_models(()))


def test_a_failure_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(workers, "run_jobs", lambda *_, **__: iter([Outcome(None, error="no room")]))
    with pytest.raises(UserError, match="no room"):
        benchmark.main(("base",), out=tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(not microcontroller.is_there(), reason="needs gcc-arm-none-eabi and qemu-system-arm")
@pytest.mark.parametrize("name", ["student_314x_int5", "student_21x_stream_int8"])
def test_a_microcontroller_computes_the_same(name: str):
    """A minute that goes from digital silence to clipping, weights read in place."""
    path = ROOT / "checkpoints" / "happy" / f"{name}.safetensors"
    config, variables, about = checkpoint.load(path)
    text = c_source(config, from_variables(variables, config), about, "A test", checkpoint.packed_bytes(path))
    loudness = np.repeat(np.float32([0, 0.001, 0.3, 0.02, 0.1]), 12 * 16_000)
    pcm = to_pcm(noise(0, 1, len(loudness))[0] * 10 * loudness)
    found = microcontroller.run_on_cortex_m4(text, pcm)
    times, expected = heard(StreamingKws(variables["params"], config), [to_float(pcm)])
    np.testing.assert_array_equal(found.steps["end"] / 16_000, times)
    np.testing.assert_allclose(found.steps["probability"], expected, rtol=0, atol=C_AND_JAX)
    detected = [(d.time, d.probability) for d in Detector(about.detector(config)).push(times, expected)]
    is_detection = found.steps["is_detection"] == 1
    assert (found.steps["end"][is_detection] / 16_000).tolist() == [time for time, _ in detected]
    assert found.state_bytes + found.stack_bytes < 10_000 < found.instructions_per_second < 5_000_000
