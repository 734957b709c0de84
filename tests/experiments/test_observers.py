"""What comes of listening beside its lines: several keywords, clips of what triggered, a picture, a bar."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conversion.files import to_module, write_module
from experiments import listen
from experiments.streams import observers
from kws_jax.checkpoint import About
from kws_jax.detector import Detection
from tests.helpers.listening import (
    PCM,
    SAMPLES,
    THRESHOLD,
    FakeMicrophone,
    approximately,
    heard,
    lines_of,
    write_model,
)
from tests.helpers.models import LIGHT, random_variables


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two keywords in steps of different lengths."""
    folder = tmp_path_factory.mktemp("models")
    about = About("tree", "float32", threshold=0.5)
    write_module(folder / "light.safetensors", to_module(LIGHT, random_variables(LIGHT)), LIGHT, about)
    return [write_model(folder / "toy.safetensors"), str(folder / "light.safetensors")]


@pytest.fixture
def wav(tmp_path: Path) -> str:
    soundfile.write(tmp_path / "a.wav", PCM, 16_000)
    return str(tmp_path / "a.wav")


def test_several_keywords_are_each_what_they_are_alone(models: list[str], wav: str, capsys: pytest.CaptureFixture):
    threshold = ["--threshold", str(THRESHOLD)]
    alone = [heard(capsys, wav, "--checkpoint", model, *threshold) for model in models]
    assert alone[0] == approximately(lines_of(SAMPLES))
    assert {line["keyword"] for line in alone[1]} <= {"tree"}
    together = heard(capsys, "--checkpoint", *models, wav, *threshold)
    assert together == sorted([*alone[0], *alone[1]], key=lambda line: line["time"])


def test_what_triggered_is_saved(models: list[str], wav: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    lines = heard(capsys, wav, "--checkpoint", models[0], "--save", str(tmp_path / "new" / "clips"))
    clips = sorted((tmp_path / "new" / "clips").iterdir())
    assert [path.stem.split("-")[3:] for path in clips] == [[f"{line['time']:010.3f}", "sheila"] for line in lines]
    for line, path in zip(lines, clips, strict=True):
        end = round(line["time"] * 16_000)  # whole at the toy's steps
        clip, rate = soundfile.read(path, dtype="int16")
        assert rate == 16_000
        np.testing.assert_array_equal(clip, PCM[max(0, end - 32_000) : end])


def test_clips_end_where_detections_do_however_sound_comes(tmp_path: Path):
    samples = np.arange(16_000 * 9, dtype=np.float32) / 2**18
    for size in (640, 16_000 * 4, len(samples)):
        clips = observers.Clips(tmp_path / str(size))
        for start in range(0, len(samples), size):
            clips.hear(samples[start : start + size])
        for time in (8.9, 7.0):
            clips.find("../a b", Detection(time, 0.9))
        for path, end in zip(sorted((tmp_path / str(size)).iterdir()), (7.0, 8.9), strict=True):
            assert path.name.endswith("-___a_b.wav")
            found, _ = soundfile.read(path, dtype="float32")
            expected = samples[: round(end * 16_000)][-32_000:]
            np.testing.assert_allclose(found[-len(expected) :], expected[-len(found) :], rtol=0, atol=1 / 2**15)
            assert len(found) >= 16_000


def test_a_picture_is_drawn_whatever_ends_the_listening(
    models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setitem(sys.modules, "sounddevice", FakeMicrophone(SAMPLES[:, None], 16_000, {(16_000, 1)}))
    with pytest.raises(SystemExit) as stop:
        listen.main(["--microphone", "--checkpoint", models[0], "--plot", str(tmp_path / "new" / "a.svg"), "--quiet"])
    assert stop.value.code == 130
    assert (tmp_path / "new" / "a.svg").read_text().startswith("<?xml")
    assert capsys.readouterr().err == ""


def test_a_picture_forgets_what_is_long_ago(tmp_path: Path):
    picture = observers.Picture(tmp_path / "a.png", {"a": 0.5})
    for minute in range(40):
        picture.see("a", minute * 60 + np.arange(750) * 0.08, np.zeros(750, np.float32))
        picture.find("a", Detection(minute * 60.0, 0.9))
    assert len(picture._steps["a"]) == pytest.approx(600 / 0.08, abs=1)
    assert len(picture._found["a"]) in (10, 11)
    picture.end()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_for_terminals(models: list[str], wav: str, capsys: pytest.CaptureFixture, monkeypatch):
    lines = heard(capsys, wav, "--checkpoint", models[0], "--level", "--quiet")
    assert capsys.readouterr().err == "", "no terminal"
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(observers, "REDRAWN", 0.0)
    assert heard(capsys, wav, "--checkpoint", models[0], "--level", "--quiet") == lines
    assert " dB " in terminal.getvalue()
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().split("\r")[-2].strip() == "", "the line is wiped at the end"


def test_wrong_outputs_are_one_line_before_any_work(models: list[str], wav: str, tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for options, message in (
        (["--save", str(tmp_path / "file")], "file is a file, and a folder is to be there"),
        (["--plot", str(tmp_path / "a.mp3")], r"a\.mp3 is no picture"),
        (["--plot", str(tmp_path / "file" / "a.png")], "cannot be written"),
        (["--plot", str(tmp_path / "folder.png")], "folder.png is a folder"),
    ):
        with pytest.raises(SystemExit, match=message):
            listen.main([wav, "--checkpoint", models[0], *options])
    assert sorted(tmp_path.rglob("*")) == before


def test_two_models_of_one_keyword_are_refused(models: list[str], wav: str, tmp_path: Path):
    twin = write_model(tmp_path / "twin.safetensors")
    for given in ([models[0], twin], [models[0], models[0]]):
        with pytest.raises(SystemExit, match="two checkpoints of 'sheila': give one of each keyword"):
            listen.main([wav, "--checkpoint", *given])


def test_a_checkpoint_without_a_keyword_is_called_by_its_file(wav: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    write_model(tmp_path / "mine.safetensors", None)
    lines = heard(capsys, wav, "--checkpoint", str(tmp_path / "mine.safetensors"))
    assert {line["keyword"] for line in lines} == {"mine"}
