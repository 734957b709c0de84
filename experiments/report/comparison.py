"""Records sorted into comparisons: what was judged on the same corpus, split and keywords stands together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from experiments.report.benchmark import read_benchmark
from experiments.study.records import BASE_NAME, TUNED_NAME, Record
from experiments.study.scores import read_scores
from kws_jax.config import CrnnConfig, config_from_json
from kws_jax.errors import UserError
from kws_jax.evaluation.bootstrap import Interval, PairedScores, SpeakerBootstrap, speaker_bootstrap

__all__ = ["BARS", "TOLERATED_RATIO", "Comparison", "Entry", "compare", "verdict"]

TOLERATED_RATIO = 1.1  # of a student's error to the base's: the homework's rule of quality
BARS = (BASE_NAME, TUNED_NAME)
NONE = Interval(math.nan, math.nan, math.nan)


class Speed(NamedTuple):
    """A model in a runtime: how many times faster than the base, and microseconds for a second of audio."""

    times: float
    microseconds: float


Clock = dict[CrnnConfig, dict[str, Speed]]


def verdict(ratio: Interval) -> str:
    """Whether a ratio keeps to the rule of quality, as far as its interval tells: "yes", "no", "undecided" or "-"."""
    if math.isnan(ratio.estimate):
        return "-"
    if ratio.high <= TOLERATED_RATIO:
        return "yes"
    return "no" if ratio.low > TOLERATED_RATIO else "undecided"


@dataclass(frozen=True)
class Entry:
    """A setting in a comparison: values are means over its keywords and seeds.

    Attributes:
        runs: Its records, one a keyword and seed.
        compared: With a bar, where that was run as often, on a part of the clips: "validation" or "testing".
        clock: Of its architecture in each runtime of the benchmark, if it is there.
    """

    runs: tuple[Record, ...]
    compared: Mapping[tuple[str, str], SpeakerBootstrap]
    clock: Mapping[str, Speed]

    @property
    def name(self) -> str:
        """The setting's."""
        return self.runs[0].setting["name"]

    @property
    def number_format(self) -> str:
        """Of the weights."""
        return self.runs[0].setting["number_format"]

    @property
    def keywords(self) -> list[str]:
        """All keywords, ascending."""
        return sorted({run.keyword for run in self.runs})

    @property
    def seeds(self) -> list[int]:
        """All seeds, ascending."""
        return sorted({run.seed for run in self.runs})

    def quality(self, part: str, name: str) -> float:
        """Mean of a field of `Quality`; NaN where the split has no such part."""
        found = [getattr(run, part) for run in self.runs]
        return fmean(getattr(quality, name) for quality in found) if all(found) else math.nan

    def cost(self, name: str) -> float:
        """Mean of a field of `Cost`."""
        return fmean(getattr(run.cost, name) for run in self.runs)

    def times_faster(self, runtime: str) -> float:
        """Speed over the base's; NaN where it was not measured."""
        return self.clock[runtime].times if runtime in self.clock else math.nan

    def error(self, part: str = "testing") -> Interval:
        """1 - AUROC; NaN where the split has no such part."""
        return next((found.student for (_, of), found in self.compared.items() if of == part), NONE)

    def ratio(self, bar: str = BASE_NAME, part: str = "testing") -> Interval:
        """Error over the bar's, the ratio of the mean errors; NaN where the bar or the part is not there."""
        found = self.compared.get((bar, part))
        return found.ratio if found else NONE

    def mean_ratio(self, bar: str = BASE_NAME) -> Interval:
        """The mean over keywords of each keyword's own ratio, on test speakers."""
        found = self.compared.get((bar, "testing"))
        return found.mean_ratio if found else NONE


@dataclass(frozen=True)
class Comparison:
    """Settings that were judged on the same corpus, split and keywords.

    Attributes:
        corpus: "synthetic" or the data folder's name.
        split: "official" or "random".
        keywords: Ascending; every entry has runs of each.
        entries: The base and the most work first.
    """

    corpus: str
    split: str
    keywords: tuple[str, ...]
    entries: tuple[Entry, ...]

    def find(self, name: str) -> Entry | None:
        """The entry of a setting."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def times_less(self, entry: Entry, cost: str) -> float:
        """How many times less than the base; NaN where that was not run."""
        base = self.find(BASE_NAME)
        return base.cost(cost) / entry.cost(cost) if base else math.nan

    def grade(self, entry: Entry, size: str) -> float:
        """The homework's 4 x compression / 10 + 4 x speed-up / 10 + 2, by MACs, with full marks for streaming."""
        return 4 * self.times_less(entry, size) / 10 + 4 * self.times_less(entry, "thop_macs") / 10 + 2

    @property
    def title(self) -> str:
        """Keywords, corpus and split."""
        return f"{', '.join(self.keywords)} ({self.corpus}, {self.split} split)"

    @property
    def runs(self) -> list[Record]:
        """All records."""
        return [run for entry in self.entries for run in entry.runs]


