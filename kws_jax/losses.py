"""Losses, as means over the batch."""

import jax.numpy as jnp
import optax
from jax import lax, nn, vmap
from jax.scipy.special import rel_entr
from jaxtyping import Array, Float, Int

from kws_jax.array_types import AttentionWeights, Logits

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
