"""A study's rows, one a setting: averaged over its keywords and seeds, beside the base."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

from experiments.records import Record
from experiments.setting import BASE_NAME
from kws_jax.bootstrap import Interval, SpeakerBootstrap

__all__ = [
    "FAIR_BASE_NAME",
    "TOLERATED_RATIO",
    "Cost",
    "Row",
    "Study",
    "base_stream_seconds",
    "file_bytes",
    "shipped_bytes",
    "stream_seconds",
    "thop_macs",
    "weight_bytes",
    "with_frontend",
]

Cost = Callable[[Record], float]
TOLERATED_RATIO = 1.1  # of a student's error to the base's: the homework's rule of quality
FAIR_BASE_NAME = "fair_base"  # the base's architecture by our own recipe: the strict bar
NONE = Interval(math.nan, math.nan, math.nan)


def thop_macs(run: Record) -> float:
    """Work on a clip, as the homework counts it."""
    return run.cost.thop_macs


def weight_bytes(run: Record) -> float:
    """Memory of the weights and their scales."""
    return run.cost.weight_bytes


def file_bytes(run: Record) -> float:
    """Size of torch.save's file."""
    return run.cost.file_bytes


def shipped_bytes(run: Record) -> float:
    """Size of the file of plain tensors that is shipped."""
    return run.cost.shipped_bytes


def with_frontend(run: Record) -> float:
    """Work on a second of a stream, from samples on."""
    return run.cost.macs_per_streamed_second + run.cost.frontend_macs_per_second


def stream_seconds(run: Record) -> float:
    """Time that a second of a stream takes, from raw samples to probability; NaN where not measured."""
    return run.cost.stream_seconds_per_second


def base_stream_seconds(run: Record) -> float:
    """The same of the base, timed in turn."""
    return run.cost.base_stream_seconds_per_second


@dataclass(frozen=True)
class Row:
    """A setting in a study.

    Attributes:
        runs: Its records, one a keyword and seed.
        base_runs: The base's records of the same keywords and seeds, in the same order.
        compared: With a bar (the base, or the fair base where it was run as often) on a part of the clips that the
            split has: "validation", "testing", "held_out".
        clock: How many times faster than the base its architecture is in each runtime of the benchmark, if it is there.
    """

    runs: tuple[Record, ...]
    base_runs: tuple[Record, ...]
    compared: Mapping[tuple[str, str], SpeakerBootstrap]
    clock: Mapping[str, float]

    @property
    def name(self) -> str:
        """The setting's."""
        return self.runs[0].setting["name"]

    @property
    def number_format(self) -> str:
        """Of the weights: "fp32", "fp16", "qint8"."""
        return self.runs[0].setting["number_format"]

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
        """How many times faster than the base that was timed in turn with it, from the log-mel on."""
        seconds = self.mean(lambda run: run.cost.seconds_per_clip)
        return self.mean(lambda run: run.cost.base_seconds_per_clip) / seconds

    @property
    def measured_stream_speedup(self) -> float:
        """How many times faster than the base in a stream, from raw samples to probability; NaN where not measured."""
        return self.mean(base_stream_seconds) / self.mean(stream_seconds)

    def error(self, part: str = "testing") -> Interval:
        """1 - AUROC, the mean over the runs; NaN where the split has no such part."""
        found = self.compared.get((BASE_NAME, part))
        return found.student if found else NONE

    def ratio(self, bar: str = BASE_NAME, part: str = "testing") -> Interval:
        """Error over the bar's, the ratio of the mean errors; NaN where the bar or the part is not there."""
        found = self.compared.get((bar, part))
        return found.ratio if found else NONE

    def mean_ratio(self, bar: str = BASE_NAME) -> Interval:
        """The mean over keywords of each keyword's ratio."""
        found = self.compared.get((bar, "testing"))
        return found.mean_ratio if found else NONE


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
    def tolerated_errors(self) -> dict[str, float]:
        """The largest 1 - AUROC on test speakers that keeps within the homework's rule of quality, at each bar."""
        bars = {row.name: row.error().estimate for row in self.rows if row.name in (BASE_NAME, FAIR_BASE_NAME)}
        return {name: TOLERATED_RATIO * error for name, error in bars.items()}

    @property
    def title(self) -> str:
        """For headings."""
        return f"{', '.join(self.keywords)} ({self.corpus}, {self.split} split)"

    @property
    def slug(self) -> str:
        """For file names."""
        return re.sub(r"[^\w.-]+", "_", "-".join((self.corpus, self.split, *self.keywords)))

    @property
    def runs(self) -> list[Record]:
        """All records."""
        return [run for row in self.rows for run in row.runs]
