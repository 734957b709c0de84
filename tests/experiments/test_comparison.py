"""Numbers that the report is made of, against arithmetic done apart."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from experiments.report import goals
from experiments.report.comparison import Comparison, compare, verdict
from experiments.report.pages import commands, read_study
from experiments.report.streams import StreamEntry, compare_streams, lowest
from experiments.study.records import BASE_NAME, RECORD, RUNS, TUNED_NAME, Record, write_json
from experiments.study.scores import SCORES
from experiments.study.stream_records import write_stream
from kws_jax.config import BASE
from kws_jax.errors import UserError
from kws_jax.evaluation.bootstrap import Interval, PairedScores, speaker_bootstrap
from kws_jax.evaluation.stream_metrics import StreamDet, miss_rate_at
from tests.helpers import fake_records as fake
from tests.helpers.fake_records import record, stream_record, true_error, write_results
from tests.tolerances import CLOSED_FORM


def runs_of(name: str, errors: dict[str, float], seeds: int = 3, **changes) -> list[Record]:
    seeded = [(keyword, error, seed) for keyword, error in errors.items() for seed in range(seeds)]
    return [record(name, error, keyword=keyword, seed=seed, **changes) for keyword, error, seed in seeded]


def compared(folder: Path, *runs: Record) -> list[Comparison]:
    return compare(runs, write_results(folder, list(runs)))


def mean_error(runs: list[Record], testing: bool = True) -> float:
    return float(np.mean([true_error(run, testing) for run in runs]))


def test_errors_and_ratios_are_of_means_and_resample_the_speakers_of_all_runs_together(tmp_path):
    base, student = runs_of("base", {"bed": 4e-3, "happy": 2e-3}), runs_of("student", {"bed": 1e-3, "happy": 3e-3})
    (found,) = compared(tmp_path, *base, *student)
    entry = found.find("student")
    assert found.keywords == ("bed", "happy")
    assert entry.seeds == [0, 1, 2]
    assert entry.error().estimate == pytest.approx(mean_error(student), rel=CLOSED_FORM)
    assert entry.error("validation").estimate == pytest.approx(mean_error(student, testing=False), rel=CLOSED_FORM)
    assert entry.ratio().estimate == pytest.approx(mean_error(student) / mean_error(base), rel=CLOSED_FORM)
    own = [mean_error(student[i : i + 3]) / mean_error(base[i : i + 3]) for i in (0, 3)]
    assert entry.mean_ratio().estimate == pytest.approx(sum(own) / 2, rel=CLOSED_FORM)
    groups = []
    for run, bar in zip(student, base, strict=True):
        judged, beside = fake.scores(run), fake.scores(bar)
        arrays = judged["margins"], beside["margins"], judged["labels"], judged["speakers"]
        groups.append(PairedScores(*(array[judged["testing"]] for array in arrays)))
    pooled = speaker_bootstrap(groups, kinds=[run.keyword for run in student])
    assert (entry.error(), entry.ratio(), entry.mean_ratio()) == (pooled.student, pooled.ratio, pooled.mean_ratio)


def test_a_bar_counts_only_where_it_ran_with_the_same_keywords_and_seeds(tmp_path):
    runs = [*runs_of("base", {"happy": 2e-3}, 2), *runs_of("student", {"happy": 1e-3}, 2)]
    tuned = runs_of(TUNED_NAME, {"happy": 5e-4}, 2)
    (partly,) = compared(tmp_path, *runs, tuned[0])
    assert math.isnan(partly.find("student").ratio(TUNED_NAME).estimate)
    (whole,) = compared(tmp_path, *runs, *tuned)
    expected = mean_error(runs[2:]) / mean_error(tuned)
    assert whole.find("student").ratio(TUNED_NAME).estimate == pytest.approx(expected, rel=CLOSED_FORM)


def test_other_clips_are_refused(tmp_path):
    base, student = record(), record("student")
    write_results(tmp_path, [base, student])
    path = tmp_path / RUNS / student.name / SCORES
    np.savez(path, **{name: array[::-1] for name, array in np.load(path).items()})
    with pytest.raises(UserError, match="judged on different clips: run both again"):
        compare([base, student], tmp_path)


def test_what_cannot_be_compared_stands_apart_and_the_best_known_comes_first(tmp_path):
    words = {"bed": 2e-3, "happy": 2e-3}
    runs = [*runs_of("base", words, 1), *runs_of("student", words, 1), record("other"), record("base", split="random")]
    runs += [record("base", corpus="synthetic", keyword="sheila"), record("base", voices="words", keyword="sheila")]
    found = [(c.title, [entry.name for entry in c.entries]) for c in compared(tmp_path, *runs)]
    assert found == [
        ("bed, happy (speech_commands, official split)", ["base", "student"]),
        ("happy (speech_commands, official split)", ["base", "other", "student"]),
        ("sheila (speech_commands + words by voices, official split)", ["base"]),
        ("happy (speech_commands, random split)", ["base"]),
        ("sheila (synthetic, official split)", ["base"]),
    ]


def test_costs_are_times_less_than_the_bases_and_make_the_grade(tmp_path):
    (found,) = compared(tmp_path, record(macs=900_000), record("student", macs=45_000, weight_bytes=14_000))
    student = found.find("student")
    assert found.times_less(student, "thop_macs") == 20
    grade = 4 * (281_772 / 14_000) / 10 + 4 * 20 / 10 + 2
    assert found.grade(student, "weight_bytes") == pytest.approx(grade, rel=CLOSED_FORM)
    (alone,) = compared(tmp_path / "alone", record("student"))
    assert math.isnan(alone.times_less(alone.entries[0], "thop_macs")), "no base, nothing to compare with"
    assert alone.entries[0].error().estimate == pytest.approx(true_error(record("student")), rel=CLOSED_FORM)


def test_a_verdict_needs_the_whole_interval():
    ends = [(0.5, 1.1), (0.5, 1.2), (1.2, 3.0)]
    assert [verdict(Interval(1.0, *both)) for both in ends] == ["yes", "undecided", "no"]
    assert verdict(Interval(math.nan, math.nan, math.nan)) == "-"


def test_the_clock_is_that_of_the_architecture(tmp_path):
    small = replace(BASE, gru_hidden=8)
    stored = record("student_int8", 2e-3, 9_000, 3_000, "int8", "student", model=small)
    row = {"model": "student", "runtime": goals.RUNTIME, "ratio_to_base": 3.0, "microseconds_per_second": 50.0}
    measured = fake.benchmark({"student": small, "other": BASE})
    measured |= {"models": {"student": asdict(small)}, "inference": [measured["inference"][0] | row]}
    write_json(tmp_path / "benchmark.json", measured)
    other = record("same_work", 2e-3, 9_000, model=replace(BASE, gru_hidden=9))
    (found,) = compared(tmp_path, record(), record("student", macs=9_000, model=small), stored, other)
    clocks = {entry.name: dict(entry.clock) for entry in found.entries}
    assert clocks == {
        "base": {},
        "student": {goals.RUNTIME: (3.0, 50.0)},
        "student_int8": {goals.RUNTIME: (3.0, 50.0)},
        "same_work": {},
    }


def students(folder: Path, keywords=("bed", "happy", "right")) -> Comparison:
    """Three students that go far enough in MACs: the best on validation speakers is not the best on test speakers."""
    rows = (
        ("promising", 1e-3, 3e-3, 300),
        ("holding", 2e-3, 1e-3, 310),
        ("far", 3e-3, 1e-3, 900),
        ("near", 1e-3, 1e-3, 10),
    )
    runs = runs_of("base", dict.fromkeys(keywords, 9e-3))
    for name, validation, testing, less in rows:
        own = runs_of(name, dict.fromkeys(keywords, testing), macs=932_224 // less)
        runs += [replace(run, validation=replace(run.validation, auroc_error=validation)) for run in own]
    return compared(folder, *runs)[0]


def test_validation_speakers_choose_and_test_speakers_judge(tmp_path):
    found = students(tmp_path)
    macs, weights, *_, together = goals.check_goals(found)[:5]
    assert (macs.goal.name, macs.rule.bar, macs.by.name) == ("MACs a clip", BASE_NAME, "promising")
    assert (macs.verdict, macs.farthest.name) == ("met", "far")
    assert (weights.by, weights.verdict, weights.farthest.name) == (None, "not met", "near")
    assert (together.by, together.verdict) == (None, "not met"), "one of four goals"
    strict = goals.check_goals(found)[5:]
    assert {one.verdict for one in strict} == {"not measured"}, "there is no strict bar"


def test_a_goal_is_not_met_by_what_validation_speakers_alone_liked_nor_on_one_keyword(tmp_path):
    runs = runs_of("base", {"happy": 1e-3})
    liked = runs_of("liked", {"happy": 5e-3}, macs=932_224 // 300)
    runs += [replace(run, validation=replace(run.validation, auroc_error=1e-4)) for run in liked]
    (macs, *_) = goals.check_goals(compared(tmp_path, *runs)[0])
    assert (macs.by.name, macs.verdict) == ("liked", "not met")
    (macs, *_) = goals.check_goals(students(tmp_path / "one", keywords=("happy",)))
    assert macs.verdict == "too few runs"


def test_rates_of_a_stream_are_means_over_seeds_ends_too(tmp_path):
    for seed, misses in enumerate((0.2, 0.4)):
        minus = (0.1 * seed, -0.1, 0.3)
        found = stream_record(seed=seed, misses=misses, carried_minus_sliding=minus)
        write_stream(tmp_path / "streams" / f"student-{seed}.json", found)
    write_stream(tmp_path / "streams" / "other.json", stream_record("other", heard=fake.heard(seed=1)))
    write_stream(tmp_path / "streams_peer" / "engine.json", fake.peer_record())
    both, alone = compare_streams(tmp_path)
    student = both.find("student")
    assert student.rate("test_miss_rate_at_1") == pytest.approx((0.3, 0.2, 0.4), rel=CLOSED_FORM)
    assert student.used("miss_rate") == pytest.approx((0.3, 0.2, 0.4), rel=CLOSED_FORM)
    assert (student.floor(), student.at_snr("5"), student.probed("levels", "-40")) == (pytest.approx(0.15), 0.5, 1.5)
    assert math.isnan(student.at_snr("7"))
    assert student.minus_sliding() == pytest.approx((0.05, -0.1, 0.3), rel=CLOSED_FORM)
    assert (student.times_less(), student.macs("carried", "model")) == (13, 100)
    assert [peer.engine for peer in both.peers] == ["engine"]
    assert ([entry.name for entry in alone.entries], alone.peers) == (["other"], []), "other scenes stand apart"


def test_a_carried_state_is_as_good_and_cheaper():
    def said(minus: tuple[float, float, float] | None, sliding: float = 1_300.0) -> str:
        work = stream_record().macs_per_second | {"sliding": {"model": sliding, "frontend": 3_900.0}}
        run = stream_record(carried_minus_sliding=minus, macs_per_second=work)
        return goals.stream_verdict(StreamEntry("student", [run]))

    assert said((0.0, -0.03, 0.01)) == "met"
    assert said((0.0, -0.03, 0.02)) == "undecided"
    assert said((0.05, 0.02, 0.09)) == "not met"
    assert said((0.0, -0.03, 0.01), sliding=800.0) == "not met", "too much work"
    assert said(None) == "not measured"


def test_no_detection_has_no_latency():
    deaf = fake.stream_quality(
        points=(fake.operating_point(0.5, 1.0, 0.1, latency=None), fake.operating_point(1, 1, 0))
    )
    entry = StreamEntry("student", [stream_record(modes={"carried": deaf})])
    assert math.isnan(entry.latency("latency", "carried"))
    assert entry.latency("latency_90", "carried") == 0.2


def test_a_command_stands_for_all_keywords_and_seeds():
    runs = [*runs_of("student", {"bed": 1e-3, "happy": 1e-3}, 2), record("student", command="by hand")]
    line = "python -m experiments.run student --data DIR --keywords bed happy --split official --seeds 0 1"
    assert commands(runs) == [line, "by hand"]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (f"{RUNS}/{record().name}/{RECORD}", json.dumps({"name": "base"}), "no record of this version"),
        (f"{RUNS}/{record().name}/{SCORES}", "no scores", "cannot be read"),
        ("benchmark.json", "[]", "no file of experiments.benchmark"),
        ("accelerator.json", "{}", "no file of experiments.benchmark --accelerator"),
        ("search.jsonl", "{}\nhalf a li", "line 2, is no line of a log"),
        ("streams/student.json", json.dumps({"setting": "student"}), "no record of this version"),
        ("streams_peer/engine.json", "{}", "no record of this version"),
    ],
)
def test_what_is_broken_is_named_in_one_line(tmp_path, file: str, text: str, said: str):
    path = write_results(tmp_path, fake.few()) / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        read_study(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_nothing_to_render_and_a_peer_alone_are_named(tmp_path):
    with pytest.raises(UserError, match="no records in"):
        read_study(tmp_path)
    write_stream(tmp_path / "streams_peer" / "engine.json", fake.peer_record())
    with pytest.raises(UserError, match="engine heard other scenes"):
        compare_streams(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_a_recorded_curve_is_read_as_it_was_judged(seed: int):
    rng = np.random.default_rng(seed)
    alarms, misses = rng.integers(0, 6, 12) / 2, rng.integers(0, 10, 12) / 10
    rates = np.arange(8) / 2
    expected = [miss_rate_at(StreamDet(np.arange(12.0), misses, alarms), rate) for rate in rates]
    curve = {"false_alarms_per_hour": alarms.tolist(), "miss_rate": misses.tolist()}
    np.testing.assert_array_equal(lowest(curve, rates), expected)
