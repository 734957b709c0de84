"""Files of both sides and the command line: what was written is read, and what cannot be is one line."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from conversion.__main__ import main
from conversion.configs import to_task_config
from conversion.files import load, to_module, write_state_dict
from conversion.parity import PROBABILITY_TOLERANCE, TOLERANCE, ParityReport, compare
from kws_jax import checkpoint
from kws_jax.config import BASE
from kws_jax.errors import UserError
from tests.helpers.checkpoints import STATE, TENSORS, assert_holds
from tests.helpers.models import TOY, noise, random_variables
from torch_ref.model import CRNN

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["a.pt", "b.pth", "new/c.safetensors"])
def test_files_hold_what_was_written(name: str, tmp_path: Path):
    write_state_dict(tmp_path / name, STATE, TOY)
    assert_holds(tmp_path / name, TENSORS)
    assert list((tmp_path / name).parent.iterdir()) == [tmp_path / name], "nothing half is left"


def test_files_are_told_by_their_content(tmp_path: Path):
    torch.save(TENSORS, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    save_file(TENSORS, tmp_path / "safe.pt")
    for name in ("old.bin", "safe.pt"):
        assert_holds(tmp_path / name, TENSORS)


@pytest.mark.parametrize("write", [torch.save, save_file])
def test_truncated_files(write: Callable, tmp_path: Path):
    path = tmp_path / "half.bin"
    write(TENSORS, path)
    content = path.read_bytes()
    for kept in (0.0, 0.001, 0.01, 0.3, 0.9, 0.999):
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(UserError, match=r"half\.bin: n") as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_what_is_no_model_file(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be opened: No such file"):
        load(tmp_path / "absent.pt")
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={"kws": '{"config": {"frontend": 3}, "about": {}}'})
    with pytest.raises(UserError, match=r"a\.safetensors: not a model configuration"):
        load(tmp_path / "a.safetensors", TOY)


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


def test_there_and_back_on_the_command_line(folder: Path, tmp_path: Path):
    main(["torch-to-flax", str(folder / "toy.safetensors"), str(tmp_path / "flax")])
    main(["flax-to-torch", str(tmp_path / "flax"), str(tmp_path / "again.safetensors")])
    assert (tmp_path / "again.safetensors").read_bytes() == (folder / "toy.safetensors").read_bytes()


def test_what_a_file_does_not_tell_is_given(tmp_path: Path, capsys: pytest.CaptureFixture):
    config = replace(BASE, conv_channels=2, gru_hidden=3, attention_width=2, stride=(2, 10), pool=(4, 1), relu=True)
    torch.save(CRNN(to_task_config(config)).state_dict(), tmp_path / "bare.pt")
    flags = ["--stride", "2", "10", "--pool", "4", "1", "--relu"]
    main(["torch-to-flax", str(tmp_path / "bare.pt"), str(tmp_path / "flax"), *flags])
    assert checkpoint.restore(tmp_path / "flax")[0] == config
    for flags, message in (
        ([], "give --stride MELS TIME, and --pool"),
        (["--stride", "2", "1"], "too short"),
        (["--pool", "0", "1"], "1 or more"),
    ):
        assert message in _fails(capsys, "torch-to-flax", tmp_path / "bare.pt", tmp_path / "not", *flags)
    short = replace(BASE, kernel_size=(5, 6), stride=(2, 4), gru_hidden=3, attention_width=2)
    torch.save(CRNN(to_task_config(short)).state_dict(), tmp_path / "short.pt")
    message = "the kernel is (5, 6) (mels, time), not (5, 20), and shapes do not tell how far it moves: give --stride"
    assert message in _fails(capsys, "torch-to-flax", tmp_path / "short.pt", tmp_path / "not")
    message = "would skip frames"
    assert message in _fails(capsys, "torch-to-flax", tmp_path / "short.pt", tmp_path / "not", "--stride", "2", "8")
    assert not (tmp_path / "not").exists()
    main(["torch-to-flax", str(tmp_path / "short.pt"), str(tmp_path / "flax"), "--stride", "2", "4"])
    assert checkpoint.restore(tmp_path / "flax")[0] == short


@pytest.mark.parametrize("audio", [[], ["--audio", "clip.wav"], ["--audio", "slow.wav"]], ids=str)
def test_check(audio: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(folder)
    main(["check", "toy.safetensors", "flax", *audio])
    assert "equal: all weights" in capsys.readouterr().out


def test_check_makes_as_much_noise_as_the_model_sees(tmp_path: Path, capsys: pytest.CaptureFixture):
    config = replace(TOY, kernel_size=(3, 130))
    assert config.receptive_field > 16_000
    checkpoint.save(tmp_path / "flax", config, random_variables(config))
    main(["flax-to-torch", str(tmp_path / "flax"), str(tmp_path / "long.safetensors")])
    main(["check", str(tmp_path / "long.safetensors"), str(tmp_path / "flax")])
    assert "equal: all weights" in capsys.readouterr().out


def test_check_fails_on_what_differs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    flax = folder / "flax"
    assert "not the same model" in _fails(capsys, "check", folder / "other.safetensors", flax)
    for name, message in (("short.wav", "is 0.02 s long: give 0.04 s or more"), ("toy.safetensors", "cannot be read")):
        assert message in _fails(capsys, "check", folder / "toy.safetensors", flax, "--audio", folder / name)
    assert "is no checkpoint" in _fails(capsys, "check", folder / "toy.safetensors", tmp_path)
    assert "No such file" in _fails(capsys, "check", tmp_path / "absent.pt", flax)
    assert "is a folder, and a file is to be there" in _fails(capsys, "flax-to-torch", flax, tmp_path)


@pytest.mark.slow
def test_the_command_runs(folder: Path):
    command = [sys.executable, "-m", "conversion", "check", str(folder / "changed.safetensors"), str(folder / "flax")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_check_names_the_first_tensor_and_the_first_layer_that_part(folder: Path, capsys: pytest.CaptureFixture):
    message = _fails(capsys, "check", folder / "changed.safetensors", folder / "flax")
    assert "differ, first in gru.weight_hh_l1 (1.0e-02) and then in gru layer 1 (" in message
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "weights      1 of 16 tensors differ"
    assert [line.split("  ")[0] for line in lines[1:]] == [*LAYERS]


def test_where_both_sides_part_although_weights_are_equal():
    variables, waveform = random_variables(TOY), noise(0, 2, 4_000)
    unrectified, other_energies = to_module(replace(TOY, relu=False), variables), to_module(TOY, variables)
    other_energies.attention.energy[1] = torch.nn.Sigmoid()
    for model, layer in ((unrectified, "conv"), (other_energies, "energies")):
        report = compare(model, variables, TOY, waveform)
        assert not any(report.weights.values())
        assert str(report.first).startswith(f"{layer} (")


LAYERS = ["mel power", "frames", "conv", "gru layer 0", "gru layer 1", "energies", "attention", "logits", "probability"]


@pytest.mark.parametrize("layer", LAYERS)
def test_each_difference_counts(layer: str):
    exact = ParityReport({"conv.0.bias": 0.0, "gru.bias_hh_l0": 0.0}, dict.fromkeys(LAYERS, 0.0))
    assert exact.agrees
    limit = PROBABILITY_TOLERANCE if layer == "probability" else TOLERANCE
    for value, counts in (
        (limit, False),
        (1.01 * limit, layer != "frames"),
        (np.nan, True),
        (np.inf, layer != "frames"),
    ):
        report = replace(exact, layers=exact.layers | {layer: value})
        assert report.agrees != counts, value
        assert report.first is None or report.first.startswith(f"{layer} (")
    differing = replace(exact, weights=exact.weights | {"gru.bias_hh_l0": 1e-9})
    assert (differing.agrees, differing.first) == (False, "gru.bias_hh_l0 (1.0e-09)")
    assert not replace(exact, weights={"conv.0.bias": np.nan}).agrees
