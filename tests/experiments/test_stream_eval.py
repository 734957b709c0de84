"""Both ways to run are the models they should be; judging counts what is known; a checkpoint gets its record."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import stream_eval
from experiments.streams import evaluation, probes
from experiments.streams import modes as stream_runs
from experiments.streams.evaluation import Job, judge_checkpoint
from experiments.streams.judging import Run, compare_modes, judge_mode, poisson_interval
from experiments.streams.modes import slide, stream
from experiments.streams.recipe import Judgement, SceneRecipe
from experiments.study.stream_records import read_streams, write_stream
from kws_jax import checkpoint
from kws_jax.checkpoint import About
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_float, to_pcm
from kws_jax.data.scenes import Scenes
from kws_jax.data.sounds import SOUNDS, sound
from kws_jax.data.sources import SceneSources
from kws_jax.errors import UserError
from kws_jax.evaluation.stream_metrics import Counts
from kws_jax.model import predict
from kws_jax.streaming import StreamingKws
from tests.helpers import fake_records as fake
from tests.helpers.models import TOY, noise, random_variables

STEP = 0.08


@pytest.fixture(scope="module")
def waveforms() -> np.ndarray:
    return to_pcm(noise(7, 4, 2 * SAMPLE_RATE + 100))


def test_carried_is_the_streaming_class_for_any_number_of_streams(waveforms, monkeypatch):
    monkeypatch.setattr(stream_runs, "BLOCKS_AT_ONCE", 60)
    params = random_variables(TOY)["params"]
    times, probabilities = stream(params, TOY, waveforms)
    for row, found in zip(waveforms, probabilities, strict=True):
        expected_times, expected = StreamingKws(params, TOY).push(to_float(row))
        np.testing.assert_allclose(times, expected_times)
        np.testing.assert_allclose(found, expected, atol=1e-6)


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
    [None, 5.0],
    {},
)


def test_known_misses_and_alarms():
    run = made_up_run([{10.4: 0.999, 30.8: 0.999}, {10.4: 0.999, 20.0: 0.95, 30.4: 0.9}])
    judged = judge_mode(run, SCENES, run, SCENES, STEP).quality
    assert judged.smoothing == 1
    assert (judged.test_miss_rate_at_1, judged.test_miss_rate_at_half, judged.miss_rate_at_60) == (0.25, 0.25, 0)
    assert judged.by_snr == {"clean": (0, 2), "5": (1, 2)}
    assert judged.curve["false_alarms_per_hour"][0] == 30
    assert judged.curve["miss_rate"][0] == 0
    assert [point.limit for point in judged.points] == [0.2, 0.5, 1, 2]
    for point in judged.points:
        assert point.threshold is not None
        assert 0.95 < point.threshold <= 0.999
        assert (point.miss_rate, point.false_alarms_per_hour, point.false_alarms_interval[0]) == (0.25, 0, 0)
        assert point.miss_rate_interval == (0.0, 0.5), "speaker a is always heard, b every other time"
        assert (point.latency, point.latency_90) == (pytest.approx(0), pytest.approx(0.32))


def test_thresholds_are_validations_own():
    validation = made_up_run([{10.4: 0.99, 20.0: 0.98}, {30.4: 0.99}])
    testing = made_up_run([{10.4: 0.97, 30.4: 0.99}, {10.4: 0.99, 20.0: 0.995, 40.0: 0.995}])
    judged = judge_mode(validation, SCENES, testing, SCENES, STEP).quality
    assert judged.validation_miss_rate_at_1 == 0.5
    assert (judged.in_use.limit, judged.in_use.miss_rate, judged.in_use.false_alarms_per_hour) == (0.5, 0.5, 60)
    assert (judged.test_miss_rate_at_1, judged.miss_rate_at_60) == (1, 0.25)
    assert judged.by_snr == {"clean": (2, 2), "5": (2, 2)}, "no threshold is quiet enough"


def test_each_limit_has_the_threshold_that_misses_least():
    """In four hours, in which three false alarms are louder than two of the words."""
    hours = replace(SCENES, waveforms=np.zeros((2, 7_200 * SAMPLE_RATE), np.int8))
    run = made_up_run([{10.4: 0.999, 30.4: 0.9, 40.0: 0.95}, {10.4: 0.99, 20.0: 0.995, 30.4: 0.9, 50.0: 0.95}])
    points = judge_mode(run, hours, run, hours, STEP).quality.points
    assert [(point.miss_rate, point.false_alarms_per_hour) for point in points] == [
        (0.75, 0),
        (0.5, 0.25),
        *[(0, 0.75)] * 2,
    ]


def test_a_detector_that_no_threshold_makes_quiet_stays_silent():
    loud = made_up_run([{20.0: 1.0, 30.0: 1.0}] * 2)
    judged = judge_mode(loud, SCENES, loud, SCENES, STEP).quality
    assert (judged.in_use.limit, judged.in_use.threshold) == (0.5, None)
    assert (judged.in_use.miss_rate, judged.in_use.false_alarms_per_hour, judged.in_use.latency) == (1, 0, None)
    detect = probes.in_use(lambda waveforms: 1 / 0, judged, STEP)
    assert [times.tolist() for times in detect(SCENES.waveforms)] == [[], []]


def test_in_use_is_a_half_an_hour_else_one():
    quality, silent = fake.stream_quality(), replace(fake.stream_quality().points[1], threshold=None)
    assert quality.in_use.limit == 0.5
    assert replace(quality, points=(quality.points[0], silent, *quality.points[2:])).in_use.limit == 1


def test_sounds_and_levels_are_heard_by_the_detector_in_use(monkeypatch):
    """Which hears what is loud: a click in the word wakes it from half its level on, and so does all that peaks."""
    monkeypatch.setattr(probes, "SECONDS", 2.0)
    scenes = replace(SCENES, waveforms=SCENES.waveforms.copy())
    for row, moments in ((0, (10.2, 30.2, 50.0)), (1, (10.2,))):
        for moment in moments:
            scenes.waveforms[row, round(moment * SAMPLE_RATE)] = 4_000 if moment < 20 else 400
    heard = []

    def run(waveforms: np.ndarray) -> Run:
        heard.append(waveforms)
        steps = np.abs(waveforms[:, : waveforms.shape[1] // 1280 * 1280].reshape(len(waveforms), -1, 1280)).max(axis=2)
        full_scale = 1 if waveforms.dtype == np.float32 else 32_768
        return Run(STEP * np.arange(steps.shape[1]), np.where(steps >= 2_000 / 32_768 * full_scale, 0.95, 0.0))

    detect = probes.in_use(run, replace(fake.stream_quality(), smoothing=1), STEP)
    assert probes.compare_levels(detect, scenes) == {"-40": 50, "-20": 50, "6": 0, "20": -50}
    assert {len(waveforms) for waveforms in heard} == {1}, "the clean stream alone"
    counts = probes.count_triggers(detect, seed=7)
    assert counts.keys() == SOUNDS.keys()
    assert counts["silence"] == 0
    for number, (kind, samples) in enumerate(zip(SOUNDS, heard[-1], strict=True)):
        np.testing.assert_array_equal(samples, to_pcm(sound(kind, 2.0, np.random.default_rng([7, number]))))
    assert probes.count_triggers(detect, seed=7) == counts
    assert heard[-1] is heard[-2], "made once"


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


@pytest.fixture
def judgement(scene_corpus, monkeypatch) -> Judgement:
    monkeypatch.setattr("experiments.streams.judging.RESAMPLES", 50)
    monkeypatch.setattr(probes, "SECONDS", 1.0)
    speech, noises = scene_corpus.parent / "speech", scene_corpus.parent / "noise"
    sources = SceneSources((speech,), (noises,), speech / "said.tsv")
    return Judgement(SceneRecipe(scene_corpus, sources, hours=0.01, minutes_per_stream=0.3))


@pytest.mark.parametrize("sliding", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_from_checkpoint_to_record(sliding: bool, judgement, tmp_path, monkeypatch):
    """The scenes of a keyword are made once."""
    checkpoint.save(tmp_path / "run", TOY, random_variables(TOY), About("happy", setting="toy", seed=0))
    built, build = [], SceneRecipe.build
    monkeypatch.setattr(SceneRecipe, "build", lambda *words: built.append(words[-1]) or build(*words))
    evaluation._heard.cache_clear()
    for name in ("toy", "again"):
        target = tmp_path / "results" / "streams" / f"{name}.json"
        missed = judge_checkpoint(replace(judgement, sliding=sliding), Job("happy", tmp_path / "run", target))
    (toy,) = read_streams(tmp_path / "results")
    assert built == ["validation", "testing"]
    assert (toy.setting, toy.seed, toy.modes["carried"].test_miss_rate_at_1) == ("toy", 0, missed)
    assert (toy.heard.speech, toy.heard.noise, toy.heard.transcripts) == (("speech",), ("noise",), "said.tsv")
    assert toy.heard.testing["hours"] == pytest.approx(0.01)
    assert list(toy.modes) == ["carried", "sliding"][: 1 + sliding]
    assert (toy.carried_minus_sliding is not None) == sliding
    assert (toy.sounds.keys(), list(toy.levels)) == (SOUNDS.keys(), ["-40", "-20", "6", "20"])
    work = {mode: sum(parts.values()) for mode, parts in toy.macs_per_second.items()}
    assert work["carried"] < work["sliding"]


def test_what_is_there_is_not_judged_again_and_what_fails_is_named(judgement, tmp_path, capsys):
    """Under whatever path the model lies: one record a setting, keyword and seed."""
    for name, about in (("run", About("happy", setting="toy", seed=0)), ("other", About("sad")), ("nameless", None)):
        checkpoint.save(tmp_path / name, TOY, random_variables(TOY), about)
    run, other, nameless = (tmp_path / name for name in ("run", "other", "nameless"))
    written = tmp_path / "streams" / "toy-happy-0.json"
    part = {"hours": 0.01, "streams": 2}
    heard = fake.heard(corpus="corpus", speech=("speech",), noise=("noise",), transcripts="said.tsv", testing=part)
    record = fake.stream_record("toy", heard=heard, modes={"carried": fake.stream_quality()})
    write_stream(written, record)
    before = written.read_bytes()
    stream_eval.main((run, run), judgement, tmp_path)
    assert capsys.readouterr().out == "1 of 1 have their record\n"
    scenes = judgement.scenes
    for asked, said in (
        (replace(judgement, scenes=replace(scenes, hours=0.02)), "streams 2 and not 4, hours 0.01 and not 0.02"),
        (replace(judgement, scenes=replace(scenes, seed=1)), "seed 0 and not 1"),
        (
            replace(judgement, scenes=replace(scenes, sources=SceneSources(scenes.sources.speech))),
            r"noise \('noise',\)",
        ),
        (replace(judgement, sliding=True), "no sliding window"),
    ):
        with pytest.raises(UserError, match=rf"toy-happy-0.json is of other scenes \({said}.*\): delete it, or name"):
            stream_eval.main((run,), asked, tmp_path)
    assert written.read_bytes() == before
    with pytest.raises(UserError, match="1 of 1 have no record: see above"):
        stream_eval.main((run, other), judgement, tmp_path, jobs=2)
    assert "other-sad.json: FAILED, no clips of the keyword 'sad'" in capsys.readouterr().out
    with pytest.raises(UserError, match="--keyword"):
        stream_eval.main((nameless,), judgement, tmp_path)
    with pytest.raises(UserError, match="name a checkpoint"):
        stream_eval.main((), judgement, tmp_path)
