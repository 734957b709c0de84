"""The report says what the records say, goes stale when they change, and is fit to read."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest

from experiments.report import __main__ as report
from experiments.report import figures, pages, rendering
from experiments.report.comparison import Comparison, Entry
from experiments.study.records import RECORD, RUNS, read_record
from kws_jax.data.audio import read_audio
from kws_jax.data.synthetic import generate_demo_tracks
from kws_jax.errors import UserError
from kws_jax.evaluation.bootstrap import Interval, SpeakerBootstrap
from tests.helpers.fake_records import few, record, write_results, write_whole_study

ROOT = Path(__file__).parents[2]
README = f"# Title\n\nBefore.\n\n{pages.BEGIN}\nold\n{pages.END}\n\nAfter.\n"
APPROVED = """\
| setting | error | error / base | kept? | error / base_tuned | MACs fewer | file bytes | less | grade |
|:--|--:|--:|--:|--:|--:|--:|--:|--:|
| [`base`](report/settings/base.md) | 1.99e-3 (0 to 4.58e-3) | 1 | yes | - | 1.00x | 282,272 | 1.00x | 2.8 |
| [`base_qint8`](report/settings/base_qint8.md) | 2.11e-3 (8.22e-5 to 5.49e-3) | 1.06 (0.047 to infinite) | undecided \
| - | 1.00x | 72,500 | 3.89x | 4.0 |
| [`student_12x`](report/settings/student_12x.md) | 5.08e-4 (0 to 1.56e-3) | 0.25 (0.00 to infinite) | undecided \
| - | 13.2x | 21,800 | 12.9x | 12.6 |
"""
APPROVED_HOW = "\nFrom scratch, 4 epochs of batches of 128, AdamW in one cycle up to 0.002, hard labels alone.\n"


@pytest.fixture(scope="session")
def told(tmp_path_factory) -> Path:
    """The whole study, rendered."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "README.md").write_text(README)
    (folder / "checkpoints").mkdir()
    shutil.copy(ROOT / "checkpoints" / "manifest.json", folder / "checkpoints")
    report.main(write_whole_study(folder / "results"), folder)
    return folder


def broken_links(folder: Path) -> list[str]:
    texts = [
        path for path in folder.rglob("*.md") if path.parts[len(folder.parts)] in ("report", "README.md", "REPORT.md")
    ]
    found = [(path, link) for path in texts for link in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())]
    return [f"{path}: {link}" for path, link in found if ":" not in link and not (path.parent / link).exists()]


def test_results_of_make_run_as_approved(tmp_path):
    report.main(write_results(tmp_path, few()), tmp_path)
    assert (tmp_path / "REPORT.md").read_text().count(APPROVED) == 1
    assert APPROVED_HOW in (tmp_path / "report/settings/student_12x.md").read_text()
    assert not broken_links(tmp_path)
    study = pages.read_study(write_results(tmp_path, [replace(record(), quick=True)]))
    assert "their numbers mean nothing" in pages.render_pages(study, tmp_path, [])[tmp_path / "REPORT.md"]


@pytest.mark.slow
def test_the_story_of_the_whole_study(told: Path):
    assert (told / "REPORT.md").read_text().startswith("# How small can a keyword spotter be?")
    assert {path.stem for path in (told / "report").glob("*.md")} == {
        "all_settings",
        "clock",
        "stream",
        "random_split",
        "robustness",
    }
    links = [link for link in broken_links(told) if "attention.png" not in link]
    assert not links, "attention.png is another command's"
    readme = (told / "README.md").read_text()
    before, block, after = re.split("<!-- results:(?:begin|end) -->", readme)
    assert (before, after) == ("# Title\n\nBefore.\n\n", "\n\nAfter.\n")
    assert block.count("\n| [`") == 7
    assert "\nold\n" not in block
    assert "# Checkpoints" in (told / "checkpoints/README.md").read_text()


