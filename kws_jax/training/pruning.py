"""Structured pruning: which units go, when they go, and the smaller model that is left.

A unit is a channel of the convolution, a unit of one GRU layer (its three gates together) or a hidden unit of the
attention's energy network. A mask of 0 takes away what the unit owns and what others read from it, so a masked model
computes what the model without these units computes, and `slim` makes that model.

The training loop keeps a running mean of `importance`, calls `advance` after every step and trains `masked`
parameters. Scores are compared within a part (the convolution, one GRU layer, the attention), never between parts.

References:
    Molchanov, Tyree, Karras, Aila, Kautz: Pruning Convolutional Neural Networks for Resource Efficient Inference, 2017.
    Molchanov, Mallya, Tyree, Frosio, Kautz: Importance Estimation for Neural Network Pruning, 2019.
    Zhu, Gupta: To prune, or not to prune: exploring the efficacy of pruning for model compression, 2017.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kws_jax.array_types import Params
from kws_jax.config import CrnnConfig
from kws_jax.errors import UserError


class Masks(NamedTuple):
    """A number for each unit: 1 where it is alive and 0 where it is pruned; or each unit's score.

    Attributes:
        conv: Of the convolution's channels.
        gru: Of every layer's units.
        attention: Of the hidden units of the energy network.
    """

    conv: Float[Array, " channels"]
    gru: Float[Array, "layers hidden"]
    attention: Float[Array, " width"]


class Sizes(NamedTuple):
    """Units to keep, whole numbers.

    Attributes:
        conv: Channels.
        gru: Units of every layer alike, or a column with a number for each layer.
        attention: Width of the attention.
    """

    conv: int | Int[Array, ""]
    gru: int | Int[Array, ""] | Int[Array, "layers 1"]
    attention: int | Int[Array, ""]


@dataclass(frozen=True)
class PruningPlan:
    """What is left at the end, and when the rest goes.

    Attributes:
        conv_channels: Channels to end with.
        gru_hidden: Units to end with in each GRU layer; every layer chooses its own.
        attention_width: Attention units to end with.
        begin: Share of the training's steps after which units start to go, in [0, end).
        end: Share of the steps after which the last has gone, in (begin, 1].
        interval: Steps between two updates of the masks.

    Raises:
        UserError: If a number is out of its range.
    """

    conv_channels: int
    gru_hidden: int
    attention_width: int
    begin: float = 0.1
    end: float = 0.6
    interval: int = 50

    def __post_init__(self) -> None:
        if not all(isinstance(size, int) and size >= 1 for size in (*astuple(self)[:3], self.interval)):
            raise UserError(f"sizes and interval of a pruning plan must be whole and 1 or more: {self}")
        if not all(isinstance(share, int | float) for share in astuple(self)) or not 0 <= self.begin < self.end <= 1:
            raise UserError(f"pruning must begin before it ends, both within [0, 1]: {self}")


def full_masks(config: CrnnConfig) -> Masks:
    """Masks of a model that has all its units."""
    return Masks(
        conv=jnp.ones(config.conv_channels),
        gru=jnp.ones((config.gru_layers, config.gru_hidden)),
        attention=jnp.ones(config.attention_width),
    )


# Whose units lie along each axis of an array: they own it along the last axis, and read it along the others.
AXES: dict[str, tuple[str | None, ...]] = {
    "conv/kernel": (None, None, None, "channels"),
    "conv/bias": ("channels",),
    **dict.fromkeys(["batch_norm/scale", "batch_norm/bias", "batch_norm/mean", "batch_norm/var"], ("channels",)),
    "gru/input_kernel": ("inputs", "gates"),
    "gru/input_bias": ("gates",),
    "gru/hidden_kernel": ("units", "gates"),
    "gru/hidden_bias": ("gates",),
    "project/kernel": ("top units", "attention"),
    "project/bias": ("attention",),
    "score/kernel": ("attention", None),
    "classifier/kernel": ("top units", None),
}


def _by_axis(function: Callable[[Array, int, Array], Array], tree: Params, masks: Masks, mels: int) -> Params:
    """Applies function(array, axis, mask) along every axis that has units, to every array."""

    def apply(path: tuple[jax.tree_util.DictKey, ...], array: Array) -> Array:
        part, *inner, name = (entry.key for entry in path)
        layer = int(inner[0].removeprefix("layer_")) if part == "gru" else 0
        units = masks.gru[layer]
        along = {
            "channels": masks.conv,
            "inputs": masks.gru[layer - 1] if layer else jnp.repeat(masks.conv, mels),  # features are channel-major
            "units": units,
            "gates": jnp.tile(units, 3),
            "top units": masks.gru[-1],
            "attention": masks.attention,
        }
        owner = inner[0] if part == "attention" else part
        for axis, whose in enumerate(AXES.get(f"{owner}/{name}", ())):
            array = array if whose is None else function(array, axis, along[whose])
        return array

    return jax.tree_util.tree_map_with_path(apply, tree)


def masked(params: Params, masks: Masks) -> Params:
    """Parameters in which a pruned unit owns nothing and nothing reads from it.

    A pruned GRU unit's gates see zeros alone, so h' = (1 - z) tanh(0) + z h stays exactly 0 from h = 0.

    Args:
        params: Parameters, with batch normalisation or without.
        masks: Every parameter is multiplied by the mask of the unit that owns it and by that of the unit it reads.

    Raises:
        ValueError: If the masks are of other units.
    """
    inputs, hidden = (params["gru"]["layer_0"][name].shape[0] for name in ("input_kernel", "hidden_kernel"))
    units = [params["conv"]["bias"].shape, (len(params["gru"]), hidden), params["attention"]["project"]["bias"].shape]
    if [part.shape for part in masks] != units:
        raise ValueError(f"masks are not of the model's units, {units}, but {[part.shape for part in masks]}")

    def mask(array: Array, axis: int, alive: Array) -> Array:
        return array * alive.reshape(-1, *[1] * (array.ndim - axis - 1))

    return _by_axis(mask, params, masks, inputs // masks.conv.shape[0])


def importance(params: Params, gradient: Params, masks: Masks) -> Masks:
    """Score of each unit: how much the loss changes, to first order, as its mask goes from 1 to 0.

    |dL/dm_u| = |sum of w g over all that unit u owns, plus sum of w g over all that others read from it|, with all
    gates together. A GRU unit's weights onto itself are both.

    Args:
        params: Parameters.
        gradient: Of the loss with respect to them, taken at the masked parameters.
        masks: Units that are alive; the others score 0.
    """
    _, pull_back = jax.vjp(lambda masks: masked(params, masks), masks)
    (slopes,) = pull_back(gradient)
    return jax.tree.map(lambda slope, mask: jnp.abs(slope) * mask, slopes, masks)


def kept(plan: PruningPlan, config: CrnnConfig, share: float | Float[Array, ""]) -> Sizes:
    """Units to keep after a share of the training: k = end + (start - end) (1 - progress)^3, rounded.

    Progress runs from 0 at plan.begin to 1 at plan.end: many units go early, while there are many to choose from.

    Args:
        plan: Plan.
        config: The model before pruning.
        share: Steps done over all steps, in [0, 1].

    Raises:
        UserError: If the plan ends with more than the model has.
    """
    start = (config.conv_channels, config.gru_hidden, config.attention_width)
    end = (plan.conv_channels, plan.gru_hidden, plan.attention_width)
    if any(many > available for many, available in zip(end, start, strict=True)):
        raise UserError(f"a pruning plan cannot end with {end} (channels, GRU, attention) where a model has {start}")
    left = (1.0 - jnp.clip((share - plan.begin) / (plan.end - plan.begin), 0.0, 1.0)) ** 3
    return Sizes(*(jnp.round(last + (first - last) * left).astype(int) for first, last in zip(start, end, strict=True)))


def update(masks: Masks, scores: Masks, sizes: Sizes) -> Masks:
    """Keeps the units with the highest scores among those alive; a pruned unit never comes back.

    Of equal scores the first stays.

    Args:
        masks: Units that are alive.
        scores: From `importance`, or a running mean of it.
        sizes: How many to keep; where fewer are alive, all of them stay.
    """

    def best(alive: Array, scores: Array, keep: int | Array) -> Array:
        order = jnp.argsort(jnp.where(alive > 0, -scores, jnp.inf), axis=-1)
        return alive * (jnp.argsort(order, axis=-1) < keep)

    return Masks(*(best(*part) for part in zip(masks, scores, sizes, strict=True)))


def advance(
    plan: PruningPlan,
    config: CrnnConfig,
    masks: Masks,
    scores: Masks,
    step: int | Int[Array, ""],
    num_steps: int,
) -> Masks:
    """Masks after step `step`, from 0, of `num_steps`: updated every plan.interval steps, and after the last one.

    Raises:
        UserError: If the plan ends with more than the model has.
    """
    done = step + 1
    is_due = (done % plan.interval == 0) | (done == num_steps)
    updated = update(masks, scores, kept(plan, config, done / num_steps))
    return jax.tree.map(lambda new, old: jnp.where(is_due, new, old), updated, masks)


def slim(config: CrnnConfig, variables: dict[str, Params], masks: Masks) -> tuple[CrnnConfig, dict[str, Params]]:
    """The model without its pruned units: smaller arrays, and the configuration that fits them.

    Its outputs are those of the masked model. Not to be called inside jit, as sizes depend on values.

    Raises:
        UserError: If a part has no units left, or the GRU layers have kept different numbers of them.
    """
    channels, attention = (int(np.count_nonzero(part)) for part in (masks.conv, masks.attention))
    layers = np.count_nonzero(masks.gru, axis=1).tolist()
    if len(set(layers)) > 1:
        raise UserError(f"GRU layers have kept {layers} units: a model has one number")
    small = replace(config, conv_channels=channels, gru_hidden=layers[0], attention_width=attention)

    def take(array: Array, axis: int, alive: Array) -> Array:
        return jnp.take(array, np.flatnonzero(alive), axis)

    return small, {name: _by_axis(take, tree, masks, config.conv_mels) for name, tree in variables.items()}
