"""Three ways to run are the models they should be; judging counts what is known; a checkpoint gets its record."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import stream_eval
from experiments.stream_eval import SceneRecipe
from experiments.streams import modes as stream_runs
from experiments.streams.judging import compare_modes, judge_mode, poisson_interval
from experiments.streams.modes import slide, stream
from experiments.study.stream_records import read_streams
from kws_jax import checkpoint, streaming
from kws_jax.checkpoint import About
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_float, to_pcm
from kws_jax.data.scenes import Scenes
from kws_jax.errors import UserError
from kws_jax.evaluation.stream_metrics import Counts
from kws_jax.model import predict
from kws_jax.streaming import StreamingKws
from tests.helpers.models import TOY, noise, random_variables

STEP = 0.08


@pytest.fixture(scope="module")
def waveforms() -> np.ndarray:
    return to_pcm(noise(7, 2, 2 * SAMPLE_RATE + 100))


def test_carried_is_the_streaming_class(waveforms, monkeypatch):
    monkeypatch.setattr(stream_runs, "BLOCKS_AT_ONCE", 60)
    params = random_variables(TOY)["params"]
    times, probabilities = stream(params, TOY, waveforms)
    for row, found in zip(waveforms, probabilities, strict=True):
        expected_times, expected = StreamingKws(params, TOY).push(to_float(row))
        np.testing.assert_allclose(times, expected_times)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_reset_is_a_stream_whose_hidden_state_is_zeroed(waveforms, monkeypatch):
    monkeypatch.setattr(stream_runs, "BLOCKS_AT_ONCE", 60)
    params, every = random_variables(TOY)["params"], 25
    samples, state, logits = to_float(waveforms), streaming.init_state(TOY, 2), []
    advance = jax.jit(streaming.step, static_argnums=1)
    for block in range(samples.shape[1] // TOY.block_size):
        if block % every == 0:
            state = state._replace(hidden=np.zeros_like(state.hidden))
        state, step = advance(params, TOY, state, samples[:, block * TOY.block_size : (block + 1) * TOY.block_size])
        logits.append(np.asarray(step))
    margin = np.diff(np.stack(logits, axis=1)[:, TOY.warmup_blocks :])[..., 0]
    reset = stream(params, TOY, waveforms, reset_every=every)[1]
    np.testing.assert_allclose(reset, 1 / (1 + np.exp(-margin)), atol=1e-6)
    assert np.abs(reset - stream(params, TOY, waveforms)[1]).max() > 1e-4


def test_sliding_is_the_offline_model_on_the_last_second(waveforms, monkeypatch):
    monkeypatch.setattr(stream_runs, "WINDOWS_AT_ONCE", 24)
    variables = random_variables(TOY)
    times, probabilities = slide(variables, TOY, waveforms)
    streamed_times = stream(variables["params"], TOY, waveforms)[0]
    np.testing.assert_allclose(times, streamed_times[streamed_times >= 1])
    offline = jax.jit(partial(predict, variables, TOY))
    for index in (0, 23, 24, len(times) - 1):
        end = round(times[index] * SAMPLE_RATE)
        clip = jnp.asarray(to_float(waveforms[:, end - SAMPLE_RATE : end]))
        margin = np.diff(offline(clip))[:, 0]
        np.testing.assert_allclose(probabilities[:, index], 1 / (1 + np.exp(-margin)), atol=1e-6)


def made_up_run(peaks: list[dict[float, float]], rest: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """A minute of steps of 80 ms, all at `rest` but for peaks of one step at these times."""
    times = STEP * np.arange(750)
    probabilities = np.full((len(peaks), times.size), rest)
    for row, here in zip(probabilities, peaks, strict=True):
        for moment, height in here.items():
            row[round(moment / STEP)] = height
    return times, probabilities


SCENES = Scenes(
    np.zeros((2, 60 * SAMPLE_RATE), np.int16),
    [np.array([[10.0, 10.4], [30.0, 30.4]])] * 2,
    [np.array(["a", "b"])] * 2,
    [None, None],
    {},
)


def test_known_misses_and_alarms():
    run = made_up_run([{10.4: 0.999, 30.8: 0.999}, {10.4: 0.999, 20.0: 0.95, 30.4: 0.9}])
    judged = judge_mode(run, SCENES, run, SCENES, STEP).quality
    assert judged.smoothing == 1
    assert judged.threshold is not None
    assert 0.95 < judged.threshold <= 0.999
    assert (judged.miss_rate, judged.test_miss_rate_at_1, judged.test_miss_rate_at_half) == (0.25, 0.25, 0.25)
    assert judged.miss_rate_interval == (0.0, 0.5), "speaker a is always heard, b every other time"
    assert (judged.false_alarms_per_hour, judged.false_alarms_interval[0]) == (0, 0)
    assert (judged.latency, judged.latency_90) == (pytest.approx(0), pytest.approx(0.32))
    assert judged.curve["false_alarms_per_hour"][0] == 30
    assert judged.curve["miss_rate"][0] == 0


def test_the_threshold_is_validations_own():
    validation = made_up_run([{10.4: 0.99, 20.0: 0.98}, {30.4: 0.99}])
    testing = made_up_run([{10.4: 0.97, 30.4: 0.99}, {10.4: 0.99, 20.0: 0.995, 40.0: 0.995}])
    judged = judge_mode(validation, SCENES, testing, SCENES, STEP).quality
    assert judged.validation_miss_rate_at_1 == 0.5
    assert judged.miss_rate == 0.5
    assert judged.false_alarms_per_hour == 60
    assert judged.test_miss_rate_at_1 == 1


def test_a_detector_that_no_threshold_makes_quiet_stays_silent():
    loud = made_up_run([{20.0: 1.0, 30.0: 1.0}] * 2)
    judged = judge_mode(loud, SCENES, loud, SCENES, STEP).quality
    assert judged.threshold is None
    assert (judged.miss_rate, judged.false_alarms_per_hour, judged.latency) == (1, 0, None)


def test_three_alarms_in_three_hours_are_one_an_hour():
    streams = np.ones((18, 1))
    counts = Counts(np.array([0.5]), 0 * streams, streams / 6, np.ones(18), np.full(18, 3 / 18))
    assert counts.det().false_alarms_per_hour.tolist() == [1]


def test_a_run_does_not_differ_from_itself():
    run = made_up_run([{10.4: 0.999, 20.0: 0.95}, {30.4: 0.9}])
    judged = judge_mode(run, SCENES, run, SCENES, STEP)
    assert compare_modes(judged, judged) == (0, 0, 0)


@pytest.mark.parametrize(("events", "low", "high"), [(0, 0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)])
def test_poisson_intervals_are_the_tables(events, low, high):
    assert poisson_interval(events, 1.0) == pytest.approx((low, high), abs=1e-4)
    assert poisson_interval(events, 4.0) == pytest.approx((low / 4, high / 4), abs=1e-4)


def test_from_checkpoint_to_record(scene_corpus, tmp_path, monkeypatch, capsys):
    """Under whatever path the model lies, one record a setting, keyword and seed; what is there is not judged again."""
    monkeypatch.setattr("experiments.streams.judging.RESAMPLES", 50)
    scenes = SceneRecipe(scene_corpus, scene_corpus.parent / "speech", hours=0.01, minutes_per_stream=0.3)
    folders = [tmp_path / "run", tmp_path / "shipped"]
    for folder in folders:
        checkpoint.save(folder, TOY, random_variables(TOY), About("happy", setting="toy", seed=0))
    stream_eval.main(tuple(folders), scenes, tmp_path / "results")
    assert "toy-happy-0.json: is there" in capsys.readouterr().out
    (toy,) = read_streams(tmp_path / "results")
    assert (toy.setting, toy.seed) == ("toy", 0)
    assert toy.heard.testing["hours"] == pytest.approx(0.01)
    assert list(toy.modes) == ["carried", "reset", "sliding"]
    work = {mode: sum(parts.values()) for mode, parts in toy.macs_per_second.items()}
    assert work["carried"] == work["reset"] < work["sliding"]
    nameless = tmp_path / "nameless"
    checkpoint.save(nameless, TOY, random_variables(TOY))
    with pytest.raises(UserError, match="--keyword"):
        stream_eval.main((nameless,), scenes, tmp_path / "results")
