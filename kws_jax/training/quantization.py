"""Fake-quantization for training: weights on the integer grid they will be stored on, gradients straight through.

A scheme says what becomes integers. A group of weights W shares one scale, in float32:

    scale = max(max|W| / half_range, floor),   integer = clip(round_half_even(W * (1 / scale)), -2^(b-1), 2^(b-1) - 1)

with half_range = (2^b - 1) / 2 for b bits: 127.5 for 8, 7.5 for 4. A weight is then integer * scale.

| scheme | matrices                      | convolution      | vectors (biases)  | scales               |
|--------|-------------------------------|------------------|-------------------|----------------------|
| qint8  | 8 bits, one scale each        | float32          | float32           | float32, floor 2^-23 |
| int8   | 8 bits, one a gate of the GRU | 8, one a channel | 8 bits, one scale | float16, floor 2^-14 |
| int5   | 5 bits, one a gate of the GRU | 5, one a channel | 6 bits, one scale | float16, floor 2^-14 |
| int4   | 4 bits, one a gate of the GRU | 4, one a channel | 8 bits, one scale | float16, floor 2^-14 |

"qint8" is the grid of torch's dynamic quantization, whose activations, quantized as they come, are not imitated here.
The last three are weight-only. Batch normalisation must be folded first (`model.fold_batch_norm`): what is deployed
is the folded convolution, and only its weights can be trained for their grid.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kws_jax.array_types import Params
from kws_jax.number_formats import GATES, MATRIX_BITS, VECTOR_BITS

__all__ = ["Grid", "Scheme", "fake_quantize", "fake_quantize_params", "grid_of", "quantize_weights"]

Scheme = Literal["qint8", "int8", "int5", "int4"]


@dataclass(frozen=True)
class Grid:
    """How one array becomes integers.

    Attributes:
        bits: Width of an integer, 2 to 8.
        groups: Equal blocks of the last axis (outputs), each with a scale of its own.
        half_scales: Whether scales are stored, and so rounded, as float16; no scale is then below its normal numbers.

    Raises:
        ValueError: If a number is out of its range.
    """

    bits: int = 8
    groups: int = 1
    half_scales: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8 or self.groups < 1:
            raise ValueError(f"a grid has 2 to 8 bits and a group or more: {self}")


def grid_of(path: tuple[str, ...], shape: tuple[int, ...], scheme: Scheme) -> Grid | None:
    """The grid of the parameter at `path` ("conv", "kernel"); None where the scheme leaves it in float32.

    Raises:
        ValueError: If there is no such scheme.
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"scheme {scheme!r} must be one of {', '.join(get_args(Scheme))}")
    is_vector, is_conv = len(shape) == 1, path[0] == "conv"
    if scheme == "qint8":
        return None if is_vector or is_conv else Grid()
    if is_vector:
        return Grid(VECTOR_BITS[scheme], half_scales=True)
    groups = shape[-1] if is_conv else GATES if path[0] == "gru" else 1
    return Grid(MATRIX_BITS[scheme], groups, half_scales=True)


def quantize_weights(weights: Float[Array, "..."], grid: Grid) -> tuple[Int[Array, "..."], Float[Array, " groups"]]:
    """Integers of the weights' shape, and their scales; bit for bit what PyTorch makes of the same weights.

    XLA replaces a division by a constant, or by one number for all, with a multiplication, and then three scales in
    four differ from torch's in their last bit: barriers keep the formula as it is written.

    Raises:
        ValueError: If the outputs do not divide into the grid's groups.
    """
    if weights.ndim == 0 or weights.shape[-1] % grid.groups:
        raise ValueError(f"weights of shape {weights.shape} do not divide into {grid.groups} groups of outputs")
    half_range, limit = (2**grid.bits - 1) / 2, 2 ** (grid.bits - 1)
    blocks = weights.reshape(-1, grid.groups, weights.shape[-1] // grid.groups)
    largest = jnp.max(jnp.abs(blocks), axis=(0, 2))
    scales = largest / jax.lax.optimization_barrier(jnp.full(grid.groups, half_range, jnp.float32))
    if grid.half_scales:
        # A cast there and back is what compilers like to remove; this rounding they may not.
        scales = jax.lax.reduce_precision(jnp.maximum(scales, 2.0**-14), exponent_bits=5, mantissa_bits=10)
    else:
        scales = jnp.maximum(scales, 2.0**-23)
    reciprocals = jax.lax.optimization_barrier(1.0 / scales)
    integers = jnp.clip(jnp.round(blocks * reciprocals[:, None]), -limit, limit - 1)
    return integers.reshape(weights.shape).astype(jnp.int8), scales


@jax.custom_jvp
def _straight_through(weights: Array, quantized: Array) -> Array:
    return quantized


@_straight_through.defjvp
def _straight_through_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # Exactly the quantized values: weights + (quantized - weights) would round.
    return primals[1], tangents[0]


def fake_quantize(weights: Float[Array, "..."], grid: Grid) -> Float[Array, "..."]:
    """The weights rounded to their grid; the gradient is that of the identity.

    The scale follows the largest weight, so nothing lies beyond the range and no gradient is cut. (torch's FakeQuantize
    cuts that of a largest weight which is positive: it rounds half_range up and clips, moving by half a step.)

    References:
        Bengio, Leonard, Courville: Estimating or Propagating Gradients Through Stochastic Neurons, 2013.
        Jacob et al.: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
            Inference, 2018.
    """
    integers, scales = quantize_weights(jax.lax.stop_gradient(weights), grid)
    blocks = integers.reshape(-1, grid.groups, weights.shape[-1] // grid.groups)
    return _straight_through(weights, (blocks * scales[:, None]).reshape(weights.shape))


def fake_quantize_params(params: Params, scheme: Scheme) -> Params:
    """A deployed model's parameters as `scheme` will store them, differentiable; what it leaves alone is as it was.

    Raises:
        ValueError: If batch normalisation has not been folded.
    """
    if "batch_norm" in params:
        raise ValueError("fold batch normalisation first: only the folded convolution is ever quantized")

    def quantized(path: tuple[jax.tree_util.DictKey, ...], array: Array) -> Array:
        grid = grid_of(tuple(entry.key for entry in path), array.shape, scheme)
        return fake_quantize(array, grid) if grid else array

    return jax.tree_util.tree_map_with_path(quantized, params)
