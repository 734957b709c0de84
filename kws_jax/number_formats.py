"""Weights as they are stored, back to the float32 numbers that were judged.

| format           | what a file holds, under the names of `kws_jax.state_dict`                                     |
|------------------|------------------------------------------------------------------------------------------------|
| fp32, fp16       | every tensor; half-precision numbers are float32 numbers too                                   |
| qint8            | W of a GRU or linear layer as W (int8), W.scale (float32), W.zero_point: (int8 - zero) * scale |
| int8, int5, int4 | one array of bytes under the format's name: scales, then integers packed without gaps          |

Packed bytes hold, in the order of the state_dict: the scales, little-endian float16; then the integers of the widest
kind, then those of the next, each kind's last byte filled with zero bits. Integers are two's complement, lowest bit
first. A scale belongs to a channel of the convolution, a gate of a GRU matrix, or all of another matrix or vector.

Of qint8, PyTorch also quantizes the activations as they come; here they stay float32.
"""

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8

from kws_jax.config import CrnnConfig
from kws_jax.errors import MisshapenTensor, MissingTensor, WeightsError
from kws_jax.state_dict import mapping

__all__ = ["GATES", "MATRIX_BITS", "SMALLEST_SCALE", "VECTOR_BITS", "Place", "dequantized", "groups_of", "places"]

MATRIX_BITS = {"int8": 8, "int5": 5, "int4": 4}  # the convolution's kernel counts as a matrix
VECTOR_BITS = {"int8": 8, "int5": 6, "int4": 8}
SMALLEST_SCALE = 2.0**-14  # the smallest normal float16
GATES = 3
SCALE, ZERO_POINT = ".scale", ".zero_point"


def dequantized(tensors: Mapping[str, np.ndarray], config: CrnnConfig | None = None) -> dict[str, np.ndarray]:
    """The state_dict that stored tensors stand for; floats are left as they are.

    Args:
        tensors: What a file holds.
        config: The model, which packed bytes need to be told apart by.

    Raises:
        WeightsError: If packed bytes are not those of the model, or a quantized matrix lacks its scale.
    """
    packed = sorted(tensors.keys() & MATRIX_BITS.keys())
    if not packed:
        integers = [key for key, array in tensors.items() if array.dtype == np.int8 and not key.endswith(ZERO_POINT)]
        steps = {key + end for key in integers for end in (SCALE, ZERO_POINT)}
        return {
            key: _of_qint8(tensors, key) if key in integers else tensors[key] for key in tensors if key not in steps
        }
    if len(tensors) > 1 or config is None:
        raise WeightsError(f"packed weights are one tensor, {packed[0]!r}, beside the model's configuration")
    return _unpacked(tensors[packed[0]], config, packed[0])


def _of_qint8(tensors: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    grid: list[np.ndarray] = []
    for name, kind in ((key + SCALE, np.float32), (key + ZERO_POINT, np.int8)):
        if name not in tensors:
            raise MissingTensor(f"{name} is missing, and {key} holds integers")
        if tensors[name].shape or tensors[name].dtype != kind:
            raise MisshapenTensor(
                f"{name} is {tensors[name].dtype} of shape {tensors[name].shape}: one {kind.__name__}"
            )
        grid.append(tensors[name].astype(np.float32))
    if not grid[0] > 0:
        raise WeightsError(f"{key + SCALE} is {grid[0]}: a scale is above 0")
    return (tensors[key].astype(np.float32) - grid[1]) * grid[0]


def groups_of(key: str, shape: tuple[int, ...]) -> int:
    """How many scales a tensor has, for equal blocks of its first axis."""
    if len(shape) == 1:
        return 1
    return shape[0] if key.startswith("conv.") else GATES if key.startswith("gru.") else 1


class Place(NamedTuple):
    """Where a tensor lies in packed bytes.

    Attributes:
        bit: Of its first integer, from the first byte's lowest bit on.
        width: Bits of an integer.
        scale: Number of its first scale.
        groups: How many scales it has, for equal blocks of its first axis.
        shape: Of the tensor.
    """

    bit: int
    width: int
    scale: int
    groups: int
    shape: tuple[int, ...]

    @property
    def bits(self) -> slice:
        """Of all its integers."""
        return slice(self.bit, self.bit + self.width * prod(self.shape))


def places(config: CrnnConfig, name: str) -> tuple[dict[str, Place], int]:
    """Where the tensors of a model lie in the packed bytes of a format, by their keys, and how many bytes there are."""
    entries = mapping(config)
    groups = [groups_of(entry.key, entry.shape) for entry in entries]
    widths = [(VECTOR_BITS if len(entry.shape) == 1 else MATRIX_BITS)[name] for entry in entries]
    found: dict[str, Place] = {}
    end = 16 * sum(groups)
    for kind in sorted(set(widths), reverse=True):
        for number, entry in enumerate(entries):
            if widths[number] == kind:
                found[entry.key] = Place(end, kind, sum(groups[:number]), groups[number], entry.shape)
                end = found[entry.key].bits.stop
        end = -(-end // 8) * 8
    return found, end // 8


def _unpacked(packed: np.ndarray, config: CrnnConfig, name: str) -> dict[str, np.ndarray]:
    where, size = places(config, name)
    if packed.dtype != np.uint8 or packed.shape != (size,):
        raise MisshapenTensor(f"{name} is {packed.dtype} of shape {packed.shape}, but the model's is {size} bytes")
    num_scales = sum(place.groups for place in where.values())
    scales = packed[: 2 * num_scales].view("<f2").astype(np.float32)
    if not (np.isfinite(scales) & (scales >= SMALLEST_SCALE)).all():
        raise WeightsError(f"{name} is damaged: a scale is no positive normal number")
    bits = np.unpackbits(packed, bitorder="little")
    state: dict[str, np.ndarray] = {}
    for key, place in where.items():
        blocks = _integers(bits[place.bits], place.width).reshape(place.groups, -1)
        state[key] = (blocks * scales[place.scale :][: place.groups, None]).reshape(place.shape)
        bits[place.bits] = 0
    if bits[16 * num_scales :].any():
        raise WeightsError("packed weights are damaged: the padding is not zero")
    return state


def _integers(bits: UInt8[np.ndarray, " bits"], width: int) -> Float32[np.ndarray, " integers"]:
    """Two's complement integers of `width` bits each, as float32."""
    values: Int[np.ndarray, " width"] = np.left_shift(1, np.arange(width))
    values[-1] *= -1  # the highest bit is the sign
    return (bits.reshape(-1, width) @ values).astype(np.float32)
