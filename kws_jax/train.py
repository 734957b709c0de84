"""Training of students: optax loops over cached mel power, one compiled scan an epoch."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from kws_jax.array_types import Key, Logits, LogMel, MelPower, Params
from kws_jax.augment import Augmentation, augment_power, mask_log_mel
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.errors import UserError
from kws_jax.frontend import log_compress, mel_power
from kws_jax.losses import cross_entropy, dark_knowledge
from kws_jax.model import Crnn, init_variables
from kws_jax.sequences import glue, sequence_loss


@dataclass(frozen=True)
class Recipe:
    """How a student is trained: AdamW under a one-cycle schedule, hard labels and a teacher's dark knowledge.

    Attributes:
        epochs: Passes of as many draws as there are training clips.
        batch_size: Clips a step.
        peak_learning_rate: Top of the one-cycle schedule, reached after 30 % of the steps.
        weight_decay: Decoupled weight decay.
        teacher_weight: Share of dark knowledge in the loss, in [0, 1]; the rest is cross-entropy.
        temperature: Of the dark knowledge.
        augmentation: Ranges of the random augmentations; None trains on the clips as they are.
        clips_per_sequence: Above 1, clips are glued into sequences of so many that one GRU state runs through, and
            every step is judged (see `kws_jax.sequences`); for hard labels only.
    """

    epochs: int = 60
    batch_size: int = 128
    peak_learning_rate: float = 5e-3
    weight_decay: float = 1e-3
    teacher_weight: float = 0.0
    temperature: float = 3.0
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    clips_per_sequence: int = 1

    def __post_init__(self) -> None:
        if self.clips_per_sequence > 1 and (self.teacher_weight or self.batch_size % self.clips_per_sequence):
            raise ValueError("sequences take hard labels, and a batch size that is a whole number of sequences")


class TrainState(NamedTuple):
    """What one step hands to the next."""

    variables: dict[str, Params]
    optimizer: optax.OptState
    key: Key


class Corpus(NamedTuple):
    """Training material on the device."""

    power: Float[Array, "clips frames mels"]
    labels: Int[Array, " clips"]
    noise: Float[Array, "noise_frames mels"]


Teacher = Callable[[LogMel], Logits]
Draw = Callable[[int], np.ndarray]


def cached_mel_power(config: FrontendConfig, waveforms: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """Mel power of all clips, computed once.

    Args:
        config: Front end.
        waveforms: (clips, samples), int16.
        batch_size: Clips transformed at a time.

    Returns:
        (clips, frames, mels), float32.
    """
    transform = jax.jit(lambda clips: mel_power(config, clips.astype(jnp.float32) / 32768))
    frames = config.num_frames(waveforms.shape[1])
    power = np.empty((waveforms.shape[0], frames, config.num_mels), np.float32)
    for start in range(0, waveforms.shape[0], batch_size):
        batch = np.asarray(waveforms[start : start + batch_size])
        padded = np.pad(batch, ((0, batch_size - batch.shape[0]), (0, 0)))
        power[start : start + batch_size] = transform(padded)[: batch.shape[0]]
    return power


def optimizer(recipe: Recipe, num_steps: int) -> optax.GradientTransformation:
    """AdamW with gradient norm 5 and a one-cycle learning rate.

    References:
        Smith: Super-Convergence, 2018. Loshchilov, Hutter: Decoupled Weight Decay Regularization, 2019.
    """
    schedule = optax.cosine_onecycle_schedule(num_steps, recipe.peak_learning_rate, pct_start=0.3)
    return optax.chain(optax.clip_by_global_norm(5.0), optax.adamw(schedule, weight_decay=recipe.weight_decay))


def loss_function(
    variables: dict[str, Params],
    config: CrnnConfig,
    recipe: Recipe,
    log_mel: LogMel,
    labels: Int[Array, " batch"],
    teacher_logits: Logits | None,
    dropout_key: Key,
) -> tuple[Float[Array, ""], dict[str, Params]]:
    """A step's loss, and the batch statistics it leaves behind."""
    if recipe.clips_per_sequence > 1:
        sequences = glue(log_mel, recipe.clips_per_sequence)
        logits, updated = Crnn(config).apply(
            variables,
            sequences,
            training=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
            method="every_step",
        )
        return sequence_loss(logits, labels, config, log_mel.shape[1] - 1), dict(updated)
    (logits, _), updated = Crnn(config).apply(
        variables, log_mel, training=True, mutable=["batch_stats"], rngs={"dropout": dropout_key}
    )
    loss = cross_entropy(logits, labels)
    if teacher_logits is not None:
        taught = dark_knowledge(logits, teacher_logits, recipe.temperature)
        loss = (1.0 - recipe.teacher_weight) * loss + recipe.teacher_weight * taught
    return loss, dict(updated)


