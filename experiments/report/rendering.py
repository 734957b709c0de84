"""All files of a report, written or held against what lies there."""

from pathlib import Path

from jinja2 import UndefinedError

from experiments.report import figures
from experiments.report.pages import read_study, render_pages
from kws_jax.errors import UserError
from kws_jax.files import written

PICTURES, PAGES = "figures", "report"  # folders beside the report


def write_report(results: Path, out: Path, check: bool) -> None:
    """Writes a report, or checks the one that is there; see `experiments.report.__main__`."""
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
    try:
        pictures = figures.draw(study)
        texts = render_pages(study, out, pictures)
    except (LookupError, ArithmeticError, TypeError, UndefinedError) as error:
        raise UserError(f"the records in {results} lack what the report tells ({error!r}): run them again") from error
    drawn = {out / PICTURES / name: content for name, content in pictures.items()}
    return {path: text.encode() for path, text in texts.items()} | drawn


def _is_same(path: Path, content: bytes) -> bool:
    found = path.read_bytes()
    return found == content or (path.suffix == ".svg" and figures.is_same(found.decode(), content.decode()))
