"""How sure a comparison of two models is: a paired bootstrap of 1 - AUROC over speakers."""

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Real, Shaped
from scipy.sparse import coo_array

from kws_jax.evaluation.checks import number, numbers
from kws_jax.evaluation.metrics import Labels, Scores, checked

__all__ = ["Interval", "PairedScores", "SpeakerBootstrap", "speaker_bootstrap"]

MOST_RESAMPLES = 1_000_000


class Interval(NamedTuple):
    """A statistic on the data at hand, and the ends of its bootstrap interval."""

    estimate: float
    low: float
    high: float


class PairedScores(NamedTuple):
    """Scores of two models for the same clips, under one keyword and seed; see `kws_jax.evaluation.metrics`."""

    student_scores: Scores
    base_scores: Scores
    labels: Labels
    speakers: Shaped[np.ndarray, "_"]


class SpeakerBootstrap(NamedTuple):
    """Intervals of `speaker_bootstrap`; the errors are means over groups of 1 - AUROC.

    Attributes:
        student: The student's error.
        base: The base's error.
        ratio: student / base; 1 where both are 0, infinite where the base's alone is.
        difference: student - base.
        mean_ratio: Mean over kinds of the ratio of that kind's mean errors.
        num_resamples: Resamples that counted: those with both classes in every group.
    """

    student: Interval
    base: Interval
    ratio: Interval
    difference: Interval
    mean_ratio: Interval
    num_resamples: int


def speaker_bootstrap(
    groups: Sequence[PairedScores],
    num_resamples: int = 2_000,
    seed: int = 0,
    confidence: float = 0.95,
    kinds: Sequence[Hashable] | None = None,
) -> SpeakerBootstrap:
    """Paired percentile bootstrap of 1 - AUROC that resamples speakers.

    A resample draws as many speakers as there are in all groups together, with replacement, and takes all clips of
    each; the same draw serves both models and every group. Errors are averaged over groups before the ratio is taken.
    Resamples that leave a group without one of the classes have no AUROC and are left out. The ends of an interval
    are resampled values (no interpolation, the outer neighbour is taken), so an infinite ratio shows as infinity.

    Args:
        groups: One entry a seed and keyword; a speaker id means the same person in all of them.
        num_resamples: Draws, 1 to a million.
        seed: Of the draws.
        confidence: Coverage of the intervals, in (0, 1).
        kinds: Of each group, such as its keyword, for `mean_ratio`; one kind by default.

    Raises:
        ValueError: The arguments are out of range, the arrays of a group do not fit together (`metrics.checked`), there
            are not as many kinds as groups, or no resample has both classes.

    References:
        Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
        Bisani, Ney: Bootstrap Estimates for Confidence Intervals in ASR Performance Evaluation, 2004 (paired).
    """
    _check(groups, num_resamples, seed, confidence, kinds)
    speakers, indices = np.unique(np.concatenate([group.speakers for group in groups]), return_inverse=True)
    clip_speakers = np.split(indices, np.cumsum([len(group.speakers) for group in groups])[:-1])
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(speakers), np.full(len(speakers), 1 / len(speakers)), size=num_resamples)
    counts = np.vstack([np.ones((1, len(speakers))), draws])  # the first row takes the data as they are
    errors = np.stack([_errors(group, ids, counts) for group, ids in zip(groups, clip_speakers, strict=True)])
    errors = errors[:, :, ~np.isnan(errors).any(axis=(0, 1))]
    if errors.shape[2] == 1:
        raise ValueError("no resample has clips of both classes: there are too few speakers")
    statistics = _statistics(errors, list(kinds) if kinds is not None else [None] * len(groups))
    values = np.sort(statistics[:, 1:], axis=1)
    tail = math.floor((1 - confidence) / 2 * (values.shape[1] - 1))
    ends = np.stack([statistics[:, 0], values[:, tail], values[:, -1 - tail]], axis=1)
    student, base, ratio, difference, mean_ratio = (Interval(*row) for row in ends.tolist())
    return SpeakerBootstrap(student, base, ratio, difference, mean_ratio, num_resamples=values.shape[1])


def _check(
    groups: Sequence[PairedScores], num_resamples: int, seed: int, confidence: float, kinds: Sequence[Hashable] | None
) -> None:
    number(num_resamples, "num_resamples", 1, MOST_RESAMPLES, whole=True)
    number(seed, "seed", 0, whole=True)
    if not 0 < number(confidence, "confidence", 0, 1) < 1:
        raise ValueError(f"confidence must be between 0 and 1, found {confidence}")
    if not groups or not all(isinstance(group, tuple) and len(group) == len(PairedScores._fields) for group in groups):
        raise ValueError("a bootstrap needs groups, each of scores, scores, labels and speakers")
    if kinds is not None and len(kinds) != len(groups):
        raise ValueError(f"{len(kinds)} kinds of {len(groups)} groups: each group has one")
    for *_, labels, speakers in groups:
        if np.shape(speakers) != np.shape(labels):
            raise ValueError("speakers and labels differ in length")
        if not _has_names(speakers):
            numbers(speakers, "speakers without names")
    if len({_has_names(speakers) for *_, speakers in groups}) > 1:
        raise ValueError("speakers have names in some groups and numbers in others")


def _has_names(speakers: Any) -> bool:
    return np.asarray(speakers).dtype.kind == "U"


def _errors(
    group: PairedScores, speakers: Int[np.ndarray, "clips"], counts: Real[np.ndarray, "resamples speakers"]
) -> Float64[np.ndarray, "2 resamples"]:
    """1 - AUROC of student and base; NaN where a class is lost.

    With n[s] and m[t] the keyword's and the other clips of speakers s and t, w[s, t] their misordered pairs, and c the
    times that a speaker was drawn, the error is sum c[s] c[t] w[s, t] / (sum c[s] n[s] sum c[t] m[t]). Few pairs are
    misordered, so that w is sparse.
    """
    _, positive = checked(group.student_scores, group.labels)
    keyword, other = speakers[positive], speakers[~positive]
    size = counts.shape[1]
    pairs = (counts @ np.bincount(keyword, minlength=size)) * (counts @ np.bincount(other, minlength=size))
    errors = np.full((2, len(counts)), np.nan)
    for model, scores in enumerate((group.student_scores, group.base_scores)):
        values, _ = checked(scores, group.labels)
        below = values[positive][:, None] - values[~positive]
        rows, columns = np.nonzero(below <= 0)
        weights = np.where(below[rows, columns] == 0, 0.5, 1.0)
        misordered = coo_array((weights, (keyword[rows], other[columns])), shape=(size, size)).tocsr()
        np.divide(np.sum((counts @ misordered) * counts, axis=1), pairs, out=errors[model], where=pairs > 0)
    return errors


def _statistics(
    errors: Float64[np.ndarray, "groups 2 resamples"], kinds: Sequence[Hashable]
) -> Float64[np.ndarray, "5 resamples"]:
    """Student, base, ratio, difference and mean ratio, from the errors of student and base."""
    student, base = errors.mean(axis=0)
    members = [[index for index, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds)]
    mean_ratio = np.mean([_ratio(*errors[indices].mean(axis=0)) for indices in members], axis=0)
    return np.stack([student, base, _ratio(student, base), student - base, mean_ratio])


def _ratio(
    student: Float64[np.ndarray, "resamples"], base: Float64[np.ndarray, "resamples"]
) -> Float64[np.ndarray, "resamples"]:
    ratio = np.where(student > 0, np.inf, 1.0)
    np.divide(student, base, out=ratio, where=base > 0)
    return ratio
