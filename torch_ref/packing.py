"""Weight-only integer forms of the model: all of it in one array of bytes, down to four bits each.

The bytes hold, one after the other and without gaps, each in the order of the float model's state_dict:

    1. the scales, float16;
    2. the integers of vectors: 8 bits each, of "int5" 6 bits;
    3. the integers of matrices: 8, 5 or 4 bits each, as the format's name says.

Integers are two's complement and follow each other without gaps, lowest bit first, from the lowest bit of a byte to its
highest and on to the next; of "int8" both kinds follow each other in the state_dict's order. Zero bits fill the last
byte of each kind. Scales are little-endian, and the configuration alone says what lies where. A number
is integer * scale. Each scale belongs to a group of numbers: a channel of the convolution, a gate of a GRU matrix, or
all of any other matrix or vector. In float32:

    scale = max(max|W| / half_range, 2^-14) as float16,  integer = clip(round_half_even(W * (1 / scale)), -2^(b-1), ...)

with half_range = (2^b - 1) / 2 for b bits: the grid of torch's dynamic quantization but for the rounded scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from torch_ref.config import TaskConfig
from torch_ref.model import CRNN

__all__ = ["PackedCrnn", "Quantized", "Slot", "layout", "load_packed", "pack", "to_packed", "unpack"]

SMALLEST_SCALE = 2.0**-14  # the smallest normal float16
GATES = 3


MATRIX_BITS = {"int8": 8, "int5": 5, "int4": 4}  # the convolution's kernel counts as a matrix
VECTOR_BITS = {"int8": 8, "int5": 6, "int4": 8}


@dataclass(frozen=True)
class Slot:
    """A tensor's place: its key, its shape, the bits of an integer, and the groups of its first axis."""

    name: str
    shape: tuple[int, ...]
    bits: int
    groups: int


class Quantized(NamedTuple):
    """A tensor of integers (int8) in its float shape, and the scales (float16) of its groups."""

    integers: Tensor
    scales: Tensor

    def dequantize(self) -> Tensor:
        """The float32 numbers they stand for."""
        blocks = self.integers.reshape(len(self.scales), -1).float()
        return (blocks * self.scales.float()[:, None]).reshape(self.integers.shape)


def layout(config: TaskConfig, number_format: str) -> list[Slot]:
    """Every tensor of the model, in order.

    Raises:
        ValueError: The model has batch normalisation, which is folded before weights are packed.
    """
    if config.batch_norm:
        raise ValueError("fold batch normalisation into the convolution before packing its weights")
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in CRNN(config).state_dict().items()}
    bits = {True: VECTOR_BITS[number_format], False: MATRIX_BITS[number_format]}
    return [Slot(name, shape, bits[len(shape) == 1], _groups(name, shape)) for name, shape in shapes.items()]


def _groups(name: str, shape: tuple[int, ...]) -> int:
    if len(shape) == 1:
        return 1
    if name.startswith("conv."):
        return shape[0]
    return GATES if name.startswith("gru.") else 1


def quantize(weights: Tensor, bits: int, groups: int) -> Quantized:
    """Rounds float32 weights to their grid.

    Raises:
        ValueError: A weight is not finite, or too large for a float16 scale.
    """
    half_range, limit = (2**bits - 1) / 2, 2 ** (bits - 1)
    blocks = weights.detach().float().reshape(groups, -1)
    scales = (blocks.abs().amax(1) / half_range).clamp_min(SMALLEST_SCALE).half()
    if not scales.isfinite().all():
        raise ValueError(f"a weight of {float(blocks.abs().max())} has no float16 scale")
    integers = (blocks * (1 / scales.float())[:, None]).round().clamp(-limit, limit - 1)
    return Quantized(integers.to(torch.int8).reshape(weights.shape), scales)


def pack(slots: list[Slot], tensors: Mapping[str, Quantized]) -> Tensor:
    """The bytes, uint8, of tensors of integers."""
    scales = np.concatenate([tensors[slot.name].scales.numpy() for slot in slots])
    parts = [scales.astype("<f2").view(np.uint8)]
    for bits in _widths(slots):
        chosen = [tensors[slot.name].integers.numpy().ravel() for slot in slots if slot.bits == bits]
        places = np.unpackbits(np.concatenate(chosen).view(np.uint8)[:, None], axis=1, count=bits, bitorder="little")
        parts.append(np.packbits(places, bitorder="little"))
    return torch.from_numpy(np.concatenate(parts))


