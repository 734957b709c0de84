"""The report says what the records say, and its pictures can be read."""

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from experiments import figures, report
from experiments.markdown import error, ratio, table
from experiments.records import Quality, Record, write_record
from experiments.sections import summary_table, verdict
from experiments.setting_section import conclusion
from experiments.summary import make_studies, thop_macs, weight_bytes
from kws_jax.bootstrap import Interval
from kws_jax.errors import UserError
from tests.made_up import crowd, few, quality, record

README = f"# Title\n\nBefore.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n"


def write_results(folder: Path, records: list[Record]) -> Path:
    for run in records:
        write_record(folder / "records", run)
        if "log" in run.paths:
            lines = [{"step": 9 * n, "epoch": n, "loss": 1 / n, "clips_per_second": 8e3} for n in range(1, 5)]
            log = folder / run.paths["log"]
            log.parent.mkdir(exist_ok=True)
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


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


def test_summary_table_says_what_the_records_say():
    runs = few()
    rows = read_table(summary_table(make_studies(runs)[0]), "setting")
    assert list(rows) == [run.setting["name"] for run in runs]
    for run in runs[1:]:
        row = rows[run.setting["name"]]
        assert row["MACs"] == f"{ratio(932_224 / run.cost.thop_macs)}x"
        assert row["weight bytes"] == f"{ratio(281_772 / run.cost.weight_bytes)}x"
        assert row["file"] == f"{ratio(284_772 / run.cost.file_bytes)}x"
        estimate, low, high = map(error, run.testing.auroc_error_interval)
        assert row["1 - AUROC, test speakers"] == f"{estimate} ({low} to {high})"
        estimate, low, high = map(ratio, run.testing.ratio_to_base)
        assert row["au_fa_fr / base"] == f"{estimate} ({low} to {high})"
        assert (row["seeds"], row["keywords"]) == ("1", "happy")


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
    assert work["measured per clip"] == f"{1e3 * student.cost.seconds_per_clip:.3f} ms"
    assert all(run.command in text for run in few())
    assert "[log](../results/logs/pooled_dark-happy-official-0.jsonl)" in text
    assert "f" * 12 in text
    assert "f" * 13 not in text


def test_notes_stand_in_the_report_as_they_are(results, out):
    notes = "## What did not work\n\nNothing *much*."
    studies = make_studies(few())
    assert f"\n\n{notes}\n\n## Where it ran" in report.render_report(studies, results, out, notes)


def test_readme_block_is_replaced_and_the_rest_kept(out):
    text = (out / "README.md").read_text()
    assert text.startswith(f"# Title\n\nBefore.\n\n{report.BEGIN}\n")
    assert text.endswith(f"\n{report.END}\n\nAfter.\n")
    assert "old" not in text
    assert "pooled_dark_fp16" in text
    assert "(figures/metric_combined.png)" in text


def test_readme_without_an_end_is_an_error():
    with pytest.raises(UserError, match="results:end"):
        report.render_readme(f"{report.END} {report.BEGIN}", make_studies(few()))


def test_a_fresh_report_passes_the_check_and_is_left_alone(results, out):
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    report.main(results, out, check=True)
    report.main(results, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("REPORT.md", "0.25", "0.24"),
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


def test_runs_are_averaged_and_the_ratio_is_that_of_means():
    runs = [record(seed=0), record(error=4e-3, base_error=4e-3, seed=1)]
    runs += [record("student", 1e-3, seed=0, macs=10), record("student", 8e-3, base_error=4e-3, seed=1, macs=10)]
    (study,) = make_studies(runs)
    student = study.rows[1]
    assert student.error() == pytest.approx((4.5e-3, 0.7 * 4.5e-3, 1.4 * 4.5e-3))
    assert student.ratio() == pytest.approx((9 / 6, 0.8 * 9 / 6, 1.3 * 9 / 6))
    assert student.seeds == [0, 1]


def test_keywords_corpora_and_splits_are_not_mixed():
    runs = [record(keyword=keyword) for keyword in ("bed", "happy")]
    runs += [record("headline", 1e-3, keyword=keyword) for keyword in ("bed", "happy")]
    runs += [record("other", 1e-3), record("base", corpus="synthetic"), record("base", split="random", validation=None)]
    studies = make_studies(runs)
    assert [(study.corpus, study.split, study.keywords, [row.name for row in study.rows]) for study in studies] == [
        ("speech_commands", "official", ("happy",), ["base", "headline", "other"]),
        ("speech_commands", "official", ("bed", "happy"), ["base", "headline"]),
        ("speech_commands", "random", ("happy",), ["base"]),
        ("synthetic", "official", ("happy",), ["base"]),
    ]
    assert math.isnan(studies[2].base.error("validation").estimate)
    text = report.render_report(studies, Path("results"), Path())
    assert text.count("\n### base\n") == 1
    assert "metric_flops-speech_commands-official-bed-happy.png" in text
    readme = report.render_readme(README, studies)
    assert readme.count("| headline |") == 2
    assert "synthetic" not in readme


def test_a_record_without_its_base_is_an_error():
    with pytest.raises(UserError, match="other-happy-official-1"):
        make_studies([record(), record("other", seed=1)])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.5, 1.1, "yes"), (0.9, 1.2, "undecided"), (1.2, math.inf, "no")],
)
def test_verdict_is_the_whole_interval(low, high, expected):
    assert verdict(Interval((low + high) / 2, low, high)) == expected


