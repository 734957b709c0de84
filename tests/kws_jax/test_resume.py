"""A training that is killed and gone on with ends where an undisturbed one ends, bit for bit."""

import json
import logging
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from kws_jax.errors import UserError
from kws_jax.training import resume as jax_resume
from kws_jax.training.pruning import PruningPlan
from kws_jax.training.train import train
from tests.helpers.torch_models import tone_batches
from tests.helpers.toy_training import CONFIG, RECIPE, TONES, draw, equal
from torch_ref import resume as torch_resume
from torch_ref.config import TaskConfig
from torch_ref.train import SeminarRecipe
from torch_ref.train import train as train_torch

ROOT = Path(__file__).parents[2]
SHORT = replace(RECIPE, epochs=5, average_decay=0.9, pruning=PruningPlan(2, 5, 3, end=0.9, interval=2))
SEMINAR = SeminarRecipe(learning_rate=3e-3, epochs=5)
KILLED_AT = 3  # epochs from 0
EPOCHS = {"jax": draw, "torch": tone_batches}


class Stop(Exception):
    pass


def run_jax(
    draw: Callable, folder: Path | None, log_path: Path | None = None, recipe=SHORT, seed=0, identity=""
) -> Any:
    resume = jax_resume.Resume(folder, identity, 0.0) if folder else None
    config, variables = train(CONFIG, recipe, TONES, draw, seed, log_path=log_path, resume=resume)
    assert config.gru_hidden == 5, "pruned"
    return variables


def run_torch(draw: Callable, folder: Path | None, log_path: Path | None = None, recipe=SEMINAR, seed=0, identity=""):
    resume = torch_resume.Resume(folder, identity, 0.0) if folder else None
    noise = [torch.sin(torch.arange(20_000.0))]
    model = train_torch(TaskConfig(), recipe, draw, noise, seed, log_path=log_path, resume=resume)
    assert not model.training
    return model.state_dict()


RUN = {"jax": run_jax, "torch": run_torch}


def losses(path: Path) -> list[tuple[int, int, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert (np.diff([line["seconds"] for line in lines]) >= 0).all()
    return [(line["step"], line["epoch"], line["loss"]) for line in lines]


@pytest.fixture(scope="module", params=[pytest.param("jax", marks=pytest.mark.slow), "torch"])
def killed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The side, and what a process had kept that was killed in the midst of its training."""
    folder = tmp_path_factory.mktemp("killed")
    script = (
        "import os, sys\n"
        "from tests.kws_jax.test_resume import EPOCHS, KILLED_AT, RUN, Path\n"
        "side, folder = sys.argv[1], Path(sys.argv[2])\n"
        "draw = lambda epoch: os.kill(os.getpid(), 9) if epoch == KILLED_AT else EPOCHS[side](epoch)\n"
        "RUN[side](draw, folder / 'kept', folder / 'log.jsonl')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, request.param, folder], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    return request.param, folder


def test_a_killed_training_ends_bit_for_bit_the_same(killed: tuple[str, Path], tmp_path: Path):
    side, folder = killed
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    undisturbed = RUN[side](EPOCHS[side], None, tmp_path / "whole.jsonl")
    drawn = []
    resumed = RUN[side](
        lambda epoch: drawn.append(epoch) or EPOCHS[side](epoch), tmp_path / "kept", tmp_path / "log.jsonl"
    )
    assert drawn[-2:] == [3, 4]
    assert len(drawn) == {"jax": 3, "torch": 2}[side], "JAX asks the first epoch for its length"
    assert losses(tmp_path / "log.jsonl") == losses(tmp_path / "whole.jsonl")
    assert equal(undisturbed, resumed)
    drawn.clear()
    again = RUN[side](lambda epoch: drawn.append(epoch) or EPOCHS[side](epoch), tmp_path / "kept")
    assert equal(undisturbed, again)
    assert drawn in ([], [0]), "nothing is left to train"


@pytest.mark.parametrize("change", [{"seed": 1}, {"identity": "other clips"}, {"recipe": 1e-4}], ids=str)
def test_what_another_training_kept_is_dropped(
    killed: tuple[str, Path], change: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    side, folder = killed
    shutil.copytree(folder / "kept", tmp_path / "kept")
    if "recipe" in change:
        change = {"recipe": replace({"jax": SHORT, "torch": SEMINAR}[side], weight_decay=change["recipe"])}
    drawn = []

    def draw(epoch: int) -> object:
        drawn.append(epoch)
        if len(drawn) == {"jax": 2, "torch": 1}[side]:
            raise Stop
        return EPOCHS[side](epoch)

    with caplog.at_level(logging.WARNING), pytest.raises(Stop):
        RUN[side](draw, tmp_path / "kept", **change)
    assert set(drawn) == {0}, "it starts anew"
    assert "is of another training: dropped" in caplog.text
    assert [path for path in (tmp_path / "kept").rglob("*") if path.is_file()] == []


def test_damage_is_named(killed: tuple[str, Path], tmp_path: Path):
    side, folder = killed
    shutil.copytree(folder / "kept", tmp_path / "kept")
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[:-1])
    error = {"jax": UserError, "torch": ValueError}[side]
    with pytest.raises(error, match=r"kept.* is damaged .* delete it"):
        RUN[side](EPOCHS[side], tmp_path / "kept")


def test_a_part_that_is_missing_is_damage(killed: tuple[str, Path], tmp_path: Path):
    side, folder = killed
    for missing in {"torch": ("epochs", "lines", "model", "optimizer", "random"), "jax": ("lines", "identity")}[side]:
        shutil.copytree(folder / "kept", tmp_path / missing)
        if side == "torch":
            path = tmp_path / missing / torch_resume.FILE
            with safetensors.safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["about"])
            tensors = {name: each for name, each in load_file(path).items() if not name.startswith(f"{missing}.")}
            about.pop(missing, None)
            save_file(tensors, path, {"about": json.dumps(about)})
        else:
            (path,) = (tmp_path / missing).glob("*/log/metadata")
            path.write_text(
                json.dumps({name: it for name, it in json.loads(path.read_text()).items() if name != missing})
            )
        with pytest.raises(ValueError, match=r"is damaged .* delete it"):
            RUN[side](EPOCHS[side], tmp_path / missing)


def test_saves_wait_for_the_interval(tmp_path: Path):
    state = {"weight": np.arange(3.0)}
    for interval, steps in ((600.0, []), (0.0, ["2"])):
        saver = jax_resume.TrainingSaver(jax_resume.Resume(tmp_path / "jax", interval=interval), "")
        saver.save(state, [{"loss": 1.0}] * 2)
        saver.close()
        assert [path.name for path in (tmp_path / "jax").iterdir()] == steps
