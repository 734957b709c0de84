"""Losses, as means over the batch."""

import jax.numpy as jnp
import optax
from jax import lax, nn
from jaxtyping import Array, Float, Int

from kws_jax.array_types import Logits


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
