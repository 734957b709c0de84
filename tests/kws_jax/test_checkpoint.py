"""Checkpoints: what is saved comes back bit for bit, whole or not at all, and what is none is said in one line."""

import json
import math
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from kws_jax import checkpoint
from kws_jax.checkpoint import About
from kws_jax.config import CrnnConfig, config_from_json
from kws_jax.errors import UserError
from kws_jax.files import written
from kws_jax.state_dict import from_variables
from tests.helpers.models import TOY, random_model, random_variables

NORMED = replace(TOY, batch_norm=True)
ABOUT = About("happy", threshold=0.25, smoothing=3, false_alarms_per_hour=1.0, setting="toy", seed=0)
ABOUT = replace(ABOUT, operating_points={"0.2": 0.5, "1": 0.25}, validation_hours=3.0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "toy"
    checkpoint.save(folder, TOY, random_variables(TOY), ABOUT)
    return folder


def assert_holds(path: Path, config: CrnnConfig, variables: dict, about: About = About()) -> None:  # noqa: B008
    loaded = checkpoint.load(path)
    assert loaded[::2] == (config, about)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, dict(variables))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(loaded.variables))


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_round_trip_and_overwriting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("new") / "model"
    checkpoint.save(folder, NORMED, random_model(NORMED), ABOUT)
    assert_holds(folder, NORMED, random_model(NORMED), ABOUT)
    checkpoint.save(folder, TOY, random_variables(TOY, 1))
    assert_holds(tmp_path / folder, TOY, random_variables(TOY, 1)), "what is said of one is not said of the next"
    assert left(tmp_path / "new") == {"model"}


