"""How fast training is: PyTorch against JAX on the same model and batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn

from conversion.configs import to_task_config
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.frontend import mel_power
from kws_jax.model import init_variables
from kws_jax.training import train
from kws_jax.training.losses import Batch, loss_function
from kws_jax.training.recipe import Recipe, optimizer
from kws_jax.training.scene_set import join_scenes
from kws_jax.training.training_set import TrainingSet
from torch_ref import frontend, model
from torch_ref.accounting import measure
from torch_ref.train import SeminarRecipe

Call = Callable[[], Any]
NUM_CLASSES = 2
EPOCH, BATCHES = "epoch from cached mel power, augmented", 4
SCENE_EPOCH, SCENE_SECONDS = "epoch on scenes, augmented", 60


def training_speed(name: str, config: CrnnConfig, batch_size: int, repeats: int) -> list[dict[str, Any]]:
    """Seconds of audio a second of one optimizer step without augmentation, and of JAX's epochs, as rows.

    The steps do the same in both frameworks: forward, cross-entropy, backward, gradient norm, Adam. The epoch is the
    project's own: one scan over batches that are gathered from cached mel power, augmented and masked.
    """
    calls: dict[tuple[str, str], Call] = {}
    for source in ("mel power", "samples"):
        calls["PyTorch", f"step from {source}"] = torch_step(config, batch_size, source)
        calls["JAX", f"step from {source}"] = jax_step(config, batch_size, source)
    scenes = Recipe(batch_size=batch_size // 4)  # windows are longer than clips
    calls["JAX", EPOCH] = jax_epoch(config, batch_size, BATCHES)
    calls["JAX", SCENE_EPOCH] = jax_scene_epoch(config, scenes, BATCHES)
    seconds = dict(zip(calls, measure(*calls.values(), warmup=1, repeats=repeats), strict=True))
    heard = dict.fromkeys(calls, float(batch_size))
    heard["JAX", EPOCH] *= BATCHES
    heard["JAX", SCENE_EPOCH] = BATCHES * scenes.batch_size * scenes.window
    return [
        {
            "model": name,
            "framework": framework,
            "what": what,
            "batch_size": batch_size,
            "clips_per_second": heard[framework, what] / time,
            "ratio_to_torch": seconds["PyTorch", what] / time if ("PyTorch", what) in seconds else None,
        }
        for (framework, what), time in seconds.items()
    ]


def torch_step(config: CrnnConfig, batch_size: int, source: str, device: str = "cpu") -> Call:
    """A step of the seminar's loop in PyTorch."""
    recipe, task = SeminarRecipe(), to_task_config(config)
    crnn, power_of = model.CRNN(task).train().to(device), frontend.MelPower(task).to(device)
    adam = torch.optim.Adam(crnn.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    samples, labels = (torch.from_numpy(array).to(device) for array in _batch(batch_size))
    ready = power_of(samples)

    def step() -> float:
        power = ready if source == "mel power" else power_of(samples)
        loss = nn.functional.cross_entropy(crnn(crnn.compress(power)), labels)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(crnn.parameters(), recipe.max_gradient_norm)
        adam.step()
        return loss.item()

    return step


def jax_step(config: CrnnConfig, batch_size: int, source: str) -> Call:
    """A compiled step of our loop, hard labels and no augmentation."""
    recipe = Recipe(augmentation=None, batch_size=batch_size)
    adam = optimizer(recipe, num_steps=1_000_000)
    variables = init_variables(jax.random.key(0), config)
    samples, labels = map(jnp.asarray, _batch(batch_size))
    inputs = mel_power(config.frontend, samples) if source == "mel power" else samples
    key = jax.random.key(0)

    @jax.jit
    def step(variables: dict[str, Any], state: Any, inputs: jax.Array) -> Any:
        power = inputs if source == "mel power" else mel_power(config.frontend, inputs)
        rest = {name: value for name, value in variables.items() if name != "params"}

        def loss_of(params: Any) -> Any:
            return loss_function({"params": params, **rest}, config, recipe, Batch(power, labels, key), None, key)

        params = variables["params"]
        (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = adam.update(gradient, state, params)
        return {"params": optax.apply_updates(params, updates), **updated}, state, loss

    carried = [variables, adam.init(variables["params"])]

    def call() -> float:
        *carried[:], loss = step(*carried, inputs)
        return float(loss)

    return call


def jax_epoch(config: CrnnConfig, batch_size: int, num_batches: int) -> Call:
    """An epoch of our loop, one compiled call."""
    recipe = Recipe(batch_size=batch_size)
    state, training_set, batches = jax_batches(config, recipe, num_batches)
    return lambda: jax.block_until_ready(
        train.train_epoch(state, training_set, batches, None, config, recipe, None, num_batches)
    )


def jax_batches(
    config: CrnnConfig, recipe: Recipe, num_batches: int
) -> tuple[train.TrainState, TrainingSet, jax.Array]:
    """Our training's state before its first step, clips of noise, and their numbers in batches."""
    num_clips, rng, key = recipe.batch_size * num_batches, np.random.default_rng(0), jax.random.key(0)
    frames, mels = config.frontend.num_frames(SAMPLE_RATE), config.frontend.num_mels
    power = jnp.asarray(rng.exponential(1.0, (num_clips, frames, mels)), jnp.float32)
    training_set = TrainingSet(power, jnp.asarray(rng.integers(0, NUM_CLASSES, num_clips)), power[:2].reshape(-1, mels))
    batches = jnp.asarray(rng.integers(0, num_clips, (num_batches, recipe.batch_size)))
    state = train.start_state(init_variables(key, config), config, optimizer(recipe, num_batches), key)
    return state, training_set, batches


def jax_scene_epoch(config: CrnnConfig, recipe: Recipe, num_batches: int) -> Call:
    """The same on scenes: windows at random places of a minute that says the keyword now and then."""
    rng, key = np.random.default_rng(0), jax.random.key(0)
    frames = SCENE_SECONDS * SAMPLE_RATE // config.frontend.hop_length
    power = rng.exponential(1.0, (frames, config.frontend.num_mels)).astype(np.float32)
    starts = np.arange(2.0, SCENE_SECONDS - 2, 4.0)
    scenes = join_scenes(config.frontend, [power], [np.stack([starts, starts + 0.6], axis=1)], power, power)
    batches = rng.integers(0, frames - train.num_window_frames(config, recipe), (num_batches, recipe.batch_size))
    state = train.start_state(init_variables(key, config), config, optimizer(recipe, num_batches), key)
    scenes, batches = jax.tree.map(jnp.asarray, (scenes, batches))
    return lambda: jax.block_until_ready(
        train.train_epoch(state, scenes, batches, None, config, recipe, None, num_batches)
    )


def _batch(batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, (batch_size, SAMPLE_RATE)).astype(np.float32)
    return samples, rng.integers(0, NUM_CLASSES, batch_size)