def test_no_name_covers_another_or_leaves_the_picture():
    entries = []
    for name in pages.NAMED:
        run = read_record(ROOT / "results" / RUNS / f"{name}-bed-official-0" / RECORD)
        error = Interval(*(factor * run.testing.auroc_error for factor in (1, 0.7, 1.4)))
        entries.append(Entry((run,), {("base", "testing"): SpeakerBootstrap(*[error] * 5, 1)}, {}))
    with mpl.rc_context(figures.STYLE):
        for cost in figures.LABELS:
            figure = figures._against(
                Comparison("speech_commands", "official", ("bed",), tuple(entries)), entries, cost
            )
            figure.draw_without_rendering()
            boxes = [text.get_window_extent() for text in figure.axes[0].texts]
            assert len(boxes) == 8
            assert all(figure.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1))
            assert not [number for number, box in enumerate(boxes) if box.count_overlaps(boxes[:number])]


@pytest.mark.slow
def test_equal_records_give_equal_bytes(told: Path):
    report.main(told / "results", told, check=True)


@pytest.mark.slow
def test_check_finds_what_is_stale_missing_or_of_no_record(told: Path, tmp_path, monkeypatch):
    copy = shutil.copytree(told, tmp_path / "copy")
    files = {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.suffix in (".md", ".svg")}
    monkeypatch.setattr(rendering, "render", lambda results, out: {out / name: text for name, text in files.items()})
    for name, content in files.items():
        (copy / name).write_bytes(content + b" ")
        with pytest.raises(UserError, match=rf"{name} is stale: python -m experiments.report results --out .*/copy$"):
            report.main(Path("results"), copy, check=True)
        (copy / name).unlink()
        with pytest.raises(UserError, match=f"{name} is stale"):
            report.main(Path("results"), copy, check=True)
        (copy / name).write_bytes(content)
    for name in ("report/settings/old.md", "figures/old.svg"):
        (copy / name).write_text("")
        with pytest.raises(UserError, match=f"{name} is of no record: delete it"):
            report.main(Path("results"), copy, check=True)
        (copy / name).unlink()


@pytest.mark.slow
def test_a_readme_without_an_end_is_named(told: Path, tmp_path):
    (tmp_path / "README.md").write_text(pages.BEGIN)
    with pytest.raises(UserError, match="no <!-- results:end --> after it"):
        pages.render_pages(pages.read_study(told / "results"), tmp_path, [])


def test_rendering_loads_no_framework():
    script = "import sys, experiments.report.rendering; print(*{'jax', 'flax', 'torch'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_what_is_shipped_is_fit_to_read():
    assert len((ROOT / "REPORT.md").read_text().splitlines()) <= 400
    before, _, after = re.split("<!-- results:(?:begin|end) -->", (ROOT / "README.md").read_text())
    assert len(f"{before}{after}".split()) <= 900
    assert len([path for path in (ROOT / "figures").iterdir() if path.suffix in (".svg", ".png")]) <= 9
    assert not broken_links(ROOT)


@pytest.mark.slow
def test_the_readmes_python_hears_the_word(tmp_path, monkeypatch, capsys):
    pytest.importorskip("espeakng_loader", reason="needs espeakng-loader")
    soundfile = pytest.importorskip("soundfile")
    tracks = generate_demo_tracks(tmp_path / "tracks", "happy")
    parts = [read_audio(tracks / f"{name}.wav") for name in ("before", "keyword", "after")]
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    monkeypatch.chdir(tmp_path)
    soundfile.write("speech.wav", [sample for part in parts for sample in part], 16_000)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    exec(code, {})
    (time,) = re.findall(r"^'happy' at ([\d.]+) s, probability [\d.]+$", capsys.readouterr().out, re.M)
    assert len(parts[0]) / 16_000 < float(time) < sum(map(len, parts[:2])) / 16_000 + 1


def test_a_keyword_that_looks_like_a_formula_is_drawn(tmp_path):
    run = replace(record(), keyword=r"$\frac{$")
    assert figures.draw(pages.read_study(write_results(tmp_path, [run])))["metric_flops.svg"].startswith(b"<?xml")


def test_what_the_records_lack_is_one_line(tmp_path):
    run = record()
    run = replace(run, setting=run.setting | {"teacher": "base"})  # whose recipe says nothing of a teacher
    with pytest.raises(UserError, match=r"lack what the report tells .*teacher_weight") as error:
        report.main(write_results(tmp_path / "results", [run]), tmp_path)
    assert str(error.value).isprintable()
    assert not (tmp_path / "REPORT.md").exists()
