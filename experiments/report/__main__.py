"""Renders records: REPORT.md, its pictures, and the results in README.md."""

import os
from collections.abc import Sequence
from pathlib import Path

import tyro
from tyro.conf import Positional

from experiments.report import figures, sections
from experiments.report.comparisons import frameworks_section, splits_section
from experiments.report.goals import goals_section
from experiments.report.setting_section import setting_section
from experiments.report.stream_figure import stream_det, stream_picture_names
from experiments.report.stream_records import StreamStudy, read_stream_studies
from experiments.report.stream_section import stream_chapter, stream_line
from experiments.report.studies import make_studies
from experiments.report.summary import Study
from experiments.sensitivity import read_tables, sensitivity_figure, sensitivity_section
from experiments.study.records import read_records
from experiments.voices_check import FILE as VOICES
from experiments.voices_check import voices_section
from kws_jax.errors import UserError, one_line_errors

__all__ = ["main", "render_readme", "render_report"]

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
PICTURES = "figures"  # folder beside the report
BENCHMARK = "benchmark.json"  # in the results
SENSITIVITY = f"{PICTURES}/sensitivity.png"
ATTENTION = f"{PICTURES}/attention.png"  # by experiments.attention, which needs checkpoints and clips
ABOUT_ATTENTION = f"""\
## Attention of teacher and students

Where a teacher and its students listen in one clip of a test speaker, drawn by `python -m experiments.attention`.

![Attention over a clip]({ATTENTION})"""
NOTES = Path(__file__).with_name("notes.md")  # what no record can tell; it holds no measured number


def main(results: Positional[Path], out: Path, check: bool = False) -> None:
    """Renders the report.

    Args:
        results: Folder with records/, the logs and scores that they name, and perhaps streams/, streams_peer/,
            sensitivity/, benchmark.json and voices.json.
        out: Folder for REPORT.md and figures/; a README.md there gets the results between its markers.
        check: Write nothing; fail if what lies there is not what the records say. Pictures only have to exist.
    """
    studies = make_studies(read_records(results / "records"), results)
    streams = read_stream_studies(results)
    notes = NOTES.read_text() if NOTES.is_file() else ""
    texts = {out / "REPORT.md": render_report(studies, results, out, notes, streams)}
    readme = out / "README.md"
    if readme.is_file() and BEGIN in readme.read_text():
        texts[readme] = render_readme(readme.read_text(), studies, streams)
    pictures = [out / PICTURES / name for number in range(len(studies)) for name in _pictures(studies, number)]
    stream_pictures = [out / PICTURES / name for name in stream_picture_names(len(streams))]
    pictures += stream_pictures
    tables = read_tables(results)
    pictures += [out / SENSITIVITY] if tables else []
    if check:
        _check(texts, pictures, f"python -m experiments.report {results.as_posix()} --out {out.as_posix()}")
        return
    for number, study in enumerate(studies):
        figures.draw(study, results, out / PICTURES, _suffix(studies, number))
    for stream, path in zip(streams, stream_pictures, strict=True):
        stream_det(stream).savefig(path, metadata={"Software": None})
    if tables:
        sensitivity_figure(tables).savefig(out / SENSITIVITY, metadata={"Software": None})
    for path, text in texts.items():
        path.write_text(text)
    print("\n".join(str(path) for path in [*texts, *pictures]))


def render_report(
    studies: list[Study], results: Path, out: Path, notes: str = "", streams: Sequence[StreamStudy] = ()
) -> str:
    """The whole report as Markdown.

    Args:
        studies: The first is the one to show first.
        results: Folder that the paths in records are relative to.
        out: Where the report will lie.
        notes: Text that no record can tell, with headings of its own.
        streams: What was judged on continuous audio; without any, the chapter is left out.
    """

    def link(path: str) -> str:
        return Path(os.path.relpath(results / path, out)).as_posix()

    records = list({(run.corpus, run.name): run for study in studies for run in study.runs}.values())
    names = dict.fromkeys(row.name for study in studies for row in study.rows)
    blocks = [sections.how_to_read(len(records)), "## Goals", goals_section(studies[0])]
    for number, study in enumerate(studies):
        pictures = [f"{PICTURES}/{name}" for name in _pictures(studies, number)]
        blocks.append(sections.study_section(study, pictures))
    voices = voices_section(results / VOICES)
    blocks += filter(None, (splits_section(studies), frameworks_section(results / BENCHMARK), voices))
    if streams:
        blocks.append(stream_chapter(streams, [f"{PICTURES}/{name}" for name in stream_picture_names(len(streams))]))
    if tables := read_tables(results):
        blocks.append(sensitivity_section(tables, SENSITIVITY))
    blocks += [ABOUT_ATTENTION] if (out / ATTENTION).is_file() else []
    blocks += ["## Settings", *(setting_section(name, studies, link) for name in names)]
    blocks += [notes.strip()] if notes.strip() else []
    return "\n\n".join([*blocks, sections.machines(records)]) + "\n"


def render_readme(readme: str, studies: list[Study], streams: Sequence[StreamStudy] = ()) -> str:
    """The README with its results replaced: those on the first study's corpus and split.

    Raises:
        UserError: If the end marker does not follow the first.
    """
    before, _, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise UserError(f"README.md has {BEGIN} but no {END} after it")
    first = studies[0]
    blocks = []
    for number, study in enumerate(studies):
        if (study.corpus, study.split) == (first.corpus, first.split):
            picture = f"{PICTURES}/{figures.picture_names(_suffix(studies, number))[2]}"
            blocks += [f"**{study.title}**", sections.summary_table(study)]
            blocks.append(f"![Error against work; bubbles are weight bytes]({picture})")
    goals = f"**Goals**\n\n{goals_section(first)}"
    block = "\n\n".join([*blocks, goals, *map(stream_line, streams)])
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def _suffix(studies: list[Study], number: int) -> str:
    return f"-{studies[number].slug}" if number else ""


def _pictures(studies: list[Study], number: int) -> list[str]:
    return figures.picture_names(_suffix(studies, number))


def _check(texts: dict[Path, str], pictures: list[Path], command: str) -> None:
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text() != text]
    stale += [path for path in pictures if not path.is_file()]
    if stale:
        raise UserError(f"{stale[0]} is stale: {command}")


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
