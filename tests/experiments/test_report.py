"""The report says what the records say, and goes stale when they change."""

import itertools
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from experiments.report.markdown import error, milliseconds, ratio, table, times
from experiments.report.sections import summary_table, verdict
from experiments.report.setting_section import conclusion

from experiments import report
from experiments.study.records import write_record
from kws_jax.errors import UserError
from kws_jax.evaluation.bootstrap import Interval
from tests.helpers.fake_records import few, quality, record, studies, write_results

README = f"# Title\n\nBefore.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n"


def read_table(markdown: str, first_column: str) -> dict[str, dict[str, str]]:
    """Rows of the first table whose first column has this name, by the first cell."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines()]
    start = next(index for index, line in enumerate(lines) if line and line[0] == first_column)
    body = itertools.takewhile(bool, lines[start + 2 :])
    return {row[0]: dict(zip(lines[start], row, strict=True)) for row in body}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "out").mkdir()
    (folder / "out" / "README.md").write_text(README)
    report.main(write_results(folder / "results", few()), folder / "out")
    return folder


@pytest.fixture
def results(tmp_path, rendered) -> Path:
    return shutil.copytree(rendered / "results", tmp_path / "results")


@pytest.fixture
def out(tmp_path, rendered) -> Path:
    return shutil.copytree(rendered / "out", tmp_path / "out")


def test_summary_table_says_what_the_records_say(tmp_path):
    runs = {run.setting["name"]: run for run in [*few(), record("fair_base", 1e-4)]}
    (study,) = studies(tmp_path, list(runs.values()))
    rows = read_table(summary_table(study), "setting")
    assert list(rows) == [row.name for row in study.rows]
    assert rows.keys() == runs.keys()
    for judged in study.rows[1:]:
        run, row = runs[judged.name], rows[judged.name]
        assert row["MACs"] == f"{ratio(932_224 / run.cost.thop_macs)}x"
        assert row["weight bytes"] == f"{ratio(281_772 / run.cost.weight_bytes)}x"
        assert row["file"] == f"{ratio(282_272 / run.cost.shipped_bytes)}x"
        estimate, low, high = map(ratio, judged.ratio())
        assert row["au_fa_fr / base"] == f"{estimate} ({low} to {high})"
        assert float(estimate) == pytest.approx(run.testing.auroc_error / 2e-3, abs=0.02)
        assert (row["seeds"], row["keywords"]) == ("1", "happy")
    assert rows["base"]["au_fa_fr / base"] == "1"
    assert rows["fair_base"]["au_fa_fr / fair_base"] == "1"
    assert float(rows["base"]["au_fa_fr / fair_base"].split()[0]) == pytest.approx(20, rel=0.2)


def test_without_the_fair_base_there_is_no_strict_ratio(tmp_path):
    (study,) = studies(tmp_path, few())
    assert {row["au_fa_fr / fair_base"] for row in read_table(summary_table(study), "setting").values()} == {"-"}


def test_report_holds_scales_parts_costs_grade_and_commands(out):
    text = (out / "REPORT.md").read_text()
    student = few()[-1]
    judged = read_table(text.split("### pooled_dark_qint8")[1], "judged on")
    parts = {
        "validation speakers": student.validation,
        "test speakers": student.testing,
        "both": student.held_out,
    }
    for name, expected in parts.items():
        assert expected is not None
        assert judged[name]["au_fa_fr, natural"] == error(expected.au_fa_fr)
        assert judged[name]["at p ="] == f"{expected.keyword_clips / expected.clips:.4f}"
        assert judged[name]["equal shares"] == error(expected.balanced_au_fa_fr)
    graded = read_table(text.split("### Size and grade")[1], "setting")["pooled_dark_qint8"]
    speedup, compression = 932_224 / 70_456, 281_772 / 6_400
    assert float(graded["grade by weight bytes"]) == pytest.approx(0.4 * (compression + speedup) + 2, abs=0.05)
    work = read_table(text.split("### Work and time")[1], "setting")["pooled_dark_qint8"]
    assert work["MACs per streamed second with the front end"] == f"{1.2 * 70_456 + 500_000:,.0f}"
    assert work["a clip by the clock"] == milliseconds(student.cost.seconds_per_clip)
    assert all(run.command in text for run in few())
    assert "[log](../results/logs/pooled_dark-happy-official-0.jsonl)" in text
    assert "f" * 12 in text
    assert "f" * 13 not in text


def test_notes_stand_in_the_report_as_they_are(results, out):
    notes = "## What did not work\n\nNothing *much*."
    text = report.render_report(studies(results, few()), results, out, notes)
    assert f"\n\n{notes}\n\n## Where it ran" in text


def test_readme_block_is_replaced_and_the_rest_kept(out):
    text = (out / "README.md").read_text()
    assert text.startswith(f"# Title\n\nBefore.\n\n{report.BEGIN}\n")
    assert text.endswith(f"\n{report.END}\n\nAfter.\n")
    assert "old" not in text
    assert "pooled_dark_fp16" in text
    assert "(figures/metric_combined.png)" in text


def test_readme_without_an_end_is_an_error(tmp_path):
    with pytest.raises(UserError, match="results:end"):
        report.render_readme(f"{report.END} {report.BEGIN}", studies(tmp_path, few()))


def test_a_fresh_report_passes_the_check_and_is_left_alone(results, out):
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    report.main(results, out, check=True)
    report.main(results, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("REPORT.md", "13.2x", "13.3x"),
        ("README.md", "13.2x", "99x"),
        ("figures/metric_flops.png", None, None),
    ],
)
def test_check_names_what_is_stale(results, out, name, old, new):
    path = out / name
    if old is None:
        path.unlink()
    else:
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=f"{name} is stale") as caught:
        report.main(results, out, check=True)
    assert "\n" not in str(caught.value)


def test_check_sees_a_changed_record(results, out):
    changed = few()[3]
    write_record(results / "records", replace(changed, testing=quality(1e-3, 0.5)))
    with pytest.raises(UserError, match=r"REPORT\.md is stale"):
        report.main(results, out, check=True)


def test_readme_outside_the_block_may_change(results, out):
    (out / "README.md").write_text((out / "README.md").read_text().replace("Before", "Otherwise"))
    report.main(results, out, check=True)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.5, 1.1, "yes"), (0.9, 1.2, "undecided"), (1.2, math.inf, "no")],
)
def test_verdict_is_the_whole_interval(low, high, expected):
    assert verdict(Interval((low + high) / 2, low, high)) == expected


def test_conclusion_in_words(tmp_path):
    (study,) = studies(tmp_path, [record(error=0.1), record("like_base", 0.1), record("good", 1e-3)])
    good, like_base = (conclusion(study, row) for row in study.rows[1:])
    assert "times that of `base`: within 1.1 times, and the interval settles it" in good
    assert "the interval does not settle it" in like_base
    assert "fair_base" not in good


def test_numbers_as_text():
    assert [error(value) for value in (1.234e-3, 0.0, 1.0, math.nan)] == ["1.23e-3", "0", "1.00e0", "-"]
    assert [times(12.34), times(math.nan)] == ["12.3x", "-"]
    assert [milliseconds(1.5e-3), milliseconds(math.nan)] == ["1.500 ms", "-"]
    assert [ratio(value) for value in (1.234, 12.34, 1234.5, math.inf)] == ["1.23", "12.3", "1,234", "infinite"]
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| :-- | --: |\n| x | 1 |"


def test_several_seeds_are_drawn(tmp_path):
    runs = [
        record(name, value * (1 + seed / 4), seed=seed)
        for name, value in (("base", 2e-3), ("student", 1e-3))
        for seed in range(3)
    ]
    results = write_results(tmp_path / "results", runs)
    report.main(results, tmp_path)
    assert "| student | 1.00x | 1.00x | 1.00x |" in (tmp_path / "REPORT.md").read_text()
