"""Scenes hold what they say: who speaks when, how loud the noise is, and nobody of another part."""

from dataclasses import replace

import numpy as np
import pytest

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_float
from kws_jax.data.corpus import load_corpus
from kws_jax.data.scenes import (
    EVENT_GAIN,
    JUDGED,
    SOUND_SECONDS,
    TRAINED,
    Material,
    SceneMix,
    build_scenes,
    gather,
    word_interval,
)
from kws_jax.data.sources import SceneSources
from kws_jax.data.splits import speaker_percentage, split_official
from kws_jax.errors import UserError
from tests.helpers.models import noise
from tests.helpers.tiny_corpus import WORD, clips


@pytest.fixture(scope="module")
def material() -> Material:
    return Material(
        keywords=clips(0, 5),
        speakers=np.array([f"speaker{number}" for number in range(5)]),
        words=clips(2, 7),
        speech=list(noise(4, 3, 2 * SAMPLE_RATE)),
        noise=(noise(5, 1, 3 * SAMPLE_RATE)[0],),
    )


def mixed(snr: float | None = None) -> SceneMix:
    """Nothing but what is spoken, over noise at one level."""
    return SceneMix({"keyword": 1.0, "word": 9.0, "speech": 1.0, "pause": 1.2}, (snr,))


def one_stream(material: Material, mix: SceneMix) -> np.ndarray:
    return to_float(build_scenes(material, 2 / 60, 2.0, 0, mix).waveforms[0]).astype(np.float64)


def test_scenes_are_seeded_and_as_long_as_asked(material):
    scenes, again, other = (build_scenes(material, 0.05, 0.75, seed) for seed in (0, 0, 1))
    assert scenes.waveforms.shape == (4, 45 * SAMPLE_RATE)
    assert scenes.hours == 0.05
    assert scenes.snrs == [None, 20, 10, 5]
    np.testing.assert_array_equal(scenes.waveforms, again.waveforms)
    np.testing.assert_array_equal(np.concatenate(scenes.keyword_intervals), np.concatenate(again.keyword_intervals))
    assert not np.array_equal(scenes.waveforms, other.waveforms)
    assert scenes.events["keyword"] == sum(map(len, scenes.keyword_intervals)) == sum(map(len, scenes.keyword_speakers))


def test_keywords_lie_where_the_intervals_say(material):
    scenes = build_scenes(material, 0.1, 6.0, 0, mixed())
    heard = list(zip(scenes.keyword_intervals[0], scenes.keyword_speakers[0], strict=True))
    assert len(heard) > 5
    for (start, end), speaker in heard:
        clip = to_float(material.keywords[int(speaker[-1])])
        word = clip[WORD]
        first = round((start - word_interval(clip)[0]) * SAMPLE_RATE) + WORD.start
        found = to_float(scenes.waveforms[0, first : first + len(word)])
        assert np.corrcoef(word, found)[0, 1] > 0.9999
        np.testing.assert_allclose((start, end), np.array([first, first + len(word)]) / SAMPLE_RATE, atol=0.026)


