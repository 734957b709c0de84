"""Records sorted into studies: what was judged on the same corpus, split and keywords stands together."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from experiments.benchmark_file import read_benchmark
from experiments.pooling import compare
from experiments.records import Record
from experiments.setting import BASE_NAME
from experiments.settings import BY_NAME
from experiments.summary import FAIR_BASE_NAME, Row, Study
from kws_jax.errors import UserError

__all__ = ["make_studies", "read_clock"]

Clock = dict[tuple[float, float], dict[str, float]]  # by MACs a second of the model and of its front end, by runtime


def make_studies(records: Iterable[Record], results: Path) -> list[Study]:
    """Groups records; the study to show first comes first: real speech, official split, most keywords.

    Settings that were run on more keywords than others stand in several studies, since errors of different keywords
    cannot be compared: once with the keywords that they share with the rest, once with all of theirs.

    Args:
        records: All of them.
        results: Folder that the paths in records are relative to.

    Raises:
        UserError: If a record has no record of the base beside it, or scores are missing.
    """

    def place(record: Record) -> tuple[str, str]:
        return record.corpus, record.split

    clock = read_clock(results / "benchmark.json")
    studies = [
        study
        for (corpus, split), group in groupby(sorted(records, key=place), key=place)
        for study in _studies_of_place(corpus, split, list(group), results, clock)
    ]
    return sorted(
        studies,
        key=lambda s: (
            s.corpus == "synthetic",
            s.split != "official",
            s.corpus,
            -len(s.keywords),
            -len(s.rows),
            s.slug,
        ),
    )


def read_clock(path: Path) -> Clock:
    """Speeds over the base's from the file of `experiments.benchmark`, by an architecture's work; none without it.

    Raises:
        UserError: If the file is not that command's.
    """

    def take(measured: dict[str, Any]) -> Clock:
        clock: Clock = {}
        for row in measured["inference"]:
            work = row["macs_per_second"], row["frontend_macs_per_second"]
            clock.setdefault(work, {})[row["runtime"]] = row["ratio_to_base"]
        return clock

    return read_benchmark(path, take, absent={})


def _studies_of_place(corpus: str, split: str, records: Sequence[Record], results: Path, clock: Clock) -> list[Study]:
    names = sorted({record.setting["name"] for record in records}, key=_table_order)
    keywords = {name: {record.keyword for record in records if record.setting["name"] == name} for name in names}
    choices = {frozenset(keywords[name]) for name in names if name != BASE_NAME} or {frozenset(keywords[BASE_NAME])}
    studies = []
    for choice in choices:
        rows = []
        for name in names:
            if choice <= keywords[name]:
                runs = [run for run in records if run.setting["name"] == name and run.keyword in choice]
                runs.sort(key=lambda run: (run.keyword, run.seed))
                rows.append(_make_row(tuple(runs), records, results, clock))
        studies.append(Study(corpus, split, tuple(sorted(choice)), tuple(rows)))
    return studies


def _make_row(runs: tuple[Record, ...], records: Iterable[Record], results: Path, clock: Clock) -> Row:
    bars = {
        name: {(run.keyword, run.seed): run for run in records if run.setting["name"] == name}
        for name in (BASE_NAME, FAIR_BASE_NAME)
    }
    for run in runs:
        if (run.keyword, run.seed) not in bars[BASE_NAME]:
            raise UserError(f"the record {run.name} has no record of {BASE_NAME} beside it: run {BASE_NAME} likewise")
    beside = {
        name: tuple(found[run.keyword, run.seed] for run in runs)
        for name, found in bars.items()
        if all((run.keyword, run.seed) in found for run in runs)
    }
    parts = ("testing", "held_out", *(["validation"] if all(run.validation for run in runs) else []))
    compared = {
        (name, part): compare(runs, bar_runs, results, part) for name, bar_runs in beside.items() for part in parts
    }
    work = runs[0].cost.macs_per_streamed_second, runs[0].cost.frontend_macs_per_second
    return Row(runs, beside[BASE_NAME], compared, clock.get(work, {}))


def _table_order(name: str) -> tuple[int, str]:
    return (list(BY_NAME).index(name) if name in BY_NAME else len(BY_NAME)), name
