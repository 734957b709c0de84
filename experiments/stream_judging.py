"""From probabilities over scenes to miss rates at numbers of false alarms per hour, with intervals."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import chi2

from experiments.continuous import Scenes
from kws_jax.detector import DetectorConfig, detections
from kws_jax.stream_metrics import Matches, StreamDet, match_detections, miss_rate_at, threshold_at

MODES = ("carried", "reset", "sliding")
ALARM_RATES = (1.0, 0.5)  # false alarms per hour
SMOOTHINGS = (1, 3, 5)  # steps
# Scores crowd near 1, so thresholds are even in log-odds.
THRESHOLDS = 1.0 / (1.0 + np.exp(-np.linspace(-2.0, 12.0, 113)))
RESAMPLES = 2_000
Run = tuple[np.ndarray, np.ndarray]
Detect = Callable[[float], list[np.ndarray]]  # from a threshold to each stream's detection times in seconds


@dataclass(frozen=True)
class Summary:
    """One mode, judged; intervals are (low, high) at 95 %.

    Attributes:
        smoothing: Steps, chosen on validation speakers.
        threshold: For one false alarm an hour on validation speakers; None where no threshold reaches that.
        miss_rate: On test speakers at that threshold.
        miss_rate_interval: Keywords' speakers resampled.
        false_alarms_per_hour: On test speakers at that threshold.
        false_alarms_interval: Exact for a Poisson count.
        latency: Median time from the word's end to its detection, in seconds.
        latency_90: Its 90th percentile.
        validation_miss_rate_at_1: On validation speakers' own curve, at 1 false alarm an hour.
        test_miss_rate_at_1: On test speakers' own curve; a comparison of curves, not of a threshold in use.
        test_miss_rate_at_half: The same at 0.5.
        test_miss_rate_at_1_interval: Streams resampled.
        test_miss_rate_at_half_interval: The same at 0.5.
        curve: Of test speakers: false alarms per hour and miss rate, by threshold.
    """

    smoothing: int
    threshold: float | None
    miss_rate: float
    miss_rate_interval: tuple[float, float]
    false_alarms_per_hour: float
    false_alarms_interval: tuple[float, float]
    latency: float | None
    latency_90: float | None
    validation_miss_rate_at_1: float
    test_miss_rate_at_1: float
    test_miss_rate_at_half: float
    test_miss_rate_at_1_interval: tuple[float, float]
    test_miss_rate_at_half_interval: tuple[float, float]
    curve: dict[str, list[float]]


@dataclass(frozen=True)
class Counts:
    """Misses and false alarms by (stream, threshold), to be summed over any choice of streams."""

    thresholds: np.ndarray
    misses: np.ndarray
    alarms: np.ndarray
    keywords: np.ndarray
    hours: np.ndarray

    def det(self, weights: np.ndarray | None = None) -> StreamDet:
        """The curve of all streams together, each counted `weights` times."""
        weights = np.ones(self.hours.shape[0]) if weights is None else weights
        misses = weights @ self.misses / (weights @ self.keywords)
        alarms = weights @ self.alarms / (weights @ self.hours)
        return StreamDet(self.thresholds, misses, alarms.round(9))  # 18 x 10 minutes add up to a little under 3 hours


@dataclass(frozen=True)
class Judged:
    """A mode's summary, and the counts on test speakers that comparisons are made of."""

    summary: Summary
    counts: Counts


def judge_mode(validation: Run, val_scenes: Scenes, testing: Run, test_scenes: Scenes, step_duration: float) -> Judged:
    """Chooses smoothing and threshold on validation speakers and judges test speakers with them.

    Args:
        validation: Times in seconds and (streams, steps) probabilities.
        val_scenes: What was heard.
        testing: The same of test speakers.
        test_scenes: What was heard.
        step_duration: Seconds between steps.
    """

    def detector(run: Run, smoothing: int) -> Detect:
        config = DetectorConfig(smoothing=smoothing, step_duration=step_duration)
        return lambda threshold: [detections(run[0], row, replace(config, threshold=threshold))[0] for row in run[1]]

    counts = {n: count(detector(validation, n), val_scenes, THRESHOLDS) for n in SMOOTHINGS}
    smoothing = min(SMOOTHINGS, key=lambda n: miss_rate_at(counts[n].det(), ALARM_RATES[0]))
    return judge(counts[smoothing], detector(testing, smoothing), test_scenes, smoothing)


