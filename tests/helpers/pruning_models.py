"""Models to prune, and what each of their units owns, picked by hand."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kws_jax.config import CrnnConfig
from kws_jax.model import Crnn
from kws_jax.training import pruning
from kws_jax.training.pruning import Masks, Sizes, full_masks
from tests.helpers.models import TOY

NORMED = replace(TOY, batch_norm=True)
SOME = Sizes(2, 3, 2)
Unit = tuple[str, int, int]  # part, layer, number

masked = jax.jit(pruning.masked)
update = jax.jit(pruning.update)


def random_scores(config: CrnnConfig) -> Masks:
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: jnp.float32(rng.uniform(0.1, 1, x.shape)), full_masks(config))


def some_masks(config: CrnnConfig, sizes: Sizes = SOME) -> Masks:
    return update(full_masks(config), random_scores(config), sizes)


def random_log_mel(config: CrnnConfig, batch: int = 3) -> np.ndarray:
    return np.random.default_rng(9).normal(0, 4, (batch, 61, config.frontend.num_mels)).astype(np.float32)


@lru_cache
def _compiled(config: CrnnConfig) -> Any:
    return jax.jit(Crnn(config).apply)


def forward(config: CrnnConfig, variables: dict, log_mel: np.ndarray) -> tuple[jax.Array, jax.Array]:
    return _compiled(config)(variables, jnp.asarray(log_mel))


def units_of(config: CrnnConfig) -> Iterator[Unit]:
    yield from (("conv", 0, unit) for unit in range(config.conv_channels))
    yield from (("gru", layer, unit) for layer in range(config.gru_layers) for unit in range(config.gru_hidden))
    yield from (("attention", 0, unit) for unit in range(config.attention_width))


def number_of(masks: Masks, unit: Unit) -> float:
    part, layer, index = unit
    return float(masks.gru[layer, index] if part == "gru" else getattr(masks, part)[index])


def views(params: dict, config: CrnnConfig, unit: Unit) -> list[np.ndarray]:
    """What a unit owns, then what others read from it, as views into NumPy parameters."""
    part, layer, i = unit
    project, score = params["attention"]["project"], params["attention"]["score"]
    if part == "attention":
        return [project["kernel"][:, i], project["bias"][i : i + 1], score["kernel"][i]]
    if part == "conv":
        own = [params["conv"]["kernel"][..., i], params["conv"]["bias"][i : i + 1]]
        own += [value[i : i + 1] for value in params.get("batch_norm", {}).values()]
        first = i * config.conv_mels
        return [*own, params["gru"]["layer_0"]["input_kernel"][first : first + config.conv_mels]]
    weights = params["gru"][f"layer_{layer}"]
    own = [weights[name][..., i :: config.gru_hidden] for name in sorted(weights)]
    if layer + 1 < config.gru_layers:
        readers = [params["gru"][f"layer_{layer + 1}"]["input_kernel"][i]]
    else:
        readers = [project["kernel"][i], params["classifier"]["kernel"][i]]
    return [*own, weights["hidden_kernel"][i], *readers]


def scaled(params: dict, config: CrnnConfig, unit: Unit, factor: float) -> dict:
    """A copy in which all that a unit owns, then all that is read from it, is multiplied."""
    copy = jax.tree.map(np.array, params)
    for view in views(copy, config, unit):
        view *= factor
    return copy


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance), ours, theirs)
