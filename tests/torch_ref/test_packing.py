"""Packed weights: every bit comes back, and bytes are those counted by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.torch_models import UNEVEN, random_module
from torch_ref import accounting
from torch_ref.config import TaskConfig
from torch_ref.model import CRNN
from torch_ref.packing import Quantized, Slot, pack, quantize, to_packed, unpack

# About 500 parameters: six channels over all ten pooled mels, five GRU units.
SMALLEST = TaskConfig(
    pool=(4, 4),
    cnn_out_channels=6,
    kernel_size=(10, 4),
    stride=(1, 2),
    relu=True,
    hidden_size=5,
    gru_num_layers=1,
    attention_hidden_size=4,
)


def quantized(integers: list, scales: list[float]) -> Quantized:
    return Quantized(torch.tensor(integers, dtype=torch.int8), torch.tensor(scales, dtype=torch.float16))


@st.composite
def drawn_tensors(draw: st.DrawFn) -> tuple[list[Slot], dict[str, Quantized]]:
    slots, tensors = [], {}
    for index in range(draw(st.integers(1, 5))):
        bits, groups = draw(st.sampled_from([4, 5, 6, 8])), draw(st.integers(1, 3))
        shape = (groups * draw(st.integers(1, 3)), draw(st.integers(1, 5)))
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        integers = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape, np.int8)
        scales = np.float16(rng.uniform(2**-14, 1000, groups))
        slots.append(Slot(str(index), shape, bits, groups))
        tensors[str(index)] = Quantized(torch.from_numpy(integers), torch.from_numpy(scales))
    return slots, tensors


@settings(max_examples=100, deadline=None)
@given(drawn_tensors())
def test_what_is_packed_comes_back(drawn: tuple[list[Slot], dict[str, Quantized]]):
    slots, tensors = drawn
    packed = pack(slots, tensors)
    size = sum(2 * slot.groups for slot in slots)
    for bits in (4, 5, 6, 8):
        count = sum(int(np.prod(slot.shape)) for slot in slots if slot.bits == bits)
        size += (bits * count + 7) // 8
    assert packed.shape == (size,)
    found = unpack(slots, packed)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        for array, same in zip(found[name], tensor, strict=True):
            assert array.dtype == same.dtype
            assert torch.equal(array, same)


def test_integers_of_five_and_six_bits_follow_each_other_lowest_bit_first():
    slots = [Slot("a", (3,), 5, 1), Slot("b", (2,), 6, 1)]
    tensors = {"a": quantized([1, -16, 15], [1.0]), "b": quantized([-32, 31], [1.0])}
    numbers = {"b": 0b011111_100000, "a": 0b01111_10000_00001}
    expected = bytes.fromhex("003c003c") + b"".join(number.to_bytes(2, "little") for number in numbers.values())
    assert pack(slots, tensors).numpy().tobytes() == expected


def test_bytes_lie_where_the_docstring_says():
    slots = [Slot("a", (3,), 4, 1), Slot("b", (2,), 8, 1), Slot("c", (2, 1), 4, 2)]
    tensors = {
        "a": quantized([1, -1, 7], [1.0]),
        "b": quantized([-128, 5], [0.5]),
        "c": quantized([[-8], [3]], [2.0, 4.0]),
    }
    scales = "003c003800400044"
    assert bytes(pack(slots, tensors).tolist()).hex() == scales + "8005" + "f18703"
    assert unpack(slots, pack(slots, tensors))["c"].dequantize().tolist() == [[-16.0], [12.0]]


@pytest.mark.parametrize("name", ["int8", "int5", "int4"])
def test_weights_are_at_most_half_a_step_away(name: str):
    model = random_module(UNEVEN)
    packed = to_packed(model, name)
    for key, tensor in packed.quantized().items():
        weights, found = model.state_dict()[key], packed.state_dict()[key]
        assert torch.equal(found, tensor.dequantize())
        # A group's largest weight is 127.5 steps from zero, and as much more as its scale is rounded down.
        error = (found - weights).abs().reshape(len(tensor.scales), -1).amax(1)
        assert (error <= (0.5 + 128 * 2**-11) * tensor.scales.float()).all()
    assert not packed.training


def test_bytes_of_the_smallest_model_by_hand():
    matrices, vectors = 6 * 40 + 15 * 6 + 15 * 5 + 4 * 5 + 4 + 2 * 5, 6 + 15 + 15 + 4 + 1 + 2
    scales = (6 + 3 + 3 + 1 + 1 + 1) + 6
    assert (matrices, vectors, scales) == (439, 43, 21)
    sizes = {"int8": 439 + 43 + 2 * 21, "int5": 275 + 33 + 2 * 21, "int4": 220 + 43 + 2 * 21}
    assert sizes == {"int8": 524, "int5": 350, "int4": 305}
    bits = {"int8": 8 * 439 + 8 * 43, "int5": 5 * 439 + 6 * 43, "int4": 4 * 439 + 8 * 43}
    for name, size in sizes.items():
        model = to_packed(random_module(SMALLEST), name)
        assert accounting.num_parameters(model) == 482
        assert accounting.weight_bytes(model) == model.packed.numel() == size
        assert accounting.homework_megabytes(model) * 2**20 == bits[name] / 8
        assert size < accounting.serialized_bytes(model) < size + 1600
        assert accounting.thop_macs(model) == accounting.thop_macs(random_module(SMALLEST))


def test_what_cannot_be_packed():
    with pytest.raises(ValueError, match="fold batch normalisation"):
        to_packed(CRNN(replace(UNEVEN, batch_norm=True)), "int8")
    for value in (1e6, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no float16 scale"):
            quantize(torch.tensor([[1.0, value]]), 4, 1)
