"""Renders records: REPORT.md, its pages and pictures, and the results in README.md and checkpoints/README.md."""

from pathlib import Path

import tyro
from tyro.conf import Positional

from experiments.report import figures
from experiments.report.pages import read_study, render_pages
from kws_jax.errors import UserError, one_line_errors
from kws_jax.files import written

__all__ = ["main", "render"]

PICTURES, PAGES = "figures", "report"  # folders beside the report


def main(results: Positional[Path], out: Path, check: bool = False) -> None:
    """Renders the report.

    Args:
        results: Folder of runs/ and perhaps streams/, streams_peer/, benchmark.json and search.jsonl.
        out: Folder for REPORT.md, report/ and figures/; a README.md there gets the results between its markers.
        check: Write nothing; fail if what lies there is not what the records say.
    """
    files = render(results, out)
    if check:
        stale = [path for path, content in files.items() if not path.is_file() or not _is_same(path, content)]
        if stale:
            raise UserError(
                f"{stale[0]} is stale: python -m experiments.report {results.as_posix()} --out {out.as_posix()}"
            )
        ours = sorted([*(out / PAGES).rglob("*.md"), *(out / PICTURES).glob("*.svg")])
        if stray := [path for path in ours if path not in files]:
            raise UserError(f"{stray[0]} is of no record: delete it")
        return
    for path, content in files.items():
        with written(path) as part:
            part.write_bytes(content)
    print(out / "REPORT.md")


def render(results: Path, out: Path) -> dict[Path, bytes]:
    """All files of a report, texts and pictures.

    Raises:
        UserError: If records are missing, broken, or not of this version.
    """
    study = read_study(results)
    pictures = figures.draw(study)
    texts = render_pages(study, out, pictures)
    drawn = {out / PICTURES / name: content for name, content in pictures.items()}
    return {path: text.encode() for path, text in texts.items()} | drawn


def _is_same(path: Path, content: bytes) -> bool:
    found = path.read_bytes()
    return found == content or (path.suffix == ".svg" and figures.is_same(found.decode(), content.decode()))


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
