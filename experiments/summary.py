"""Records as rows of a study: one row a setting, averaged over its keywords and seeds, beside the base."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

import numpy as np

from experiments.records import Record
from experiments.settings import BASE_NAME, BY_NAME
from kws_jax.bootstrap import Interval
from kws_jax.errors import UserError

__all__ = [
    "TOLERATED_RATIO",
    "Cost",
    "Row",
    "Study",
    "file_bytes",
    "make_studies",
    "thop_macs",
    "weight_bytes",
    "with_frontend",
]

Cost = Callable[[Record], float]
TOLERATED_RATIO = 1.1  # of a student's error to the base's: the homework's rule of quality


def thop_macs(run: Record) -> float:
    """Work on a clip, as the homework counts it."""
    return run.cost.thop_macs


def weight_bytes(run: Record) -> float:
    """Memory of the weights and their scales."""
    return run.cost.weight_bytes


def file_bytes(run: Record) -> float:
    """Size of torch.save's file."""
    return run.cost.file_bytes


def with_frontend(run: Record) -> float:
    """Work on a second of a stream, from samples on."""
    return run.cost.macs_per_streamed_second + run.cost.frontend_macs_per_second


@dataclass(frozen=True)
class Row:
    """A setting in a study.

    Attributes:
        runs: Its records, one a keyword and seed.
        base_runs: The base's records of the same keywords and seeds, in the same order.
    """

    runs: tuple[Record, ...]
    base_runs: tuple[Record, ...]

    @property
    def name(self) -> str:
        """The setting's."""
        return self.runs[0].setting["name"]

    @property
    def number_format(self) -> str:
        """Of the weights: "fp32", "fp16", "qint8"."""
        return self.runs[0].setting["number_format"]

    @property
    def weights_of(self) -> str:
        """The setting whose trained weights this one uses: its own name, or its source's."""
        return self.runs[0].setting["source"] or self.name

    @property
    def seeds(self) -> list[int]:
        """All seeds, ascending."""
        return sorted({run.seed for run in self.runs})

    @property
    def keywords(self) -> list[str]:
        """All keywords, ascending."""
        return sorted({run.keyword for run in self.runs})

    def mean(self, get: Cost) -> float:
        """Mean over the runs."""
        return fmean(map(get, self.runs))

    def times_less(self, get: Cost) -> float:
        """How many times less than the base: the base's mean over this one's."""
        return fmean(map(get, self.base_runs)) / self.mean(get)

    @property
    def measured_speedup(self) -> float:
        """How many times faster than the base that was timed in turn with it."""
        seconds = self.mean(lambda run: run.cost.seconds_per_clip)
        return self.mean(lambda run: run.cost.base_seconds_per_clip) / seconds

    def error(self, part: str = "testing") -> Interval:
        """1 - AUROC: the mean of the runs, and the mean of their intervals' ends; NaN where the split has no such part.

        Runs hear the same speakers, so that what the choice of speakers leaves open does not average out over seeds.
        """
        qualities = [getattr(run, part) for run in self.runs]
        if None in qualities:
            return Interval(math.nan, math.nan, math.nan)
        return Interval(*map(fmean, zip(*(quality.auroc_error_interval for quality in qualities), strict=True)))

    def ratio(self) -> Interval:
        """Error over the base's on test speakers: the ratio of the mean errors.

        Equally the mean of the runs' ratios weighted by the base's errors; so are the ends of the interval.
        """
        weights = [run.testing.auroc_error for run in self.base_runs]
        if 0 in weights:
            weights = [1.0] * len(weights)
        ends = zip(*(run.testing.ratio_to_base for run in self.runs), strict=True)
        return Interval(*(float(np.average(values, weights=weights)) for values in ends))


@dataclass(frozen=True)
class Study:
    """Settings that were judged on the same corpus, split and keywords.

    Attributes:
        corpus: "synthetic" or the data folder's name.
        split: "official" or "random".
        keywords: Ascending; every row has runs of each.
        rows: In the order of the table of settings, the base first.
    """

    corpus: str
    split: str
    keywords: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def base(self) -> Row:
        """The base's row."""
        return self.rows[0]

    @property
    def tolerated_error(self) -> float:
        """The largest 1 - AUROC on test speakers that the homework's rule of quality allows."""
        return TOLERATED_RATIO * self.base.error().estimate

    @property
    def title(self) -> str:
        """For headings."""
        return f"{', '.join(self.keywords)} ({self.corpus}, {self.split} split)"

    @property
    def slug(self) -> str:
        """For file names."""
        return "-".join((self.corpus, self.split, *self.keywords))

    @property
    def runs(self) -> list[Record]:
        """All records."""
        return [run for row in self.rows for run in row.runs]


def make_studies(records: Iterable[Record]) -> list[Study]:
    """Groups records; the study to show first comes first: real speech, official split, most settings.

    Settings that were run on more keywords than others stand in several studies, since errors of different keywords
    cannot be compared: once with the keywords that they share with the rest, once with all of theirs.

    Raises:
        UserError: If a record has no record of the base beside it.
    """

    def place(record: Record) -> tuple[str, str]:
        return record.corpus, record.split

    studies = [
        study
        for (corpus, split), group in groupby(sorted(records, key=place), key=place)
        for study in _studies_of_place(corpus, split, list(group))
    ]
    return sorted(
        studies,
        key=lambda s: (
            s.corpus == "synthetic",
            s.split != "official",
            s.corpus,
            -len(s.rows),
            -len(s.keywords),
            s.slug,
        ),
    )


def _studies_of_place(corpus: str, split: str, records: Sequence[Record]) -> list[Study]:
    names = sorted({record.setting["name"] for record in records}, key=_table_order)
    base = {(record.keyword, record.seed): record for record in records if record.setting["name"] == BASE_NAME}
    keywords = {name: {record.keyword for record in records if record.setting["name"] == name} for name in names}
    choices = {frozenset(keywords[name]) for name in names if name != BASE_NAME} or {frozenset(keywords[BASE_NAME])}
    studies = []
    for choice in choices:
        rows = []
        for name in names:
            if choice <= keywords[name]:
                runs = [run for run in records if run.setting["name"] == name and run.keyword in choice]
                runs.sort(key=lambda run: (run.keyword, run.seed))
                rows.append(Row(tuple(runs), tuple(_base_of(run, base) for run in runs)))
        studies.append(Study(corpus, split, tuple(sorted(choice)), tuple(rows)))
    return studies


def _table_order(name: str) -> tuple[int, str]:
    return (list(BY_NAME).index(name) if name in BY_NAME else len(BY_NAME)), name


def _base_of(run: Record, base: dict[tuple[str, int], Record]) -> Record:
    if (run.keyword, run.seed) not in base:
        raise UserError(f"the record {run.name} has no record of {BASE_NAME} beside it: run {BASE_NAME} likewise")
    return base[run.keyword, run.seed]
