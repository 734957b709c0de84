"""Real clips and synthetic voices in one corpus."""

from pathlib import Path

import numpy as np
import pytest

from experiments.study import task as study_task
from experiments.study.records import run_name
from experiments.study.task import find_source, make_task, with_voices
from kws_jax.data.corpus import Corpus
from kws_jax.data.espeak import speakers
from kws_jax.data.sources import NO_SOURCES
from kws_jax.data.splits import split_official
from kws_jax.errors import UserError

KEYWORD = "sheila"
VOICES = speakers(0, 10)


def corpus(clips: list[tuple[str, str]], first: int = 0, suffix: str = "flac") -> Corpus:
    """A clip of constant samples, numbered from `first`, for every word and speaker."""
    clips = sorted(clips)
    return Corpus(
        waveforms=np.repeat(np.arange(first, first + len(clips), dtype=np.int16)[:, None], 16_000, axis=1),
        words=np.array([word for word, _ in clips]),
        speakers=np.array([speaker for _, speaker in clips]),
        names=np.array([f"{word}/{speaker}_nohash_0.{suffix}" for word, speaker in clips]),
        background=(np.zeros(first + 1, np.float32),),
        fingerprint=f"clips from {first}",
        unreadable=(),
    )


@pytest.fixture
def real() -> Corpus:
    people = [f"{number:08x}" for number in range(60)]
    return corpus([(word, person) for word in ("bed", "yes") for person in people] + [(KEYWORD, people[3])])


@pytest.fixture
def spoken() -> Corpus:
    return corpus([(word, voice.name) for word in (KEYWORD, "she", "yes") for voice in VOICES], 1000, "wav")


def rows(corpus: Corpus) -> dict[str, tuple[str, str, int]]:
    columns = zip(corpus.names.tolist(), corpus.words, corpus.speakers, corpus.waveforms, strict=True)
    return {name: (str(word), str(speaker), int(clip[0])) for name, word, speaker, clip in columns}


@pytest.mark.parametrize(("voices", "number"), [("keyword", 10), ("words", 30)])
def test_every_clip_keeps_its_word_speaker_and_samples(real, spoken, voices, number):
    joined = with_voices(real, spoken, KEYWORD, voices)
    added = {name: row for name, row in rows(spoken).items() if voices == "words" or row[0] == KEYWORD}
    assert rows(joined) == rows(real) | added
    assert joined.names.tolist() == sorted(joined.names.tolist())
    assert joined.background is real.background
    assert len(added) == number


def test_voices_stay_in_the_part_of_the_split_that_their_timbre_has(real, spoken):
    joined = with_voices(real, spoken, KEYWORD, "keyword")
    split = split_official(joined)
    for part in ("training", "validation", "testing"):
        found = set(joined.speakers[getattr(split, part)]) & {voice.name for voice in VOICES}
        assert found == {voice.name for voice in VOICES if voice.split == part} != set()


def test_a_file_that_is_in_both_is_refused(real):
    with pytest.raises(UserError, match=r"bed/00000000_nohash_0\.flac is both"):
        with_voices(real, real, KEYWORD, "words")


def test_runs_with_voices_have_names_and_clips_of_their_own(real, spoken):
    names = [run_name("base", KEYWORD, voices, "official", 0) for voices in (None, "keyword", "words")]
    assert names == [f"base-sheila{helped}-official-0" for helped in ("", "-keyword_by_voices", "-words_by_voices")]
    joined = [with_voices(real, spoken, KEYWORD, voices).fingerprint for voices in ("keyword", "words")]
    assert len({real.fingerprint, spoken.fingerprint, *joined}) == 4
    assert with_voices(real, spoken, KEYWORD, "words").fingerprint == joined[1]


def test_a_run_says_and_repeats_what_the_voices_spoke(real, spoken, tmp_path, monkeypatch):
    """As many takes of the keyword train as real data has of its words."""
    asked = {}
    monkeypatch.setattr(study_task, "generate_corpus", lambda folder, keyword, **options: asked.update(options))
    monkeypatch.setattr(study_task, "load_corpus", lambda folder: spoken if folder.is_relative_to(tmp_path) else real)
    source = find_source(Path("real"), (KEYWORD,), NO_SOURCES, tmp_path, "words")
    task = make_task(source, source.load(), KEYWORD, "official", 0, tmp_path)
    assert "experiments.run base --data real --voices words --keywords sheila " in task.command("base")
    assert task.describe()["training"]["keyword_clips"] == 6 + 1
    assert (source.name, source.voices) == ("real", "words")
    assert sum(voice.split == "training" for voice in speakers(0)) * asked["clips_of_keyword"] == 1368
