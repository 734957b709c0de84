"""Hits and false alarms against literal loops, and counts at many thresholds against one after another."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from kws_jax.detector import DetectorConfig, detections
from kws_jax.evaluation.stream_metrics import (
    StreamDet,
    count_errors,
    detector,
    match_detections,
    miss_rate_at,
    threshold_at,
)

# Halves, so that detections fall on the ends of intervals.
HALVES = st.integers(0, 60).map(lambda number: number / 2)
DETECTIONS = st.lists(HALVES, max_size=20).map(lambda values: np.sort(np.float64(values)))
KEYWORDS = st.lists(HALVES, max_size=16).map(
    lambda values: np.sort(np.float64(values))[: len(values) // 2 * 2].reshape(-1, 2)
)
NO_KEYWORDS = np.zeros((0, 2))
STEPS = 10_000


def matches_by_loop(times: np.ndarray, keywords: np.ndarray, tolerance: float) -> tuple[list, list, list]:
    hits, alarms, latencies = [False] * len(keywords), [], []
    for moment in times.tolist():
        may_be = [
            index
            for index, (start, end) in enumerate(keywords)
            if not hits[index] and start <= moment <= end + tolerance
        ]
        if may_be:
            hits[may_be[0]] = True
            latencies.append(moment - keywords[may_be[0], 1])
        else:
            alarms.append(moment)
    return hits, alarms, latencies


@given(DETECTIONS, KEYWORDS, st.sampled_from([0.0, 0.5, 1.0]))
def test_matching_is_the_loop(times: np.ndarray, keywords: np.ndarray, tolerance: float):
    matches = match_detections(times, keywords, tolerance)
    assert tuple(part.tolist() for part in matches) == matches_by_loop(times, keywords, tolerance)
    assert len(matches.false_alarms) + matches.hits.sum() == len(times)
    may_be = (keywords[:, :1] <= times) & (times <= keywords[:, 1:] + tolerance)
    assert matches.hits.sum() == (maximum_bipartite_matching(csr_array(may_be)) >= 0).sum(), "as many as can be"


def test_an_interval_runs_from_the_start_to_a_second_after_the_end():
    keywords = np.array([[2.0, 2.5], [10.0, 10.6]])
    matches = match_detections(np.array([1.99, 2.0, 3.5, 3.6, 11.5]), keywords)
    assert matches.hits.tolist() == [True, True]
    assert matches.false_alarms.tolist() == [1.99, 3.5, 3.6], "the second detection of one word counts"
    np.testing.assert_allclose(matches.latencies, [-0.5, 0.9])


def test_a_word_is_heard_while_the_next_begins():
    keywords = np.array([[1.0, 1.5], [1.8, 2.6]])
    matches = match_detections(np.array([1.9, 3.0]), keywords)
    assert matches.hits.all()
    np.testing.assert_allclose(matches.latencies, [0.4, 0.4])


@pytest.fixture(scope="module")
def streams() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Times, probabilities and keywords of two streams: noise, with a bump a second after each keyword's start."""
    rng = np.random.default_rng(0)
    times = (np.arange(STEPS) + 21) * 0.08
    probabilities = rng.beta(0.4, 2, (2, STEPS)).astype(np.float32)
    starts = np.arange(30.0, times[-1] - 10, 20.0)
    keywords = [np.stack([begin, begin + 0.6], axis=1) for begin in (starts, starts[::2])]
    for row, intervals in zip(probabilities, keywords, strict=True):
        for start in intervals[:, 0]:
            first = int(start / 0.08) - 9
            row[first : first + 8] = rng.random() ** 0.2
    probabilities[:, :5] = np.nan
    return times, probabilities, keywords


@pytest.mark.parametrize("smoothing", [1, 3])
def test_counts_are_those_of_one_threshold_after_another(streams: tuple, smoothing: int):
    times, probabilities, keywords = streams
    config, thresholds = DetectorConfig(smoothing=smoothing), [0.0, 0.2, 0.5, 0.9, 1.0]
    counts = count_errors(detector(times, probabilities, config), keywords, 0.5, thresholds)
    assert counts.keywords.tolist() == list(map(len, keywords))
    for column, threshold in enumerate(thresholds):
        for row in range(2):
            found, _ = detections(times, probabilities[row], replace(config, threshold=threshold))
            hits, alarms, _ = matches_by_loop(found, keywords[row], 1.0)
            assert (counts.misses[row, column], counts.alarms[row, column]) == (hits.count(False), len(alarms))
    det, twice = counts.det(), counts.det(np.array([2, 0]))
    np.testing.assert_allclose(det.miss_rate, counts.misses.sum(0) / counts.keywords.sum())
    np.testing.assert_allclose(det.false_alarms_per_hour, counts.alarms.sum(0) / 0.5)
    np.testing.assert_allclose(twice.miss_rate, counts.misses[0] / len(keywords[0]))
    np.testing.assert_allclose(twice.false_alarms_per_hour, counts.alarms[0] / 0.25)
    assert det.thresholds.tolist() == thresholds


def test_equal_streams_add_up_to_whole_hours():
    counts = count_errors(lambda threshold: [np.array([1.0])] * 18, [NO_KEYWORDS] * 18, 3.0, [0.5])
    assert counts.det().false_alarms_per_hour.tolist() == [6.0]


def test_the_miss_rate_is_read_off_and_never_made_up():
    det = StreamDet(np.array([0.0, 0.5, 0.7, 0.8, 0.9]), np.array([1, 0.1, 0.2, 0.2, 0.4]), np.array([1.0, 9, 4, 4, 2]))
    assert [miss_rate_at(det, limit) for limit in (0.5, 1.0, 2.0, 3.9, 4.0, 9.0)] == [1, 1, 0.4, 0.4, 0.2, 0.1]
    assert threshold_at(det, 4.0) == 0.8
    assert threshold_at(det, 0.5) is None


def test_a_stream_without_keywords_has_false_alarms_only(streams: tuple):
    times, probabilities, _ = streams
    det = count_errors(detector(times, probabilities[:1], DetectorConfig()), [NO_KEYWORDS], 0.2, [0.5]).det()
    assert math.isnan(det.miss_rate[0])
    assert det.false_alarms_per_hour[0] > 0
    with pytest.raises(ValueError, match="no keyword"):
        miss_rate_at(det, 1.0)


def test_misuse_is_named():
    with pytest.raises(ValueError, match="in order"):
        match_detections(np.array([2.0, 1.0]), NO_KEYWORDS)
    with pytest.raises(ValueError, match="overlap"):
        match_detections(np.zeros(0), np.array([[0.0, 2.0], [1.0, 3.0]]))
    with pytest.raises(ValueError, match=r"0\.0 hours"):
        count_errors(lambda threshold: [np.zeros(0)], [NO_KEYWORDS], 0.0, [0.5])
