from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr

from kws_jax.evaluation.metrics import au_fa_fr, auroc_error, balanced_au_fa_fr, det_curve, equal_error_rate
from tests.tolerances import CLOSED_FORM, EMPIRICAL_QUANTILES


def scored_clips(scores: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Scores and labels with both classes present."""
    clips = st.lists(st.tuples(scores, st.integers(0, 1)), min_size=2, max_size=40)
    return clips.filter(lambda pairs: len({label for _, label in pairs}) == 2).map(
        lambda pairs: (np.array([score for score, _ in pairs], np.float64), np.array([label for _, label in pairs]))
    )


TIED = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
PROBABILITIES = scored_clips(st.one_of(TIED, st.floats(0, 1)))
MARGINS = scored_clips(st.one_of(TIED, st.floats(-30, 30)))


def au_fa_fr_by_thresholds(scores: np.ndarray, labels: np.ndarray) -> float:
    """The homework's sweep, one threshold after another."""
    false_alarms, false_rejections = [], []
    for threshold in [0.0, *sorted(scores), 1.0]:
        detected = scores >= threshold
        false_alarms.append(np.sum(detected & (labels == 0)) / len(labels))
        false_rejections.append(np.sum(~detected & (labels == 1)) / len(labels))
    return -np.trapezoid(false_rejections, x=false_alarms)


def auroc_error_by_pairs(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    misordered = total = 0.0
    for keyword in np.flatnonzero(labels == 1):
        for other in np.flatnonzero(labels == 0):
            pair = weights[keyword] * weights[other]
            total += pair
            misordered += pair * ((scores[other] > scores[keyword]) + (scores[other] == scores[keyword]) / 2)
    return misordered / total


@given(PROBABILITIES)
def test_au_fa_fr_equals_the_threshold_loop(clips: tuple[np.ndarray, np.ndarray]) -> None:
    assert au_fa_fr(*clips) == pytest.approx(au_fa_fr_by_thresholds(*clips), abs=CLOSED_FORM)


@given(PROBABILITIES)
def test_au_fa_fr_is_prior_times_auroc_error(clips: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = clips
    assume(scores.max() < 1)
    prior = labels.mean()
    expected = prior * (1 - prior) * auroc_error(scores, labels)
    assert au_fa_fr(scores, labels) == pytest.approx(expected, abs=CLOSED_FORM)


def test_au_fa_fr_leaves_out_ties_at_one() -> None:
    scores, labels = np.ones(4), np.array([0, 0, 1, 1])
    assert au_fa_fr(scores, labels) == 0
    assert auroc_error(scores, labels) == 0.5


@given(MARGINS, st.data())
def test_auroc_error_equals_the_pair_loop(clips: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    scores, labels = clips
    weights = np.array(data.draw(st.lists(st.integers(0, 4), min_size=len(labels), max_size=len(labels))))
    assume(weights[labels == 1].any() and weights[labels == 0].any())
    error = auroc_error(scores, labels, weights)
    assert error == pytest.approx(auroc_error_by_pairs(scores, labels, weights), abs=CLOSED_FORM)
    repeated = auroc_error(np.repeat(scores, weights), np.repeat(labels, weights))
    assert error == pytest.approx(repeated, abs=CLOSED_FORM)


def test_tiny_auroc_error_is_exact() -> None:
    scores = np.append(np.arange(60_000.0), 59_998.5)
    labels = np.append(np.zeros(60_000, np.int64), 1)
    assert auroc_error(scores, labels) == 1 / 60_000
    assert balanced_au_fa_fr(scores, labels) == 0.25 / 60_000


@given(MARGINS)
def test_det_curve_counts_errors_at_each_threshold(clips: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = clips
    curve = det_curve(scores, labels)
    assert curve.thresholds.tolist() == [*sorted(set(scores.tolist())), np.inf]
    for threshold, false_alarm, false_rejection in zip(*curve, strict=True):
        assert false_alarm == np.mean(scores[labels == 0] >= threshold)
        assert false_rejection == np.mean(scores[labels == 1] < threshold)
    area = np.trapezoid(curve.false_rejection_rate[::-1], curve.false_alarm_rate[::-1])
    assert area == pytest.approx(auroc_error(scores, labels), abs=CLOSED_FORM)


@given(MARGINS)
def test_equal_error_rate_is_symmetric_and_on_the_curve(clips: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = clips
    rate = equal_error_rate(scores, labels)
    assert rate == pytest.approx(equal_error_rate(-scores, 1 - labels), abs=CLOSED_FORM)
    _, false_alarm, false_rejection = det_curve(scores, labels)
    crossing = np.interp(0, (false_rejection - false_alarm), false_rejection)
    assert rate == pytest.approx(crossing, abs=CLOSED_FORM)


def test_equal_error_rate_of_two_gaussians() -> None:
    quantiles = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    scores = np.concatenate([quantiles, quantiles + 3])
    labels = np.repeat([0, 1], 20_000)
    assert equal_error_rate(scores, labels) == pytest.approx(ndtr(-1.5), abs=EMPIRICAL_QUANTILES)
    assert auroc_error(scores, labels) == pytest.approx(ndtr(-3 / np.sqrt(2)), abs=EMPIRICAL_QUANTILES)


@pytest.mark.parametrize("metric", [au_fa_fr, auroc_error, balanced_au_fa_fr, det_curve, equal_error_rate])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [0, 1, 1], "differ in length: 2 and 3"),
        ([0.1, np.nan], [0, 1], "finite"),
        ([0.1, 0.2], [1, 1], "one class only"),
        ([0.1, 0.2], [0, 2], "0 or 1"),
    ],
)
def test_bad_input(metric: Callable, scores: list[float], labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metric(np.array(scores), np.array(labels))


def test_bad_range_and_weights() -> None:
    scores, labels = np.array([0.1, 1.2]), np.array([0, 1])
    for scale, found in ((1.0, "0.1 to 1.2"), (-0.5, "-0.6 to -0.05")):
        with pytest.raises(ValueError, match=rf"\[0, 1\], found {found}"):
            au_fa_fr(scale * scores, labels)
    for weights, message in (
        ([0, 1], "no class without"),
        ([1, -1], "at least 0"),
        ([1, np.inf], "finite"),
        ([1], "shape 2, found 1"),
    ):
        with pytest.raises(ValueError, match=f"weights must .*{message}"):
            auroc_error(scores, labels, np.array(weights))
