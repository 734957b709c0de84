"""Checkpoint files and the command line: what can be read is read without executing it, and the rest is one line."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conversion.errors import ConversionError, DuplicateTensor
from conversion.mapping import flax_to_torch
from safetensors.numpy import save_file

from conversion.__main__ import main
from conversion.configs import to_task_config
from conversion.files import load_for_flax, read_state_dict, to_module, write_state_dict
from conversion.parity import PROBABILITY_TOLERANCE, TOLERANCE, ParityReport
from kws_jax import checkpoint
from kws_jax.checkpoint import config_to_json
from kws_jax.config import BASE, CrnnConfig
from tests.helpers.models import TOY, noise, random_variables
from torch_ref.model import CRNN, TaskConfig

STATE = flax_to_torch(random_variables(TOY), TOY)
ROOT = Path(__file__).parents[1]


def _tensors(state: dict[str, np.ndarray] = STATE) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array.copy()) for key, array in state.items()}


@pytest.mark.parametrize(("name", "config"), [("a.pt", None), ("b.pth", None), ("new/c.safetensors", TOY)])
def test_files_return_what_was_written(name: str, config: CrnnConfig | None, tmp_path: Path):
    write_state_dict(tmp_path / name, STATE, TOY)
    state, carried = read_state_dict(tmp_path / name)
    assert carried == config, "safetensors carry the configuration"
    assert {key: array.tobytes() for key, array in state.items()} == {k: a.tobytes() for k, a in STATE.items()}
    assert [path.suffix for path in (tmp_path / name).parent.iterdir()] == [Path(name).suffix], "nothing half is left"


@pytest.mark.parametrize("name", ["state_dict", "model_state", "model", "model_state_dict"])
def test_public_layouts(name: str, tmp_path: Path):
    model = CRNN(TaskConfig())
    torch.save({name: {f"module.{k}": v for k, v in model.state_dict().items()}, "epoch": 20}, tmp_path / "public.pt")
    config, variables = load_for_flax(tmp_path / "public.pt")
    assert config == BASE
    for key, tensor in to_module(config, variables).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_files_of_narrow_floats(dtype: torch.dtype, tmp_path: Path):
    narrow = {key: tensor.to(dtype) for key, tensor in _tensors().items()}
    torch.save(narrow, tmp_path / "narrow.pt")
    _, variables = load_for_flax(tmp_path / "narrow.pt", TOY)
    for key, tensor in to_module(TOY, variables).state_dict().items():
        assert torch.equal(tensor, narrow[key].float())


class _Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda object, path: path.write_bytes(pickle.dumps(object))])
@pytest.mark.parametrize("nest", [lambda evil: evil, lambda evil: _tensors() | {"classifier.bias": evil}])
def test_pickles_that_execute_are_refused_and_not_executed(write: Callable, nest: Callable, tmp_path: Path):
    write(nest(_Malicious(tmp_path / "executed")), tmp_path / "evil.pt")
    with pytest.raises(ConversionError, match="without executing code"):
        read_state_dict(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path):
    torch.save({"model": CRNN(TaskConfig())}, tmp_path / "module.pt")
    with pytest.raises(ConversionError, match="without executing code"):
        read_state_dict(tmp_path / "module.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files(suffix: str, kept: float, tmp_path: Path):
    path = tmp_path / f"half{suffix}"
    write_state_dict(path, STATE, TOY)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ConversionError, match=f"half{suffix}: n") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, not a dictionary"),
        (torch.zeros(3), "holds a Tensor, not a dictionary"),
        ({"epoch": 3}, "epoch is a int, not a tensor"),
        ({"state_dict": {"conv.0.bias": [1.0]}}, r"conv\.0\.bias is a list, not a tensor"),
        (_tensors() | {7: torch.zeros(3)}, "^7: no place for it"),
        (_tensors() | {"conv.0.bias": torch.zeros(3).to_sparse()}, r"conv\.0\.bias is a torch\.float32 torch\.sparse"),
        (_tensors() | {"conv.0.bias": torch.zeros(3, dtype=torch.float64)}, r"conv\.0\.bias is float64"),
        (_tensors() | {"conv.0.bias": torch.zeros(3, dtype=torch.complex64)}, r"conv\.0\.bias is complex64"),
        ({}, r"conv\.0\.weight is missing"),
    ],
)
def test_other_objects(content: Any, message: str, tmp_path: Path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ConversionError, match=message):
        load_for_flax(tmp_path / "other.pt", TOY)


def test_a_tensor_with_and_without_prefix(tmp_path: Path):
    torch.save(_tensors() | {"module.conv.0.bias": torch.zeros(3)}, tmp_path / "twice.pt")
    with pytest.raises(DuplicateTensor, match=r"conv\.0\.bias is there twice"):
        read_state_dict(tmp_path / "twice.pt")


def test_what_is_no_file(tmp_path: Path):
    with pytest.raises(ConversionError, match="cannot be opened: Is a directory"):
        read_state_dict(tmp_path)
    with pytest.raises(ConversionError, match="cannot be opened: No such file"):
        read_state_dict(tmp_path / "absent.pt")


def test_a_corrupt_configuration_in_the_header(tmp_path: Path):
    save_file(STATE, tmp_path / "a.safetensors", metadata={"config": '{"frontend": 3}'})
    with pytest.raises(ConversionError, match=r"a\.safetensors: not a model configuration"):
        read_state_dict(tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Flax checkpoint, what the command line makes of it, and a neighbour of one slightly larger weight."""
    folder = tmp_path_factory.mktemp("models")
    checkpoint.save(folder / "flax", TOY, random_variables(TOY))
    main(["flax-to-torch", str(folder / "flax"), str(folder / "toy.safetensors")])
    changed = {key: array.copy() for key, array in STATE.items()}
    changed["gru.weight_hh_l1"][3, 2] += 0.01
    write_state_dict(folder / "changed.safetensors", changed, TOY)
    write_state_dict(folder / "other.safetensors", STATE, replace(TOY, relu=False))
    clip = noise(0, 2, 16_000).T
    clip[4_000:12_000] = 0.0  # digital silence
    soundfile.write(folder / "clip.wav", clip, 16_000)
    soundfile.write(folder / "short.wav", clip[:300], 16_000)
    soundfile.write(folder / "slow.wav", clip, 8_000)
    return folder


