"""A training set that seconds suffice to learn, and how it is learnt."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from kws_jax.training.augment import Augmentation
from kws_jax.training.recipe import Recipe
from kws_jax.training.training_set import TrainingSet
from tests.helpers.models import TOY

CONFIG = replace(TOY, batch_norm=True, gru_layers=1, gru_hidden=8)
CLIPS, FRAMES, MELS = 68, 24, 12
GENTLE = Augmentation(max_shift=2, snr=(10.0, 30.0), max_masked_mels=2, max_masked_frames=4)
RECIPE = Recipe(epochs=25, batch_size=16, peak_learning_rate=2e-2, augmentation=GENTLE)


def _tones() -> TrainingSet:
    """The keyword is a tone that rises through the mels; the rest is a tone that falls."""
    rng = np.random.default_rng(0)
    labels = np.arange(CLIPS) % 2
    power = rng.exponential(1.0, (CLIPS, FRAMES, MELS))
    for clip, label in zip(power, labels, strict=True):
        for t in range(FRAMES):
            clip[t, t // 2 if label else MELS - 1 - t // 2] += 30.0
    return TrainingSet(power.astype(np.float32), labels, rng.exponential(1.0, (50, MELS)).astype(np.float32))


TONES = _tones()


def draw(epoch: int) -> np.ndarray:
    """All clips, in an order of the epoch's own."""
    return np.random.default_rng(epoch).permutation(CLIPS)


def equal(first: Any, second: Any) -> bool:
    """Whether two trees hold the same numbers."""
    return jax.tree.all(jax.tree.map(lambda a, b: bool(np.all(np.asarray(a) == np.asarray(b))), first, second))
