import numpy as np
import pytest

from kws_jax.evaluation.bootstrap import PairedScores, speaker_bootstrap
from kws_jax.evaluation.metrics import auroc_error
from tests.tolerances import CLOSED_FORM


def make_group(seed: int, student_noise: float = 1.0, num_clips: int = 300, num_speakers: int = 60) -> PairedScores:
    """Two models that share most of their noise, and clips whose speaker shifts both."""
    rng = np.random.default_rng(seed)
    speakers = rng.integers(0, num_speakers, num_clips)
    labels = rng.integers(0, 2, num_clips)
    base = 2 * labels + rng.normal(size=num_speakers)[speakers] + rng.normal(size=num_clips)
    return PairedScores(base + student_noise * rng.normal(size=num_clips), base, labels, speakers.astype(str))


def test_bootstrap_equals_resampling_clips_speaker_by_speaker() -> None:
    tied = make_group(0)
    groups = [tied._replace(student_scores=np.round(tied.student_scores)), make_group(1, num_speakers=70)]
    speakers = np.unique(np.concatenate([group.speakers for group in groups]))
    counts = np.random.default_rng(5).multinomial(len(speakers), np.full(len(speakers), 1 / len(speakers)), size=100)
    students, bases, mean_ratios = [], [], []
    for count in counts:
        drawn = np.repeat(speakers, count)
        errors = []
        for group in groups:
            clips = np.concatenate([np.flatnonzero(group.speakers == speaker) for speaker in drawn])
            labels = group.labels[clips]
            errors.append([auroc_error(scores[clips], labels) for scores in (group.student_scores, group.base_scores)])
        student, base = np.mean(errors, axis=0)
        students.append(student)
        bases.append(base)
        mean_ratios.append(np.mean([student / base for student, base in errors]))
    result = speaker_bootstrap(groups, num_resamples=100, seed=5, confidence=0.9, kinds=["happy", "bed"])
    assert result.num_resamples == 100
    expected = [students, bases, np.divide(students, bases), np.subtract(students, bases), mean_ratios]
    for interval, values in zip(result[:5], expected, strict=True):
        low, high = np.sort(values)[[4, -5]]  # 5 % of 99 gaps is 4.95: the outer neighbour
        assert interval[1:] == pytest.approx((low, high), rel=CLOSED_FORM)


def test_bootstrap_estimates_are_the_plain_errors() -> None:
    group = make_group(0)
    student, base = (auroc_error(s, group.labels) for s in (group.student_scores, group.base_scores))
    result = speaker_bootstrap([group], num_resamples=50)
    expected = [student, base, student / base, student - base]
    assert [interval.estimate for interval in result[:4]] == pytest.approx(expected, rel=CLOSED_FORM)
    pooled = speaker_bootstrap([group, make_group(1)], num_resamples=50)
    other = auroc_error(make_group(1).student_scores, make_group(1).labels)
    assert pooled.student.estimate == pytest.approx((student + other) / 2, rel=CLOSED_FORM)
    assert pooled.mean_ratio == pooled.ratio, "one kind by default"


def test_bootstrap_repeats_with_its_seed() -> None:
    groups = [make_group(0)]
    first = speaker_bootstrap(groups, num_resamples=50, seed=3)
    assert speaker_bootstrap(groups, num_resamples=50, seed=3) == first
    assert speaker_bootstrap(groups, num_resamples=50, seed=4) != first


def test_bootstrap_is_paired_and_sees_speakers() -> None:
    twin = make_group(0, student_noise=0.0)
    result = speaker_bootstrap([twin], num_resamples=200)
    assert result.ratio == (1, 1, 1)
    assert result.difference == (0, 0, 0)
    alone = twin._replace(speakers=np.arange(300).astype(str))
    by_clip = speaker_bootstrap([alone], num_resamples=200)
    assert result.student.high - result.student.low > by_clip.student.high - by_clip.student.low


def test_bootstrap_against_a_perfect_base() -> None:
    group = make_group(0)
    perfect = group._replace(base_scores=group.labels.astype(np.float64))
    result = speaker_bootstrap([perfect], num_resamples=50)
    assert result.ratio == (np.inf, np.inf, np.inf)
    both = perfect._replace(student_scores=perfect.base_scores)
    assert speaker_bootstrap([both], num_resamples=50).ratio == (1, 1, 1)


def test_bootstrap_leaves_out_resamples_without_a_class() -> None:
    group = PairedScores(np.array([0.9, 0.1, 0.2]), np.array([0.9, 0.1, 0.2]), np.array([1, 0, 0]), np.arange(3))
    result = speaker_bootstrap([group], num_resamples=1_000)
    # P(speaker 0 is drawn, and not three times) = 1 - (2/3)^3 - (1/3)^3
    assert result.num_resamples == pytest.approx(1_000 * 18 / 27, abs=75)
    assert result.student == (0, 0, 0)


def test_bootstrap_bad_input() -> None:
    group = make_group(0)
    with pytest.raises(ValueError, match="needs groups"):
        speaker_bootstrap([])
    with pytest.raises(ValueError, match="speakers and labels differ in length"):
        speaker_bootstrap([group._replace(speakers=group.speakers[1:])])
    with pytest.raises(ValueError, match="differ in length"):
        speaker_bootstrap([group._replace(base_scores=group.base_scores[1:])])
    pair = PairedScores(np.array([0.1, 0.2]), np.array([0.1, 0.2]), np.array([0, 1]), np.arange(2))
    seed = next(s for s in range(9) if np.random.default_rng(s).multinomial(2, [0.5, 0.5])[0] != 1)
    with pytest.raises(ValueError, match="too few speakers"):
        speaker_bootstrap([pair], num_resamples=1, seed=seed)
