"""Runs are pooled as one bootstrap over their speakers, and only with runs on the same clips."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from experiments.report.pooling import compare

from experiments import report
from experiments.report.goals import BARS, GOALS, RUNTIME, goals_section
from experiments.study.records import Record
from kws_jax.errors import UserError
from kws_jax.evaluation.bootstrap import PairedScores, speaker_bootstrap
from tests.helpers.fake_records import record, scores, studies, write_results


def pair(run: Record, bar: Record) -> PairedScores:
    own, other = scores(run), scores(bar)
    chosen = own["testing"]
    arrays = own["margins"], other["margins"], own["labels"], own["corpus_speakers"]
    return PairedScores(*(array[chosen] for array in arrays))


def runs_of(name: str, errors: dict[str, float], seeds: int = 3, **changes) -> list[Record]:
    return [
        record(name, error, keyword=keyword, seed=seed, **changes)
        for keyword, error in errors.items()
        for seed in range(seeds)
    ]


def test_keywords_and_seeds_are_pooled_in_one_bootstrap(tmp_path):
    base, student = runs_of("base", {"bed": 4e-3, "happy": 2e-3}), runs_of("student", {"bed": 1e-3, "happy": 3e-3})
    (study,) = studies(tmp_path, [*base, *student])
    _, row = study.rows
    expected = speaker_bootstrap([*map(pair, student, base)], kinds=[run.keyword for run in student])
    assert (row.error(), row.ratio(), row.mean_ratio()) == (expected.student, expected.ratio, expected.mean_ratio)
    assert row.ratio().estimate == pytest.approx(4 / 6, abs=0.02), "the ratio of the mean errors"
    assert row.mean_ratio().estimate == pytest.approx((1 / 4 + 3 / 2) / 2, abs=0.02)
    assert (row.seeds, row.keywords) == ([0, 1, 2], ["bed", "happy"])
    assert math.isnan(row.ratio("fair_base").estimate)


def test_the_strict_bar_needs_the_fair_base_in_all_runs(tmp_path):
    runs = [record(), record(seed=1), record("student", 1e-3), record("student", 1e-3, seed=1)]
    fair = [record("fair_base", 5e-4, seed=seed) for seed in (0, 1)]
    (study,) = studies(tmp_path, [*runs, fair[0]])
    assert math.isnan(study.rows[-1].ratio("fair_base").estimate)
    (study,) = studies(tmp_path, [*runs, *fair])
    row = next(row for row in study.rows if row.name == "student")
    assert row.ratio("fair_base").estimate == pytest.approx(2, rel=0.05)


def test_runs_that_number_speakers_otherwise_are_not_resampled_together(tmp_path):
    base, student = runs_of("base", {"happy": 2e-3}), runs_of("student", {"happy": 1e-3})
    write_results(tmp_path, [*base, *student])
    together = compare(student, base, tmp_path, "testing")
    old = {name: value for name, value in scores(student[0]).items() if name != "corpus_speakers"}
    np.savez(tmp_path / student[0].paths["scores"], **old, speakers=scores(student[0])["corpus_speakers"][::-1])
    apart = compare(student, base, tmp_path, "testing")
    single = [compare([run], [bar], tmp_path, "testing").student for run, bar in zip(student, base, strict=True)]
    assert apart.student.estimate == together.student.estimate
    assert apart.student.high == pytest.approx(np.mean([one.high for one in single]))
    assert apart.student != together.student


def test_old_files_that_number_speakers_alike_are_pooled(tmp_path):
    runs = [*runs_of("base", {"happy": 2e-3}), *runs_of("student", {"happy": 1e-3})]
    write_results(tmp_path, runs)
    expected = compare(runs[3:], runs[:3], tmp_path, "testing")
    for run in runs:
        values = scores(run)
        values["speakers"] = values.pop("corpus_speakers")
        np.savez(tmp_path / run.paths["scores"], **values)
    assert compare(runs[3:], runs[:3], tmp_path, "testing") == expected


def test_other_clips_and_missing_scores_are_errors(tmp_path):
    base, student = record(), record("student", 1e-3)
    write_results(tmp_path, [base, student])
    values = scores(base)
    np.savez(tmp_path / base.paths["scores"], **values | {"labels": 1 - values["labels"]})
    with pytest.raises(UserError, match="different clips"):
        compare([student], [base], tmp_path, "testing")
    (tmp_path / base.paths["scores"]).unlink()
    with pytest.raises(UserError, match="scores of base-happy-official-0"):
        compare([student], [base], tmp_path, "testing")


def test_keywords_corpora_and_splits_are_not_mixed(tmp_path):
    runs = [record(keyword=keyword) for keyword in ("bed", "happy")]
    runs += [record("headline", 1e-3, keyword=keyword) for keyword in ("bed", "happy")]
    runs += [record("other", 1e-3), record("base", corpus="synthetic")]
    runs += [record(name, split="random", validation=None) for name in ("base", "other")]
    found = studies(tmp_path, runs)
    assert [(study.corpus, study.split, study.keywords, [row.name for row in study.rows]) for study in found] == [
        ("speech_commands", "official", ("bed", "happy"), ["base", "headline"]),
        ("speech_commands", "official", ("happy",), ["base", "headline", "other"]),
        ("speech_commands", "random", ("happy",), ["base", "other"]),
        ("synthetic", "official", ("happy",), ["base"]),
    ]
    assert math.isnan(found[2].base.error("validation").estimate)
    text = report.render_report(found, Path("results"), Path())
    assert text.count("\n### base\n") == 1
    assert "metric_flops-speech_commands-official-happy.png" in text
    compared = text.split("## Official and random split")[1].split("\n## ")[0]
    assert "| other |" in compared
    assert "headline" not in compared
    readme = report.render_readme(f"{report.BEGIN}{report.END}", found)
    assert readme.count("| headline |") == 2
    assert "synthetic" not in readme


def test_a_record_without_its_base_is_an_error(tmp_path):
    with pytest.raises(UserError, match="other-happy-official-1"):
        studies(tmp_path, [record(), record("other", seed=1)])


def goal_lines(folder: Path, runs: list[Record]) -> dict[tuple[str, str], list[str]]:
    text = goals_section(studies(folder, runs)[0])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")][2:]
    return {(name, bar): cells for name, bar, *cells in rows}


def write_benchmark(folder: Path, ratios: list[tuple[Record, float]]) -> None:
    """The benchmark of these runs' architectures, slower in another runtime than in the one of the goals."""
    rows = [
        {
            "macs_per_second": run.cost.macs_per_streamed_second,
            "frontend_macs_per_second": run.cost.frontend_macs_per_second,
            "runtime": runtime,
            "ratio_to_base": ratio / slower,
        }
        for run, ratio in ratios
        for runtime, slower in ((RUNTIME, 1), ("another", 3))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.json").write_text(json.dumps({"inference": rows}))


def test_goals_are_met_only_at_the_quality_and_over_enough_runs(tmp_path):
    errors = dict.fromkeys(("bed", "happy", "right"), 2e-2)
    runs = runs_of("base", errors)
    small = {"macs": 932_224 // 400, "weight_bytes": 300}
    runs += runs_of("good", dict.fromkeys(errors, 2e-3), **small) + runs_of(
        "bad", dict.fromkeys(errors, 8e-2), macs=900
    )
    write_benchmark(tmp_path / "three", [(runs[0], 1.0), (runs[9], 5.0)])
    lines = goal_lines(tmp_path / "three", runs)
    assert len(lines) == len(BARS) * (len(GOALS) + 1)
    macs = lines["MACs per clip, fewer", "homework's"]
    assert (macs[0], macs[2], macs[4]) == ("300x", "`good`", "met")
    assert macs[5].startswith("400x by `good`, ")
    assert lines["samples to probability by the clock, faster", "homework's"][2:5:2] == ["`good`", "met"]
    assert lines["MACs per clip, fewer", "strict"][4] == "not measured"
    assert lines["all in one model", "homework's"][1:5:3] == ["4 of 4", "met"]
    lines = goal_lines(tmp_path / "untimed", runs)
    assert lines["samples to probability by the clock, faster", "homework's"][4] == "not measured"
    assert lines["all in one model", "homework's"][1:5:3] == ["-", "not met"]
    assert lines["all in one model", "homework's"][5].startswith("3 of 4 by `good`, ")
    one = goal_lines(tmp_path / "one", [run for run in runs if run.keyword == "happy"])
    assert one["MACs per clip, fewer", "homework's"][4] == "not yet: too few runs"
    none = goal_lines(tmp_path / "none", [run for run in runs if run.setting["name"] != "good"])
    macs = none["MACs per clip, fewer", "homework's"]
    assert (macs[2], macs[4], macs[5]) == ("`bad`", "not met", "-")
