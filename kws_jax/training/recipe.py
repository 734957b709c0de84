"""How a student is trained: the recipe, and the optimizer that follows from it."""

from dataclasses import dataclass, field

import optax

from kws_jax.errors import check_ranges
from kws_jax.training.augment import Augmentation
from kws_jax.training.pruning import PruningPlan
from kws_jax.training.quantization import Scheme


@dataclass(frozen=True)
class Recipe:
    """AdamW under a one-cycle schedule; hard labels, and what a teacher adds.

    Attributes:
        epochs: Passes of as many draws as there are training clips.
        batch_size: Clips, or windows of scenes, a step.
        peak_learning_rate: Top of the one-cycle schedule, reached after 30 % of the steps.
        weight_decay: Decoupled weight decay.
        average_decay: Of the exponential moving average of all variables over the steps, which is what training
            returns; 0 returns the last step's own.
        teacher_weight: Share of dark knowledge in the loss, in [0, 1]; the rest is cross-entropy.
        temperature: Of the dark knowledge.
        attention_weight: Weight of attention transfer, added to the loss.
        similarity_weight: Weight of the similarity of attended hidden states, added to the loss.
        scheme: Grid that the weights are rounded to in every step ("quantization-aware"); the model must come without
            batch normalisation, so it is one that has been trained before.
        pruning: What is pruned, and when.
        augmentation: Ranges of the random augmentations; None trains on the clips as they are.
        window: Seconds of the windows of a training on scenes (see `kws_jax.training.scene_set`).

    Raises:
        UserError: If a number is out of its range.

    References:
        Polyak, Juditsky: Acceleration of Stochastic Approximation by Averaging, 1992.
    """

    epochs: int = 60
    batch_size: int = 128
    peak_learning_rate: float = 5e-3
    weight_decay: float = 1e-3
    average_decay: float = 0.0
    teacher_weight: float = 0.0
    temperature: float = 3.0
    attention_weight: float = 0.0
    similarity_weight: float = 0.0
    scheme: Scheme | None = None
    pruning: PruningPlan | None = None
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    window: float = 6.4

    def __post_init__(self) -> None:
        check_ranges(self, epochs=(1, 10**6), batch_size=(1, 10**6), window=(1e-2, 3600))
        check_ranges(self, peak_learning_rate=(0, 10), weight_decay=(0, 10), temperature=(1e-3, 1e3))
        check_ranges(self, average_decay=(0, 1 - 1e-6), teacher_weight=(0, 1))
        check_ranges(self, attention_weight=(0, 1e6), similarity_weight=(0, 1e6))

    @property
    def is_taught(self) -> bool:
        """Whether the loss asks a teacher."""
        return bool(self.teacher_weight or self.attention_weight or self.similarity_weight)


def optimizer(recipe: Recipe, num_steps: int) -> optax.GradientTransformation:
    """AdamW with gradient norm 5 and a one-cycle learning rate.

    References:
        Smith: Super-Convergence, 2018. Loshchilov, Hutter: Decoupled Weight Decay Regularization, 2019.
    """
    schedule = optax.cosine_onecycle_schedule(num_steps, recipe.peak_learning_rate, pct_start=0.3)
    return optax.chain(optax.clip_by_global_norm(5.0), optax.adamw(schedule, weight_decay=recipe.weight_decay))
