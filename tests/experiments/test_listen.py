"""Listening: every source gives the stream's own detections; every end and bad input is one clear line or none."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from conversion.files import write_module
from experiments import listen
from kws_jax.checkpoint import About
from kws_jax.data import decoding
from kws_jax.data.audio import read_audio
from tests.helpers.listening import MODEL, PCM, SAMPLES, THRESHOLD, Dribble, approximately, heard, lines_of, write_model
from tests.helpers.models import TOY

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("models") / "toy.safetensors")


def test_a_file_and_standard_input_give_the_streams_own_detections(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    soundfile.write(tmp_path / "a.wav", PCM, 16_000)
    monkeypatch.setattr(decoding, "BLOCK", 7_001)
    expected = approximately(lines_of(SAMPLES))
    assert heard(capsys, "--checkpoint", model, str(tmp_path / "a.wav")) == expected
    for sent, lines in ((PCM.tobytes(), expected), (b"\0\0", [])):  # shorter than a step has no detections
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Dribble(sent)))
        assert heard(capsys, "-", "--checkpoint", model) == lines


def test_a_named_pipe_is_a_pipe(model: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    """As a shell's <(...) is; raw sound of another kind is what the options say."""
    os.mkfifo(tmp_path / "pipe")
    stereo = np.repeat(np.stack([PCM, PCM], axis=1), 2, axis=0).astype(">i2")  # every sample twice
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(stereo.tobytes(),))
    writer.start()
    options = ["--rate", "32000", "--channels", "2", "--encoding", "s16be"]
    lines = heard(capsys, str(tmp_path / "pipe"), "--checkpoint", model, *options)
    writer.join()
    soundfile.write(tmp_path / "a.wav", stereo.astype(np.int16), 32_000)
    assert lines == approximately(lines_of(read_audio(tmp_path / "a.wav")))


@pytest.mark.parametrize(("sample_rate", "channels"), [(16_000, 2), (22_050, 1)])
def test_other_rates_and_channels_are_as_the_reader_of_clips_has_them(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture, sample_rate: int, channels: int
):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.stack([PCM, PCM // 3][:channels], axis=1), sample_rate)
    assert heard(capsys, "--checkpoint", model, str(path)) == approximately(lines_of(read_audio(path)))


def test_options_come_before_what_the_checkpoint_names(model: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    soundfile.write(tmp_path / "a.wav", PCM, 16_000)
    threshold = THRESHOLD - 0.01
    expected = lines_of(SAMPLES, smoothing=2, threshold=threshold)
    options = ["--smoothing", "2", "--threshold", str(threshold)]
    assert heard(capsys, "--checkpoint", model, str(tmp_path / "a.wav"), *options) == approximately(expected)
    known = {"threshold": 0.9, "false_alarms_per_hour": 0.5, "operating_points": {"2": 0.8}, "validation_hours": 3.0}
    rows = [(known, "", 0.9, 0.5), (known, "--false-alarms-per-hour 2", 0.8, 2), (known, "--threshold 0.7", 0.7, None)]
    for words, line, threshold, rate in (*rows, ({}, "", 0.5, None)):
        write_module(tmp_path / "m", MODEL, TOY, About("sheila", "int5", **words))
        listen.main([str(tmp_path / "a.wav"), "--checkpoint", str(tmp_path / "m"), *line.split()])
        meaning = f", about {rate} false alarms an hour on 3 h of validation speakers' words, speech and noise"
        said = f"listening for sheila from probability {threshold} on{meaning if rate else ''}; Ctrl-C ends"
        warning = [] if words else ["the checkpoint of sheila has no threshold, and 0.5 is a guess: give one"]
        assert capsys.readouterr().err.splitlines() == [*warning, said]


def _write_nan(path: Path) -> None:
    samples = np.zeros(40_000, np.float32)
    samples[24_000] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


BAD_FILES = {
    "nan.wav": (_write_nan, "NaN or infinite sample at 1.5 s"),
    "empty.wav": (lambda path: soundfile.write(path, np.zeros(0), 16_000), "no samples"),
    "slow.wav": (lambda path: soundfile.write(path, np.zeros(100), 2_000), "2000 Hz"),
    "text.wav": (lambda path: path.write_text("no audio"), "text.wav"),
    "headless.raw": (lambda path: path.write_bytes(PCM.tobytes()), "headless.raw"),
    "folder.wav": (lambda path: path.mkdir(), "folder.wav"),
    "missing.wav": (lambda path: None, "no file"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_heard_is_one_line(model: str, tmp_path: Path, name: str):
    make, message = BAD_FILES[name]
    make(tmp_path / name)
    with pytest.raises(SystemExit, match=message) as stop:
        listen.main([str(tmp_path / name), "--checkpoint", model])
    assert "\n" not in str(stop.value)


def test_other_misuse_is_one_line(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    for arguments, message in (
        (
            ["-", "--checkpoint", model],
            "standard input: no samples: it takes a WAV, or s16le PCM, one channel, 16000 Hz",
        ),
        (["--checkpoint", model], "name one source"),
        (["-", "--microphone", "--checkpoint", model], "name one source"),
        (["-", "--checkpoint", str(tmp_path)], "is no checkpoint"),
        (["-", "--checkpoint", model, "--threshold", "1.5"], "1.5"),
        (["-", "--checkpoint", model, "--false-alarms-per-hour", "1"], "it has none for any number"),
    ):
        with pytest.raises(SystemExit, match=message):
            listen.main(arguments)
    write_module(tmp_path / "odd.safetensors", MODEL, TOY, About(number_format="int5", threshold=1.5))
    with pytest.raises(SystemExit, match=r"in \[0, 1\], not 1\.5"):
        listen.main(["-", "--checkpoint", str(tmp_path / "odd.safetensors")])


@pytest.fixture
def listener(model: str) -> Iterator[subprocess.Popen]:
    """A listener in a process of its own that has written one detection and waits for more audio."""
    command = [sys.executable, "-m", "experiments.listen", "-", "--checkpoint", model, "--refractory", "0.05"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdin.write(PCM.tobytes())
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == approximately(lines_of(SAMPLES))[0]
        yield process
        process.kill()


def test_ctrl_c_ends_without_a_traceback(listener: subprocess.Popen):
    listener.send_signal(signal.SIGINT)
    _, errors = listener.communicate(timeout=30)
    assert listener.returncode == 130
    assert errors.splitlines() == [f"listening for sheila from probability {THRESHOLD:g} on; Ctrl-C ends".encode()]


def test_a_closed_pipe_ends_quietly(listener: subprocess.Popen):
    listener.stdout.close()
    with suppress(BrokenPipeError):  # it may have ended on what it had not yet said
        listener.stdin.write(PCM.tobytes())
        listener.stdin.close()
    assert listener.wait(timeout=30) == 0
    assert len(listener.stderr.read().splitlines()) == 1


def test_listening_imports_no_torch():
    script = "import sys, experiments.streams.listening; print('torch' in sys.modules, 'jax' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True"]
