"""Records of `experiments.stream_eval` and `experiments.stream_peer`, sorted by what was heard."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kws_jax.bootstrap import Interval
from kws_jax.errors import UserError

__all__ = ["StreamRow", "StreamStudy", "lowest_miss_rates", "mode_interval", "read_stream_studies"]

StreamRecord = dict[str, Any]
OURS = ("checkpoint", "keyword", "seed", "corpus", "corpus_name", "speech", "scenes", "modes", "cost")
PEERS = ("engine", "keyword", "seed", "corpus", "scenes", "mode", "speed")


@dataclass(frozen=True)
class StreamRow:
    """A setting's runs, which differ in the seed of their training alone; values are means over them.

    Attributes:
        setting: Its name.
        runs: By checkpoint.
    """

    setting: str
    runs: list[StreamRecord]

    def of_mode(self, mode: str, name: str) -> Interval:
        """A rate with the ends of its interval: an end is the mean of the runs' ends."""
        return mode_interval([run["modes"][mode] for run in self.runs], name)

    def minus_sliding(self, mode: str) -> Interval:
        """The mode's miss rate at one false alarm an hour less the sliding window's."""
        found = [run[f"{mode}_minus_sliding"] for run in self.runs]
        return _mean_interval([Interval(one["difference"], *one["interval"]) for one in found])

    @property
    def validation_miss_rate(self) -> float:
        """With a carried state at 1 false alarm an hour, on validation speakers: to choose a setting by."""
        return float(np.mean([run["modes"]["carried"]["validation_miss_rate_at_1"] for run in self.runs]))

    def macs(self, mode: str, part: str | None = None) -> float:
        """Multiply-accumulates per second of audio, of "model" or "frontend" or both."""
        work = self.runs[0]["cost"]["macs_per_second"][mode]
        return work[part] if part else sum(work.values())

    @property
    def times_less_work(self) -> float:
        """The sliding window's work over the carried state's, both with the front end."""
        return self.macs("sliding") / self.macs("carried")

    @property
    def times_less_model_work(self) -> float:
        """The same without the front end."""
        return self.macs("sliding", "model") / self.macs("carried", "model")


@dataclass(frozen=True)
class StreamStudy:
    """What was judged on one set of scenes.

    Attributes:
        rows: Settings by name.
        peer: Another engine on the same scenes, if there is one.
    """

    rows: list[StreamRow]
    peer: StreamRecord | None

    @property
    def about(self) -> StreamRecord:
        """A record, for what all have in common: keyword, corpus, scenes."""
        return self.rows[0].runs[0]


def mode_interval(modes: list[dict[str, Any]], name: str) -> Interval:
    """Mean of a rate over summaries of `experiments.stream_judging`, and the means of its interval's ends."""
    ends = "false_alarms_interval" if name == "false_alarms_per_hour" else f"{name}_interval"
    return _mean_interval([Interval(mode[name], *mode[ends]) for mode in modes])


def _mean_interval(intervals: list[Interval]) -> Interval:
    return Interval(*np.mean(intervals, axis=0).tolist())


def lowest_miss_rates(curve: dict[str, list[float]], alarm_rates: np.ndarray) -> np.ndarray:
    """Lowest miss rate at no more than each number of false alarms per hour; 1 where no threshold is good enough."""
    alarms, misses = (np.array(curve[name]) for name in ("false_alarms_per_hour", "miss_rate"))
    order = np.argsort(alarms, kind="stable")
    best = np.concatenate([[1.0], np.minimum.accumulate(misses[order])])
    return best[np.searchsorted(alarms[order], alarm_rates, side="right")]


def read_stream_studies(results: Path) -> list[StreamStudy]:
    """All records of RESULTS/streams with those of RESULTS/streams_peer; none where there are none.

    Raises:
        UserError: If a file is no record of this version, or a peer heard what no checkpoint heard.
    """
    heard: dict[str, dict[str, list[StreamRecord]]] = {}
    for run in _read(results / "streams", OURS):
        heard.setdefault(_scenes_of(run), {}).setdefault(run["checkpoint"].partition("-")[0], []).append(run)
    peers = {_scenes_of(peer): peer for peer in _read(results / "streams_peer", PEERS)}
    if strays := peers.keys() - heard.keys():
        raise UserError(f"{peers[strays.pop()]['engine']} was judged on other scenes than any checkpoint: run it again")
    return [
        StreamStudy([StreamRow(setting, runs) for setting, runs in sorted(settings.items())], peers.get(scenes))
        for scenes, settings in sorted(heard.items())
    ]


def _scenes_of(record: StreamRecord) -> str:
    return json.dumps([record[name] for name in ("keyword", "corpus", "seed", "scenes")], sort_keys=True)


def _read(folder: Path, names: tuple[str, ...]) -> list[StreamRecord]:
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text())
            missing = [name for name in names if name not in record]
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is no JSON: {error}") from error
        if missing:
            raise UserError(f"{path} is no record of this version, it has no {missing[0]!r}: delete it and run again")
        records.append(record)
    return records