def test_a_file_is_written_again_with_other_words_and_the_same_tensors(tmp_path: Path):
    state = from_variables(random_variables(TOY), TOY)
    save_file(state, tmp_path / "a.safetensors", checkpoint.header(TOY, About("happy")))
    checkpoint.rewrite(tmp_path / "a.safetensors", tmp_path / "b.safetensors", ABOUT)
    assert checkpoint.describe(tmp_path / "b.safetensors") == (TOY, ABOUT)
    assert_holds(tmp_path / "b.safetensors", TOY, random_variables(TOY), ABOUT)
    assert load_file(tmp_path / "b.safetensors").keys() == state.keys()
    (tmp_path / "any").touch()
    assert (tmp_path / "b.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode, "others may read it too"


def test_the_detector_is_what_is_known_and_else_the_default():
    detector = ABOUT.detector(TOY)
    assert (detector.threshold, detector.smoothing, detector.step_duration) == (0.25, 3, 256 / 16_000)
    assert (About().detector(TOY).threshold, About().detector(TOY).smoothing) == (0.5, 1)
    with pytest.raises(UserError, match=r"not 2\.5"):
        replace(ABOUT, threshold=2.5).detector(TOY)


def test_the_detector_takes_another_operating_point():
    found = [ABOUT.detector(TOY, false_alarms_per_hour=rate) for rate in (0.2, 1.0)]
    assert [(one.threshold, one.smoothing) for one in found] == [(0.5, 3), (0.25, 3)]
    with pytest.raises(UserError, match=r"no threshold for 2 false alarms per hour: it has them for 0\.2, 1$"):
        ABOUT.detector(TOY, false_alarms_per_hour=2.0)
    with pytest.raises(UserError, match="it has none for any number"):
        About().detector(TOY, false_alarms_per_hour=0.5)
    with pytest.raises(UserError, match="exclude each other"):
        ABOUT.detector(TOY, 0.5, false_alarms_per_hour=1.0)


@pytest.mark.parametrize("config", [TOY, NORMED, CrnnConfig()], ids=["toy", "normed", "base"])
def test_configurations_are_json(config: CrnnConfig):
    assert config_from_json(json.loads(json.dumps(asdict(config)))) == config


def test_nothing_of_this_machine_is_inside(saved: Path):
    files = [path for path in saved.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        for trace in (str(saved), str(saved.parent), str(Path.home()), os.uname().nodename):
            # Compressed bytes hold any few letters sooner or later, and a machine may be called by no more.
            if len(trace) > 4 or content.isascii():
                assert trace.encode() not in content, path
    assert files


HEADER_FAULTS = r"says no configuration|not a model configuration|every size|would skip frames"


def _spoilt(**changes: object) -> str:
    return json.dumps({"config": asdict(TOY) | changes, "about": {}})


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "null", "{}", '{"config": 1}', '{"config": {"frontend": {"hop": 1}}, "about": {}}'),
        *(_spoilt(pool=[0, 0]), _spoilt(pool=1), _spoilt(gru_hidden="5"), _spoilt(units=3), _spoilt(stride=[2, 9])),
        *(
            json.dumps({"config": asdict(TOY), "about": about})
            for about in ({"word": "happy"}, {"threshold": "high"}, {"threshold": [1]}, {"smoothing": "5"})
        ),
        *(
            json.dumps({"config": asdict(TOY), "about": {"operating_points": points}})
            for points in ({"1": "high"}, {"1": [1]}, [0.5], "half", 3)
        ),
    ],
)
def test_a_corrupt_header_is_one_line(text: str, tmp_path: Path):
    save_file({"a": np.zeros(1)}, tmp_path / "a.safetensors", {"kws": text})
    (tmp_path / checkpoint.ABOUT_FILE).write_text(text)
    for path in (tmp_path, tmp_path / "a.safetensors"):
        with pytest.raises(UserError, match=HEADER_FAULTS) as caught:
            checkpoint.describe(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", None], ids=["empty", "junk", "absent"])
@pytest.mark.parametrize("name", [checkpoint.ABOUT_FILE, "variables/_METADATA"])
def test_a_damaged_folder_is_one_line(name: str, damage: bytes | None, tmp_path: Path, saved: Path):
    folder = shutil.copytree(saved, tmp_path / "copy")
    (folder / name).unlink() if damage is None else (folder / name).write_bytes(damage)
    with pytest.raises(UserError, match=r"is damaged|is no checkpoint|says no configuration") as caught:
        checkpoint.load(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(folder))


def test_an_error_leaves_the_old_model_whole_and_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint.save(tmp_path / "model", TOY, random_variables(TOY), ABOUT)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "header", lambda *_: 1 / 0)  # the arrays are written by then
        with pytest.raises(ZeroDivisionError):
            checkpoint.save(tmp_path / "model", NORMED, random_model(NORMED))
    assert left(tmp_path) == {"model"}
    assert_holds(tmp_path / "model", TOY, random_variables(TOY), ABOUT)


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "mine", tmp_path / "file"):
        with pytest.raises(UserError, match="is there already and is no checkpoint: name an empty folder"):
            checkpoint.save(path, TOY, random_variables(TOY))
    with (
        pytest.raises(UserError, match="mine is a folder, and a file is to be"),
        written(tmp_path / "mine") as part,
    ):
        part.write_text("a file")
    assert left(tmp_path) == {"mine", "file"}
    assert (tmp_path / "mine" / "notes.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    checkpoint.save(tmp_path / "empty", TOY, random_variables(TOY))
    assert_holds(tmp_path / "empty", TOY, random_variables(TOY))
    (tmp_path / "empty" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is no checkpoint"):
        checkpoint.save(tmp_path / "empty", TOY, random_variables(TOY))
    assert (tmp_path / "empty" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong",
    [
        {"keyword": 5},
        {"keyword": "a\nb"},
        {"keyword": "\udc80"},
        {"smoothing": 2.5},
        {"false_alarms_per_hour": math.nan},
    ],
)
def test_what_no_header_should_say_is_refused(wrong: dict):
    """By the annotations where those are checked, and by itself elsewhere."""
    stored = json.dumps({"config": asdict(TOY), "about": wrong})
    with pytest.raises(UserError, match=r"what is no text or number|says no configuration"):
        checkpoint._from_json(stored)
