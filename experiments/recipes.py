"""Recipes that several settings share, chosen on validation speakers."""

from dataclasses import replace
from typing import Any

from kws_jax.augment import Augmentation
from kws_jax.recipe import Recipe

# Wide masks keep large models from learning by heart; small ones have no capacity to lose to them.
GENTLE = Augmentation(max_masked_mels=4, max_masked_frames=8)
# The same on lighter front ends: frames of 20 ms; frames of 40 ms.
MIDDLE = Augmentation(max_shift=5, max_masked_mels=6, max_masked_frames=12)
UNMASKED = Augmentation(max_shift=2, max_masked_mels=0, max_masked_frames=0)

FAIR = Recipe(epochs=300, peak_learning_rate=2e-3)
TAUGHT = Recipe(teacher_weight=0.5)
ATTENTIVE = replace(TAUGHT, attention_weight=1.0)
BRIEF = Recipe(epochs=100, peak_learning_rate=8e-3, augmentation=GENTLE)
LONG = Recipe(epochs=300, peak_learning_rate=2e-2, weight_decay=3e-3)
LONG_TAUGHT = replace(LONG, teacher_weight=0.5, attention_weight=1.0)
LONG_MIDDLE = replace(LONG, augmentation=MIDDLE)
LONG_UNMASKED = replace(LONG, augmentation=UNMASKED)
# Of trained models, to their grid: eight bits need little, five and four move far, and the average of the steps lies
# between the points that rounding jumps to and fro.
TO_INT8: dict[str, Any] = {"scheme": "int8", "peak_learning_rate": 3e-4, "weight_decay": 0.0, "average_decay": 0.998}
TO_INT5: dict[str, Any] = {**TO_INT8, "scheme": "int5", "peak_learning_rate": 2e-3}
TO_INT4: dict[str, Any] = {**TO_INT5, "scheme": "int4"}
