"""Checkpoints as other people's training loops save them: their tensors come bit for bit, and nothing is executed."""

import argparse
import os
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion.__main__ import main
from conversion.configs import to_task_config
from conversion.files import load, to_module
from kws_jax.config import BASE
from kws_jax.errors import UserError
from tests.helpers.checkpoints import TENSORS, assert_holds
from tests.helpers.models import TOY, random_variables
from torch_ref.model import CRNN
from torch_ref.qint8 import to_qint8

MODEL = to_module(TOY, random_variables(TOY))
OTHER = dict(to_module(TOY, random_variables(TOY, 1)).state_dict())


def in_one_storage() -> dict:
    whole, content, start = torch.cat([torch.zeros(5), *(tensor.ravel() for tensor in TENSORS.values())]), {}, 5
    for key, tensor in TENSORS.items():
        content[key] = whole[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    return content


def prefixed(prefix: str, tensors: dict = TENSORS) -> dict:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def inside(**beside: Any) -> dict:
    return {"state_dict": TENSORS, **beside}


class Settings:
    def __init__(self) -> None:
        self.rate, self.itself = 1e-3, self


class Trainer:
    """Not a module; it holds one."""

    def __init__(self) -> None:
        self.net, self.epoch = MODEL, 3


def itself() -> dict:
    content = inside()
    content["again"] = content
    return content


PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.", "model.", "net.",
            "student.model.", "model._orig_mod.", "_forward_module.module.net."]  # fmt: skip
CONTENTS: dict[str, Any] = {
    "plain": TENSORS,
    "ordered": OrderedDict(TENSORS),
    "defaulted": defaultdict(int, TENSORS),
    **{f"prefix {prefix}": prefixed(prefix) for prefix in PREFIXES},
    "a layer compiled": {key.replace("gru.", "gru._orig_mod."): tensor for key, tensor in TENSORS.items()},
    **{f"in {name}": {name: TENSORS, "epoch": 20} for name in ("state_dict", "model", "net", "module", "a b.c", "ü")},
    "deeper": {"a": [{"b": ("x", {"c": prefixed("module.")})}]},
    "lightning": {"state_dict": prefixed("model."), "epoch": 3, "hyper_parameters": {"lr": 1e-3}},
    "lightning with a metric": {"state_dict": prefixed("model.") | {"accuracy.total": torch.zeros(2)}},
    "a tuple": (7, TENSORS),
    "module": MODEL,
    "module in parallel": torch.nn.DataParallel(MODEL),
    "module beside": {"model": MODEL, "optimizer": torch.optim.Adam(MODEL.parameters())},
    "object with a module": Trainer(),
    "optimizer": inside(optimizer=torch.optim.SGD(MODEL.parameters(), momentum=0.9).state_dict()),
    "optimizer's class": inside(optimizer=torch.optim.Adam),
    "number of NumPy": inside(best=np.float64(5e-5), where=np.int64(3)),
    "array of NumPy": inside(history=np.zeros(3), names=np.array(["a", None])),
    "path": inside(data=Path("x")),
    "namespace": inside(args=argparse.Namespace(lr=1e-3, layers=[2, 8])),
    "object": inside(settings=Settings()),
    "function": inside(loss=torch.nn.functional.cross_entropy, make=torch.optim.Adam),
    "sets": inside(a={1, 2}, b=frozenset("x")),
    "other values": inside(c=b"bytes", d=bytearray(b"x"), e=2**100, f=1j, g=None, h=range(3)),
    "itself": itself(),
    "half": {key: tensor.half() for key, tensor in TENSORS.items()},
    "bfloat16": {key: tensor.bfloat16() for key, tensor in TENSORS.items()},
    "mixed types": {key: tensor.half() if "bias" in key else tensor for key, tensor in TENSORS.items()},
    "parameters": {key: torch.nn.Parameter(tensor) for key, tensor in TENSORS.items()},
    "views": {key: tensor.T.contiguous().T if tensor.ndim == 2 else tensor for key, tensor in TENSORS.items()},
    "one storage": in_one_storage(),
    "left over by thop": TENSORS | {"total_ops": torch.zeros(1), "gru.total_params": torch.zeros(1)},
    "averaged": prefixed("module.") | {"n_averaged": torch.tensor(3)},
    "arrays": {key: tensor.numpy() for key, tensor in TENSORS.items()},
    "arrays in Fortran's order": {key: np.asfortranarray(tensor.numpy()) for key, tensor in TENSORS.items()},
    "arrays of the other byte order": {key: tensor.numpy().astype(">f4") for key, tensor in TENSORS.items()},
}
WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "zip": torch.save,
    "zip of protocol 4": lambda content, path: torch.save(content, path, pickle_protocol=4),
    "older": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "pickle": lambda content, path: path.write_bytes(pickle.dumps(content)),
    "pickle of protocol 0": lambda content, path: path.write_bytes(pickle.dumps(content, 0)),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.filterwarnings("ignore")  # of torch, which writes old formats
