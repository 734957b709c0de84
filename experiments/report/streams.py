"""Stream records sorted by what was heard: what heard the same scenes stands together."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from experiments.study import stream_records
from experiments.study.stream_records import Heard, OperatingPoint, PeerRecord, StreamQuality, StreamRecord
from kws_jax.errors import UserError
from kws_jax.evaluation.bootstrap import Interval

__all__ = ["StreamComparison", "StreamEntry", "compare_streams", "lowest", "mean_rate"]


@dataclass(frozen=True)
class StreamEntry:
    """A setting's models, which differ in the seed of their training alone: values and ends are means over them."""

    name: str
    runs: list[StreamRecord]

    def beside(self, other: "StreamEntry") -> "StreamEntry":
        """Its runs of those seeds that another setting has too."""
        seeds = {run.seed for run in other.runs}
        return replace(self, runs=[run for run in self.runs if run.seed in seeds])

    def judged(self, mode: str = "carried") -> list[StreamQuality]:
        """A mode of every run that has it."""
        return [run.modes[mode] for run in self.runs if mode in run.modes]

    def rate(self, name: str, mode: str = "carried") -> Interval:
        """A rate of `StreamQuality` that has an interval."""
        return mean_rate(self.judged(mode), name)

    def used(self, name: str, mode: str = "carried") -> Interval:
        """A rate of the operating point in use."""
        return mean_rate([one.in_use for one in self.judged(mode)], name)

    def latency(self, name: str, mode: str = "carried") -> float:
        """Mean in seconds of those that detected anything in use; NaN where none did."""
        found = [value for one in self.judged(mode) if (value := getattr(one.in_use, name)) is not None]
        return fmean(found) if found else math.nan

    def floor(self, mode: str = "carried") -> float:
        """Misses at 60 false alarms an hour."""
        return fmean(one.miss_rate_at_60 for one in self.judged(mode))

    def missed_at(self, alarm_rate: float) -> float:
        """Misses at no more than so many false alarms an hour on test speakers' own curve."""
        return fmean(float(lowest(one.curve, np.array([alarm_rate]))[0]) for one in self.judged())

    def at_snr(self, snr: str) -> float:
        """Misses at one false alarm an hour in streams of one signal-to-noise ratio; NaN where nothing is spoken."""
        missed, spoken = map(sum, zip(*(one.by_snr.get(snr, (0, 0)) for one in self.judged()), strict=True))
        return missed / spoken if spoken else math.nan

    def probed(self, name: str, what: str) -> float:
        """Mean of "sounds" or "levels" of one kind; NaN where a run has none."""
        return fmean(getattr(run, name).get(what, math.nan) for run in self.runs)

    def minus_sliding(self) -> Interval:
        """Misses at one false alarm an hour with a carried state less a sliding window's; NaN where none ran."""
        found = [run.carried_minus_sliding for run in self.runs if run.carried_minus_sliding is not None]
        return Interval(*map(fmean, zip(*found, strict=True))) if found else Interval(*[math.nan] * 3)

    def macs(self, mode: str, *parts: str) -> float:
        """Multiply-accumulates per second of audio, of "model", "frontend" or both."""
        work = self.runs[0].macs_per_second[mode]
        return sum(work[part] for part in parts or work)

    def times_less(self, *parts: str) -> float:
        """The sliding window's work over the carried state's."""
        return self.macs("sliding", *parts) / self.macs("carried", *parts)


@dataclass(frozen=True)
class StreamComparison:
    """All that was judged on one set of scenes."""

    heard: Heard
    entries: list[StreamEntry]
    peers: list[PeerRecord]

    def find(self, name: str) -> StreamEntry | None:
        """The entry of a setting."""
        return next((entry for entry in self.entries if entry.name == name), None)


def mean_rate(qualities: Sequence[StreamQuality | OperatingPoint], name: str) -> Interval:
    """Mean of a rate, and the means of its interval's ends."""
    ends = "false_alarms_interval" if name == "false_alarms_per_hour" else f"{name}_interval"
    return Interval(*map(fmean, zip(*((getattr(one, name), *getattr(one, ends)) for one in qualities), strict=True)))


def lowest(curve: dict[str, list[float]], rates: np.ndarray) -> np.ndarray:
    """Lowest miss rate at no more than each number of false alarms an hour; 1 where no threshold is good enough."""
    alarms, misses = (np.array(curve[name]) for name in ("false_alarms_per_hour", "miss_rate"))
    order = np.argsort(alarms, kind="stable")
    best = np.concatenate([[1.0], np.minimum.accumulate(misses[order])])
    return best[np.searchsorted(alarms[order], rates, side="right")]


def compare_streams(results: Path) -> list[StreamComparison]:
    """All stream records, the scenes that most settings heard first; none where there are none.

    Raises:
        UserError: If a file is no record of this version, or a peer heard what no detector heard.
    """
    found: dict[str, dict[str, list[StreamRecord]]] = {}
    for run in stream_records.read_streams(results):
        found.setdefault(_scenes(run.heard), {}).setdefault(run.setting, []).append(run)
    peers: dict[str, list[PeerRecord]] = {}
    for peer in stream_records.read_peers(results):
        peers.setdefault(_scenes(peer.heard), []).append(peer)
    if strays := peers.keys() - found.keys():
        raise UserError(f"{peers[strays.pop()][0].engine} heard other scenes than any of our detectors: judge it again")
    entries = {key: [StreamEntry(*one) for one in settings.items()] for key, settings in sorted(found.items())}
    found_all = [StreamComparison(own[0].runs[0].heard, own, peers.get(key, [])) for key, own in entries.items()]
    return sorted(found_all, key=lambda comparison: -len(comparison.entries))


def _scenes(heard: Heard) -> str:
    return json.dumps(asdict(heard), sort_keys=True)
