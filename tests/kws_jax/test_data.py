import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kws_jax.data.audio import to_float
from kws_jax.data.corpus import CLIP_LENGTH
from kws_jax.errors import UserError
from tests.helpers.ramp_corpus import RAMP, load, write, write_ramps
from tests.tolerances import RESAMPLING


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ramps(tmp_path / "corpus")


def load_one(tmp_path: Path, samples: np.ndarray, sample_rate: int = 16_000, suffix: str = ".wav") -> np.ndarray:
    write(tmp_path / "corpus" / "word" / f"a_nohash_0{suffix}", samples, sample_rate)
    return load(tmp_path / "corpus").waveforms[0]


def test_index(folder: Path) -> None:
    corpus = load(folder)
    assert corpus.names.tolist() == [
        "no/ann_nohash_0.wav",
        "no/ann_nohash_1.wav",
        "up/nameless.wav",
        "yes/ann_nohash_0.wav",
        "yes/bob_nohash_0.wav",
    ]
    assert corpus.words.tolist() == ["no", "no", "up", "yes", "yes"]
    assert corpus.speakers.tolist() == ["ann", "ann", "nameless", "ann", "bob"]
    assert corpus.labels("yes").tolist() == [0, 0, 0, 1, 1]
    assert corpus.unreadable == ()
    for name, waveform in zip(corpus.names, corpus.waveforms, strict=True):
        np.testing.assert_array_equal(waveform, np.roll(RAMP, len(name) - len(".wav")))
    (noise,) = corpus.background
    np.testing.assert_array_equal(noise, to_float(RAMP))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
@pytest.mark.parametrize("length", [1, 9_999, CLIP_LENGTH, 40_001])
def test_pcm_of_any_length_is_bit_exact(tmp_path: Path, suffix: str, length: int) -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_768, length).astype(np.int16)
    waveform = load_one(tmp_path, samples, suffix=suffix)
    kept = min(length, CLIP_LENGTH)
    np.testing.assert_array_equal(waveform[:kept], samples[:kept])
    assert not waveform[kept:].any()


def test_stereo_is_averaged(tmp_path: Path) -> None:
    stereo = np.stack([RAMP, np.full_like(RAMP, 100)], axis=1)
    np.testing.assert_array_equal(load_one(tmp_path, stereo), np.rint((RAMP + 100.0) / 2))


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 44_100, 48_000])
def test_resampled_tone_is_the_tone_at_16_khz(tmp_path: Path, sample_rate: int) -> None:
    def tone(rate: int) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)

    waveform = to_float(load_one(tmp_path, tone(sample_rate), sample_rate))
    inside = slice(200, CLIP_LENGTH)  # the filter also sees the silence before the start
    np.testing.assert_allclose(waveform[inside], tone(16_000)[:CLIP_LENGTH][inside], atol=RESAMPLING)


def test_loud_float_audio_saturates(tmp_path: Path) -> None:
    write(tmp_path / "corpus" / "word" / "a_nohash_0.wav", np.array([2.0, -2.0, 0.5]), subtype="FLOAT")
    assert load(tmp_path / "corpus").waveforms[0, :3].tolist() == [32_767, -32_768, 16_384]


def test_to_float_is_exact_for_every_value() -> None:
    every = np.arange(-32_768, 32_768).astype(np.int16)
    floats = to_float(every)
    assert floats.dtype == np.float32
    assert floats.min() == -1
    assert floats.max() < 1
    np.testing.assert_array_equal(floats.astype(np.float64), every / 32_768)


def spoil(path: Path, kind: str) -> None:
    if kind == "NaN":
        write(path, np.array([0.0, np.nan]), subtype="FLOAT")
    elif kind == "no samples":
        write(path, RAMP[:0])
    elif kind == "rate":
        write(path, RAMP, sample_rate=100)
    elif kind == "missing":
        path.symlink_to("nowhere.wav")
    elif kind == "cut":
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, CLIP_LENGTH), 16_000, format="FLAC")
        path.write_bytes(path.read_bytes()[:5_000])
    else:
        path.write_bytes({"empty": b"", "corrupt": b"RIFF____not audio at all"}[kind])


@pytest.mark.parametrize("kind", ["NaN", "no samples", "rate", "missing", "empty", "corrupt", "cut"])
def test_unreadable_files_are_named_and_left_out(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    for speaker in range(100):
        write(tmp_path / "corpus" / "word" / f"{speaker:02}_nohash_0.wav", RAMP[speaker : speaker + 9])
    spoilt = tmp_path / "corpus" / "word" / "50_nohash_0.wav"
    spoilt.unlink()
    spoil(spoilt, kind)
    for _ in ("cold", "warm"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            corpus = load(tmp_path / "corpus")
        assert corpus.unreadable == ("word/50_nohash_0.wav",)
        assert "left out unreadable word/50_nohash_0.wav" in caplog.text
        assert "1 unreadable of 100 files" in caplog.text
    assert corpus.waveforms.shape == (99, CLIP_LENGTH)
    assert corpus.waveforms[:, 0].tolist() == [RAMP[speaker] for speaker in range(100) if speaker != 50]


def test_unreadable_noise_is_left_out(folder: Path) -> None:
    (folder / "_background_noise_" / "bad.wav").write_bytes(b"")
    corpus = load(folder)
    assert corpus.unreadable == ("_background_noise_/bad.wav",)
    assert len(corpus.background) == 1


def test_too_many_unreadable_are_an_error_that_names_all(folder: Path) -> None:
    for speaker in "abc":
        (folder / "yes" / f"{speaker}_nohash_0.wav").write_bytes(b"")
    assert len(load(folder).unreadable) == 3
    os.mkfifo(folder / "yes" / "d_nohash_0.wav")  # to open it would wait for ever
    message = r"4 of 9 sounds .* unreadable: restore .*yes/a_nohash_0.wav .*yes/d_nohash_0.wav \(is no regular file\)"
    with pytest.raises(UserError, match=message):
        load(folder)
    assert len(list((folder.parent / "caches").iterdir())) == 1, "of before"


def test_fingerprint_follows_content_and_not_place(folder: Path) -> None:
    first = load(folder)
    os.utime(folder / "yes" / "ann_nohash_0.wav", (0, 0))
    assert load(folder).fingerprint == first.fingerprint
    moved = folder.rename(folder.with_name("elsewhere"))
    assert load(moved).fingerprint == first.fingerprint
    write(moved / "yes" / "ann_nohash_0.wav", RAMP[::-1])
    changed = load(moved)
    assert changed.fingerprint != first.fingerprint
    np.testing.assert_array_equal(changed.waveforms[3], RAMP[::-1])
    write(moved / "_background_noise_" / "hum.wav", RAMP[::-1])
    assert load(moved).fingerprint != changed.fingerprint


def test_missing_and_empty_folders_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*: name one laid out as Speech Commands"):
        load(tmp_path / "nowhere")
    write(tmp_path / "corpus" / "_background_noise_" / "hum.wav", RAMP)
    with pytest.raises(UserError, match=r"no clips in .*: it needs files"):
        load(tmp_path / "corpus")


def test_unknown_keyword_names_near_matches(folder: Path) -> None:
    corpus = load(folder)
    with pytest.raises(UserError, match=r"^no clips of the keyword 'Yess': did you mean yes\?$"):
        corpus.labels("Yess")
    with pytest.raises(UserError, match="choose one of no, up, yes"):
        corpus.labels("marvin")