def test_what_holds_the_tensors_converts(writer: str, tmp_path: Path):
    for name, content in CONTENTS.items():
        WRITERS[writer](content, tmp_path / "a.pt")
        expected = content if name in ("half", "bfloat16", "mixed types") else TENSORS
        try:
            assert_holds(tmp_path / "a.pt", expected)
        except UserError as error:
            raise AssertionError(name) from error


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
def test_scripts_convert(tmp_path: Path):
    traced = torch.jit.trace(MODEL, torch.zeros(1, 12, 40))
    traced.save(str(tmp_path / "traced.pt"))
    assert_holds(tmp_path / "traced.pt", TENSORS)
    torch.jit.freeze(traced).save(str(tmp_path / "frozen.pt"))
    with pytest.raises(UserError, match=r"conv\.0\.weight is missing: this is no checkpoint of the reference"):
        load(tmp_path / "frozen.pt", TOY)


def test_several_models_are_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture):
    path, alone = tmp_path / "two.pt", tmp_path / "alone.pt"
    for content, names in (
        ({"student": TENSORS, "teacher": OTHER}, ["student", "teacher"]),
        ({"student": TENSORS, "teacher": TENSORS}, ["student", "teacher"]),
        (
            {"state_dict": prefixed("student.") | prefixed("teacher.", OTHER)},
            ["state_dict.student", "state_dict.teacher"],
        ),
        (TENSORS | {"teacher": OTHER}, [".", "teacher"]),
        (TENSORS | prefixed("teacher.", OTHER), [".", "teacher"]),
        ({"net": {"ema": OTHER, "student": TENSORS}}, ["net.ema", "net.student"]),
        ([TENSORS, OTHER], ["0", "1"]),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=rf"in it: {', '.join(names)}: choose one with --part NAME"):
            load(path, TOY)
        wanted = next(name for name in names if name in (".", "0") or "student" in name)
        assert_holds(path, TENSORS, part=wanted)
        if "student" in wanted:
            assert_holds(path, TENSORS, part="student")
        with pytest.raises(UserError, match="of which 'pupil' is none or several"):
            load(path, TOY, part="pupil")
    torch.save(TENSORS, alone)
    with pytest.raises(UserError, match=r"in it: \., of which 'student' is none"):
        load(alone, TOY, part="student")


def test_a_part_of_a_file_on_the_command_line(tmp_path: Path):
    """A student whose front end is the base's, so that all the rest can be said."""
    config = replace(BASE, conv_channels=2, gru_hidden=3, attention_width=2)
    models = {name: CRNN(to_task_config(config)).state_dict() for name in ("student", "teacher")}
    torch.save(models, tmp_path / "two.pt")
    main(["torch-to-flax", str(tmp_path / "two.pt"), str(tmp_path / "flax"), "--part", "student"])
    assert_holds(tmp_path / "flax", models["student"], config)
    main(["check", str(tmp_path / "two.pt"), str(tmp_path / "flax"), "--part", "student"])
    with pytest.raises(SystemExit, match=r"differ, first in conv\.0\.weight .* and then in conv \("):
        main(["check", str(tmp_path / "two.pt"), str(tmp_path / "flax"), "--part", "teacher"])


class _Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    "nest", [lambda evil: TENSORS | {"x": evil}, lambda evil: inside(evil=[evil]), lambda evil: evil]
)
def test_nothing_is_executed(writer: str, nest: Callable, tmp_path: Path):
    evil = nest(_Malicious(tmp_path / "executed"))
    WRITERS[writer](evil, tmp_path / "evil.pt")
    if isinstance(evil, dict):
        assert_holds(tmp_path / "evil.pt", TENSORS)
    else:
        with pytest.raises(UserError, match=r"conv\.0\.weight is missing"):
            load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def with_bias(bias: Any) -> dict:
    return TENSORS | {"conv.0.bias": bias}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], r"conv\.0\.weight is missing"),
        (torch.zeros(3), r"conv\.0\.weight is missing"),
        ({}, r"conv\.0\.weight is missing"),
        ({"epoch": 3}, r"conv\.0\.weight is missing"),
        (with_bias([1.0]), r"conv\.0\.bias cannot be read: a list, not a dense tensor"),
        (with_bias(_Malicious(Path("x"))), r"conv\.0\.bias cannot be read: a posix\.mkdir, not a dense"),
        (with_bias(torch.zeros(3).to_sparse()), r"conv\.0\.bias cannot be read: .*_rebuild_sparse_tensor"),
        (with_bias(torch.zeros(3, dtype=torch.float64)), r"bias is float64: .* save it in float32"),
        (with_bias(torch.zeros(3, dtype=torch.complex64)), r"conv\.0\.bias is complex64"),
        (with_bias(torch.full((3,), torch.nan)), r"conv\.0\.bias holds NaN or infinity"),
        (TENSORS | {"module.conv.0.bias": torch.zeros(3)}, r"conv\.0\.bias is there twice, with and without the"),
        (TENSORS | {7: torch.zeros(3)}, ": 7: no place for it"),
        (TENSORS | {"\x1b[31m\n": torch.zeros(3)}, r": \\x1b\[31m\\n: no place for it"),
    ],
)
def test_other_contents(content: Any, message: str, tmp_path: Path):
    torch.save(content, tmp_path / "other.pt")
    refuse(tmp_path / "other.pt", message)


@pytest.mark.filterwarnings("ignore")  # quantization is deprecated
def test_quantized_models_are_named(tmp_path: Path):
    quantized = to_qint8(MODEL)
    for content, name in ((quantized.state_dict(), r"gru\._all_weight_values\.0\.param"), (quantized, "gru")):
        torch.save(content, tmp_path / "quantized.pt")
        refuse(tmp_path / "quantized.pt", f"{name} is quantized by PyTorch: give the model as it was before")


def refuse(path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(path, TOY)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