def train_step(
    state: TrainState,
    corpus: Corpus,
    indices: Int[Array, " batch"],
    config: CrnnConfig,
    recipe: Recipe,
    transformation: optax.GradientTransformation,
    teacher: Teacher | None,
) -> tuple[TrainState, Float[Array, ""]]:
    """One batch: augment, ask the teacher about the very same input, differentiate, update."""
    key, power_key, mask_key, dropout_key = jax.random.split(state.key, 4)
    log_mel = _augmented(power_key, mask_key, corpus.power[indices], corpus.noise, config, recipe)
    teacher_logits = teacher(log_mel) if teacher and recipe.teacher_weight else None
    rest = {name: value for name, value in state.variables.items() if name != "params"}

    def loss_of(params: Params) -> tuple[Array, dict[str, Params]]:
        variables = {"params": params, **rest}
        return loss_function(variables, config, recipe, log_mel, corpus.labels[indices], teacher_logits, dropout_key)

    params = state.variables["params"]
    (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
    updates, optimizer_state = transformation.update(gradient, state.optimizer, params)
    variables = {"params": optax.apply_updates(params, updates), **updated}
    return TrainState(variables, optimizer_state, key), loss


def _augmented(
    power_key: Key, mask_key: Key, power: MelPower, noise: Array, config: CrnnConfig, recipe: Recipe
) -> LogMel:
    if recipe.augmentation is None:
        return log_compress(config.frontend, power)
    power = augment_power(power_key, power, noise, recipe.augmentation)
    return mask_log_mel(mask_key, log_compress(config.frontend, power), recipe.augmentation)


def train(
    config: CrnnConfig,
    recipe: Recipe,
    corpus: Corpus,
    draw: Draw,
    seed: int,
    teacher: Teacher | None = None,
    log_path: Path | None = None,
) -> dict[str, Params]:
    """Trains a model from scratch and returns its variables after the last epoch.

    Args:
        config: Model.
        recipe: Recipe.
        corpus: Training clips.
        draw: From an epoch's number, from 0, to the indices of its clips; the incomplete last batch is left out.
        seed: Of the initial parameters, the augmentations and the dropout.
        teacher: From log-mels to logits; used where the recipe's teacher_weight is positive.
        log_path: Where to write a JSON line an epoch: step, epoch, loss, seconds, clips_per_second. Steps count from 1,
            epochs from 0; the loss is the epoch's mean, and seconds are those spent in training since its start.

    Raises:
        UserError: If an epoch has fewer clips than a batch.
        ValueError: If the recipe asks for a teacher and there is none.
        IndexError: If an index is none of the corpus; on a device it would silently become the last clip.
        RuntimeError: If the loss or a weight is no longer finite.
    """
    if recipe.teacher_weight and teacher is None:
        raise ValueError(f"teacher_weight is {recipe.teacher_weight}, but there is no teacher")
    steps = _steps_per_epoch(draw(0).shape[0], recipe.batch_size)
    transformation = optimizer(recipe, recipe.epochs * steps)
    init_key, key = jax.random.split(jax.random.key(seed))
    variables = init_variables(init_key, config)
    state = TrainState(variables, transformation.init(variables["params"]), key)

    @jax.jit
    def epoch(state: TrainState, corpus: Corpus, batches: Array) -> tuple[TrainState, Array]:
        def body(state: TrainState, indices: Array) -> tuple[TrainState, Array]:
            return train_step(state, corpus, indices, config, recipe, transformation, teacher)

        return jax.lax.scan(body, state, batches)

    corpus = jax.tree.map(jnp.asarray, corpus)
    seconds, lines = 0.0, []
    if log_path:
        log_path.parent.mkdir(parents=True, exist_ok=True)
    for number in (progress := tqdm(range(recipe.epochs), desc="student", unit="epoch")):
        drawn = draw(number)[: steps * recipe.batch_size]
        if drawn.min() < 0 or drawn.max() >= corpus.labels.shape[0]:
            raise IndexError(f"epoch {number} draws clips {drawn.min()} to {drawn.max()} of {corpus.labels.shape[0]}")
        batches = jnp.asarray(drawn.reshape(steps, recipe.batch_size))
        start = time.perf_counter()
        state, losses = epoch(state, corpus, batches)
        loss = float(losses.mean())
        elapsed = time.perf_counter() - start
        seconds += elapsed
        if not _all_finite((losses, state.variables)):
            raise RuntimeError(f"epoch {number}: the loss or a weight is not finite; is every clip, and the noise?")
        progress.set_postfix(loss=f"{loss:.4f}")
        line = {"step": (number + 1) * steps, "epoch": number, "loss": loss, "seconds": seconds}
        lines.append(line | {"clips_per_second": batches.size / elapsed})
        if log_path:
            log_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return state.variables


def _steps_per_epoch(drawn: int, batch_size: int) -> int:
    if drawn < batch_size:
        raise UserError(f"an epoch of {drawn} clips is less than a batch of {batch_size}: give more clips")
    return drawn // batch_size


def _all_finite(tree: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
