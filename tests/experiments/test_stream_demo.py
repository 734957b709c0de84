"""The streaming demo: what it writes is what the stream says, and its input is found or refused in one line."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure

from conversion.files import read_module, to_module, write_module
from experiments import stream_demo
from experiments.plots import StreamResult
from experiments.streams import demo
from kws_jax import checkpoint
from kws_jax.checkpoint import About
from kws_jax.data.audio import read_audio
from kws_jax.data.splits import speaker_percentage
from kws_jax.detector import DetectorConfig, detections
from kws_jax.errors import UserError
from tests.helpers.models import PCEN, TOY, noise, random_variables
from tests.tolerances import CROSS_FRAMEWORK
from torch_ref.packing import to_packed
from torch_ref.streaming import StreamingKws

LENGTHS = (7_001, 4_000, 9_003)  # samples
TESTING_SPEAKER, TRAINING_SPEAKER = (
    next(f"{n:08x}" for n in itertools.count() if low <= speaker_percentage(f"{n:08x}") < high)
    for low, high in ((10, 20), (20, 100))
)


def write_wav(path: Path, samples: np.ndarray, sample_rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sample_rate, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    packed = to_packed(to_module(PCEN, random_variables(PCEN)), "int5")
    write_module(path, packed, PCEN, About("happy", "int5", threshold=0.7))
    return path


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    names = ("before", "keyword_clip", "after")
    return {
        name: write_wav(tmp_path / f"{name}.wav", noise(seed, 1, length)[0])
        for seed, (name, length) in enumerate(zip(names, LENGTHS, strict=True))
    }


@pytest.fixture
def no_picture(monkeypatch):
    monkeypatch.setattr(demo, "plot_stream", lambda *_: Figure())


def run(out: Path, **arguments) -> dict:
    stream_demo.main(out, **arguments)
    return json.loads(out.with_suffix(".json").read_text())


def test_demo_writes_what_the_stream_says(tmp_path, model, files, capsys):
    """As PyTorch streams the packed model that was judged."""
    out = tmp_path / "new" / "plot.png"
    written = run(out, checkpoint=model, **files)
    waveform = read_audio(out.with_suffix(".wav"))
    assert len(waveform) == sum(LENGTHS)
    kws, probabilities = StreamingKws(read_module(model)[1]), np.array(written["probabilities"], np.float32)
    times, judged = map(np.concatenate, zip(kws.push(waveform), kws.flush(), strict=True))
    np.testing.assert_array_equal(written["times"], times)
    np.testing.assert_allclose(probabilities, judged, rtol=0, atol=CROSS_FRAMEWORK)
    assert (written["start"], written["end"]) == (7_001 / 16_000, 11_001 / 16_000)
    found = [[d["time"], d["probability"]] for d in written["detections"]]
    detector = DetectorConfig(threshold=written["threshold"], step_duration=TOY.block_size / 16_000)
    np.testing.assert_array_equal(np.array(found).reshape(-1, 2).T, detections(times, probabilities, detector))
    assert (written["keyword"], written["threshold"]) == ("happy", 0.7)
    assert written["files"] == ["before.wav", "keyword_clip.wav", "after.wav"]
    assert out.read_bytes().startswith(b"\x89PNG")
    assert str(out) in capsys.readouterr().out


@pytest.mark.usefixtures("no_picture")
def test_a_recording_that_is_read_is_not_written_over(model, files):
    before = {path: path.read_bytes() for path in files.values()}
    with pytest.raises(UserError, match=r"after.wav is both read and written: give --out another name"):
        stream_demo.main(files["after"].with_suffix(".png"), checkpoint=model, **files)
    assert {path: path.read_bytes() for path in files["before"].parent.iterdir()} == before


def test_arguments_come_before_what_the_checkpoint_says(tmp_path, model, files):
    """And recordings at other sample rates are resampled."""
    write_wav(files["before"], noise(0, 1, 4_000)[0], sample_rate=8_000)
    written = run(tmp_path / "plot.png", checkpoint=model, keyword="sheila", threshold=0.2, **files)
    assert (written["keyword"], written["threshold"], written["start"]) == ("sheila", 0.2, 0.5)


def test_glued_recordings_are_left_as_they_are():
    parts = [np.round(noise(seed, 1, 1_000, level)[0] * 2**15) / 2**15 for seed, level in enumerate((0.05, 0.1, 0.3))]
    glued = demo.glue(*(part.astype(np.float32) for part in parts))
    np.testing.assert_array_equal(glued.pcm, np.concatenate(parts) * 2**15)
    assert glued.gains == (1, 1, 1)
    assert (glued.start, glued.end) == (1_000, 2_000)


@pytest.mark.parametrize("level", [0.001, 0.9])
def test_only_tracks_far_off_in_level_are_scaled(level):
    keyword, track = noise(0, 1, 2_000, 0.02)[0], np.clip(noise(1, 1, 2_000, level)[0], -1, 1)
    glued = demo.glue(track, keyword, np.zeros(100, np.float32))
    levels = [np.sqrt(np.mean(np.square(part.astype(float)))) for part in np.split(glued.pcm, [2_000, 4_000])]
    assert max(levels[0] / levels[1], levels[1] / levels[0]) == pytest.approx(4, rel=0.02)
    assert glued.gains[1:] == (1, 1)


def test_a_gain_does_not_clip():
    track = np.zeros(2_000, np.float32)
    track[0] = 0.9
    glued = demo.glue(track, noise(0, 1, 2_000, 0.3)[0], track)
    assert glued.pcm[0] == 32_767
    assert glued.gains[0] == pytest.approx(1 / 0.9)


@pytest.fixture
def data(tmp_path) -> Path:
    clip = noise(3, 1, 8_000)[0]
    for speaker in (TESTING_SPEAKER, TRAINING_SPEAKER):
        write_wav(tmp_path / "speech_commands" / "happy" / f"{speaker}_nohash_0.wav", clip)
    # The hash of speaker 4 makes it a training speaker of running speech, those of the others testing speakers.
    for speaker, seconds in ((16, 1), (23, 11), (24, 25), (34, 12), (4, 13), (5, 13)):
        write_wav(tmp_path / "librispeech" / f"{speaker}-0.wav", noise(speaker, 1, 16_000 * seconds)[0])
    return tmp_path / "speech_commands"


@pytest.mark.usefixtures("no_picture")
def test_data_folder_gives_a_testing_speaker_between_running_speech(tmp_path, model, data):
    written = run(tmp_path / "plot.png", checkpoint=model, data=data, speech=data.parent / "librispeech")
    assert written["files"] == ["23-0.wav", f"{TESTING_SPEAKER}_nohash_0.wav", "34-0.wav"]
    assert (written["start"], written["end"]) == (11, 11.5)


@pytest.mark.usefixtures("no_picture")
def test_synthetic_tracks_stand_in_for_what_is_missing(tmp_path, model, files, data, monkeypatch):
    def generate(folder: Path, keyword: str) -> Path:
        assert keyword == "happy"
        for name, seed in (("before", 4), ("keyword", 5), ("after", 6)):
            write_wav(folder / f"{name}.wav", noise(seed, 1, 5_000)[0])
        return folder

    monkeypatch.setattr(demo, "generate_demo_tracks", generate)
    monkeypatch.setenv("KWS_CACHE", str(tmp_path / "cache"))
    written = run(tmp_path / "plot.png", checkpoint=model, keyword_clip=files["keyword_clip"])
    assert written["files"] == ["before.wav", "keyword_clip.wav", "after.wav"]
    assert written["start"] == 5_000 / 16_000
    written = run(tmp_path / "plot.png", checkpoint=model, speech=data.parent / "librispeech")
    assert written["files"] == ["23-0.wav", "keyword.wav", "34-0.wav"]


def test_smallest_checkpoint_of_the_keyword_is_found(tmp_path):
    """In folders of one model each; what a run that was stopped has left is none."""
    for name, keyword, hidden in (("a", "happy", 5), ("b", "happy", 3), ("c", "bed", 2)):
        config = replace(TOY, gru_hidden=hidden)
        model = to_module(config, random_variables(config))
        write_module(tmp_path / name / "model.safetensors", model, config, About(keyword))
    unfinished = tmp_path / "a" / "unfinished" / "training.safetensors"
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"half of it")
    assert demo.find_checkpoint(tmp_path, keyword=None) == tmp_path / "c" / "model.safetensors"
    assert demo.find_checkpoint(tmp_path, keyword="happy") == tmp_path / "b" / "model.safetensors"
    with pytest.raises(UserError, match="--checkpoint"):
        demo.find_checkpoint(tmp_path, keyword="marvin")


def test_bad_input_is_one_line(tmp_path, model, files, data):
    def reason(**arguments) -> str:
        with pytest.raises(UserError) as caught:
            stream_demo.main(tmp_path / "plot.png", **{"checkpoint": model, **files, **arguments})
        assert "\n" not in str(caught.value)
        return str(caught.value)

    text = tmp_path / "text.wav"
    text.write_text("no sound")
    assert "text.wav cannot be read" in reason(before=text)
    assert "absent.wav cannot be read" in reason(after=tmp_path / "absent.wav")
    assert "is no checkpoint" in reason(checkpoint=tmp_path)
    assert "no folder" in reason(before=None, speech=tmp_path / "nowhere")
    assert "a probability in [0, 1], not 1.5" in reason(threshold=1.5)
    assert "no clip of 'marvin'" in reason(keyword_clip=None, data=data, keyword="marvin")
    nameless = tmp_path / "nameless"
    checkpoint.save(nameless, TOY, random_variables(TOY))
    assert "--keyword WORD" in reason(checkpoint=nameless, before=None)


def test_description_counts_steps_at_the_keyword_and_elsewhere():
    times = np.array([1.0, 2.0, 3.0, 4.0])
    result = StreamResult("happy", 0.5, 1.5, 2.5, 0.4, times, np.array([0.6, 0.9, 0.1, 0.7]), ())
    assert "highest probability 0.900 at 2.00 s; over 0.5 in 1 steps there and 2 elsewhere" in result.describe()
