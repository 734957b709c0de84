"""The embedded corpus: bits, layout, splits and completeness."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kws_jax.data import synthetic
from kws_jax.data.espeak import MAX_SPEAKERS, VARIANTS, Espeak, speakers
from kws_jax.errors import UserError

needs_espeak = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="needs espeakng-loader")
SMALL = {"num_speakers": 3, "clips_per_word": 1, "clips_of_keyword": 2}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return synthetic.generate_corpus(tmp_path_factory.mktemp("synthetic") / "corpus", **SMALL)


@needs_espeak
@pytest.mark.slow
def test_two_processes_give_the_same_bytes(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    assert digests(corpus) == digests(synthetic.generate_corpus(tmp_path / "again", **SMALL))


@needs_espeak
def test_layout(corpus):
    words = {path.name for path in corpus.iterdir() if path.is_dir()} - {"_background_noise_", synthetic.SPEECH_FOLDER}
    assert {"sheila", "she", "shield", "yes", "marvin"} <= words
    assert len(words) == 1 + synthetic.NUM_NEAR + len(synthetic.COMMANDS)
    for clip in corpus.glob("[!_]*/*.wav"):
        info = soundfile.info(clip)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (16_000, 1, 16_000, "PCM_16")
        assert clip.name in {f"{speaker.name}_nohash_{take}.wav" for speaker in speakers(0, 3) for take in (0, 1)}
    assert {path.stem for path in corpus.glob("_background_noise_/*")} == {"white_noise", "pink_noise", "babble"}
    spoken = {path.name: soundfile.info(path).duration for path in (corpus / synthetic.SPEECH_FOLDER).iterdir()}
    assert set(spoken) == {f"{speaker.name}-0.wav" for speaker in speakers(0, 3) if speaker.split == "training"}
    assert all(16 <= duration <= 24 for duration in spoken.values())


@needs_espeak
def test_clips_differ_and_are_never_silent(corpus):
    clips = np.stack([soundfile.read(path, dtype="int16")[0] for path in sorted(corpus.glob("[!_]*/*.wav"))])
    assert len(np.unique(clips, axis=0)) == len(clips)
    assert np.all(np.abs(clips).reshape(len(clips), 100, 160).max(axis=2) > 0)


@needs_espeak
def test_every_voice_is_installed():
    import espeakng_loader

    installed = {path.name for path in Path(espeakng_loader.get_data_path(), "voices", "!v").iterdir()}
    assert set(VARIANTS) <= installed


@needs_espeak
def test_demo_tracks(tmp_path):
    folder = synthetic.generate_demo_tracks(tmp_path / "demo")
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    for name in ("before", "after"):
        assert 10 <= soundfile.info(folder / f"{name}.wav").duration <= 20
    assert soundfile.info(folder / "keyword.wav").duration == 1


def test_the_same_arguments_reuse_and_others_replace(tmp_path):
    calls: list[int] = []

    def build(seed: int) -> None:
        def write(target: Path) -> None:
            calls.append(seed)
            target.mkdir()
            (target / f"{seed}.wav").touch()

        synthetic._build(tmp_path / "corpus", {"keyword": "sheila", "seed": seed}, write)

    for seed in (1, 1, 2):
        build(seed)
    assert calls == [1, 2]
    assert {path.name for path in tmp_path.rglob("*")} == {"corpus", "2.wav", synthetic.STAMP}


def test_an_interrupted_run_leaves_the_old_corpus(tmp_path):
    def interrupted(target: Path) -> None:
        target.mkdir()
        raise KeyboardInterrupt

    synthetic._build(tmp_path / "corpus", {"keyword": "sheila", "seed": 0}, Path.mkdir)
    with pytest.raises(KeyboardInterrupt):
        synthetic._build(tmp_path / "corpus", {"keyword": "sheila", "seed": 1}, interrupted)
    assert {path.name for path in tmp_path.rglob("*")} == {"corpus", synthetic.STAMP}


@needs_espeak
@pytest.mark.slow
def test_a_word_that_need_not_be_said_may_be_of_any_length(tmp_path):
    corpus = synthetic.generate_corpus(tmp_path / "corpus", "ключевое слово", num_speakers=3, clips_of_keyword=0)
    assert (corpus / "yes").is_dir()
    assert not (corpus / "ключевое слово").exists()


@needs_espeak
def test_a_keyword_too_long_for_a_second_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="within one second") as error:
        synthetic.generate_demo_tracks(tmp_path / "demo", "supercalifragilistic expialidocious in a sentence")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keyword", ["", " ", "../up", "_up", "up/down", "up\0"])
def test_a_keyword_that_is_no_folder_name_is_refused(keyword, tmp_path):
    with pytest.raises(UserError, match="is no keyword"):
        synthetic._build(tmp_path / "corpus", {"keyword": keyword, "seed": 0}, lambda folder: None)


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        synthetic._build(tmp_path, {"keyword": "sheila", "seed": 0}, lambda folder: None)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_absent_voices_name_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"pip install 'kws-jax\[synthetic\]'"):
        Espeak(0)


class Spelling(Espeak):
    """Pronounces everything as it is written, except for one homophone."""

    def __init__(self) -> None:
        pass

    def phonemes(self, text: str) -> str:
        return text.replace("write", "right")


def test_a_homophone_of_the_keyword_is_not_spoken():
    takes = synthetic._takes(Spelling(), "right", clips_per_word=3, clips_of_keyword=5)
    assert "write" not in takes
    assert [takes["right"], takes["light"], takes["yes"]] == [5, 1, 3]


def test_sentences_leave_the_keyword_out():
    kept = synthetic._without("bread", synthetic.DEMO_SENTENCES)
    assert 10 <= len(kept) < len(synthetic.DEMO_SENTENCES)
    assert not any("bread" in sentence.lower() for sentence in kept)
    with pytest.raises(UserError, match="too common"):
        synthetic._without("the", synthetic.DEMO_SENTENCES)


@pytest.mark.parametrize("num_speakers", [3, MAX_SPEAKERS])
@pytest.mark.parametrize("seed", [0, 5])
def test_the_names_follow_the_split_rule(seed, num_speakers):
    cast = speakers(seed, num_speakers)
    assert {speaker.split for speaker in cast} == {"training", "validation", "testing"}
    assert len({speaker.name for speaker in cast}) == len({speaker.voice for speaker in cast}) == num_speakers
    for speaker in cast:
        percentage = int(hashlib.sha1(speaker.name.encode()).hexdigest(), 16) % 2**27 * 100 / (2**27 - 1)
        assert (speaker.split == "validation") == (percentage < 10)
        assert (speaker.split == "testing") == (10 <= percentage < 20)


def test_a_voice_stays_in_its_split_for_every_seed():
    splits = [{speaker.voice.split("+")[1]: speaker.split for speaker in speakers(seed)} for seed in (0, 1)]
    assert splits[0] == splits[1]
