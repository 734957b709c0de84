"""Detectors on continuous audio, one entry a setting: means over the seeds of its training."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from experiments.study.stream_records import StreamQuality, StreamRecord
from kws_jax.evaluation.bootstrap import Interval

__all__ = ["StreamEntry", "group", "lowest_miss_rates", "mean_interval"]

ENDS = {"false_alarms_per_hour": "false_alarms_interval"}  # fields whose interval is named otherwise


@dataclass(frozen=True)
class StreamEntry:
    """A setting's runs on one set of scenes, which differ in the seed of their training alone.

    Attributes:
        name: The setting's.
        runs: Its records.
    """

    name: str
    runs: tuple[StreamRecord, ...]

    def of(self, mode: str, field: str) -> Interval:
        """A rate with the ends of its interval: each is the mean of the runs' own."""
        return mean_interval([run.modes[mode] for run in self.runs], field)

    def minus_sliding(self, mode: str) -> Interval:
        """Misses at one false alarm an hour, less the sliding window's."""
        found = [getattr(run, f"{mode}_minus_sliding") for run in self.runs]
        return Interval(*np.mean(found, axis=0).tolist())

    def mean(self, mode: str, field: str) -> float:
        """Mean of a number that has no interval; NaN where no run has it."""
        values = [getattr(run.modes[mode], field) for run in self.runs]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else float("nan")

    def macs(self, mode: str) -> float:
        """Multiply-accumulates per second of audio, front end included."""
        return sum(self.runs[0].macs_per_second[mode].values())


def group(records: Iterable[StreamRecord]) -> list[StreamEntry]:
    """Entries, the most work first."""
    by_name: dict[str, list[StreamRecord]] = {}
    for record in records:
        by_name.setdefault(record.setting, []).append(record)
    entries = [StreamEntry(name, tuple(runs)) for name, runs in by_name.items()]
    return sorted(entries, key=lambda entry: (-entry.macs("carried"), entry.name))


def mean_interval(qualities: list[StreamQuality], field: str) -> Interval:
    """A rate's mean over runs, and the means of its interval's ends."""
    ends = ENDS.get(field, f"{field}_interval")
    found = [Interval(getattr(quality, field), *getattr(quality, ends)) for quality in qualities]
    return Interval(*np.mean(found, axis=0).tolist())


def lowest_miss_rates(curve: dict[str, list[float]], alarm_rates: np.ndarray) -> np.ndarray:
    """Lowest miss rate at no more than each number of false alarms per hour; 1 where no threshold is good enough."""
    alarms, misses = (np.array(curve[name]) for name in ("false_alarms_per_hour", "miss_rate"))
    order = np.argsort(alarms, kind="stable")
    best = np.concatenate([[1.0], np.minimum.accumulate(misses[order])])
    return best[np.searchsorted(alarms[order], alarm_rates, side="right")]
