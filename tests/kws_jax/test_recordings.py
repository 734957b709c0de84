"""Running speech and noise are read whatever their format, and who says the keyword is known from transcripts."""

from pathlib import Path

import pytest
import soundfile

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.recordings import (
    check_sources,
    keyword_pattern,
    read_noise,
    read_speech,
    read_transcripts,
    speech_files,
)
from kws_jax.data.sources import SceneSources
from kws_jax.errors import UserError
from tests.helpers.models import noise
from tests.helpers.tiny_corpus import some_speakers


def test_running_speech_is_read_whatever_its_format(tmp_path: Path):
    spoken = noise(6, 3, 2_000)
    names = [f"{speaker}-{index}" for index, speaker in enumerate(some_speakers(80, 101, 3))]
    for name, samples, suffix in zip(names, spoken, (".WAV", ".FLAC", ".ogg"), strict=True):
        soundfile.write(tmp_path / f"{name}{suffix}", samples, SAMPLE_RATE, format=suffix[1:].upper())
    (tmp_path / ".hidden-1.wav").touch()
    (tmp_path / "1-notes.txt").touch()
    assert {path.stem for path in speech_files(tmp_path, "testing")} == set(names)
    sources = SceneSources((tmp_path,))
    assert [len(utterance) for utterance in read_speech(sources, "testing", "happy")] == [2_000] * 3
    for wanting, folders in ((sources, tmp_path), (SceneSources(), "no folder")):
        with pytest.raises(UserError, match=f"no validation speech in {folders}: give --speech"):
            read_speech(wanting, "validation", "happy")


def test_noise_without_a_fold_is_split_by_its_name(tmp_path: Path):
    for length, (low, high) in enumerate(((0, 60), (60, 80), (80, 101)), 1):
        (name,) = some_speakers(low, high, 1)
        soundfile.write(tmp_path / f"{name}.wav", noise(length, 1, 100 * length)[0], SAMPLE_RATE)
    heard = [read_noise(SceneSources(noise=(tmp_path,)), part) for part in ("training", "validation", "testing")]
    assert [[len(recording) for recording in part] for part in heard] == [[100], [200], [300]]


def test_what_cannot_be_read_is_one_line(tmp_path: Path):
    for wanting in (SceneSources((tmp_path / "none",)), SceneSources(noise=(tmp_path / "none",))):
        with pytest.raises(UserError, match=r"no folder .*none: give --speech and --noise folders"):
            check_sources(wanting)
    table = tmp_path / "said.tsv"
    for content, message in ((None, "cannot read the transcripts"), ("file\ttext\n", "it needs file and word")):
        if content:
            table.write_text(content)
        with pytest.raises(UserError, match=message):
            check_sources(SceneSources(transcripts=table))
    (tmp_path / f"{some_speakers(0, 40, 1)[0]}-1.wav").write_text("no sound")
    with pytest.raises(UserError, match=r"1 of 1 sounds in .* unreadable: restore .*-1\.wav \(Format not recognised\)"):
        read_speech(SceneSources((tmp_path,)), "training", "happy")


def test_three_damaged_files_of_a_few_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A fourth is too many; silence is no noise."""
    names = some_speakers(0, 60, 9)
    for number, name in enumerate(names[:5]):
        soundfile.write(tmp_path / f"{name}.wav", noise(number, 1, 100)[0] * (number > 0), SAMPLE_RATE)
    for name in names[5:8]:
        (tmp_path / f"{name}.wav").write_text("no sound")
    sources = SceneSources((tmp_path,), (tmp_path,))
    assert len(read_speech(sources, "training", "happy")) == 5
    assert len(read_noise(sources, "training")) == 4
    assert all(f"left out unreadable {tmp_path / name}.wav" in caplog.text for name in names[5:8])
    (tmp_path / f"{names[8]}.wav").write_text("no sound")
    with pytest.raises(UserError, match="4 of 9 sounds") as refused:
        read_noise(sources, "training")
    assert all(f"{name}.wav" in str(refused.value) for name in names[5:])


def test_transcripts_are_words_by_file(tmp_path: Path):
    table = tmp_path / "said.tsv"
    table.write_text("word\tfile\n\"Well,\t1-2.flac\nDON'T!\t1-2.flac\nÀ\t3-4.ogg\n\n")
    assert read_transcripts(table) == {"1-2": "well dont", "3-4": "à"}


@pytest.mark.parametrize(
    ("keyword", "holding", "not_holding"),
    [
        ("happy", "happy happiness unhappy happily", "happened perhaps hap"),
        ("bed", "bed bedroom embedded", "described be"),
        ("right", "right upright bright", "write forthright"),
        ("go", "go goes going", "good ago god gone"),
        ("Hey Jude", "hey jude", "hey judy"),
    ],
)
def test_words_that_hold_the_keyword(keyword: str, holding: str, not_holding: str):
    pattern = keyword_pattern(keyword)
    if " " in keyword:
        assert pattern.search(f"oh {holding}s")
        assert not pattern.search(not_holding)
        return
    assert all(pattern.search(f"a {word} b") for word in holding.split())
    assert not any(pattern.search(f"a {word} b") for word in not_holding.split())
