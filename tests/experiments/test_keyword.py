"""A person's own word: whose takes are learnt from, what the corpus of them is, and a detector in the end."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments.plots import OUTLINE, plot_takes, save
from experiments.streams import own_keyword
from experiments.streams.own_corpus import Wish, lay_out
from experiments.streams.recordings import FEWEST, Recording, divided, pieces, read_recordings
from kws_jax.checkpoint import describe
from kws_jax.data.corpus import load_corpus
from kws_jax.data.recordings import speech_files
from kws_jax.data.sources import SceneSources
from kws_jax.data.splits import split_official
from kws_jax.data.takes import MAX_TAKE
from kws_jax.errors import UserError
from tests.helpers.models import noise

RATE = 16_000
ROOT = Path(__file__).parents[2]


def said(seed: int, seconds: Sequence[float], rate: int = RATE) -> np.ndarray:
    """Bursts of so many seconds with pauses between them."""
    rng = np.random.default_rng(seed)
    parts = [part for s in seconds for part in (np.zeros(rate // 2), 0.2 * rng.standard_normal(round(s * rate)))]
    return np.concatenate([*parts, np.zeros(rate // 2)]) + 1e-4 * rng.standard_normal(sum(map(len, parts)) + rate // 2)


def write_recordings(folder: Path, people: Sequence[str], takes: int) -> Path:
    for seed, person in enumerate(people):
        (folder / person).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / person / f"{seed}.flac", said(seed, [0.4] * takes, 22_050), 22_050)
    return folder


def recording(name: str, person: str, takes: int) -> Recording:
    starts = RATE * np.arange(takes)
    return Recording(name, person, np.zeros(RATE * takes, np.float32), np.stack([starts, starts + 6_000], axis=1))


@pytest.mark.parametrize(
    ("recordings", "kept"),
    [
        ([recording(f"{n}/{k}", str(n), 2) for n in range(6) for k in range(3)], "people"),
        ([recording(f"{n}", "", 3) for n in range(9)], "recordings"),
        ([recording("one", "me", 30)], "stretches"),
    ],
)
def test_every_part_gets_its_share_and_nothing_of_another(recordings: list[Recording], kept: str):
    found, parts = divided(recordings)
    assert found == kept
    all_parts = [part for row in parts for part in row]
    assert len(all_parts) == sum(len(r.found) for r in recordings)
    for part, share in (("training", 0.7), ("validation", 0.15), ("testing", 0.15)):
        assert all_parts.count(part) / len(all_parts) == pytest.approx(share, abs=0.14)
    if kept != "stretches":
        whose = {(r.person if kept == "people" else r.name): set() for r in recordings}
        for r, row in zip(recordings, parts, strict=True):
            whose[r.person if kept == "people" else r.name] |= set(row)
        assert all(len(found) == 1 for found in whose.values())


def test_a_recording_says_what_was_taken_and_what_was_too_long(tmp_path: Path):
    write_recordings(tmp_path, ["ann"], FEWEST)
    soundfile.write(tmp_path / "long.wav", said(9, [0.4, MAX_TAKE + 0.3, 0.5]), RATE)
    lines = [found.describe() for found in read_recordings(tmp_path)]
    assert lines[0].startswith(f"ann/0.flac: {FEWEST} takes in ")
    assert lines[1].startswith("long.wav: 2 takes in ")
    assert "1 longer than 0.96 s left out: pause between words" in lines[1]
    clips = read_recordings(tmp_path)[1].clips()
    assert [clip.shape for clip in clips] == [(RATE,)] * 2
    assert recording("nothing", "me", 0).clips() == []


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir(), lambda folder: folder.touch()])
def test_without_recordings_there_is_one_line(make, tmp_path: Path):
    make(folder := tmp_path / "mine")
    with pytest.raises(UserError, match=r"no recordings in .*mine: name a folder of"):
        read_recordings(folder)


def test_too_few_takes_and_broken_files_are_one_line(tmp_path: Path):
    write_recordings(tmp_path, ["ann"], FEWEST - 1)
    with pytest.raises(UserError, match=f"{FEWEST - 1} takes of the word in .*: record at least {FEWEST}"):
        read_recordings(tmp_path)
    for number in range(4):
        (tmp_path / f"broken{number}.wav").write_text("no sound")
    with pytest.raises(UserError, match=r"4 of 5 sounds in .* are unreadable: .*broken0\.wav"):
        read_recordings(tmp_path)


def test_running_sound_is_cut_without_loss():
    samples = noise(0, 1, 16_000 * 47)[0]
    cut = pieces(samples)
    np.testing.assert_array_equal(np.concatenate(cut), samples)
    assert [round(len(piece) / 16_000) for piece in cut] == [12, 12, 12, 12]
    assert len(pieces(samples[:100])) == 1
    assert pieces(np.zeros(10, np.float32)) == []


def wish_of(scene_corpus: Path, tmp_path: Path, **changes) -> Wish:
    root, sources = scene_corpus.parent, SceneSources((scene_corpus.parent / "speech",))
    recordings = write_recordings(tmp_path / "mine", ["ann", "bob", "cid", "dan", "eve"], 4)
    options = {"negatives": root / "noise", "data": scene_corpus, "sources": sources, "voices": False}
    return Wish(**{"word": "hello", "recordings": recordings, "out": tmp_path / "out"} | options | changes)


def test_the_corpus_splits_takes_as_they_were_divided(scene_corpus: Path, tmp_path: Path):
    wish = wish_of(scene_corpus, tmp_path)
    recordings = read_recordings(wish.recordings)
    kept, parts = divided(recordings)
    assert kept == "people"
    source = lay_out(wish, recordings, parts)
    corpus = load_corpus(source.folder)
    assert set(corpus.words) == {"hello", "happy", "bed"}
    assert len(corpus.background) == 1, "the data set's noise is there"
    split, labels = split_official(corpus), corpus.labels("hello")
    counts = {part: int(labels[getattr(split, part)].sum()) for part in ("training", "validation", "testing")}
    assert counts == {"training": 12, "validation": 4, "testing": 4}
    own = [folder for folder in source.sources.speech if folder.parent == wish.out]
    for part in ("training", "validation", "testing"):
        assert speech_files(own[0], part), f"negatives to be heard in {part}"
    lay_out(wish, recordings[:3], parts[:3])
    assert load_corpus(source.folder).labels("hello").sum() == 12, "laid out anew, not added to"


def test_bad_wishes_are_one_line(scene_corpus: Path, tmp_path: Path):
    for changes, message in (
        ({"sources": SceneSources((tmp_path / "nowhere",))}, "no folder .*nowhere"),
        ({"word": "a/b"}, "is no keyword"),
        ({"negatives": tmp_path / "nowhere"}, "no recordings in .*nowhere"),
        ({"data": tmp_path / "nowhere"}, "no folder .*nowhere"),
    ):
        with pytest.raises(UserError, match=message):
            own_keyword.make(wish_of(scene_corpus, tmp_path, **changes))


def test_what_is_left_out_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_recordings(tmp_path, ["ann"], FEWEST)
    soundfile.write(tmp_path / "b.mp3", said(1, [0.4] * 3), RATE, format="MP3", subtype="MPEG_LAYER_III")
    assert [found.name for found in read_recordings(tmp_path)] == ["ann/0.flac", "b.mp3"]
    assert not caplog.records
    (tmp_path / ".hidden").touch()
    (tmp_path / "c.m4a").touch()
    (tmp_path / "link").symlink_to("ann")
    assert len(read_recordings(tmp_path)) == 2
    assert re.search(r"left out 2 that are neither .*c\.m4a: ffmpeg", caplog.text)
    shutil.copy(tmp_path / "ann" / "0.flac", tmp_path / "again.flac")
    assert [found.name for found in read_recordings(tmp_path)] == ["again.flac", "b.mp3"]
    assert re.search(r"left out .*ann/0\.flac: it is a copy of .*again\.flac", caplog.text)


def test_no_folder_is_two_things(scene_corpus: Path, tmp_path: Path):
    wish = wish_of(scene_corpus, tmp_path)
    speech = {"sources": SceneSources((tmp_path / "mine",))}
    within = [{"out": wish.recordings / "out"}, {"recordings": wish.out / "mine"}, {"data": wish.out / "clips"}]
    for changes in ({"negatives": tmp_path}, {"data": wish.recordings}, speech, *within):
        for folder in {"data", "recordings", "negatives"} & changes.keys():
            changes[folder].mkdir(parents=True, exist_ok=True)
        with pytest.raises(UserError, match="would hold the same files: name folders that lie side by side"):
            own_keyword.make(replace(wish, **changes))


def test_what_others_say_of_the_word_is_learnt_from_alone(scene_corpus: Path, tmp_path: Path):
    wish = wish_of(scene_corpus, tmp_path, word="Happy")
    recordings = read_recordings(wish.recordings)
    corpus = load_corpus(lay_out(wish, recordings, divided(recordings)[1]).folder)
    assert set(corpus.words) == {"Happy", "bed"}, "the word in other letters is no other word"
    theirs = load_corpus(scene_corpus)
    learnt = int(theirs.labels("happy")[split_official(theirs).training].sum())
    assert learnt
    split, labels = split_official(corpus), corpus.labels("Happy")
    counts = [int(labels[getattr(split, part)].sum()) for part in ("training", "validation", "testing")]
    assert counts == [12 + learnt, 4, 4]


def test_silence_is_no_running_sound(scene_corpus: Path, tmp_path: Path):
    (tmp_path / "room").mkdir()
    soundfile.write(tmp_path / "room" / "a.wav", np.zeros(RATE), RATE)
    wish = wish_of(scene_corpus, tmp_path, negatives=tmp_path / "room")
    with pytest.raises(UserError, match="room holds nothing but silence"):
        own_keyword.make(wish)
    assert not (wish.out / "speech").exists()


@pytest.mark.parametrize("word", ["$x^$", "你好", "hey  you"])
def test_takes_are_drawn_whatever_they_are_called(word: str, tmp_path: Path):
    found = replace(recording(f"{word}\x1b", "me", 3), samples=noise(0, 1, 3 * RATE)[0])
    save(plot_takes([found], word), tmp_path / "takes.png")
    (axes,) = plot_takes([found], word).axes
    times, heights = axes.lines[0].get_data()
    assert len(times) <= 2 * OUTLINE
    assert (heights.min(), heights.max()) == (found.samples.min(), found.samples.max())
    assert 0 <= times[0] <= times[-1] < 3


@pytest.mark.slow
def test_a_detector_of_ones_own(scene_corpus: Path, tmp_path: Path):
    """The whole command: a word that is noise of another colour than all other words."""
    wish = wish_of(scene_corpus, tmp_path)
    words = ["hello", str(wish.recordings), "--negatives", str(wish.negatives), "--data", str(wish.data)]
    words = ["--word", words[0], "--recordings", *words[1:], "--speech", str(wish.sources.speech[0])]
    command = [sys.executable, "-m", "experiments.keyword", *words, "--out", str(wish.out)]
    # With code that is optimized, as tests do without: it is run for minutes.
    options = {"cwd": ROOT, "env": {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}}
    run = subprocess.run(command, **options, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    about = describe(wish.out / "hello.safetensors")[1]
    assert about.keyword == "hello"
    assert about.smoothing is not None
    assert (wish.out / "takes.png").stat().st_size > 10_000
    assert (wish.out / "hello.png").stat().st_size > 10_000
    record = json.loads((wish.out / "streams" / "hello.json").read_text())
    assert record["heard"]["keyword"] == "hello"
    assert "takes: 12 to learn from, 4 to choose by, 4 to judge by, of different people" in run.stdout
    again = subprocess.run(command, **options, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 runs have their record" in again.stdout
