"""Renders records: REPORT.md with its pages and pictures, and the results in README.md."""

import json
import os
from pathlib import Path

import tyro
from matplotlib.figure import Figure
from tyro.conf import Positional

from experiments.report import figures
from experiments.report.comparison import Comparison, compare, read_benchmark
from experiments.report.pages import BEGIN, END, STORY, render_pages
from experiments.report.streams import group
from experiments.study.records import read_log, read_records
from experiments.study.stream_records import read_peers, read_streams
from kws_jax.errors import UserError, one_line_errors
from kws_jax.files import written

OURS = ("report", "report/settings")  # folders that hold nothing else than pages
MANIFEST = "checkpoints/manifest.json"


def main(results: Positional[Path], out: Path, check: bool = False) -> None:
    """Renders the report.

    Args:
        results: Folder of records, and perhaps of streams/, streams_peer/ and benchmark.json.
        out: Folder for REPORT.md, report/ and figures/; a README.md there gets the results between its markers, and
            checkpoints/ a README.md where there is a manifest.
        check: Write nothing; fail if what lies there is not what the records say.
    """
    files = _render(results, out)
    command = f"python -m experiments.report {results.as_posix()} --out {out.as_posix()}"
    stale = [path for path in _strays(files, out) if check] + [
        out / name for name, text in files.items() if check and not _is_same(out / name, text)
    ]
    if stale:
        raise UserError(f"{stale[0]} is stale: {command}")
    if not check:
        for path in _strays(files, out):
            path.unlink()
        for name, text in files.items():
            with written(out / name) as part:
                part.write_text(text)
        print("\n".join(str(out / name) for name in files))


def _render(results: Path, out: Path) -> dict[str, str]:
    """All files as text, by their path below `out`."""
    comparisons = compare(read_records(results), results)
    streams, peers = read_streams(results), read_peers(results)
    links = Path(os.path.relpath(results, out)).as_posix()
    manifest = json.loads((out / MANIFEST).read_text()) if (out / MANIFEST).is_file() else None
    files = render_pages(comparisons, streams, peers, read_benchmark(results), results, links, manifest)
    if "README.md" in files:
        readme = (out / "README.md").read_text() if (out / "README.md").is_file() else ""
        files["README.md"] = _between(readme, files.pop("README.md"))
    return {name: text for name, text in files.items() if text} | {
        f"figures/{name}.svg": figures.to_svg(figure) for name, figure in _draw(comparisons, results, streams, peers)
    }


def _draw(comparisons: list[Comparison], results: Path, streams: list, peers: list) -> list[tuple[str, Figure]]:
    main_one = comparisons[0]
    crowded = max(comparisons[:2], key=lambda one: len(one.entries))
    names = [name for name in STORY if main_one.find(name)] or [entry.name for entry in main_one.entries[:8]]
    logs = {
        entry.name: logged
        for entry in main_one.entries
        if entry.name in names
        and (logged := [(run.keyword, log) for run in entry.runs if (log := read_log(results, run.name))])
    }
    drawn = [
        ("metric_flops", figures.metric_against(main_one, names, "thop_macs")),
        ("metric_memory", figures.metric_against(main_one, names, "weight_bytes")),
        ("training_curves", figures.training_curves(logs)),
        ("all_settings", figures.crowd(crowded)),
    ]
    return [*drawn, ("stream_curves", figures.stream_curves(group(streams), peers))] if streams else drawn


def _between(readme: str, block: str) -> str:
    """The README with its results replaced; empty where it has no markers."""
    before, begin, rest = readme.partition(BEGIN)
    if not begin:
        return ""
    _, end, after = rest.partition(END)
    if not end:
        raise UserError(f"README.md has {BEGIN} but no {END} after it")
    return f"{before}{BEGIN}\n\n{block.strip()}\n\n{END}{after}"


def _is_same(path: Path, text: str) -> bool:
    if not path.is_file():
        return False
    is_same = figures.is_same_picture if path.suffix == ".svg" else str.__eq__
    return is_same(path.read_text(), text)


def _strays(files: dict[str, str], out: Path) -> list[Path]:
    """Pages of settings that are gone."""
    return [path for folder in OURS for path in (out / folder).glob("*.md") if str(path.relative_to(out)) not in files]


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