def count(detect: Detect, scenes: Scenes, thresholds: np.ndarray) -> Counts:
    """Counts misses and false alarms of any detector at every threshold."""
    keywords = np.array([len(intervals) for intervals in scenes.keyword_intervals])
    misses, alarms = np.empty((2, keywords.size, thresholds.size))
    for column, threshold in enumerate(thresholds.tolist()):
        for row, match in enumerate(_matches(detect(threshold), scenes)):
            misses[row, column] = np.count_nonzero(~match.hits)
            alarms[row, column] = len(match.false_alarms)
    return Counts(thresholds, misses, alarms, keywords, np.full(keywords.size, scenes.hours / keywords.size))


def judge(validation: Counts, detect: Detect, scenes: Scenes, smoothing: int = 1) -> Judged:
    """Chooses the threshold on validation speakers and judges test speakers with it.

    Args:
        validation: Of validation speakers.
        detect: Detections in the test scenes.
        scenes: Of test speakers.
        smoothing: Steps, for the record.
    """
    counts = count(detect, scenes, validation.thresholds)
    val_det, det = validation.det(), counts.det()
    threshold = threshold_at(val_det, ALARM_RATES[0])
    found = [np.zeros(0)] * len(scenes.snrs) if threshold is None else detect(threshold)
    return Judged(
        Summary(
            smoothing=smoothing,
            threshold=threshold,
            **_in_use(_matches(found, scenes), scenes),
            validation_miss_rate_at_1=miss_rate_at(val_det, ALARM_RATES[0]),
            test_miss_rate_at_1=miss_rate_at(det, ALARM_RATES[0]),
            test_miss_rate_at_half=miss_rate_at(det, ALARM_RATES[1]),
            test_miss_rate_at_1_interval=_interval(_resampled(counts, ALARM_RATES[0])),
            test_miss_rate_at_half_interval=_interval(_resampled(counts, ALARM_RATES[1])),
            curve={
                "false_alarms_per_hour": det.false_alarms_per_hour.round(4).tolist(),
                "miss_rate": det.miss_rate.round(5).tolist(),
            },
        ),
        counts,
    )


def compare_modes(ours: Judged, other: Judged) -> dict[str, float | tuple[float, float]]:
    """Difference of the miss rates at one false alarm an hour on test speakers, the same streams resampled for both."""
    estimate = ours.summary.test_miss_rate_at_1 - other.summary.test_miss_rate_at_1
    resampled = [_resampled(judged.counts, ALARM_RATES[0]) for judged in (ours, other)]
    return {"difference": estimate, "interval": _interval(resampled[0] - resampled[1])}


def _matches(found: list[np.ndarray], scenes: Scenes) -> list[Matches]:
    """Of each stream's detection times, in seconds."""
    return [match_detections(times, words) for times, words in zip(found, scenes.keyword_intervals, strict=True)]


def _in_use(matches: list[Matches], scenes: Scenes) -> dict[str, Any]:
    """What a detector with one threshold is worth."""
    hits = np.concatenate([match.hits for match in matches])
    alarms = sum(len(match.false_alarms) for match in matches)
    latencies = np.concatenate([match.latencies for match in matches])
    return {
        "miss_rate": float(1 - hits.mean()),
        "miss_rate_interval": _speaker_interval(~hits, np.concatenate(scenes.keyword_speakers)),
        "false_alarms_per_hour": alarms / scenes.hours,
        "false_alarms_interval": poisson_interval(alarms, scenes.hours),
        "latency": float(np.median(latencies)) if latencies.size else None,
        "latency_90": float(np.quantile(latencies, 0.9)) if latencies.size else None,
    }


def poisson_interval(count: int, duration: float) -> tuple[float, float]:
    """Exact 95 % interval of a rate after `count` events in `duration`.

    References:
        Garwood: Fiducial Limits for the Poisson Distribution, 1936.
    """
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low / duration), float(chi2.ppf(0.975, 2 * count + 2) / 2 / duration)


def _speaker_interval(misses: np.ndarray, speakers: np.ndarray) -> tuple[float, float]:
    _, index = np.unique(speakers, return_inverse=True)
    missed, spoken = np.bincount(index, misses), np.bincount(index)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(spoken.size, np.full(spoken.size, 1 / spoken.size), RESAMPLES)
    return _interval((weights @ missed) / (weights @ spoken))


def _resampled(counts: Counts, alarm_rate: float) -> np.ndarray:
    """Miss rate at so many false alarms an hour of resampled streams; the same draws for the same streams."""
    streams = counts.hours.size
    weights = np.random.default_rng(0).multinomial(streams, np.full(streams, 1 / streams), RESAMPLES)
    weights = weights[weights @ counts.keywords > 0]  # few short streams may all be without one
    return np.array([miss_rate_at(counts.det(row.astype(np.float64)), alarm_rate) for row in weights])


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