@pytest.mark.parametrize("speed", TRAINED.speeds)
def test_words_are_so_many_times_as_fast(speed):
    """A tone that lasts so much less is so much higher; its clip is the interval's only one, and loud all over."""
    tone = np.float32(0.1) * np.sin(2 * np.pi * 1_000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE, dtype=np.float32)
    material = Material(tone[None], np.array(["someone"]), tone[None], [tone], ())
    scenes = build_scenes(material, 1 / 60, 1.0, 0, SceneMix({"keyword": 1.0, "pause": 1.0}, (None,), (speed,)))
    for start, end in scenes.keyword_intervals[0]:
        assert end - start == pytest.approx(1 / speed, abs=0.025)
        samples = scenes.waveforms[0, round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        crossings = np.count_nonzero(np.diff(np.signbit(samples)))
        assert crossings / 2 / (end - start) == pytest.approx(1_000 * speed, rel=0.01)


def test_mixes_differ_in_what_is_heard(material):
    judged, trained = (build_scenes(material, 0.5, 30.0, 0, mix) for mix in (JUDGED, TRAINED))
    assert judged.events.keys() == {"keyword", "word", "speech", "noise"}
    assert trained.events.keys() == {*judged.events, "sound"}
    assert trained.snrs == [None]
    shares = [scenes.events["keyword"] / scenes.events["word"] for scenes in (judged, trained)]
    assert shares[1] > 3 * shares[0]
    without = build_scenes(replace(material, noise=()), 0.1, 6.0, 0)
    assert without.events.keys() == {"keyword", "word", "speech"}


def test_noise_by_itself_is_a_stretch_of_a_recording():
    """One of a minute is cut, one of a second whole; nothing else sounds here."""
    nothing = np.zeros((1, SAMPLE_RATE), np.int16)
    for length, seconds in ((60, np.mean(SOUND_SECONDS)), (1, 1.0)):
        material = Material(
            nothing, np.array(["someone"]), nothing, [nothing[0]], [np.full(length * SAMPLE_RATE, 0.25)]
        )
        scenes = build_scenes(material, 0.2, 12.0, 0, SceneMix({"keyword": 1.0, "noise": 1.0}, (None,)))
        heard = to_float(scenes.waveforms[scenes.waveforms != 0])
        assert heard.size / SAMPLE_RATE / scenes.events["noise"] == pytest.approx(seconds, rel=0.1)
        assert EVENT_GAIN[0] < 20 * np.log10(np.median(heard) / 0.25) < EVENT_GAIN[1]


def test_no_clip_comes_again_before_all_others(material):
    speakers = build_scenes(material, 0.2, 12.0, 3).keyword_speakers[0]
    rounds = [speakers[first : first + 5] for first in range(0, len(speakers) - 4, 5)]
    assert len(rounds) > 1
    assert all(len(set(one)) == 5 for one in rounds)


@pytest.mark.parametrize("snr", [20.0, 5.0])
def test_noise_is_as_loud_as_stated(material, snr):
    clean, noisy = (one_stream(material, mixed(level)) for level in (None, snr))
    spoken = np.square(clean[clean != 0]).mean()
    assert 10 * np.log10(spoken / np.square(noisy - clean).mean()) == pytest.approx(snr, abs=0.05)


def test_scenes_that_cannot_be_are_one_line(material, scene_corpus):
    for hours, minutes in ((0.0, 1.0), (1.0, 0.0), (0.0005, 0.02)):
        with pytest.raises(UserError, match="no "):
            build_scenes(material, hours, minutes, 0)
    corpus = load_corpus(scene_corpus)
    split = replace(split_official(corpus), testing=np.flatnonzero(corpus.labels("bed")))
    with pytest.raises(UserError, match="testing speakers must say 'happy'"):
        gather(corpus, "happy", split, "testing", SceneSources())


@pytest.mark.parametrize(("part", "low", "high"), [("validation", 0, 10), ("testing", 10, 20), ("training", 20, 100)])
def test_only_speakers_of_the_part_are_heard(scene_corpus, part, low, high):
    """The utterance that holds the keyword is left out, and noise is of the part's folds and the corpus's own."""
    corpus, root = load_corpus(scene_corpus), scene_corpus.parent
    sources = SceneSources((root / "speech",), (root / "noise",), root / "speech" / "said.tsv")
    material = gather(corpus, "happy", split_official(corpus), part, sources)
    assert len(material.keywords) == len(material.words) == 3
    assert all(low <= speaker_percentage(speaker) < high for speaker in material.speakers)
    assert len(material.speech) == 1
    assert len(gather(corpus, "bed", split_official(corpus), part, sources).speech) == 2
    folds = {"training": [1_000, 2_000, 3_000], "validation": [4_000], "testing": [5_000]}[part]
    assert [len(recording) for recording in material.noise] == [40_000, *folds]
    assert set(np.concatenate(build_scenes(material, 0.05, 3.0, 0).keyword_speakers)) == set(material.speakers)