def test_conclusion_in_words():
    study = make_studies(few())[0]
    assert "within 1.1 times, and the interval settles it" in conclusion(study, study.rows[-1])
    assert "within 1.1 times, and the interval does not settle it" in conclusion(study, study.rows[1])


def test_numbers_as_text():
    assert [error(value) for value in (1.234e-3, 0.0, 1.0, math.nan)] == ["1.23e-3", "0", "1.00e0", "-"]
    assert [ratio(value) for value in (1.234, 12.34, 1234.5, math.inf)] == ["1.23", "12.3", "1,234", "infinite"]
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| :-- | --: |\n| x | 1 |"


def labels_of(figure: Figure) -> list[Annotation]:
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation) and text.get_text()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    texts = labels_of(figure)
    return [
        (a.get_text(), b.get_text())
        for a, b in itertools.combinations(texts, 2)
        if a.get_window_extent().overlaps(b.get_window_extent())
    ]


@pytest.mark.parametrize("make_records", [few, crowd])
def test_labels_do_not_overlap_and_lie_inside(make_records):
    records = make_records()
    (study,) = make_studies(records)
    for figure in (
        figures.metric_against(study, thop_macs, "MACs"),
        figures.metric_against(study, weight_bytes, "bytes"),
        figures.combined(study),
    ):
        assert overlapping(figure) == []
        names = [
            text for text in labels_of(figure) if text.get_text().split()[-1] != "base" or text.get_weight() == "bold"
        ]
        assert sorted(text.get_text() for text in names) == sorted(run.setting["name"] for run in records)
        frame = figure.axes[0].bbox
        for text in names:
            box = text.get_window_extent()
            assert frame.containsx(box.x0)
            assert frame.containsx(box.x1)
            assert frame.containsy(box.y0)
            assert frame.containsy(box.y1)


def perfect(name: str, **changes) -> Record:
    none = replace(quality(1e-9, 1.0), auroc_error=0.0, balanced_au_fa_fr=0.0, auroc_error_interval=(0.0, 0.0, 0.0))
    none = replace(none, ratio_to_base=(1.0, 1.0, math.inf))
    return replace(record(name, **changes), validation=none, testing=none, held_out=none)


def test_models_without_an_error_are_drawn_and_reported(tmp_path):
    results = write_results(tmp_path / "results", [perfect("base"), perfect("student", macs=50_000)])
    report.main(results, tmp_path)
    report.main(results, tmp_path, check=True)
    study = make_studies([perfect("base"), perfect("student", macs=50_000)])[0]
    names = {text.get_text() for text in labels_of(figures.metric_against(study, thop_macs, "MACs"))}
    assert {"base (0)", "student (0)"} <= names
    assert isinstance(study.base.runs[0].testing, Quality)


def test_several_seeds_are_drawn(tmp_path):
    runs = [
        record(name, value * (1 + seed / 4), seed=seed)
        for name, value in (("base", 2e-3), ("student", 1e-3))
        for seed in range(3)
    ]
    results = write_results(tmp_path / "results", runs)
    report.main(results, tmp_path)
    assert "| student | 1.00x | 1.00x | 1.00x |" in (tmp_path / "REPORT.md").read_text()
