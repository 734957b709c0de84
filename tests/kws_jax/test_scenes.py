"""Scenes hold what they say: who speaks when, how loud the noise is, and nobody of another part."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kws_jax.config import SAMPLE_RATE
from kws_jax.data import scenes as scenes_module
from kws_jax.data.audio import to_float
from kws_jax.data.corpus import load_corpus
from kws_jax.data.scenes import Material, build_scenes, gather, read_speech, speech_files, word_interval
from kws_jax.data.splits import speaker_percentage, split_official
from kws_jax.errors import UserError
from tests.helpers.models import noise
from tests.helpers.tiny_corpus import WORD, clips, some_speakers


@pytest.fixture(scope="module")
def material() -> Material:
    return Material(
        keywords=clips(0, 5),
        speakers=np.array([f"speaker{number}" for number in range(5)]),
        words=clips(2, 7),
        speech=list(noise(4, 3, 2 * SAMPLE_RATE)),
        background=(noise(5, 1, 3 * SAMPLE_RATE)[0],),
    )


def one_stream(material: Material, snr: float | None, monkeypatch) -> np.ndarray:
    monkeypatch.setattr(scenes_module, "SNRS", (snr,))
    return to_float(build_scenes(material, 2 / 60, 2.0, 0).waveforms[0]).astype(np.float64)


def test_scenes_are_seeded_and_as_long_as_asked(material):
    scenes, again, other = (build_scenes(material, 0.05, 0.75, seed) for seed in (0, 0, 1))
    assert scenes.waveforms.shape == (4, 45 * SAMPLE_RATE)
    assert scenes.hours == 0.05
    assert scenes.snrs == [None, 20, 10, 5]
    np.testing.assert_array_equal(scenes.waveforms, again.waveforms)
    np.testing.assert_array_equal(np.concatenate(scenes.keyword_intervals), np.concatenate(again.keyword_intervals))
    assert not np.array_equal(scenes.waveforms, other.waveforms)
    assert scenes.events["keyword"] == sum(map(len, scenes.keyword_intervals)) == sum(map(len, scenes.keyword_speakers))


def test_keywords_lie_where_the_intervals_say(material, monkeypatch):
    monkeypatch.setattr(scenes_module, "SNRS", (None,))
    scenes = build_scenes(material, 0.1, 6.0, 0)
    heard = list(zip(scenes.keyword_intervals[0], scenes.keyword_speakers[0], strict=True))
    assert len(heard) > 5
    for (start, end), speaker in heard:
        clip = to_float(material.keywords[int(speaker[-1])])
        word = clip[WORD]
        first = round((start - word_interval(clip)[0]) * SAMPLE_RATE) + WORD.start
        found = to_float(scenes.waveforms[0, first : first + len(word)])
        assert np.corrcoef(word, found)[0, 1] > 0.9999
        np.testing.assert_allclose((start, end), np.array([first, first + len(word)]) / SAMPLE_RATE, atol=0.026)


def test_no_clip_comes_again_before_all_others(material):
    speakers = build_scenes(material, 0.2, 12.0, 3).keyword_speakers[0]
    rounds = [speakers[first : first + 5] for first in range(0, len(speakers) - 4, 5)]
    assert len(rounds) > 1
    assert all(len(set(one)) == 5 for one in rounds)


@pytest.mark.parametrize("snr", [20.0, 5.0])
def test_noise_is_as_loud_as_stated(material, snr, monkeypatch):
    clean, noisy = (one_stream(material, level, monkeypatch) for level in (None, snr))
    spoken = np.square(clean[clean != 0]).mean()
    assert 10 * np.log10(spoken / np.square(noisy - clean).mean()) == pytest.approx(snr, abs=0.05)


def test_scenes_that_cannot_be_are_one_line(material, scene_corpus):
    for hours, minutes in ((0.0, 1.0), (1.0, 0.0), (0.0005, 0.02)):
        with pytest.raises(UserError, match="no "):
            build_scenes(material, hours, minutes, 0)
    corpus = load_corpus(scene_corpus)
    split = replace(split_official(corpus), testing=np.flatnonzero(corpus.labels("bed")))
    with pytest.raises(UserError, match="testing speakers must say 'happy'"):
        gather(corpus, "happy", split, "testing", scene_corpus.parent / "speech")


def test_running_speech_is_read_whatever_its_format(tmp_path: Path):
    spoken = noise(6, 3, 2_000)
    names = [f"{speaker}-{index}" for index, speaker in enumerate(some_speakers(70, 101, 3))]
    for name, samples, suffix in zip(names, spoken, (".WAV", ".FLAC", ".ogg"), strict=True):
        soundfile.write(tmp_path / f"{name}{suffix}", samples, SAMPLE_RATE, format=suffix[1:].upper())
    (tmp_path / ".hidden-1.wav").touch()
    (tmp_path / "1-notes.txt").touch()
    assert {path.stem for path in speech_files(tmp_path, "testing")} == set(names)
    assert [len(utterance) for utterance in read_speech(tmp_path, "testing", "happy")] == [2_000] * 3
    with pytest.raises(UserError, match="no validation speech in"):
        read_speech(tmp_path, "validation", "happy")


@pytest.mark.parametrize(("part", "low"), [("validation", 0), ("testing", 10)])
def test_only_speakers_of_the_part_are_heard(scene_corpus, part, low):
    corpus = load_corpus(scene_corpus)
    material = gather(corpus, "happy", split_official(corpus), part, scene_corpus.parent / "speech")
    assert len(material.keywords) == len(material.words) == 3
    assert all(low <= speaker_percentage(speaker) < low + 10 for speaker in material.speakers)
    assert len(material.speech) == 1
    assert set(np.concatenate(build_scenes(material, 0.05, 3.0, 0).keyword_speakers)) == set(material.speakers)
