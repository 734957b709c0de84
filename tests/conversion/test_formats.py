"""Files of every number format: both sides read the numbers that were judged, and damage is one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conversion import files
from conversion.__main__ import main
from conversion.configs import to_task_config
from conversion.files import read_module, to_module, write_module
from kws_jax import checkpoint
from kws_jax.checkpoint import About
from kws_jax.errors import MissingTensor, UserError
from kws_jax.state_dict import from_variables
from tests.helpers.models import DEPLOYED_STUDENT, PCEN, TOY, random_variables
from tests.helpers.torch_models import numbers_of
from torch_ref.formats import FORMATS, format_of
from torch_ref.model import CRNN

PACKED = ("int8", "int5", "int4")
KNOWN = replace(TOY, max_window_length=7)  # what the shapes do not tell


def make(name: str, config=TOY) -> CRNN:
    return FORMATS[name].convert(to_module(config, random_variables(config)))


def write(folder: Path, name: str, config=TOY) -> Path:
    path = folder / "m.safetensors"
    write_module(path, make(name, config), config, About("happy", name, 0.3, 2, setting="toy", seed=1))
    return path


@pytest.mark.parametrize("expected", [TOY, PCEN], ids=["toy", "pcen"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_back_from_its_file(name: str, expected, tmp_path: Path):
    model, path, state = make(name, expected), write(tmp_path, name, expected), torch.get_rng_state()
    assert format_of(model) == name
    assert list(tmp_path.iterdir()) == [path], "nothing half is left"
    config, loaded = read_module(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert (config, format_of(loaded), loaded.training) == (expected, name, False)
    assert loaded.config == to_task_config(expected), "the window too"
    power = torch.rand(2, 12, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        frames = model.compress(power)
        assert frames.dtype == torch.float32
        assert torch.equal(frames, loaded.compress(power))
        frames = frames.half() if name == "fp16" else frames
        assert torch.equal(model(frames), loaded(frames))
    write_module(tmp_path / "again.safetensors", loaded, *checkpoint.describe(path))
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("config", [TOY, DEPLOYED_STUDENT, PCEN], ids=["toy", "student", "pcen"])
@pytest.mark.parametrize("name", FORMATS)
def test_flax_reads_the_numbers_that_torch_computes_with(name: str, config, tmp_path: Path):
    path = write(tmp_path, name, config)
    loaded = checkpoint.load(path)
    assert (loaded.config, loaded.about.number_format, loaded.about.threshold) == (config, name, 0.3)
    numbers = numbers_of(read_module(path)[1])
    state = from_variables(loaded.variables, config)
    assert state.keys() == numbers.keys()
    for key, array in state.items():
        assert array.tobytes() == numbers[key].tobytes(), key
    if name != "fp32":
        rounded = from_variables(random_variables(config), config)
        assert any((state[key] != rounded[key]).any() for key in state), "not the weights before rounding"


@pytest.mark.parametrize("name", FORMATS)
def test_a_shipped_file_of_any_format_converts(name: str, tmp_path: Path):
    path = write(tmp_path, name)
    main(["torch-to-flax", str(path), str(tmp_path / "flax")])
    config, variables, about = checkpoint.load(tmp_path / "flax")
    assert (config, about) == (TOY, About("happy", "fp32", 0.3, 2, setting="toy", seed=1))
    expected = from_variables(checkpoint.load(path).variables, TOY)
    for key, array in from_variables(variables, TOY).items():
        np.testing.assert_array_equal(array, expected[key])


@pytest.mark.parametrize("name", ["fp32", "fp16", "qint8"])
def test_tensors_of_any_format_are_read_without_a_header(name: str, tmp_path: Path):
    path = write(tmp_path, name)
    expected = from_variables(checkpoint.load(path).variables, TOY)
    save_file(load_file(path), tmp_path / "foreign.safetensors")
    config, variables, about = files.load(tmp_path / "foreign.safetensors", KNOWN)
    assert (config, about) == (KNOWN, About())
    for key, array in from_variables(variables, KNOWN).items():
        np.testing.assert_array_equal(array, expected[key])


def test_integers_without_scale_or_configuration_are_named(tmp_path: Path):
    path = write(tmp_path, "qint8")
    tensors = load_file(path)
    del tensors["classifier.weight.scale"]
    save_file(tensors, path)
    with pytest.raises(MissingTensor, match=r"classifier\.weight\.scale is missing, and classifier\.weight holds"):
        files.load(path, KNOWN)
    save_file(load_file(write(tmp_path, "int5")), path)
    with pytest.raises(UserError, match="one tensor, 'int5', beside the model's configuration"):
        files.load(path, KNOWN)


def refuse(path: Path, message: str, torch_message: str | None = None) -> None:
    """Both readers end in one line that names the file once."""
    for read, expected in ((checkpoint.load, message), (read_module, torch_message or message)):
        with pytest.raises(UserError, match=expected) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_is_one_line(name: str, tmp_path: Path):
    path = write(tmp_path, name)
    content = path.read_bytes()
    for length in (0, 1, 8, 30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refuse(path, "is no checkpoint|is damaged")
    refuse(tmp_path / "absent.safetensors", "is no checkpoint")


def test_a_weight_that_is_not_finite_is_one_line(tmp_path: Path):
    path = write(tmp_path, "fp32")
    for value in (torch.nan, torch.inf):
        tensors = load_file(path)
        tensors["gru.bias_hh_l0"][3] = value
        save_file(tensors, path, checkpoint.header(TOY, About()))
        with pytest.raises(UserError, match=r"m\.safetensors: gru\.bias_hh_l0 holds NaN or infinity"):
            checkpoint.load(path)


@pytest.mark.parametrize("name", PACKED)
def test_wrong_bytes_of_packed_weights_are_one_line(name: str, tmp_path: Path):
    path = write(tmp_path, name)
    packed, header = load_file(path)[name], checkpoint.header(TOY, About(number_format=name))
    infinite, padded = packed.clone(), packed.clone()
    infinite[:2] = torch.tensor([0, 0x7C])
    padded[-1] |= 0x80
    damages = [
        ({name: packed[1:]}, "the model's is|bytes for this model"),
        ({name: packed.to(torch.int16)}, "the model's is|bytes for this model"),
        ({name: infinite}, "a scale is no positive normal number"),
        ({name: torch.zeros_like(packed)}, "a scale is no positive normal number"),
        ({name: packed, "more": infinite}, f"one tensor, '{name}'"),
        ({"int3": packed}, f"it says number format {name}, and holds int3"),
        *([] if name == "int8" else [({name: padded}, "the padding is not zero")]),
    ]
    for tensors, message in damages:
        save_file(tensors, path, header)
        refuse(path, message)
    for metadata, message in (
        ({}, "is no checkpoint"),
        ({"kws": "{}"}, "says no configuration"),
        ({"kws": header["kws"].replace('"batch_norm":false', '"batch_norm":true')}, "fold batch norm|bytes"),
    ):
        save_file({name: packed}, path, metadata)
        refuse(path, message)
    save_file({name: packed}, path, {"kws": header["kws"].replace(name, "int3")})
    refuse(path, f"it says number format int3, and holds {name}")


def test_a_format_that_torch_has_not_is_named(tmp_path: Path):
    path = write(tmp_path, "fp32")
    save_file(load_file(path), path, {"kws": checkpoint.header(TOY, About(number_format="fp31"))["kws"]})
    with pytest.raises(UserError, match="says number format 'fp31': it must be one of fp32, fp16"):
        read_module(path)
