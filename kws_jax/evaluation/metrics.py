"""Detection metrics over scores: areas, DET curve and equal error rate.

Scores grow with belief in the keyword; labels are 1 for the keyword, else 0. "Positive" means a keyword clip. All
functions raise a one-line ValueError when scores and labels differ in length or have more than one axis, a score is no
finite number, a label is neither 0 nor 1, or a class is missing.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Real, Shaped

from kws_jax.evaluation.checks import numbers

__all__ = [
    "DetCurve",
    "Labels",
    "Scores",
    "au_fa_fr",
    "auroc_error",
    "balanced_au_fa_fr",
    "checked",
    "det_curve",
    "equal_error_rate",
]

Scores = Real[np.ndarray, "_"]
Labels = Shaped[np.ndarray, "_"]


class DetCurve(NamedTuple):
    """Detection error tradeoff; rates are per class, in [0, 1].

    Attributes:
        thresholds: Ascending: every distinct score, then infinity. A score at or above the threshold is a detection.
        false_alarm_rate: Share of the other clips that are detected; falls from 1 to 0.
        false_rejection_rate: Share of the keyword clips that are not; rises from 0 to 1.
    """

    thresholds: Float64[np.ndarray, "points"]
    false_alarm_rate: Float64[np.ndarray, "points"]
    false_rejection_rate: Float64[np.ndarray, "points"]


def au_fa_fr(scores: Scores, labels: Labels) -> float:
    """Area under false rejections over false alarms, as the homework defines it; lower is better.

    FA and FR are counts of false alarms and rejections over the number of ALL clips, at every threshold among the
    scores and {0, 1}; a score at or above the threshold is a detection; trapezoidal rule. With p the share of
    keyword clips it equals p (1 - p) (1 - AUROC) as long as no score is exactly 1: the sweep ends at threshold 1, so
    what lies between the clips of score 1 is left out, as in the homework.

    Args:
        scores: Probabilities, in [0, 1].
        labels: 1 for the keyword, else 0.
    """
    scores, positive = checked(scores, labels)
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(f"scores must lie in [0, 1], found {scores.min():g} to {scores.max():g}")
    false_alarms, false_rejections = _error_counts(scores, positive, np.union1d(scores, (0.0, 1.0)))
    area = np.trapezoid(false_rejections[::-1], false_alarms[::-1])
    return float(area) / len(scores) ** 2


def auroc_error(scores: Scores, labels: Labels, weights: Real[np.ndarray, "_"] | None = None) -> float:
    """1 - AUROC: the probability that another clip scores above a keyword clip, ties counting one half.

    Summed from the misordered pairs, so small errors keep full relative precision.

    Args:
        scores: Any finite numbers, such as logit margins.
        labels: 1 for the keyword, else 0.
        weights: Multiplicity of each clip, at least 0; 1 by default.

    Raises:
        ValueError: Also if weights are negative, not finite, of another length, or leave a class without weight.
    """
    scores, positive = checked(scores, labels)
    weights = np.ones(len(scores)) if weights is None else numbers(weights, "weights", scores.shape)
    if weights.min() < 0 or not (weights[positive].any() and weights[~positive].any()):
        raise ValueError("weights must be at least 0, and leave no class without weight")
    order = np.argsort(scores[positive])
    keyword_scores, other_scores = scores[positive][order], scores[~positive]
    weight_below = np.concatenate([[0.0], np.cumsum(weights[positive][order])])
    lower = weight_below[np.searchsorted(keyword_scores, other_scores, "left")]
    lower_or_tied = weight_below[np.searchsorted(keyword_scores, other_scores, "right")]
    misordered = np.sum(weights[~positive] * (lower + lower_or_tied)) / 2
    return float(misordered / (weight_below[-1] * weights[~positive].sum()))


def balanced_au_fa_fr(scores: Scores, labels: Labels) -> float:
    """`au_fa_fr` as it would read at a keyword share of one half: (1 - AUROC) / 4, for any finite scores."""
    return 0.25 * auroc_error(scores, labels)


def det_curve(scores: Scores, labels: Labels) -> DetCurve:
    """False alarm and false rejection rates at every threshold that tells clips apart; takes any finite scores.

    References:
        Martin, Doddington, Kamm, Ordowski, Przybocki: The DET Curve in Assessment of Detection Task Performance, 1997.
    """
    scores, positive = checked(scores, labels)
    thresholds = np.append(np.unique(scores), np.inf)
    false_alarms, false_rejections = _error_counts(scores, positive, thresholds)
    return DetCurve(thresholds, false_alarms / np.sum(~positive), false_rejections / np.sum(positive))


def equal_error_rate(scores: Scores, labels: Labels) -> float:
    """Rate in [0, 1] at which false alarms and false rejections are equal.

    The DET curve is joined by straight lines between the last point with more false alarms and the first with at
    least as many false rejections; the crossing of that line with the diagonal is returned.
    """
    _, false_alarm, false_rejection = det_curve(scores, labels)
    gap = false_alarm - false_rejection
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(false_rejection[after - 1] + share * (false_rejection[after] - false_rejection[after - 1]))


def _error_counts(
    scores: Float64[np.ndarray, "clips"], positive: Bool[np.ndarray, "clips"], thresholds: Float64[np.ndarray, "points"]
) -> tuple[Shaped[np.ndarray, "points"], Shaped[np.ndarray, "points"]]:
    """Numbers of false alarms and false rejections at each threshold."""
    keyword_scores, other_scores = np.sort(scores[positive]), np.sort(scores[~positive])
    false_alarms = len(other_scores) - np.searchsorted(other_scores, thresholds)
    return false_alarms, np.searchsorted(keyword_scores, thresholds)


def checked(scores: Any, labels: Any) -> tuple[Float64[np.ndarray, "clips"], Bool[np.ndarray, "clips"]]:
    """Scores in float64 and labels as booleans, or a ValueError."""
    scores, labels = numbers(scores, "scores"), numbers(labels, "labels")
    if len(scores) != len(labels):
        raise ValueError(f"scores and labels differ in length: {len(scores)} and {len(labels)}")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    positive = labels.astype(bool)
    if positive.all() or not positive.any():
        raise ValueError("labels hold one class only: an error needs clips of both")
    return scores, positive
