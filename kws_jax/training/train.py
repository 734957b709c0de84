"""Training of students: optax loops over cached mel power, one compiled scan an epoch."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from kws_jax import devices
from kws_jax.array_types import Key, Params
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.errors import UserError
from kws_jax.model import init_variables
from kws_jax.training.augment import augment_power
from kws_jax.training.losses import Batch, Teacher, check_teacher, loss_function
from kws_jax.training.pruning import Masks, advance, full_masks, importance, masked, slim
from kws_jax.training.quantization import fake_quantize_params
from kws_jax.training.recipe import Recipe, optimizer
from kws_jax.training.resume import Lines, Resume, TrainingSaver
from kws_jax.training.scene_set import SceneSet, windows
from kws_jax.training.training_set import TrainingSet

SCORE_DECAY = 0.98  # of the running mean of importance, a step


class TrainState(NamedTuple):
    """What one step hands to the next.

    Attributes:
        variables: Of the last step.
        average: Their moving average; the variables themselves where the recipe has none.
        optimizer: Of optax.
        key: Of the coming steps.
        masks: Units that are alive.
        scores: Running mean of the units' importance.
        step: Steps done.
    """

    variables: dict[str, Params]
    average: dict[str, Params]
    optimizer: optax.OptState
    key: Key
    masks: Masks
    scores: Masks
    step: Int[Array, ""]


Draw = Callable[[int], np.ndarray]


def start_state(
    variables: dict[str, Params], config: CrnnConfig, transformation: optax.GradientTransformation, key: Key
) -> TrainState:
    """The state before the first step."""
    masks = full_masks(config)
    scores = jax.tree.map(jnp.zeros_like, masks)
    return TrainState(
        variables, variables, transformation.init(variables["params"]), key, masks, scores, jnp.zeros((), jnp.int32)
    )


def deployed(params: Params, masks: Masks, recipe: Recipe) -> Params:
    """Parameters as the model will have them: without the pruned units, on the grid they will be stored on."""
    if recipe.pruning:
        params = masked(params, masks)
    return fake_quantize_params(params, recipe.scheme) if recipe.scheme else params


def train_step(
    state: TrainState,
    training_set: TrainingSet | SceneSet,
    indices: Int[Array, " batch"],
    config: CrnnConfig,
    recipe: Recipe,
    teacher: Teacher | None,
    num_steps: int,
) -> tuple[TrainState, Float[Array, ""]]:
    """One batch: augment, ask the teacher about the very same input, differentiate, update, prune."""
    key, power_key, mask_key, dropout_key = jax.random.split(state.key, 4)
    batch = _drawn(power_key, mask_key, training_set, indices, config, recipe)
    rest = {name: value for name, value in state.variables.items() if name != "params"}

    def loss_of(params: Params) -> tuple[Array, dict[str, Params]]:
        variables = {"params": deployed(params, state.masks, recipe), **rest}
        return loss_function(variables, config, recipe, batch, teacher, dropout_key)

    params, masks, scores = state.variables["params"], state.masks, state.scores
    (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
    updates, optimizer_state = optimizer(recipe, num_steps).update(gradient, state.optimizer, params)
    variables = {"params": optax.apply_updates(params, updates), **updated}
    average = optax.incremental_update(variables, state.average, 1.0 - recipe.average_decay)
    if recipe.pruning:
        scores = optax.incremental_update(importance(params, gradient, masks), scores, 1.0 - SCORE_DECAY)
        masks = advance(recipe.pruning, config, masks, scores, state.step, num_steps)
    return TrainState(variables, average, optimizer_state, key, masks, scores, state.step + 1), loss


def _drawn(
    power_key: Key,
    mask_key: Key,
    training_set: TrainingSet | SceneSet,
    indices: Int[Array, " batch"],
    config: CrnnConfig,
    recipe: Recipe,
) -> Batch:
    """The clips of these indices, or the windows that begin with these frames, augmented."""
    if isinstance(training_set, SceneSet):
        frames = num_window_frames(config, recipe)
        return Batch(*windows(power_key, training_set, indices, frames, recipe.augmentation), mask_key)
    power = training_set.power[indices]
    if recipe.augmentation is not None:
        power = augment_power(power_key, power, training_set.noise, recipe.augmentation)
    return Batch(power, training_set.labels[indices], mask_key)


def num_window_frames(config: CrnnConfig, recipe: Recipe) -> int:
    """Frames of a window of scenes."""
    return round(recipe.window * SAMPLE_RATE) // config.frontend.hop_length


@partial(jax.jit, static_argnames=("config", "recipe", "teacher_config", "num_steps"))
def train_epoch(
    state: TrainState,
    training_set: TrainingSet | SceneSet,
    batches: Int[Array, "steps batch"],
    teacher_variables: dict[str, Params] | None,
    config: CrnnConfig,
    recipe: Recipe,
    teacher_config: CrnnConfig | None,
    num_steps: int,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """`train_step` over the batches, compiled once for all trainings of the same sizes."""
    teacher = None
    if teacher_config is not None and teacher_variables is not None:
        teacher = Teacher(teacher_config, teacher_variables)

    def body(state: TrainState, indices: Array) -> tuple[TrainState, Array]:
        return train_step(state, training_set, indices, config, recipe, teacher, num_steps)

    return jax.lax.scan(body, state, batches)


def train(
    config: CrnnConfig,
    recipe: Recipe,
    training_set: TrainingSet | SceneSet,
    draw: Draw,
    seed: int,
    teacher: Teacher | None = None,
    log_path: Path | None = None,
    initial: dict[str, Params] | None = None,
    resume: Resume | None = None,
    mesh: Mesh | None = None,
) -> tuple[CrnnConfig, dict[str, Params]]:
    """Trains a model and returns it after the last epoch, averaged and slimmed where the recipe says so.

    Args:
        config: Model.
        recipe: Recipe.
        training_set: Training clips.
        draw: From an epoch's number, from 0, to the indices of its clips; the incomplete last batch is left out.
        seed: Of the initial parameters, the augmentations and the dropout.
        teacher: Used where the recipe asks for one.
        log_path: Where to write a JSON line an epoch: step, epoch, loss, seconds, clips_per_second. Steps count from 1,
            epochs from 0; the loss is the epoch's mean, and seconds are those spent in training since its start.
        initial: Variables to go on from; fresh ones by default.
        resume: Where to keep the training between epochs, and to go on from after a kill, to the same result bit for
            bit.
        mesh: Devices that take a part of each batch; one takes all without. It is the same training but for rounding.
            With devices of several processes, all of them call this with the same, and the first writes the log.

    Raises:
        UserError: If an epoch has fewer clips than a batch, the teacher has another front end than the model, or what
            is to be gone on from is damaged.
        ValueError: If the recipe asks for a teacher and there is none, or the devices do not divide a batch.
        IndexError: If an index is none of the training set; on a device it would silently become the last clip.
        RuntimeError: If the loss or a weight is no longer finite.
    """
    check_teacher(config, recipe, teacher)
    steps = _steps_per_epoch(draw(0).shape[0], recipe.batch_size)
    num_steps = recipe.epochs * steps
    init_key, key = jax.random.split(jax.random.key(seed))
    state = start_state(initial or init_variables(init_key, config), config, optimizer(recipe, num_steps), key)
    taught_by, knowledge = (teacher.config, teacher.variables) if teacher and recipe.is_taught else (None, None)
    everywhere, divided = devices.copied(mesh), devices.divided(mesh, 1, recipe.batch_size)
    training_set, knowledge = jax.device_put((training_set, knowledge), everywhere)
    positions, seconds = training_set.power.shape[0], 1.0
    if isinstance(training_set, SceneSet):
        positions, seconds = positions - num_window_frames(config, recipe) + 1, recipe.window
    with closing(TrainingSaver(resume, repr((config, recipe, seed, steps)))) as saver:
        state, lines = saver.load(state)
        state = devices.put(state, everywhere)
        _write_log(log_path, lines)
        for number in (progress := tqdm(range(len(lines), recipe.epochs), desc="student", unit="epoch", disable=None)):
            batches = jax.device_put(_batches(draw(number), steps, recipe.batch_size, positions), divided)
            start = time.perf_counter()
            state, losses = train_epoch(state, training_set, batches, knowledge, config, recipe, taught_by, num_steps)
            loss = float(losses.mean())
            elapsed = time.perf_counter() - start
            if not _all_finite((losses, state.variables)):
                raise RuntimeError(f"epoch {number}: the loss or a weight is not finite; is every clip, and the noise?")
            progress.set_postfix(loss=f"{loss:.4f}")
            lines.append(_line(number, steps, loss, elapsed, seconds * batches.size, lines))
            _write_log(log_path, lines)
            saver.save(state, lines)
    return slim(config, state.average, state.masks) if recipe.pruning else (config, state.average)


def _batches(drawn: np.ndarray, steps: int, batch_size: int, clips: int) -> Int[np.ndarray, "steps batch"]:
    drawn = drawn[: steps * batch_size]
    if drawn.min() < 0 or drawn.max() >= clips:
        raise IndexError(f"an epoch draws clips {drawn.min()} to {drawn.max()} of {clips}")
    return drawn.reshape(steps, batch_size).astype(np.int32)


def _line(number: int, steps: int, loss: float, elapsed: float, clips: float, lines: Lines) -> dict[str, Any]:
    """Of the log; rounded, since nobody reads more digits."""
    seconds = elapsed + (lines[-1]["seconds"] if lines else 0.0)
    line = {"step": (number + 1) * steps, "epoch": number, "loss": float(f"{loss:.6g}"), "seconds": round(seconds, 3)}
    return line | {"clips_per_second": round(clips / elapsed, 1)}


def _write_log(path: Path | None, lines: Lines) -> None:
    if path and lines and jax.process_index() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _steps_per_epoch(drawn: int, batch_size: int) -> int:
    if drawn < batch_size:
        raise UserError(f"an epoch of {drawn} clips is less than a batch of {batch_size}: give more clips")
    return drawn // batch_size


def _all_finite(tree: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
