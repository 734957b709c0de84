"""What a training step makes small: hard labels, and how far a student is from what its teacher says."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kws_jax.array_types import Key, LogMel, Params
from kws_jax.config import CrnnConfig
from kws_jax.losses import attention_transfer, cross_entropy, dark_knowledge, similarity
from kws_jax.model import Crnn, Outputs
from kws_jax.recipe import Recipe
from kws_jax.sequences import glue, sequence_loss


class Teacher(NamedTuple):
    """A trained model that hears the same log-mels."""

    config: CrnnConfig
    variables: dict[str, Params]

    def outputs(self, log_mel: LogMel) -> Outputs:
        """What it says of clips."""
        outputs: Any = Crnn(self.config).apply(self.variables, log_mel, method="outputs")
        return Outputs(*outputs)


def step_times(config: CrnnConfig, num_steps: int) -> Float[Array, " steps"]:
    """Middle of what each step sees, in seconds from a clip's start."""
    frames = jnp.arange(num_steps) * config.stride_frames + (config.kernel_frames - 1) / 2
    return frames * (config.frontend.hop_length / config.frontend.sample_rate)


def loss_function(
    variables: dict[str, Params],
    config: CrnnConfig,
    recipe: Recipe,
    log_mel: LogMel,
    labels: Int[Array, " batch"],
    teacher: Teacher | None,
    dropout_key: Key,
) -> tuple[Float[Array, ""], dict[str, Params]]:
    """A step's loss, and the batch statistics it leaves behind."""
    heard, method = log_mel, "outputs"
    if recipe.clips_per_sequence > 1:
        heard, method = glue(log_mel, recipe.clips_per_sequence), "every_step"
    student, updated = Crnn(config).apply(
        variables, heard, training=True, mutable=["batch_stats"], rngs={"dropout": dropout_key}, method=method
    )
    if recipe.clips_per_sequence > 1:
        return sequence_loss(student, labels, config, log_mel.shape[1] - 1), dict(updated)
    loss = cross_entropy(student.logits, labels)
    if teacher is not None and recipe.is_taught:
        taught = teacher.outputs(log_mel)
        soft = dark_knowledge(student.logits, taught.logits, recipe.temperature)
        times = [
            step_times(c, w.shape[1]) for c, w in ((config, student.attention), (teacher.config, taught.attention))
        ]
        loss = (1.0 - recipe.teacher_weight) * loss + recipe.teacher_weight * soft
        loss += recipe.attention_weight * attention_transfer(student.attention, taught.attention, *times)
        loss += recipe.similarity_weight * similarity(student.context, taught.context)
    return loss, dict(updated)
