"""Real clips and synthetic voices in one corpus, and whether a model can tell which is which."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from experiments.voices import with_voices
from experiments.voices_check import FILE, measure, voices_section

from experiments import voices
from experiments.report import render_report
from experiments.run import main
from experiments.study.records import model_name, run_name
from experiments.study.task import find_source, make_task
from kws_jax.data.corpus import Corpus
from kws_jax.data.espeak import speakers
from kws_jax.data.splits import split_official
from kws_jax.errors import UserError
from tests.helpers.fake_records import few, studies

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


@pytest.mark.parametrize("said", ["keyword", "words"])
def test_every_clip_keeps_its_word_speaker_and_samples(real, spoken, said):
    joined = with_voices(real, spoken, KEYWORD, said)
    expected = {name: (str(w), str(s), int(x[0])) for name, w, s, x in rows(real)}
    added = {name: (str(w), str(s), int(x[0])) for name, w, s, x in rows(spoken) if said == "words" or w == KEYWORD}
    assert {name: (str(w), str(s), int(x[0])) for name, w, s, x in rows(joined)} == expected | added
    assert joined.names.tolist() == sorted(joined.names.tolist())
    assert joined.background is real.background
    assert len(added) == (30 if said == "words" else 10)


def rows(corpus: Corpus):
    return zip(corpus.names.tolist(), corpus.words, corpus.speakers, corpus.waveforms, strict=True)


def test_voices_stay_in_the_part_of_the_split_that_their_timbre_has(real, spoken):
    joined = with_voices(real, spoken, KEYWORD, "keyword")
    split = split_official(joined)
    for part in ("training", "validation", "testing"):
        found = set(joined.speakers[getattr(split, part)]) & {voice.name for voice in VOICES}
        assert found == {voice.name for voice in VOICES if voice.split == part} != set()


def test_fingerprints_tell_what_was_added(real, spoken):
    joined = [with_voices(real, spoken, KEYWORD, said).fingerprint for said in ("keyword", "words")]
    assert len({real.fingerprint, spoken.fingerprint, *joined}) == 4
    assert with_voices(real, spoken, KEYWORD, "words").fingerprint == joined[1]


def test_a_file_that_is_in_both_is_refused(real):
    with pytest.raises(UserError, match=r"bed/00000000_nohash_0\.flac is both"):
        with_voices(real, real, KEYWORD, "words")


def test_runs_with_voices_have_names_of_their_own():
    names = {
        run_name("base", KEYWORD, "official", 0, corpus)
        for corpus in ("synthetic", "real + keyword by voices", "real + words by voices")
    }
    assert len(names) == 3
    assert model_name("base", KEYWORD, "speech_commands") == "base-sheila"
    assert model_name("base", KEYWORD, "speech_commands + words by voices") == "base-sheila-words_by_voices"


@pytest.mark.parametrize("arguments", [{}, {"keywords": ("up",)}, {"data": Path(), "keywords": ("up", "down")}])
def test_voices_need_real_clips_and_one_keyword(arguments, tmp_path):
    with pytest.raises(UserError, match="give --data DIR and --keywords WORD"):
        main(("base",), voices="words", out=tmp_path, **arguments)


def test_the_command_repeats_the_voices(real, spoken, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.study.task.speak", lambda keyword, out: out / keyword)
    monkeypatch.setattr("experiments.study.task.load_corpus", lambda folder: spoken if folder.name == KEYWORD else real)
    source = find_source(Path("real"), (KEYWORD,), None, tmp_path, "words")
    task = make_task(source, source.load(), KEYWORD, "official", 0, tmp_path)
    assert "experiments.run base --data real --voices words --keywords sheila " in task.command("base")
    assert task.describe()["training"]["keyword_clips"] == 6 + 1
    assert source.name == "real + words by voices"


@pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="needs espeakng-loader")
def test_as_many_takes_of_the_keyword_train_as_asked_for(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(voices, "generate_corpus", lambda folder, keyword, **options: asked.update(options) or folder)
    assert voices.speak(KEYWORD, tmp_path).is_relative_to(tmp_path / "synthetic")
    training = sum(voice.split == "training" for voice in speakers(0))
    assert training * asked["clips_of_keyword"] == 1368


def task_of(clips: list[tuple[str, str, str]]) -> SimpleNamespace:
    """What `measure` looks at: clips of validation and testing speakers, as (part, word, speaker)."""
    parts, words, people = (np.array(column) for column in zip(*clips, strict=True))
    names = np.array([f"{word}/{person}" for _, word, person in clips])
    split = SimpleNamespace(held_out=np.arange(len(clips)), testing=np.flatnonzero(parts == "testing"))
    found = SimpleNamespace(words=words, speakers=people, names=names)
    return SimpleNamespace(split=split, corpus=found, labels=(words == KEYWORD).astype(np.int32))


def test_a_model_that_hears_only_voices_is_found_out():
    clips = [("testing", KEYWORD, "v1")] * 20 + [("testing", "she", "v1")] * 4 + [("testing", "yes", "v2")] * 6
    clips += [("testing", "yes", "p1")] * 10 + [("validation", KEYWORD, "p2")] + [("validation", "bed", "p3")] * 5
    voice = np.array([speaker.startswith("v") for _, _, speaker in clips])
    tiny = np.linspace(0, 1e-3, len(clips))
    row = measure(task_of(clips), voice - tiny, np.array(["v1", "v2"]))
    assert (row["auroc_error"], row["alarms_by_people"], row["voice_above_person"]) == (0, 0, 1)
    assert (row["other_clips_by_voices"], row["other_clips_by_people"], row["test_voices"]) == (10, 10, 1)
    blind = measure(task_of(clips), voice.astype(float), np.array(["v1", "v2"]))
    assert (blind["alarms_by_voices"], blind["alarms_by_people"]) == (1, 0)
    (real,) = blind["keyword_clips_by_people"]
    assert real == {"clip": "sheila/p2", "part": "validation", "outranked_by": 5, "others": 5, "caught": False}


def test_a_model_that_hears_the_word_is_seen_to():
    clips = [("testing", KEYWORD, "v1")] * 19 + [("testing", KEYWORD, "v3"), ("testing", "she", "v1")]
    clips += [
        ("testing", "yes", "v2"),
        ("testing", "yes", "p1"),
        ("validation", KEYWORD, "p2"),
        ("validation", "up", "p2"),
    ]
    margins = np.array([5.0] * 19 + [-9.0, 6.0, -1.0, -2.0, 7.0, 3.0])
    row = measure(task_of(clips), margins, np.array(["v1", "v2", "v3"]))
    assert row["alarms_by_word"] == {"she": 1, "yes": 0}
    assert row["threshold"] == 5, "95 % of 20 clips are 19"
    assert row["auroc_error"] == pytest.approx(1 / 20)
    assert [(clip["outranked_by"], clip["caught"]) for clip in row["keyword_clips_by_people"]] == [(0, True)]


def test_the_report_tells_what_was_measured(tmp_path):
    clips = [("testing", KEYWORD, "v1"), ("testing", "she", "v1"), ("testing", "yes", "p1")]
    clips += [("validation", KEYWORD, "p2"), ("validation", "yes", "p3")]
    row = measure(task_of(clips), np.array([1.0, 2.0, 0.5, 3.0, 4.0]), np.array(["v1"]))
    names = {"setting": "pooled_stream", "keyword": KEYWORD, "seed": 0, "corpus": "real + words by voices"}
    path = tmp_path / FILE
    assert voices_section(path) == ""
    path.write_text(json.dumps({"command": "python -m this", "rows": [{**names, **row}]}))
    report = render_report(studies(tmp_path, few()), tmp_path, tmp_path)
    assert voices_section(path) in report
    line = next(line for line in report.splitlines() if line.startswith("| pooled_stream sheila | 0 |"))
    assert line.split(" | ")[3:] == ["0", "0.00%", "100.00%", "she 100%", "1.00", "1 of 1", "1 of 1 |"]
    path.write_text("{}")
    with pytest.raises(UserError, match="measure again"):
        voices_section(path)