def compare(records: Iterable[Record], results: Path) -> list[Comparison]:
    """Sorts records; the comparison to show first comes first: real speech, official split, most keywords.

    Settings that were run on more keywords than others stand in several comparisons, since errors of different keywords
    cannot be compared: once with the keywords that they share with the rest, once with all of theirs.

    Raises:
        UserError: If scores are missing.
    """

    def place(record: Record) -> tuple[str, str]:
        helped = f" + {record.voices} by voices" if record.voices else ""
        return record.corpus + helped, record.split

    clock = _clock(results)
    places = groupby(sorted(records, key=place), key=place)
    found = [one for where, group in places for one in _compare_place(*where, [*group], results, clock)]
    found.sort(key=lambda c: (c.corpus == "synthetic", c.split != "official", c.corpus, -len(c.keywords)))
    return found


def _compare_place(corpus: str, split: str, records: list[Record], results: Path, clock: Clock) -> list[Comparison]:
    by_name: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda run: (run.keyword, run.seed)):
        by_name.setdefault(record.setting["name"], []).append(record)
    keywords = {name: frozenset(run.keyword for run in runs) for name, runs in by_name.items()}
    choices = {keywords[name] for name in by_name if name != BASE_NAME} or {keywords[BASE_NAME]}
    comparisons = []
    for choice in sorted(choices, key=sorted):
        chosen = {
            name: tuple(run for run in runs if run.keyword in choice)
            for name, runs in by_name.items()
            if choice <= keywords[name]
        }
        entries = [_entry(runs, chosen, results, clock) for runs in chosen.values()]
        entries.sort(key=lambda entry: (entry.name != BASE_NAME, -entry.cost("thop_macs"), entry.name))
        comparisons.append(Comparison(corpus, split, tuple(sorted(choice)), tuple(entries)))
    return comparisons


def _entry(runs: tuple[Record, ...], chosen: Mapping[str, tuple[Record, ...]], results: Path, clock: Clock) -> Entry:
    parts = ("testing", *(["validation"] if all(run.validation for run in runs) else []))
    bars = {name: _beside(runs, chosen[name]) for name in BARS if name in chosen}
    bars = {name: beside for name, beside in bars.items() if beside} or {runs[0].setting["name"]: runs}
    compared = {(name, part): _pooled(runs, beside, results, part) for name, beside in bars.items() for part in parts}
    return Entry(runs, compared, clock.get(config_from_json(runs[0].setting["model"]), {}))


def _beside(runs: tuple[Record, ...], bar_runs: tuple[Record, ...]) -> tuple[Record, ...]:
    """The bar's runs with the same keywords and seeds, in the same order; none unless there are all."""
    found = {(run.keyword, run.seed): run for run in bar_runs}
    wanted = [(run.keyword, run.seed) for run in runs]
    return tuple(found[key] for key in wanted) if found.keys() >= set(wanted) else ()


def _pooled(runs: Sequence[Record], bar_runs: Sequence[Record], results: Path, part: str) -> SpeakerBootstrap:
    """Errors of a setting's runs beside those of another's: one paired bootstrap over the speakers of all of them.

    Raises:
        UserError: If scores are missing, or the two were judged on different clips.
    """
    groups = []
    for run, bar_run in zip(runs, bar_runs, strict=True):
        own, bar = read_scores(results, run), read_scores(results, bar_run)
        if not np.array_equal(own.labels, bar.labels) or not np.array_equal(own.testing, bar.testing):
            raise UserError(f"{run.name} and {bar_run.name} were judged on different clips: run both again")
        chosen = own.testing if part == "testing" else ~own.testing
        groups.append(PairedScores(*(x[chosen] for x in (own.ranks, bar.ranks, own.labels, own.speakers))))
    return speaker_bootstrap(groups, kinds=[run.keyword for run in runs])


def _clock(results: Path) -> Clock:
    """Speeds by architecture and runtime."""
    measured = read_benchmark(results)
    speeds: Clock = {}
    for name, model in dict(measured["models"]).items():
        rows = (row for row in measured["inference"] if row["model"] == name)
        speeds[config_from_json(model)] = {
            row["runtime"]: Speed(row["ratio_to_base"], row["microseconds_per_second"]) for row in rows
        }
    return speeds