def unpack(slots: list[Slot], packed: Tensor) -> dict[str, Quantized]:
    """The inverse of `pack`.

    Raises:
        ValueError: These are not the bytes of such a model: type, number, a scale or the padding is wrong.
    """
    counts = {bits: sum(prod(slot.shape) for slot in slots if slot.bits == bits) for bits in _widths(slots)}
    sizes = [2 * sum(slot.groups for slot in slots), *(-(-bits * count // 8) for bits, count in counts.items())]
    if packed.dtype != torch.uint8 or packed.shape != (sum(sizes),):
        shape = tuple(packed.shape)
        raise ValueError(f"packed weights are {packed.dtype} of shape {shape}, not {sum(sizes)} bytes for this model")
    parts = np.split(packed.numpy(), np.cumsum(sizes)[:-1])
    scales = parts[0].view("<f2").astype(np.float16)
    if not (np.isfinite(scales) & (scales >= SMALLEST_SCALE)).all():
        raise ValueError("packed weights are damaged: a scale is no positive normal number")
    streams = {}
    for (bits, count), part in zip(counts.items(), parts[1:], strict=True):
        places = np.unpackbits(part, bitorder="little")
        if places[bits * count :].any():
            raise ValueError("packed weights are damaged: the padding is not zero")
        numbers = np.packbits(places[: bits * count].reshape(count, bits), axis=1, bitorder="little")[:, 0]
        streams[bits] = (numbers.astype(np.int16) ^ 1 << bits - 1) - (1 << bits - 1)  # the highest bit is the sign
    tensors, starts, first_scale = {}, dict.fromkeys(streams, 0), 0
    for slot in slots:
        start, stop = starts[slot.bits], starts[slot.bits] + prod(slot.shape)
        integers = torch.from_numpy(streams[slot.bits][start:stop].astype(np.int8)).reshape(slot.shape)
        tensors[slot.name] = Quantized(integers, torch.tensor(scales[first_scale : first_scale + slot.groups]))
        starts[slot.bits], first_scale = stop, first_scale + slot.groups
    return tensors


def _widths(slots: list[Slot]) -> list[int]:
    """Bits of the integers, widest first."""
    return sorted({slot.bits for slot in slots}, reverse=True)


class PackedCrnn(CRNN):
    """The model that packed weights stand for, in evaluation mode: float32 arithmetic on numbers of the integer grid.

    Attributes:
        number_format: "int8", "int5" or "int4".
        packed: All weights, uint8; what is stored.
    """

    def __init__(self, config: TaskConfig, number_format: str, packed: Tensor) -> None:
        """Raises ValueError if these are not the bytes of such a model."""
        with torch.random.fork_rng(devices=[]):
            super().__init__(config)
        self.number_format, self.packed = number_format, packed
        self.load_state_dict({name: tensor.dequantize() for name, tensor in self.quantized().items()})
        self.eval()

    @property
    def integer_bits(self) -> int:
        """Bits of all integers, without scales and padding."""
        return sum(slot.bits * prod(slot.shape) for slot in layout(self.config, self.number_format))

    def quantized(self) -> dict[str, Quantized]:
        """The integers and scales of every tensor, under the float model's keys."""
        return unpack(layout(self.config, self.number_format), self.packed)


def to_packed(model: CRNN, number_format: str) -> PackedCrnn:
    """Rounds every weight of a model to the grid of a number format and packs it.

    Raises:
        ValueError: The model has batch normalisation, or a weight has no place on the grid.
    """
    slots, state = layout(model.config, number_format), model.state_dict()
    tensors = {slot.name: quantize(state[slot.name], slot.bits, slot.groups) for slot in slots}
    return PackedCrnn(model.config, number_format, pack(slots, tensors))


def load_packed(config: TaskConfig, number_format: str, tensors: Mapping[str, Tensor]) -> PackedCrnn:
    """The model of a file that holds nothing but the packed bytes, under their format's name.

    Raises:
        ValueError: There are other tensors, or not the bytes of such a model.
    """
    if tensors.keys() != {number_format}:
        raise ValueError(f"packed weights are one tensor, {number_format!r}, and not {', '.join(sorted(tensors))}")
    return PackedCrnn(config, number_format, tensors[number_format])
