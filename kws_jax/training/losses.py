"""What a training step makes small: losses as means over the batch, and how the recipe puts them together."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax import lax, nn, vmap
from jax.scipy.special import rel_entr
from jaxtyping import Array, Float, Int

from kws_jax.array_types import AttentionWeights, Frames, Key, Logits, MelPower, Params
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.errors import UserError
from kws_jax.model import Crnn, Outputs
from kws_jax.training.augment import mask_frames
from kws_jax.training.recipe import Recipe
from kws_jax.training.scene_set import SceneTargets, scene_loss

LEAST_ENERGY = -1e9  # of steps before the first: no weight, and no infinity to take the difference of
SMALLEST_WEIGHT = 1e-9  # keeps the logarithm of no attention finite, and the direction of no features


def cross_entropy(logits: Logits, labels: Int[Array, " batch"]) -> Float[Array, ""]:
    """Cross-entropy with hard labels, in nats.

    Raises:
        ValueError: If there is not a label for each clip.
    """
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"labels of shape {labels.shape} are not one for each of {logits.shape[0]} clips")
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def dark_knowledge(student: Logits, teacher: Logits, temperature: float) -> Float[Array, ""]:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)); no gradient reaches the teacher.

    T^2 keeps the gradient's size when the temperature changes.

    Raises:
        ValueError: If the two differ in clips or classes.

    References:
        Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"a teacher of {teacher.shape} logits has nothing to say to a student of {student.shape}")
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


def trailing_attention_transfer(
    student: Float[Array, "batch steps"], teacher: Float[Array, "batch steps"], window_length: int
) -> Float[Array, ""]:
    """What `attention_transfer` is of clips, of every step of a stream: mean over the steps and their trailing windows.

    Args:
        student: Energies, of which a softmax over a window is its attention.
        teacher: Likewise, read off at the student's steps; no gradient reaches it.
        window_length: The student's: steps, the newest and those before it.
    """
    window = jnp.arange(student.shape[1])[:, None] + jnp.arange(1 - window_length, 1)

    def log_weights(energies: Float[Array, "batch steps"]) -> Float[Array, "batch steps window"]:
        return nn.log_softmax(jnp.where(window >= 0, energies[:, jnp.maximum(window, 0)], LEAST_ENERGY))

    target = log_weights(lax.stop_gradient(teacher))
    return jnp.sum(jnp.exp(target) * (target - log_weights(student)), axis=-1).mean()


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
    """A trained model that hears the same mel power."""

    config: CrnnConfig
    variables: dict[str, Params]


def check_teacher(config: CrnnConfig, recipe: Recipe, teacher: Teacher | None) -> None:
    """Sees that there is a teacher where the recipe asks for one, and that it hears what the model hears.

    Raises:
        ValueError: If there is none.
        UserError: If it has another front end.
    """
    if recipe.is_taught and teacher is None:
        raise ValueError("the recipe asks for a teacher, but there is none")
    if (
        teacher is not None
        and replace(teacher.config.frontend, compression=config.frontend.compression) != config.frontend
    ):
        raise UserError(f"the teacher's front end {teacher.config.frontend} is not the model's {config.frontend}")


def step_times(config: CrnnConfig, num_steps: int) -> Float[Array, " steps"]:
    """Middle of what each step sees, in seconds from a clip's start."""
    frames = jnp.arange(num_steps) * config.stride_frames + (config.kernel_frames - 1) / 2
    return frames * (config.frontend.hop_length / SAMPLE_RATE)


class Steps(NamedTuple):
    """What a model says at every step of a window of scenes."""

    logits: Float[Array, "batch steps classes"]
    energies: Float[Array, "batch steps"]


class Batch(NamedTuple):
    """What a step learns from.

    Attributes:
        power: Mel power of clips or of windows of scenes, augmented.
        targets: Labels of clips; of scenes, what their frames ask for.
        mask_key: Of the masks, the same for model and teacher.
    """

    power: MelPower
    targets: Int[Array, " batch"] | SceneTargets
    mask_key: Key


def loss_function(
    variables: dict[str, Params],
    config: CrnnConfig,
    recipe: Recipe,
    batch: Batch,
    teacher: Teacher | None,
    dropout_key: Key,
) -> tuple[Float[Array, ""], dict[str, Params]]:
    """A step's loss, and the batch statistics it leaves behind.

    Raises:
        ValueError: If a teacher of windows of scenes is asked for similarity, which is of clips.
    """
    targets = batch.targets
    how: dict[str, Any] = {"mutable": ["batch_stats"], "rngs": {"dropout": dropout_key}}
    hear = _hear_scenes if isinstance(targets, SceneTargets) else _hear_clips
    student: Any
    student, updated = Crnn(config).apply(variables, batch, recipe, True, method=hear, **how)
    loss = (
        scene_loss(student.logits, targets, config)
        if isinstance(targets, SceneTargets)
        else cross_entropy(student.logits, targets)
    )
    if teacher is None or not recipe.is_taught:
        return loss, dict(updated)
    taught: Any = Crnn(teacher.config).apply(teacher.variables, batch, recipe, False, method=hear)
    add = _taught_on_scenes if isinstance(targets, SceneTargets) else _taught
    return add(loss, student, taught, config, teacher.config, recipe), dict(updated)


def _frames(model: Crnn, batch: Batch, recipe: Recipe) -> Frames:
    frames = model.compress(batch.power)[0]
    return frames if recipe.augmentation is None else mask_frames(batch.mask_key, frames, recipe.augmentation)


def _hear_clips(model: Crnn, batch: Batch, recipe: Recipe, training: bool) -> Outputs:
    return model.outputs(_frames(model, batch, recipe), training)


def _hear_scenes(model: Crnn, batch: Batch, recipe: Recipe, training: bool) -> Steps:
    return Steps(*model.steps_and_energies(_frames(model, batch, recipe), training))


def _taught_on_scenes(
    loss: Float[Array, ""],
    student: Steps,
    teacher: Steps,
    config: CrnnConfig,
    teacher_config: CrnnConfig,
    recipe: Recipe,
) -> Float[Array, ""]:
    """Dark knowledge and attention of every step; the teacher is read off at the times when the student's steps end."""
    if recipe.similarity_weight:
        raise ValueError("similarity is of clips: on scenes a teacher has logits and attention at every step")
    own, others = (
        c.step_end(np.arange(o.energies.shape[1])) for c, o in ((config, student), (teacher_config, teacher))
    )
    read = vmap(lambda values: jnp.interp(own, others, values))
    heard = vmap(read, in_axes=2, out_axes=2)(teacher.logits)
    classes = config.num_classes
    soft = dark_knowledge(student.logits.reshape(-1, classes), heard.reshape(-1, classes), recipe.temperature)
    loss = (1.0 - recipe.teacher_weight) * loss + recipe.teacher_weight * soft
    if not recipe.attention_weight:
        return loss
    attention = trailing_attention_transfer(student.energies, read(teacher.energies), config.max_window_length)
    return loss + recipe.attention_weight * attention


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
