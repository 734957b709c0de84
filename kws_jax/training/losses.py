"""What a training step makes small: losses as means over the batch, and how the recipe puts them together."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import lax, nn, vmap
from jax.scipy.special import rel_entr
from jaxtyping import Array, Float, Int

from kws_jax.array_types import AttentionWeights, Key, Logits, LogMel, Params
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.model import Crnn, Outputs
from kws_jax.training.recipe import Recipe
from kws_jax.training.sequences import glue, sequence_loss

SMALLEST_WEIGHT = 1e-9  # keeps the logarithm of no attention finite, and the direction of no features


def cross_entropy(logits: Logits, labels: Int[Array, " batch"]) -> Float[Array, ""]:
    """Cross-entropy with hard labels, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def dark_knowledge(student: Logits, teacher: Logits, temperature: float) -> Float[Array, ""]:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)); no gradient reaches the teacher.

    T^2 keeps the gradient's size when the temperature changes.

    References:
        Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.
    """
    target = nn.log_softmax(lax.stop_gradient(teacher) / temperature)
    student_log = nn.log_softmax(student / temperature)
    return temperature**2 * jnp.sum(jnp.exp(target) * (target - student_log), axis=-1).mean()


def attention_transfer(
    student: AttentionWeights,
    teacher: Float[Array, "batch teacher_steps"],
    student_times: Float[Array, " steps"],
    teacher_times: Float[Array, " teacher_steps"],
) -> Float[Array, ""]:
    """KL(teacher's attention || student's attention) over the student's steps; no gradient reaches the teacher.

    The teacher's weights are read off at the student's times, linearly between its own and constant beyond them, and
    made to sum to 1 again.

    Args:
        student: Weights that sum to 1 over the steps.
        teacher: Likewise, over its own steps.
        student_times: Middle of what each step sees, ascending, in any unit.
        teacher_times: Likewise, in the same unit.

    References:
        Zagoruyko, Komodakis: Paying More Attention to Attention, 2017 (the idea; their attention is of activations).
    """
    target = vmap(lambda weights: jnp.interp(student_times, teacher_times, weights))(lax.stop_gradient(teacher))
    target = target / target.sum(axis=1, keepdims=True)
    divergence = rel_entr(target, jnp.maximum(student, SMALLEST_WEIGHT))
    return divergence.sum(axis=1).mean()


def similarity(
    student: Float[Array, "batch features"], teacher: Float[Array, "batch teacher_features"]
) -> Float[Array, ""]:
    """How differently two models find the clips of a batch alike; no gradient reaches the teacher.

    ||G_s - G_t||_F^2 / batch^2, where G is the matrix of inner products of the clips' features, each row scaled to
    length 1. It needs no map between the two widths.

    References:
        Tung, Mori: Similarity-Preserving Knowledge Distillation, 2019.
    """

    def gram(features: Float[Array, "batch any"]) -> Float[Array, "batch batch"]:
        products = features @ features.T
        return products / jnp.sqrt(jnp.sum(products**2, axis=1, keepdims=True) + SMALLEST_WEIGHT)

    return jnp.sum((gram(student) - gram(lax.stop_gradient(teacher))) ** 2) / student.shape[0] ** 2


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
    return frames * (config.frontend.hop_length / SAMPLE_RATE)


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
    how: dict[str, Any] = {"training": True, "mutable": ["batch_stats"], "rngs": {"dropout": dropout_key}}
    if recipe.clips_per_sequence > 1:
        glued = glue(log_mel, recipe.clips_per_sequence)
        logits, updated = Crnn(config).apply(variables, glued, method="every_step", **how)
        return sequence_loss(logits, labels, config, log_mel.shape[1] - 1), dict(updated)
    student, updated = Crnn(config).apply(variables, log_mel, method="outputs", **how)
    loss = cross_entropy(student.logits, labels)
    if teacher is not None and recipe.is_taught:
        loss = _taught(loss, student, teacher.outputs(log_mel), config, teacher.config, recipe)
    return loss, dict(updated)


def _taught(
    loss: Float[Array, ""],
    student: Outputs,
    teacher: Outputs,
    config: CrnnConfig,
    teacher_config: CrnnConfig,
    recipe: Recipe,
) -> Float[Array, ""]:
    """The loss of hard labels, mixed with dark knowledge, and what else a teacher adds."""
    soft = dark_knowledge(student.logits, teacher.logits, recipe.temperature)
    times = [step_times(c, o.attention.shape[1]) for c, o in ((config, student), (teacher_config, teacher))]
    loss = (1.0 - recipe.teacher_weight) * loss + recipe.teacher_weight * soft
    loss += recipe.attention_weight * attention_transfer(student.attention, teacher.attention, *times)
    return loss + recipe.similarity_weight * similarity(student.context, teacher.context)
