"""Training, validation and testing parts of a corpus, and class-balanced draws from one."""

import hashlib
import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int64

from kws_jax.data.corpus import Corpus
from kws_jax.errors import UserError

__all__ = [
    "Split",
    "balanced_indices",
    "check_split",
    "name_in",
    "speaker_percentage",
    "split_official",
    "split_random",
]

MAX_CLIPS_PER_WORD = 2**27 - 1  # of the data set's rule
VALIDATION_PERCENTAGE = 10
TESTING_PERCENTAGE = 10
# Places of each part's speakers, as `split_official` has them, in [low, high).
PLACES = {"training": (20, 100), "validation": (0, 10), "testing": (10, 20)}
RANDOM_TRAINING_SHARE = 0.8


@dataclass(frozen=True)
class Split:
    """Disjoint parts of a corpus as ascending clip indices.

    Attributes:
        name: "official" or "random".
        training: Clips to learn from.
        validation: Clips to choose by (epoch, threshold, student); empty for "random", where nothing may be chosen.
        testing: Clips to report on.
    """

    name: str
    training: Int64[np.ndarray, "_"]
    validation: Int64[np.ndarray, "_"]
    testing: Int64[np.ndarray, "_"]

    @property
    def held_out(self) -> Int64[np.ndarray, "_"]:
        """Validation and testing together: everything kept out of training."""
        return np.union1d(self.validation, self.testing)

    @property
    def is_testing(self) -> Bool[np.ndarray, "_"]:
        """Which of `held_out` are for testing."""
        return np.isin(self.held_out, self.testing)


def speaker_percentage(speaker: str) -> float:
    """Place of a speaker in the data set's own partition, in [0, 100].

    The SHA-1 of the id as an integer, mod 2^27, over 2^27 - 1: stable when clips are added.

    References:
        Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, 2018, section 6.
    """
    digest = int(hashlib.sha1(os.fsencode(speaker), usedforsecurity=False).hexdigest(), 16)
    return digest % (MAX_CLIPS_PER_WORD + 1) * (100 / MAX_CLIPS_PER_WORD)


def name_in(identity: str, low: int, high: int) -> str:
    """A name of eight digits for a speaker, the same for the same identity, whose place lies in [low, high)."""
    names = (hashlib.sha1(os.fsencode(f"{identity} {salt}")).hexdigest()[:8] for salt in range(1000))
    return next(name for name in names if low <= speaker_percentage(name) < high)


def split_official(corpus: Corpus) -> Split:
    """The data set's own split, disjoint in speakers: validation below 10 %, testing below 20 %, else training."""
    speakers, clip_speaker = np.unique(corpus.speakers, return_inverse=True)
    percentage = np.array([speaker_percentage(speaker) for speaker in speakers])[clip_speaker]
    validation = percentage < VALIDATION_PERCENTAGE
    testing = ~validation & (percentage < VALIDATION_PERCENTAGE + TESTING_PERCENTAGE)
    parts = (~validation & ~testing, validation, testing)
    return Split("official", *(np.flatnonzero(part) for part in parts))


def split_random(corpus: Corpus, seed: int) -> Split:
    """The homework's split: 80 % of the clips for training, drawn at random, and the rest for testing.

    Speakers stand on both sides (99.9 % of testing clips on v0.01), so its errors are optimistic; and there is no
    validation part, so nothing may be chosen on it: take the last epoch.
    """
    order = np.random.default_rng(seed).permutation(len(corpus.names))
    num_training = int(RANDOM_TRAINING_SHARE * len(order))
    training, testing = np.sort(order[:num_training]), np.sort(order[num_training:])
    return Split("random", training, np.empty(0, np.int64), testing)


def check_split(split: Split, labels: Int[np.ndarray, "clips"], keyword: str) -> None:
    """Checks that both classes stand in every part that is not empty by design.

    Args:
        split: From `split_official` or `split_random`.
        labels: 1 for clips of the keyword, else 0, over the whole corpus.
        keyword: For the message.

    Raises:
        UserError: Names the part and the class that is missing there.
    """
    parts = {"training": split.training, "validation": split.validation, "testing": split.testing}
    if split.name == "random":
        del parts["validation"]
    for part, indices in parts.items():
        num_keyword = int(labels[indices].sum())
        if num_keyword == 0:
            remedy = "more clips" if split.name == "random" else "more speakers, or the random split"
            raise UserError(
                f"the {split.name} split has no clip of {keyword!r} for {part}: take a keyword with {remedy}"
            )
        if num_keyword == len(indices):
            raise UserError(f"the {split.name} split has only {keyword!r} for {part}: add folders of other words")


def balanced_indices(
    labels: Int[np.ndarray, "clips"],
    num_draws: int,
    rng: np.random.Generator,
    words: np.ndarray | None = None,
    exponent: float = 1.0,
) -> Int64[np.ndarray, "draws"]:
    """Draws clips with replacement so that every class present is equally likely.

    Within a class a word of n clips is drawn in proportion to n^exponent, and its clips evenly. With exponent 1 that is
    every clip evenly, the distribution of torch's WeightedRandomSampler with weight 1 / class count; with 0, words.

    Args:
        labels: Class of each clip, at least 0.
        num_draws: Length of an epoch; the reference takes the number of training clips.
        rng: Source of randomness.
        words: Word of each clip; needed for an exponent other than 1.
        exponent: Usually in [0, 1].

    References:
        Mahajan et al.: Exploring the Limits of Weakly Supervised Pretraining, 2018 (square roots of counts).
    """
    weights: np.ndarray = np.ones(len(labels))
    if words is not None:
        _, word, counts = np.unique(words, return_inverse=True, return_counts=True)
        weights = counts[word] ** (exponent - 1.0)
    weights = weights / np.bincount(labels, weights)[labels]
    return rng.choice(len(labels), size=num_draws, p=weights / weights.sum())
