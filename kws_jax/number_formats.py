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

import numpy as np
from jaxtyping import Float32, Int, UInt8

from kws_jax.config import CrnnConfig
from kws_jax.errors import MisshapenTensor, MissingTensor, WeightsError
from kws_jax.state_dict import Entry, mapping

__all__ = ["GATES", "MATRIX_BITS", "SMALLEST_SCALE", "VECTOR_BITS", "dequantized", "groups_of"]

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
        return {key: _of_qint8(tensors, key) for key in tensors if not key.endswith((SCALE, ZERO_POINT))}
    if len(tensors) > 1 or config is None:
        raise WeightsError(f"packed weights are one tensor, {packed[0]!r}, beside the model's configuration")
    return _unpacked(tensors[packed[0]], mapping(config), packed[0])


def _of_qint8(tensors: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    array = tensors[key]
    if array.dtype != np.int8:
        return array
    for name in (key + SCALE, key + ZERO_POINT):
        if name not in tensors:
            raise MissingTensor(f"{name} is missing, and {key} holds integers")
    return (array.astype(np.float32) - np.float32(tensors[key + ZERO_POINT])) * np.float32(tensors[key + SCALE])


def groups_of(key: str, shape: tuple[int, ...]) -> int:
    """How many scales a tensor has, for equal blocks of its first axis."""
    if len(shape) == 1:
        return 1
    return shape[0] if key.startswith("conv.") else GATES if key.startswith("gru.") else 1


def _unpacked(packed: np.ndarray, entries: list[Entry], name: str) -> dict[str, np.ndarray]:
    bits = {entry.key: (VECTOR_BITS if len(entry.shape) == 1 else MATRIX_BITS)[name] for entry in entries}
    groups = {entry.key: groups_of(entry.key, entry.shape) for entry in entries}
    kinds = {
        width: [entry for entry in entries if bits[entry.key] == width]
        for width in sorted(set(bits.values()), reverse=True)
    }
    counts = {width: sum(prod(entry.shape) for entry in those) for width, those in kinds.items()}
    sizes = [2 * sum(groups.values()), *(-(-width * count // 8) for width, count in counts.items())]
    if packed.dtype != np.uint8 or packed.shape != (sum(sizes),):
        raise MisshapenTensor(
            f"{name} is {packed.dtype} of shape {packed.shape}, but the model's is {sum(sizes)} bytes"
        )
    stored, *streams = np.split(packed, np.cumsum(sizes)[:-1])
    scales = np.frombuffer(stored.tobytes(), "<f2").astype(np.float32)
    if not (np.isfinite(scales) & (scales >= SMALLEST_SCALE)).all():
        raise WeightsError(f"{name} is damaged: a scale is no positive normal number")
    scale_of = dict(zip(groups, np.split(scales, np.cumsum(list(groups.values()))[:-1]), strict=True))
    state: dict[str, np.ndarray] = {}
    for (width, those), stream in zip(kinds.items(), streams, strict=True):
        integers = np.split(_integers(stream, width, counts[width]), np.cumsum([prod(e.shape) for e in those])[:-1])
        for entry, numbers in zip(those, integers, strict=True):
            blocks = numbers.reshape(groups[entry.key], -1) * scale_of[entry.key][:, None]
            state[entry.key] = blocks.reshape(entry.shape)
    return state


def _integers(stream: UInt8[np.ndarray, " bytes"], width: int, count: int) -> Float32[np.ndarray, " integers"]:
    """Two's complement integers of `width` bits each, as float32."""
    places: Int[np.ndarray, " bits"] = np.unpackbits(stream, bitorder="little")
    if places[width * count :].any():
        raise WeightsError("packed weights are damaged: the padding is not zero")
    values = np.left_shift(1, np.arange(width))
    values[-1] *= -1  # the highest bit is the sign
    return (places[: width * count].reshape(count, width) @ values).astype(np.float32)
