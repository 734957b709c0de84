"""Hits and false alarms against literal loops, and the sweep against one threshold after another."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kws_jax.detector import DetectorConfig, detections
from kws_jax.evaluation.stream_metrics import (
    StreamDet,
    false_alarms_per_hour,
    match_detections,
    miss_rate,
    miss_rate_at,
    threshold_at,
    threshold_sweep,
)

# Halves, so that detections fall on the ends of intervals.
HALVES = st.integers(0, 60).map(lambda number: number / 2)
DETECTIONS = st.lists(HALVES, max_size=20).map(lambda values: np.sort(np.float64(values)))
KEYWORDS = st.lists(HALVES, max_size=16).map(
    lambda values: np.sort(np.float64(values))[: len(values) // 2 * 2].reshape(-1, 2)
)
NO_KEYWORDS = np.zeros((0, 2))


def matches_by_loop(times: np.ndarray, keywords: np.ndarray, tolerance: float) -> tuple[list, list, list]:
    hits, alarms, latencies = [False] * len(keywords), [], {}
    for moment in times.tolist():
        started = [index for index, (start, _) in enumerate(keywords) if start <= moment]
        if started and moment <= keywords[started[-1], 1] + tolerance and not hits[started[-1]]:
            hits[started[-1]] = True
            latencies[started[-1]] = moment - keywords[started[-1], 1]
        else:
            alarms.append(moment)
    return hits, alarms, [latencies[index] for index in sorted(latencies)]


@given(DETECTIONS, KEYWORDS, st.sampled_from([0.0, 0.5, 1.0]))
def test_matching_is_the_loop(times: np.ndarray, keywords: np.ndarray, tolerance: float):
    matches = match_detections(times, keywords, tolerance)
    assert tuple(part.tolist() for part in matches) == matches_by_loop(times, keywords, tolerance)
    assert len(matches.false_alarms) + matches.hits.sum() == len(times)


def test_an_interval_runs_from_the_start_to_a_second_after_the_end():
    keywords = np.array([[2.0, 2.5], [10.0, 10.6]])
    matches = match_detections(np.array([1.99, 2.0, 3.5, 3.6, 11.5]), keywords)
    assert matches.hits.tolist() == [True, True]
    assert matches.false_alarms.tolist() == [1.99, 3.5, 3.6], "the second detection of one word counts"
    np.testing.assert_allclose(matches.latencies, [-0.5, 0.9])


def test_rates():
    assert miss_rate(np.array([True, False, False, True])) == 0.5
    assert math.isnan(miss_rate(np.zeros(0, bool)))
    assert false_alarms_per_hour(3, 1800.0) == 6


@pytest.fixture(scope="module")
def stream() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, probabilities and keywords of three hours: noise, with a bump a second after each keyword's start."""
    rng = np.random.default_rng(0)
    times = (np.arange(135_000) + 21) * 0.08
    probabilities = rng.beta(0.4, 2, len(times)).astype(np.float32)
    starts = np.arange(30.0, times[-1] - 10, 20.0)
    for start in starts:
        first = int(start / 0.08) - 9
        probabilities[first : first + 8] = rng.random() ** 0.2
    probabilities[:5] = np.nan
    return times, probabilities, np.stack([starts, starts + 0.6], axis=1)


@pytest.mark.parametrize("smoothing", [1, 3])
def test_the_sweep_is_one_threshold_after_another(stream: tuple, smoothing: int):
    times, probabilities, keywords = (stream[0][:20_000], stream[1][:20_000], stream[2][:70])
    config, thresholds = DetectorConfig(smoothing=smoothing), [0.0, 0.2, 0.5, 0.9, 1.0]
    det = threshold_sweep(times, probabilities, keywords, 1600.0, config, thresholds)
    for index, threshold in enumerate(thresholds):
        found, _ = detections(times, probabilities, replace(config, threshold=threshold))
        hits, alarms, _ = matches_by_loop(found, keywords, 1.0)
        assert det.miss_rate[index] == pytest.approx(hits.count(False) / 70)
        assert det.false_alarms_per_hour[index] == pytest.approx(len(alarms) * 2.25)
    assert det.thresholds.tolist() == thresholds


def test_three_hours_at_200_thresholds_take_seconds(stream: tuple):
    begin = time.perf_counter()
    det = threshold_sweep(*stream, 3 * 3600.0, DetectorConfig(smoothing=2), np.linspace(0, 1, 200))
    assert time.perf_counter() - begin < 5
    assert 0 < miss_rate_at(det, 60.0) < 0.5


def test_the_miss_rate_is_read_off_and_never_made_up():
    det = StreamDet(np.array([0.0, 0.5, 0.7, 0.8, 0.9]), np.array([1, 0.1, 0.2, 0.2, 0.4]), np.array([1.0, 9, 4, 4, 2]))
    assert [miss_rate_at(det, limit) for limit in (0.5, 1.0, 2.0, 3.9, 4.0, 9.0)] == [1, 1, 0.4, 0.4, 0.2, 0.1]
    assert threshold_at(det, 4.0) == 0.8
    assert threshold_at(det, 0.5) is None


def test_a_stream_without_keywords_has_false_alarms_only(stream: tuple):
    det = threshold_sweep(stream[0][:1000], stream[1][:1000], NO_KEYWORDS, 80.0, DetectorConfig(), [0.5])
    assert math.isnan(det.miss_rate[0])
    assert det.false_alarms_per_hour[0] > 0
    with pytest.raises(ValueError, match="no keyword"):
        miss_rate_at(det, 1.0)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="in order"):
        match_detections(np.array([2.0, 1.0]), NO_KEYWORDS)
    with pytest.raises(ValueError, match="overlap"):
        match_detections(np.zeros(0), np.array([[0.0, 2.0], [1.0, 3.0]]))
    with pytest.raises(ValueError, match=r"0\.0 s"):
        false_alarms_per_hour(1, 0.0)
