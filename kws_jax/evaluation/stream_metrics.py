"""How a detector is judged on continuous audio: misses against false alarms per hour.

A keyword's interval runs from its start until `tolerance` seconds after its end. A detection is the hit of the first
keyword that it may be of and that has none yet; every other detection is a false alarm, a second one of the same word
too, since an application would act on it twice. (What is heard of one word while the next begins is of the first: as
many keywords are hit as can be.) Times are in seconds from the start of the stream.

References:
    Banbury et al.: MLPerf Tiny Benchmark, 2021; its streaming test counts hits up to 1 s after the word's end.
    Wang et al.: WeKws: A Production First Small-Footprint End-to-End Keyword Spotting Toolkit, 2022 (miss rate at a
        number of false alarms per hour).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from kws_jax.detector import DetectorConfig, checked_times, smooth, trigger_indices
from kws_jax.evaluation.checks import number, numbers

__all__ = [
    "HIT_TOLERANCE",
    "Counts",
    "Detect",
    "Matches",
    "StreamDet",
    "count_errors",
    "detector",
    "match_detections",
    "miss_rate_at",
    "threshold_at",
]

HIT_TOLERANCE = 1.0  # s after the word's end


class Matches(NamedTuple):
    """Which detection belongs to which keyword.

    Attributes:
        hits: Whether each keyword was detected.
        false_alarms: Times of the detections that are no hit, in seconds, ascending.
        latencies: From the end of each detected keyword to its detection, in seconds; negative before the end.
    """

    hits: Bool[np.ndarray, " keywords"]
    false_alarms: Float64[np.ndarray, " alarms"]
    latencies: Float64[np.ndarray, " detected"]


class StreamDet(NamedTuple):
    """Detection error tradeoff of a detector on a stream.

    Neither rate need be monotone: a score that never falls below a low threshold triggers only once.

    Attributes:
        thresholds: As asked for, in [0, 1].
        miss_rate: Share of the keywords that are not detected, in [0, 1]; NaN where the stream holds none.
        false_alarms_per_hour: Of the whole stream, keywords included.
    """

    thresholds: Float64[np.ndarray, " thresholds"]
    miss_rate: Float64[np.ndarray, " thresholds"]
    false_alarms_per_hour: Float64[np.ndarray, " thresholds"]


def match_detections(
    detection_times: Real[np.ndarray, " detections"],
    keyword_intervals: Real[np.ndarray, "keywords 2"],
    tolerance: float = HIT_TOLERANCE,
) -> Matches:
    """Counts detections as hits and false alarms.

    Args:
        detection_times: Ascending, in seconds.
        keyword_intervals: Start and end of each keyword in seconds; starts ascending, words not overlapping.
        tolerance: How long after its end a word may still be detected, in seconds.

    Raises:
        ValueError: If detections or keywords are no finite numbers, or not in order.
    """
    times = numbers(detection_times, "detections")
    intervals = numbers(keyword_intervals, "keywords", (None, 2))
    number(tolerance, "tolerance", 0)
    if not ((np.diff(times) >= 0).all() and (np.diff(intervals.ravel()) >= 0).all()):
        raise ValueError("detections and keywords must be in order of time, and keywords must not overlap")
    hits, alarms, latencies, waiting = np.zeros(len(intervals), bool), [], [], 0
    for time in times.tolist():
        while waiting < len(intervals) and intervals[waiting, 1] + tolerance < time:
            waiting += 1
        if waiting < len(intervals) and intervals[waiting, 0] <= time:
            hits[waiting] = True
            latencies.append(time - intervals[waiting, 1])
            waiting += 1
        else:
            alarms.append(time)
    return Matches(hits, np.array(alarms, np.float64), np.array(latencies, np.float64))


class Counts(NamedTuple):
    """Misses and false alarms of streams, to be summed over any choice of them.

    Attributes:
        thresholds: In [0, 1] for probabilities; any unit for another engine's scores.
        misses: By stream and threshold.
        alarms: By stream and threshold.
        keywords: Of each stream.
        hours: Of each stream.
    """

    thresholds: Float64[np.ndarray, " thresholds"]
    misses: Float64[np.ndarray, "streams thresholds"]
    alarms: Float64[np.ndarray, "streams thresholds"]
    keywords: Int[np.ndarray, " streams"]
    hours: Float64[np.ndarray, " streams"]

    def det(self, weights: Real[np.ndarray, " streams"] | None = None) -> StreamDet:
        """The curve of all streams together, each counted `weights` times.

        Raises:
            ValueError: If the weights are not one number of at least 0 a stream, or all 0.
        """
        weights = np.ones(len(self.hours)) if weights is None else numbers(weights, "weights", self.hours.shape)
        if weights.min() < 0 or not weights.any():
            raise ValueError("weights must be at least 0, and not all 0")
        total = weights @ self.keywords
        misses = weights @ self.misses / total if total else np.full(len(self.thresholds), math.nan)
        # 18 x 10 minutes add up to a little under 3 hours.
        return StreamDet(self.thresholds, misses, (weights @ self.alarms / (weights @ self.hours)).round(9))


Detect = Callable[[float], Sequence[np.ndarray]]  # from a threshold to each stream's detection times in seconds


def detector(
    times: Real[np.ndarray, "_"], probabilities: Float[np.ndarray, "streams _"], config: DetectorConfig
) -> Detect:
    """Our detector over streams of the same times, at any threshold; scores are smoothed once.

    Args:
        times: Of the steps; see `kws_jax.detector.detections`.
        probabilities: In [0, 1] or NaN.
        config: The detector, whatever its threshold.

    Raises:
        ValueError: As `detections` does.
    """
    if np.ndim(probabilities) != 2 or not len(probabilities):
        raise ValueError(f"probabilities must be of streams and steps, found shape {np.shape(probabilities)}")
    scores = [smooth(row, config.smoothing) for row in probabilities]
    times = checked_times(times, probabilities[0], config)

    def detect(threshold: float) -> list[np.ndarray]:
        at = replace(config, threshold=threshold)
        return [times[trigger_indices(row, at)] for row in scores]

    return detect


def count_errors(
    detect: Detect,
    keyword_intervals: Sequence[Real[np.ndarray, "_ 2"]],
    hours: float,
    thresholds: Sequence[float] | Real[np.ndarray, " thresholds"],
    tolerance: float = HIT_TOLERANCE,
) -> Counts:
    """Counts misses and false alarms of any detector at every threshold.

    Args:
        detect: The detector.
        keyword_intervals: Of each stream; see `match_detections`.
        hours: Of all streams together, which are equally long.
        thresholds: Of the detector.
        tolerance: See `match_detections`.

    Raises:
        ValueError: If the streams have no duration, or as `match_detections` does.
    """
    if not 0 < number(hours, "hours", 0) < math.inf or not len(keyword_intervals):
        raise ValueError(f"{len(keyword_intervals)} streams of {hours} hours have no false alarms per hour")
    thresholds = numbers(thresholds, "thresholds")
    keywords = np.array([len(intervals) for intervals in keyword_intervals])
    misses, alarms = np.empty((2, len(keywords), len(thresholds)))
    for column, threshold in enumerate(thresholds):
        for row, (found, intervals) in enumerate(zip(detect(float(threshold)), keyword_intervals, strict=True)):
            match = match_detections(found, intervals, tolerance)
            misses[row, column] = np.count_nonzero(~match.hits)
            alarms[row, column] = len(match.false_alarms)
    each = np.full(len(keywords), hours / len(keywords))
    return Counts(thresholds, misses, alarms, keywords, each)


def miss_rate_at(det: StreamDet, false_alarms_per_hour: float) -> float:
    """Lowest miss rate at no more than so many false alarms per hour.

    A step function of the thresholds at hand: nothing is interpolated, and where none of them is good enough it is 1,
    the miss rate of a detector that never triggers.

    Raises:
        ValueError: If the stream holds no keyword, or the limit is no number of at least 0.
    """
    good = _good_thresholds(det, false_alarms_per_hour)
    return float(det.miss_rate[good[0]]) if len(good) else 1.0


def threshold_at(det: StreamDet, false_alarms_per_hour: float) -> float | None:
    """The threshold of `miss_rate_at`, None where none is good enough; of equal ones the highest.

    Raises:
        ValueError: If the stream holds no keyword, or the limit is no number of at least 0.
    """
    good = _good_thresholds(det, false_alarms_per_hour)
    return float(det.thresholds[good[0]]) if len(good) else None


def _good_thresholds(det: StreamDet, limit: float) -> Int[np.ndarray, " good"]:
    """Indices of the thresholds within the limit, best first: fewest misses, then fewest false alarms, then highest."""
    number(limit, "false alarms per hour", 0)
    if len({len(values) for values in det}) > 1:
        raise ValueError("a curve has as many thresholds as rates")
    if np.isnan(det.miss_rate).any():
        raise ValueError("the stream holds no keyword that could be missed")
    order = np.lexsort((-det.thresholds, det.false_alarms_per_hour, det.miss_rate))
    return order[det.false_alarms_per_hour[order] <= limit]
