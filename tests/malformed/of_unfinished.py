"""What is kept of a training that is not finished, bent: a file of PyTorch's, a folder of JAX's."""

import contextlib
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from kws_jax.training import resume as jax_resume
from tests.malformed.harness import Case, kept_folder
from torch_ref import resume as torch_resume


def _saver(folder: Path, interval: float = 0.0) -> torch_resume.TrainingSaver:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    resume = torch_resume.Resume(folder, interval=interval)
    return torch_resume.TrainingSaver(resume, "toy", model, optimizer, torch.Generator())


LINES = [{"step": 1, "epoch": 0, "loss": 1.0, "seconds": 1.0, "clips_per_second": 1.0}]
ABOUT = {"identity": "toy ", "epochs": 1, "lines": LINES}
ODD = {
    "nothing": None,
    "a word": "x",
    "a list": [],
    "a table": {},
    "less than nothing": -1,
    "a half": 0.5,
    "truth": True,
}
ODD |= {
    "a list of nothing": [None],
    "a line without a step": [{"seconds": 1}],
    "lines of words": [{"step": "x", "seconds": "y"}],
}


def _torch(bend: Callable[[dict[str, Any], dict[str, Any]], object], folder: Path) -> None:
    saver = _saver(folder)
    saver.save(1, LINES)
    tensors, about = load_file(saver.path), dict(ABOUT)
    said = bend(tensors, about)
    text = said if isinstance(said, str) else json.dumps(about)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, saver.path, {"about": text})
    _saver(folder).load()


def _jax(bend: Callable[[Path], object], folder: Path) -> None:
    shutil.copytree(_kept(), folder / "kept")
    bend(folder / "kept")
    saver = jax_resume.TrainingSaver(jax_resume.Resume(folder / "kept"), "toy")
    with contextlib.closing(saver):
        saver.load({"weight": np.zeros(3, np.float32)})


@functools.cache
def _kept() -> Path:
    """What JAX keeps of a training after its first epoch."""
    folder = kept_folder() / "kept"
    with contextlib.closing(jax_resume.TrainingSaver(jax_resume.Resume(folder, interval=0.0), "toy")) as saver:
        saver.save({"weight": np.arange(3, dtype=np.float32)}, LINES)
    return folder


def _unfinished() -> Iterator[Case]:
    bends: dict[str, Any] = {f"without {name}": lambda _, about, name=name: about.pop(name) for name in ABOUT}
    bends |= {
        f"{said} for {name}": lambda _, about, name=name, odd=odd: about.update({name: odd})
        for name in ("epochs", "lines", "identity")
        for said, odd in ODD.items()
    }
    for text in ("", "{", "[]", "null", "1", '"a"', "[" * 100_000, '{"identity": "toy "}', "\x00", "{'a': 1}", "NaN"):
        bends[f"{text[:30]!r} for what is said"] = lambda tensors, about, text=text: text or " "
    names = ("model.weight", "model.bias", "optimizer.0.step", "optimizer.0.exp_avg", "optimizer.1.exp_avg_sq")
    for name in (*names, "random.torch", "random.augmentation"):
        bends[f"without {name}"] = lambda tensors, _, name=name: tensors.__delitem__(name)
        for said, tensor in (
            ("nothing", torch.zeros(0)),
            ("another shape", torch.zeros(7, 7)),
            ("a byte", torch.zeros(1).byte()),
        ):
            bends[f"{said} for {name}"] = lambda tensors, _, name=name, tensor=tensor: tensors.update(
                {name: tensor.clone()}
            )
    bends["optimizers of words"] = lambda tensors, _: tensors.update({"optimizer.x.step": torch.zeros(1)})
    bends["no tensors"] = lambda tensors, _: tensors.clear()
    for said, bend in bends.items():
        yield Case("unfinished in PyTorch", said, functools.partial(_torch, bend), (ValueError,))
    for said in ("log", "state", "_CHECKPOINT_METADATA"):
        yield Case("unfinished in JAX", f"without {said}", functools.partial(_jax, functools.partial(_take_away, said)))
    for text in ("", "[]", "{", "[" * 100_000, '{"identity": "toy "}', '{"identity": "toy ", "lines": 5}'):
        spoil = functools.partial(lambda text, path: (path / "1" / "log" / "metadata").write_text(text), text)
        yield Case("unfinished in JAX", f"{text[:30]!r} for its log", functools.partial(_jax, spoil))
    odd = {
        "a file for it": lambda path: (shutil.rmtree(path), path.touch()),
        "a word for an epoch": lambda path: (path / "1").rename(path / "x"),
    }
    odd |= {
        "an empty folder": lambda path: shutil.rmtree(path / "1"),
        "another epoch": lambda path: (path / "1").rename(path / "7"),
    }
    for said, bend in odd.items():
        yield Case("unfinished in JAX", said, functools.partial(_jax, bend), (OSError,))


def _take_away(name: str, folder: Path) -> None:
    for path in folder.rglob(name):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


CASES = [*_unfinished()]