def _fails(capsys: pytest.CaptureFixture, *arguments: str | Path) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    message = str(caught.value.code)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_there_and_back_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    main(["torch-to-flax", str(folder / "toy.safetensors"), str(tmp_path / "flax")])
    main(["flax-to-torch", str(tmp_path / "flax"), str(tmp_path / "again.safetensors")])
    assert (tmp_path / "again.safetensors").read_bytes() == (folder / "toy.safetensors").read_bytes()
    assert config_to_json(TOY) == (tmp_path / "flax" / "config.json").read_text().strip()
    assert "wrote" in capsys.readouterr().out


def test_what_a_file_does_not_tell_is_given(tmp_path: Path, capsys: pytest.CaptureFixture):
    config = replace(BASE, conv_channels=2, gru_hidden=3, attention_width=2, stride=(2, 10), pool=(4, 1), relu=True)
    torch.save(CRNN(to_task_config(config)).state_dict(), tmp_path / "bare.pt")
    flags = ["--stride", "2", "10", "--pool", "4", "1", "--relu"]
    main(["torch-to-flax", str(tmp_path / "bare.pt"), str(tmp_path / "flax"), *flags])
    assert checkpoint.restore(tmp_path / "flax")[0] == config
    for flags, message in (
        ([], "give the stride, and the pooling"),
        (["--stride", "2", "1"], "too short"),
        (["--pool", "0", "1"], "1 or more"),
    ):
        assert message in _fails(capsys, "torch-to-flax", tmp_path / "bare.pt", tmp_path / "not", *flags)
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("audio", [[], ["--audio", "clip.wav"]], ids=["noise", "with silence"])
def test_check(audio: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(folder)
    main(["check", "toy.safetensors", "flax", *audio])
    assert "equal: limits are 0 for weights" in capsys.readouterr().out


def test_check_fails_on_what_differs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    flax = folder / "flax"
    assert "differ: limits are" in _fails(capsys, "check", folder / "changed.safetensors", flax)
    assert "not the same model" in _fails(capsys, "check", folder / "other.safetensors", flax)
    for name, message in (
        ("short.wav", "300 samples"),
        ("slow.wav", "8000 Hz"),
        ("toy.safetensors", "no readable sound"),
    ):
        assert message in _fails(capsys, "check", folder / "toy.safetensors", flax, "--audio", folder / name)
    assert "is no checkpoint" in _fails(capsys, "check", folder / "toy.safetensors", tmp_path)
    assert "No such file" in _fails(capsys, "check", tmp_path / "absent.pt", flax)
    assert "Is a directory" in _fails(capsys, "flax-to-torch", flax, tmp_path)


def test_the_command_runs(folder: Path):
    command = [sys.executable, "-m", "conversion", "check", str(folder / "changed.safetensors"), str(folder / "flax")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("field", ["mel_power", "logits", "attention", "probability"])
def test_each_difference_counts(field: str):
    exact = ParityReport(0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    limit = PROBABILITY_TOLERANCE if field == "probability" else TOLERANCE
    assert replace(exact, **{field: limit}).agrees, "the log-mel does not count"
    for value in (1.01 * limit, np.nan, np.inf):
        assert not replace(exact, **{field: value}).agrees
    assert not replace(exact, log_mel=np.nan).agrees
    assert not replace(exact, weights=1e-9).agrees
