"""From probabilities over scenes to miss rates at numbers of false alarms per hour, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2

from experiments.study.stream_records import StreamQuality
from kws_jax.data.scenes import Scenes
from kws_jax.detector import DetectorConfig
from kws_jax.evaluation.stream_metrics import (
    Counts,
    Detect,
    Matches,
    count_errors,
    detector,
    match_detections,
    miss_rate_at,
    threshold_at,
)

MODES = ("carried", "reset", "sliding")
ALARM_RATES = (1.0, 0.5)  # false alarms per hour
SMOOTHINGS = (1, 3, 5)  # steps
# Scores crowd near 1, so thresholds are even in log-odds.
THRESHOLDS = 1.0 / (1.0 + np.exp(-np.linspace(-2.0, 12.0, 113)))
RESAMPLES = 2_000


class Run(NamedTuple):
    """What a model says of streams: times of the steps in seconds, and (streams, steps) probabilities."""

    times: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class OperatingPoint:
    """How a detector is to be used, chosen on validation speakers.

    Attributes:
        smoothing: Steps, of which this many miss least at one false alarm an hour.
        threshold: With the fewest misses at no more than that; None where no threshold reaches it.
        false_alarms_per_hour: At the threshold, on validation speakers.
        miss_rate: The same.
        counts: At every threshold.
    """

    smoothing: int
    threshold: float | None
    false_alarms_per_hour: float
    miss_rate: float
    counts: Counts


@dataclass(frozen=True)
class Judged:
    """A mode's quality, and the counts on test speakers that comparisons are made of."""

    quality: StreamQuality
    counts: Counts


def operating_point(run: Run, scenes: Scenes, step_duration: float) -> OperatingPoint:
    """Chooses smoothing and threshold on validation speakers.

    Args:
        run: On validation scenes.
        scenes: What was heard.
        step_duration: Seconds between steps.
    """
    counts = {
        smoothing: _count(detector(*run, DetectorConfig(smoothing=smoothing, step_duration=step_duration)), scenes)
        for smoothing in SMOOTHINGS
    }
    smoothing = min(SMOOTHINGS, key=lambda n: miss_rate_at(counts[n].det(), ALARM_RATES[0]))
    return choose(counts[smoothing], smoothing)


def choose(counts: Counts, smoothing: int = 1) -> OperatingPoint:
    """The operating point among thresholds that were counted."""
    det = counts.det()
    threshold = threshold_at(det, ALARM_RATES[0])
    if threshold is None:
        return OperatingPoint(smoothing, None, 0.0, 1.0, counts)
    at = int(np.flatnonzero(det.thresholds == threshold)[0])
    return OperatingPoint(smoothing, threshold, float(det.false_alarms_per_hour[at]), float(det.miss_rate[at]), counts)


def judge_mode(
    validation: Run, validation_scenes: Scenes, testing: Run, scenes: Scenes, step_duration: float
) -> Judged:
    """Chooses smoothing and threshold on validation speakers and judges test speakers with them."""
    point = operating_point(validation, validation_scenes, step_duration)
    config = DetectorConfig(smoothing=point.smoothing, step_duration=step_duration)
    return judge(point, detector(*testing, config), scenes)


def judge(point: OperatingPoint, detect: Detect, scenes: Scenes) -> Judged:
    """Judges test speakers at an operating point, and on their own curve.

    Args:
        point: Chosen on validation speakers.
        detect: Detections in the test scenes.
        scenes: Of test speakers.
    """
    counts = _count(detect, scenes, point.counts.thresholds)
    det = counts.det()
    silent: Sequence[np.ndarray] = [np.zeros(0)] * len(scenes.snrs)
    found = silent if point.threshold is None else detect(point.threshold)
    quality = StreamQuality(
        smoothing=point.smoothing,
        threshold=point.threshold,
        **_in_use([match_detections(*pair) for pair in zip(found, scenes.keyword_intervals, strict=True)], scenes),
        validation_miss_rate_at_1=miss_rate_at(point.counts.det(), ALARM_RATES[0]),
        test_miss_rate_at_1=miss_rate_at(det, ALARM_RATES[0]),
        test_miss_rate_at_half=miss_rate_at(det, ALARM_RATES[1]),
        test_miss_rate_at_1_interval=_interval(_resampled(counts, ALARM_RATES[0])),
        test_miss_rate_at_half_interval=_interval(_resampled(counts, ALARM_RATES[1])),
        curve={
            "false_alarms_per_hour": det.false_alarms_per_hour.round(4).tolist(),
            "miss_rate": det.miss_rate.round(5).tolist(),
        },
    )
    return Judged(quality, counts)


def compare_modes(ours: Judged, other: Judged) -> tuple[float, float, float]:
    """Difference of the miss rates at one false alarm an hour on test speakers, the same streams resampled for both."""
    estimate = ours.quality.test_miss_rate_at_1 - other.quality.test_miss_rate_at_1
    resampled = [_resampled(judged.counts, ALARM_RATES[0]) for judged in (ours, other)]
    return estimate, *_interval(resampled[0] - resampled[1])


def _count(detect: Detect, scenes: Scenes, thresholds: np.ndarray = THRESHOLDS) -> Counts:
    return count_errors(detect, scenes.keyword_intervals, scenes.hours, thresholds)


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
    return np.array([miss_rate_at(counts.det(row), alarm_rate) for row in weights])


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
