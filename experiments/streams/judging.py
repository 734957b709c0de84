"""From probabilities over scenes to miss rates at numbers of false alarms per hour, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from experiments.study.stream_records import LIMITS, OperatingPoint, StreamQuality
from kws_jax.data.scenes import Scenes
from kws_jax.detector import DetectorConfig
from kws_jax.evaluation.stream_metrics import (
    Counts,
    Detect,
    count_errors,
    detector,
    match_detections,
    miss_rate_at,
    threshold_at,
)

HALF, ONE, FLOOR = 0.5, 1.0, 60.0  # false alarms an hour at which curves are read
SMOOTHINGS = (1, 3, 5)  # steps
# Scores crowd near 1, so thresholds are even in log-odds.
THRESHOLDS = 1.0 / (1.0 + np.exp(-np.linspace(-2.0, 12.0, 113)))
RESAMPLES = 2_000


class Run(NamedTuple):
    """What a model says of streams: times of the steps in seconds, and (streams, steps) probabilities."""

    times: np.ndarray
    probabilities: np.ndarray


class Chosen(NamedTuple):
    """What validation speakers choose: steps of smoothing, and thresholds by what they give at each.

    Attributes:
        smoothing: Steps, of which this many miss least at one false alarm an hour.
        counts: Of validation speakers at every threshold.
    """

    smoothing: int
    counts: Counts


@dataclass(frozen=True)
class Judged:
    """A mode's quality, and the counts on test speakers that comparisons are made of."""

    quality: StreamQuality
    counts: Counts


def choose(run: Run, scenes: Scenes, step_duration: float) -> Chosen:
    """Counts what validation speakers get, with the best smoothing.

    Args:
        run: On validation scenes.
        scenes: What was heard.
        step_duration: Seconds between steps.
    """
    counts = {
        smoothing: _count(detector(*run, DetectorConfig(smoothing=smoothing, step_duration=step_duration)), scenes)
        for smoothing in SMOOTHINGS
    }
    smoothing = min(SMOOTHINGS, key=lambda n: miss_rate_at(counts[n].det(), ONE))
    return Chosen(smoothing, counts[smoothing])


def judge_mode(
    validation: Run, validation_scenes: Scenes, testing: Run, scenes: Scenes, step_duration: float
) -> Judged:
    """Chooses smoothing and thresholds on validation speakers and judges test speakers with them."""
    chosen = choose(validation, validation_scenes, step_duration)
    config = DetectorConfig(smoothing=chosen.smoothing, step_duration=step_duration)
    return judge(chosen, detector(*testing, config), scenes)


def judge(chosen: Chosen, detect: Detect, scenes: Scenes) -> Judged:
    """Judges test speakers at operating points, and on their own curve.

    Args:
        chosen: By validation speakers.
        detect: Detections in the test scenes.
        scenes: Of test speakers.
    """
    counts = _count(detect, scenes, chosen.counts.thresholds)
    det, own = counts.det(), chosen.counts.det()
    quality = StreamQuality(
        smoothing=chosen.smoothing,
        points=tuple(_point(limit, threshold_at(own, limit), detect, scenes) for limit in LIMITS),
        validation_miss_rate_at_1=miss_rate_at(own, ONE),
        test_miss_rate_at_1=miss_rate_at(det, ONE),
        test_miss_rate_at_half=miss_rate_at(det, HALF),
        miss_rate_at_60=miss_rate_at(det, FLOOR),
        test_miss_rate_at_1_interval=_interval(_resampled(counts, ONE)),
        test_miss_rate_at_half_interval=_interval(_resampled(counts, HALF)),
        by_snr=_by_snr(counts, scenes),
        curve={
            "false_alarms_per_hour": det.false_alarms_per_hour.round(4).tolist(),
            "miss_rate": det.miss_rate.round(5).tolist(),
        },
    )
    return Judged(quality, counts)


def compare_modes(ours: Judged, other: Judged) -> tuple[float, float, float]:
    """Difference of the miss rates at one false alarm an hour on test speakers, the same streams resampled for both."""
    estimate = ours.quality.test_miss_rate_at_1 - other.quality.test_miss_rate_at_1
    resampled = [_resampled(judged.counts, ONE) for judged in (ours, other)]
    return estimate, *_interval(resampled[0] - resampled[1])


def _count(detect: Detect, scenes: Scenes, thresholds: np.ndarray = THRESHOLDS) -> Counts:
    return count_errors(detect, scenes.keyword_intervals, scenes.hours, thresholds)


def _point(limit: float, threshold: float | None, detect: Detect, scenes: Scenes) -> OperatingPoint:
    """What a detector with one threshold is worth."""
    silent: Sequence[np.ndarray] = [np.zeros(0)] * len(scenes.snrs)
    found = silent if threshold is None else detect(threshold)
    matches = [match_detections(*pair) for pair in zip(found, scenes.keyword_intervals, strict=True)]
    hits, latencies = (np.concatenate([getattr(match, name) for match in matches]) for name in ("hits", "latencies"))
    alarms = sum(len(match.false_alarms) for match in matches)
    return OperatingPoint(
        limit=limit,
        threshold=threshold,
        miss_rate=float(1 - hits.mean()),
        miss_rate_interval=_speaker_interval(~hits, np.concatenate(scenes.keyword_speakers)),
        false_alarms_per_hour=alarms / scenes.hours,
        false_alarms_interval=poisson_interval(alarms, scenes.hours),
        latency=float(np.median(latencies)) if latencies.size else None,
        latency_90=float(np.quantile(latencies, 0.9)) if latencies.size else None,
    )


def _by_snr(counts: Counts, scenes: Scenes) -> dict[str, tuple[int, int]]:
    """Keywords missed and spoken in the streams of each signal-to-noise ratio, at one false alarm an hour of all."""
    threshold = threshold_at(counts.det(), ONE)
    missed = counts.keywords if threshold is None else counts.misses[:, counts.thresholds == threshold].sum(axis=1)
    names = np.array(["clean" if snr is None else f"{snr:g}" for snr in scenes.snrs])
    return {
        name: (int(missed[names == name].sum()), int(counts.keywords[names == name].sum()))
        for name in dict.fromkeys(names.tolist())
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
