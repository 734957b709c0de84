"""How sure a comparison of two models is: a paired bootstrap of 1 - AUROC over speakers."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Real, Shaped

from kws_jax.metrics import Labels, Scores, checked, weighted_auroc_errors

__all__ = ["Interval", "PairedScores", "SpeakerBootstrap", "speaker_bootstrap"]

MAX_BATCH_ELEMENTS = 2**21  # of resamples x clips, 16 MiB a temporary


class Interval(NamedTuple):
    """A statistic on the data at hand, and the ends of its bootstrap interval."""

    estimate: float
    low: float
    high: float


class PairedScores(NamedTuple):
    """Scores of two models for the same clips, under one keyword and seed; see `kws_jax.metrics`."""

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
        num_resamples: Resamples that counted: those with both classes in every group.
    """

    student: Interval
    base: Interval
    ratio: Interval
    difference: Interval
    num_resamples: int


def speaker_bootstrap(
    groups: Sequence[PairedScores], num_resamples: int = 2_000, seed: int = 0, confidence: float = 0.95
) -> SpeakerBootstrap:
    """Paired percentile bootstrap of 1 - AUROC that resamples speakers.

    A resample draws as many speakers as there are in all groups together, with replacement, and takes all clips of
    each; the same draw serves both models and every group. Errors are averaged over groups before the ratio is taken.
    Resamples that leave a group without one of the classes have no AUROC and are left out. The ends of an interval
    are resampled values (no interpolation, the outer neighbour is taken), so an infinite ratio shows as infinity.

    Args:
        groups: One entry a seed and keyword; a speaker id means the same person in all of them.
        num_resamples: Draws, at least 1.
        seed: Of the draws.
        confidence: Coverage of the intervals, in (0, 1).

    Raises:
        ValueError: The arguments are out of range, the arrays of a group do not fit together (`metrics.checked`), or
            no resample has both classes.

    References:
        Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
        Bisani, Ney: Bootstrap Estimates for Confidence Intervals in ASR Performance Evaluation, 2004 (paired).
    """
    if not groups or num_resamples < 1 or not 0 < confidence < 1:
        raise ValueError("a bootstrap needs a group, a resample and a confidence in (0, 1)")
    if any(len(group.speakers) != len(group.labels) for group in groups):
        raise ValueError("speakers and labels differ in length")
    speakers, indices = np.unique(np.concatenate([group.speakers for group in groups]), return_inverse=True)
    clip_speakers = np.split(indices, np.cumsum([len(group.speakers) for group in groups])[:-1])
    estimates = _statistics(_mean_errors(groups, clip_speakers, np.ones((1, len(speakers)))))[:, 0]
    batch_size = max(1, MAX_BATCH_ELEMENTS // max(len(group.speakers) for group in groups))
    rng = np.random.default_rng(seed)
    batches = []
    for start in range(0, num_resamples, batch_size):
        size = min(batch_size, num_resamples - start)
        counts = rng.multinomial(len(speakers), np.full(len(speakers), 1 / len(speakers)), size=size)
        batches.append(_mean_errors(groups, clip_speakers, counts))
    errors = np.concatenate(batches, axis=1)
    errors = errors[:, ~np.isnan(errors).any(axis=0)]
    if errors.size == 0:
        raise ValueError("no resample has clips of both classes: there are too few speakers")
    values = np.sort(_statistics(errors), axis=1)
    tail = math.floor((1 - confidence) / 2 * (values.shape[1] - 1))
    ends = np.stack([estimates, values[:, tail], values[:, -1 - tail]], axis=1)
    student, base, ratio, difference = (Interval(*row) for row in ends.tolist())
    return SpeakerBootstrap(student, base, ratio, difference, num_resamples=values.shape[1])


def _mean_errors(
    groups: Sequence[PairedScores],
    clip_speakers: Sequence[Int[np.ndarray, "_"]],
    counts: Real[np.ndarray, "resamples speakers"],
) -> Float64[np.ndarray, "2 resamples"]:
    """1 - AUROC of student and base, averaged over groups; NaN where a group has lost a class."""
    errors = np.zeros((2, len(counts)))
    for group, speakers in zip(groups, clip_speakers, strict=True):
        weights = counts[:, speakers].astype(np.float64)
        for model, scores in enumerate((group.student_scores, group.base_scores)):
            errors[model] += weighted_auroc_errors(*checked(scores, group.labels), weights) / len(groups)
    return errors


def _statistics(errors: Float64[np.ndarray, "2 resamples"]) -> Float64[np.ndarray, "4 resamples"]:
    """Student, base, ratio and difference, from the errors of student and base."""
    student, base = errors
    ratio = np.where(student > 0, np.inf, 1.0)
    np.divide(student, base, out=ratio, where=base > 0)
    return np.stack([student, base, ratio, student - base])
