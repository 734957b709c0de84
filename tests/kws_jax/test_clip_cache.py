"""A corpus's cache is there whole or not at all, made anew where it is damaged, and tells what was odd about files."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kws_jax.data.clip_cache as module
from kws_jax.data.corpus import CLIP_LENGTH, load_corpus
from kws_jax.errors import UserError
from tests.helpers.ramp_corpus import RAMP, load, write, write_ramps


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ramps(tmp_path / "corpus")


@pytest.mark.parametrize("name", ["index.json", "waveforms.npy"])
@pytest.mark.parametrize("content", [b"", b"[1]", None])
def test_a_damaged_cache_is_made_anew(folder: Path, name: str, content: bytes | None) -> None:
    first = load(folder)
    (cache,) = (folder.parent / "caches").iterdir()
    content = (cache / name).read_bytes()[:-1_000] if content is None else content
    (cache / name).write_bytes(content)
    again = load(folder)
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.waveforms[:, ::99], load(folder).waveforms[:, ::99])
    assert again.waveforms.shape == (5, CLIP_LENGTH)


def test_what_is_odd_about_clips_is_said_each_time(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for word in ("yes", "no"):
        for speaker in range(6):
            write(folder / word / f"{speaker}_nohash_0.wav", np.stack([RAMP, ~RAMP], axis=1))
    for _ in ("cold", "warm"):
        caplog.clear()
        load(folder)
        assert "no/0_nohash_0.wav: the channels cancel each other" in caplog.text
        assert len(caplog.records) == 11, "the rest is a number"
        assert "2 other files" in caplog.text


def test_noise_without_sound_is_named_and_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder / "_background_noise_" / "silent.wav", 0 * RAMP)
    write(folder / "_background_noise_" / "short.wav", RAMP[:100])
    assert len(load(folder).background) == 1
    assert "silent.wav: left out: noise of 1 s that is silent" in caplog.text
    assert "short.wav: left out: noise of 0.00625 s" in caplog.text


def test_second_load_decodes_no_clip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    monkeypatch.setattr(module, "_pack", None)
    second = load(folder)
    assert isinstance(second.waveforms, np.memmap)
    np.testing.assert_array_equal(first.waveforms, second.waveforms)
    assert first.names.tolist() == second.names.tolist()
    assert first.fingerprint == second.fingerprint


def test_what_an_older_decoder_made_is_not_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    monkeypatch.setattr(module, "CACHE_FORMAT", "of tomorrow")
    monkeypatch.setattr(module, "to_pcm", lambda samples: np.zeros(len(samples), "<i2"))
    again = load(folder)
    assert first.waveforms.any()
    assert not again.waveforms.any(), "it is decoded anew"
    assert len(list((folder.parent / "caches").iterdir())) == 2


def test_cache_folder_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KWS_CACHE", str(folder.parent / "from_environment"))
    load_corpus(folder)
    assert len(list((folder.parent / "from_environment").iterdir())) == 1


def test_unwritable_cache_is_a_user_error(folder: Path) -> None:
    (folder.parent / "file").touch()
    with pytest.raises(UserError, match=r"cannot write the cache .* set KWS_CACHE"):
        load_corpus(folder, folder.parent / "file")


def test_kill_while_packing_leaves_no_cache(folder: Path) -> None:
    program = (
        "import os, sys, kws_jax.data.corpus as data, kws_jax.data.clip_cache as cache\n"
        "cache.json.dumps = lambda index: os.kill(os.getpid(), 9)\n"
        "data.load_corpus(sys.argv[1], sys.argv[2])"
    )
    caches = folder.parent / "caches"
    killed = subprocess.run([sys.executable, "-c", program, folder, caches], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.name.split("-")[0] for path in caches.iterdir()] == ["packing"]
    assert len(load(folder).names) == 5


def test_lost_race_uses_the_other_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = module._pack

    def slow_pack(*args: object) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_pack", pack)
            load(folder)
        return pack(*args)

    monkeypatch.setattr(module, "_pack", slow_pack)
    assert len(load(folder).names) == 5
    assert len(list((folder.parent / "caches").iterdir())) == 1
