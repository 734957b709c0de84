"""Where the time of a push and of a training step goes, and the least that the machine would take for them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import timing
from experiments.benchmark.training import jax_batches
from kws_jax import cost, frontend
from kws_jax.config import CrnnConfig
from kws_jax.model import init_variables
from kws_jax.streaming import StreamingKws, functions
from kws_jax.streaming.stream import packed_stream
from kws_jax.training import train
from kws_jax.training.augment import augment_power
from kws_jax.training.losses import Batch, loss_function
from kws_jax.training.recipe import Recipe
from torch_ref import accounting

Row = dict[str, Any]
Call = Callable[[], Any]
SGEMM = 1_024  # rows and columns


def parts(name: str, config: CrnnConfig, batch_size: int, repeats: int) -> list[Row]:
    """Rows of a push and of a training step: each part is what its call takes longer than the one before."""
    push, step = push_calls(config), training_calls(config, batch_size)
    rows = []
    for of, calls, times in (("push", push, 20 * repeats), ("training step", step, repeats)):
        seconds = accounting.measure(*calls.values(), warmup=3, repeats=times)
        of_each = np.diff(np.maximum.accumulate(seconds), prepend=0.0)
        rows += [
            {"model": name, "of": of, "part": part, "microseconds": 1e6 * float(time)}
            for part, time in zip(calls, of_each, strict=True)
        ]
    return rows


def push_calls(config: CrnnConfig) -> dict[str, Call]:
    """A block, from nothing but a compiled call on."""
    params = init_variables(jax.random.key(0), config)["params"]
    packed, stream, block = packed_stream(params, config), StreamingKws(params, config), timing.some_audio(1)
    block = block[: config.block_size]
    state = functions.init_state(config, 1).frontend
    carried = {"call": packed.fresh, "step": packed.fresh}
    call = jax.jit(lambda packed, block: packed + block[0])

    @jax.jit
    def hear(packed: jax.Array, block: jax.Array) -> jax.Array:
        heard, power = frontend.step(config.frontend, state._replace(samples=packed[None]), block[None])
        return jnp.concatenate([heard.samples[0], power.ravel()])

    samples = state.samples[0]
    newest = {"samples": jnp.asarray(samples)}

    def a_call() -> Any:
        carried["call"] = call(carried["call"], block)
        return np.asarray(carried["call"])[-1]

    def the_front_end() -> Any:
        return np.asarray(hear(newest["samples"], block))[-1]

    def the_step() -> Any:
        carried["step"] = packed.step(carried["step"], block)
        return np.asarray(carried["step"])[-1]

    return {
        "a compiled call": a_call,
        "front end": the_front_end,
        "model": the_step,
        "checks and times": lambda: stream.push(block),
    }


def training_calls(config: CrnnConfig, batch_size: int) -> dict[str, Call]:
    """A batch of the project's own training, from gathering its clips on."""
    recipe = Recipe(batch_size=batch_size)
    state, training_set, batches = jax_batches(config, recipe, num_batches=1)
    rest = {name: value for name, value in state.variables.items() if name != "params"}

    def batch_of(indices: jax.Array, is_augmented: bool = True) -> Batch:
        power = training_set.power[indices]
        if is_augmented and recipe.augmentation is not None:
            power = augment_power(state.key, power, training_set.noise, recipe.augmentation)
        return Batch(power, training_set.labels[indices], state.key)

    def loss_of(params: Any, indices: jax.Array) -> Any:
        return loss_function({"params": params, **rest}, config, recipe, batch_of(indices), None, state.key)[0]

    def backward(indices: jax.Array) -> Any:
        return jax.value_and_grad(loss_of)(state.variables["params"], indices)

    compiled: dict[str, Callable[..., Any]] = {
        "gather": jax.jit(lambda indices: batch_of(indices, is_augmented=False).power.sum()),
        "augment": jax.jit(lambda indices: batch_of(indices).power.sum()),
        "forward": jax.jit(lambda indices: loss_of(state.variables["params"], indices)),
        "backward": jax.jit(backward),
    }
    calls: dict[str, Call] = {name: partial(function, batches[0]) for name, function in compiled.items()}
    calls["update"] = partial(train.train_epoch, state, training_set, batches, None, config, recipe, None, 1)
    return {name: partial(_done, call) for name, call in calls.items()}


def _done(call: Call) -> Any:
    return jax.block_until_ready(call())


def training_floor(config: CrnnConfig, batch_size: int, repeats: int) -> Row:
    """What a step would take if all its multiplications ran as fast as those of large matrices do here.

    Three products of the forward pass's size: the pass itself, and the gradients of what goes in and of the weights.
    """
    square = jnp.ones((SGEMM, SGEMM))
    product = jax.jit(jnp.matmul)
    (seconds,) = accounting.measure(lambda: product(square, square).block_until_ready(), warmup=2, repeats=repeats)
    gigaflops = 2 * SGEMM**3 / seconds / 1e9
    flops = 3 * 2 * cost.macs_per_clip(config).total * batch_size
    return {"sgemm_gigaflops": gigaflops, "clips_per_second": batch_size / (flops / (1e9 * gigaflops))}
