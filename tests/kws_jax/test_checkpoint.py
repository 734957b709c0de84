"""Checkpoints: what is saved comes back bit for bit, and what is none is said in one line."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from kws_jax import checkpoint
from kws_jax.config import CrnnConfig
from kws_jax.errors import UserError
from kws_jax.model import init_variables
from tests.helpers.models import TOY, random_variables

NORMED = replace(TOY, batch_norm=True)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "toy"
    checkpoint.save(folder, TOY, random_variables(TOY))
    return folder


def assert_restores(folder: Path, config: CrnnConfig, variables: dict) -> None:
    restored_config, restored = checkpoint.restore(folder)
    assert restored_config == config
    jax.tree.map(np.testing.assert_array_equal, restored, dict(variables))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


def test_round_trip_and_overwriting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("new") / "model"
    checkpoint.save(folder, NORMED, init_variables(jax.random.key(0), NORMED))
    assert_restores(folder, NORMED, init_variables(jax.random.key(0), NORMED))
    checkpoint.save(folder, TOY, random_variables(TOY, 1))
    assert_restores(tmp_path / folder, TOY, random_variables(TOY, 1))


@pytest.mark.parametrize("config", [TOY, NORMED, CrnnConfig()], ids=["toy", "normed", "base"])
def test_configurations_are_json(config: CrnnConfig):
    assert checkpoint.config_from_json(checkpoint.config_to_json(config)) == config


def test_nothing_of_this_machine_is_inside(saved: Path):
    files = [path for path in saved.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        for trace in (str(saved), str(saved.parent), str(Path.home()), os.uname().nodename):
            assert trace.encode() not in content, path
    assert files


def _fields(**changes: object) -> str:
    return json.dumps(json.loads(checkpoint.config_to_json(TOY)) | changes)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "null", "{}", '{"frontend": 1}', '{"frontend": {"hop": 1}}'),
        *(_fields(pool=[0, 0]), _fields(pool=1), _fields(gru_hidden="5"), _fields(units=3), _fields(stride=[2, 9])),
    ],
)
def test_a_corrupt_configuration_is_one_line(text: str):
    with pytest.raises(UserError, match="not a model configuration") as caught:
        checkpoint.config_from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "variables"])
def test_a_folder_that_is_no_checkpoint(name: str, tmp_path: Path, saved: Path):
    (tmp_path / name).symlink_to(saved / name)
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=r"is no checkpoint: it needs config\.json and variables/"):
            checkpoint.restore(folder)


@pytest.mark.parametrize("name", ["config.json", "variables/_METADATA"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00"], ids=["empty", "junk"])
def test_a_damaged_checkpoint_is_one_line(name: str, content: bytes, tmp_path: Path, saved: Path):
    folder = shutil.copytree(saved, tmp_path / "copy")
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match="is damaged") as caught:
        checkpoint.restore(folder)
    assert "\n" not in str(caught.value)


def test_about(tmp_path: Path):
    variables, about = random_variables(TOY), {"keyword": "happy", "threshold": 0.5}
    checkpoint.save(tmp_path, TOY, variables, about)
    assert checkpoint.read_about(tmp_path) == about
    checkpoint.save(tmp_path, TOY, variables)
    assert checkpoint.read_about(tmp_path) == {}, "what is said of one model is not said of the next"
    for text, message in (("{", "is no JSON"), ("[]", "holds no JSON object")):
        (tmp_path / checkpoint.ABOUT_FILE).write_text(text)
        with pytest.raises(UserError, match=message):
            checkpoint.read_about(tmp_path)
