"""Packed weights: every bit comes back, bytes are those counted by hand, damage is one line, and streams run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conversion.errors import ConversionError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_streaming_classes import offline

from conversion.configs import to_task_config
from conversion.files import load_for_flax, read_module, read_state_dict, to_module, write_module
from kws_jax.config import CrnnConfig
from tests.helpers.models import TOY, random_variables
from tests.tolerances import SAME_FRAMEWORK
from torch_ref import accounting
from torch_ref.formats import FORMATS, format_of
from torch_ref.frontend import MelPower
from torch_ref.model import CRNN
from torch_ref.packing import Quantized, Slot, layout, pack, quantize, to_packed, unpack
from torch_ref.streaming import StreamingKws

# About 500 parameters: six channels over all ten pooled mels, five GRU units.
SMALLEST = CrnnConfig(
    pool=(4, 4),
    conv_channels=6,
    kernel_size=(10, 4),
    stride=(1, 2),
    relu=True,
    gru_hidden=5,
    gru_layers=1,
    attention_width=4,
)
each_packed = pytest.mark.parametrize("name", ["int8", "int5", "int4"])
each_format = pytest.mark.parametrize("name", FORMATS)


def module(config: CrnnConfig = TOY) -> CRNN:
    return to_module(config, random_variables(config))


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


@settings(max_examples=200, deadline=None)
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
    tensors = {
        "a": Quantized(torch.tensor([1, -16, 15], dtype=torch.int8), torch.tensor([1.0], dtype=torch.float16)),
        "b": Quantized(torch.tensor([-32, 31], dtype=torch.int8), torch.tensor([1.0], dtype=torch.float16)),
    }
    numbers = {"b": 0b011111_100000, "a": 0b01111_10000_00001}
    expected = bytes.fromhex("003c003c") + b"".join(number.to_bytes(2, "little") for number in numbers.values())
    assert pack(slots, tensors).numpy().tobytes() == expected


def test_bytes_lie_where_the_docstring_says():
    slots = [Slot("a", (3,), 4, 1), Slot("b", (2,), 8, 1), Slot("c", (2, 1), 4, 2)]
    values = {"a": ([1, -1, 7], [1.0]), "b": ([-128, 5], [0.5]), "c": ([[-8], [3]], [2.0, 4.0])}
    tensors = {
        name: Quantized(torch.tensor(integers, dtype=torch.int8), torch.tensor(scales, dtype=torch.float16))
        for name, (integers, scales) in values.items()
    }
    scales = "003c003800400044"
    assert bytes(pack(slots, tensors).tolist()).hex() == scales + "8005" + "f18703"
    assert unpack(slots, pack(slots, tensors))["c"].dequantize().tolist() == [[-16.0], [12.0]]


@each_packed
def test_weights_are_at_most_half_a_step_away(name: str):
    model = module()
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
        model = to_packed(module(SMALLEST), name)
        assert accounting.num_parameters(model) == 482
        assert accounting.weight_bytes(model) == model.packed.numel() == size
        assert accounting.homework_megabytes(model) * 2**20 == bits[name] / 8
        assert size < accounting.serialized_bytes(model) < size + 1600
        assert accounting.thop_macs(model) == accounting.thop_macs(module(SMALLEST))


@each_format
def test_every_format_comes_back_from_its_file(name: str, tmp_path: Path):
    model = FORMATS[name].convert(module())
    assert format_of(model) == name
    write_module(tmp_path / "model.safetensors", model, TOY)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"], "nothing half is left"
    state = torch.get_rng_state()
    config, loaded = read_module(tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert (config, format_of(loaded), loaded.training) == (TOY, name, False)
    for key, tensor in FORMATS[name].tensors(model).items():
        assert torch.equal(tensor, FORMATS[name].tensors(loaded)[key])
    log_mel = torch.randn(2, 12, 40, generator=torch.Generator().manual_seed(0))
    log_mel = log_mel.half() if name == "fp16" else log_mel
    with torch.inference_mode():
        assert torch.equal(model(log_mel), loaded(log_mel))
    write_module(tmp_path / "again.safetensors", loaded, TOY)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


@each_packed
def test_packed_files_convert_to_flax(name: str, tmp_path: Path):
    model = to_packed(module(), name)
    write_module(tmp_path / "m.safetensors", model, TOY)
    config, variables = load_for_flax(tmp_path / "m.safetensors")
    assert config == TOY
    assert all(torch.equal(t, model.state_dict()[key]) for key, t in to_module(config, variables).state_dict().items())


@each_packed
def test_damaged_files_are_one_line(name: str, tmp_path: Path):
    path, model = tmp_path / "m.safetensors", to_packed(module(), name)
    write_module(path, model, TOY)
    content = path.read_bytes()
    for length in (0, 1, 8, 30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert_refused(path, "not a whole safetensors file")
    header = read_metadata(content)
    scale, padded, other = model.packed.clone(), model.packed.clone(), "int4" if name == "int8" else "int8"
    scale[:2] = torch.tensor([0, 0x7C])  # infinity
    padded[-1] |= 0x80
    damages = [
        ({name: model.packed[1:]}, header, "bytes for this model"),
        ({name: model.packed.to(torch.int16)}, header, "bytes for this model"),
        ({other: model.packed}, header, "bytes for this model"),
        ({name: scale}, header, "a scale is no positive normal number"),
        ({name: torch.zeros_like(scale)}, header, "a scale is no positive normal number"),
        ({name: model.packed, "more": scale}, header, f"one tensor, '{name}', and not {name}, more"),
        ({"int3": model.packed}, header, "unexpected int3"),
        ({name: model.packed}, {}, "with a configuration"),
        ({name: model.packed}, {"config": "{}"}, "not a model configuration"),
        ({name: model.packed}, {"config": header["config"].replace("false", "true")}, "fold batch normalisation"),
    ]
    if name != "int8":
        bits = {"int5": 5, "int4": 4}[name]
        assert bits * sum(int(np.prod(slot.shape)) for slot in layout(model.config, name) if slot.bits == bits) % 8
        damages.append(({name: padded}, header, "the padding is not zero"))
    for tensors, metadata, message in damages:
        save_file(tensors, path, metadata)
        assert_refused(path, message)
    assert_refused(tmp_path / "absent.safetensors", "cannot be opened")


def read_metadata(content: bytes) -> dict[str, str]:
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        read_module(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(str(path)) == 1


def test_damage_shows_also_where_a_file_is_converted(tmp_path: Path):
    path, model = tmp_path / "m.safetensors", to_packed(module(), "int4")
    write_module(path, model, TOY)
    save_file({"int4": model.packed[1:]}, path, read_metadata(path.read_bytes()))
    with pytest.raises(ConversionError, match="bytes for this model"):
        read_state_dict(path)


def test_what_cannot_be_packed():
    with pytest.raises(ValueError, match="fold batch normalisation"):
        to_packed(CRNN(replace(to_task_config(TOY), batch_norm=True)), "int8")
    for value in (1e6, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="no float16 scale"):
            quantize(torch.tensor([[1.0, value]]), 4, 1)


@each_packed
def test_streams_equal_offline(name: str):
    model = to_packed(module(), name)
    waveform = np.random.default_rng(0).normal(0, 0.1, 9_000).astype(np.float32)
    stream = StreamingKws(model, TOY.max_window_length)
    streamed = np.concatenate([*(stream.push(c)[1] for c in np.array_split(waveform, 7)), stream.flush()[1]])
    expected = offline(model, MelPower(model.config), TOY.max_window_length, waveform)
    assert len(expected) > 20
    np.testing.assert_allclose(streamed, expected, rtol=0, atol=SAME_FRAMEWORK)
