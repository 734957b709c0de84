"""A person's recordings of a word, up to the training: odd names, rates and formats, folders in folders, odd words."""

import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import soundfile

from experiments.keyword import main
from experiments.streams import own_keyword
from experiments.streams.recordings import divided, pieces, read_recordings
from kws_jax.command import command
from kws_jax.data.sources import SceneSources
from kws_jax.data.takes import clip_of, takes
from tests.malformed.harness import Case
from tests.malformed.of_sound_folders import BAD_FILES, NAMES, NOISE, name_of, write

RATE = 16_000
RNG = np.random.default_rng(0)
WORD = np.concatenate([np.zeros(7_000), RNG.normal(0, 0.2, 5_000), np.zeros(7_000)])  # as said once, with pauses
TEN = np.tile(WORD, 10)
ROOM = RNG.normal(0, 0.1, RATE)

SIGNALS: dict[str, np.ndarray] = {
    "nothing": TEN[:0],
    "a sample": np.ones(1),
    "a frame less one": np.ones(399),
    "a frame": np.ones(400),
    "silence": np.zeros(RATE),
    "an offset": np.full(RATE, 0.5),
    "an offset and words": TEN + 0.5,
    "one word": WORD,
    "words": TEN,
    "no pause": RNG.normal(0, 0.2, 4 * RATE),
    "clicks": np.where(np.arange(5 * RATE) % 8_000, 0.0, 1.0),
    "words as loud as the rounding": TEN / 40_000,
    "words of 1e-30": TEN * 1e-30,
    "words of 1e30": TEN * 1e30,
    "words from the first sample to the last": TEN[7_000:-7_000],
    "words in hum": TEN + 0.05 * np.sin(np.arange(TEN.size) / 50),
    "words in noise": TEN + RNG.normal(0, 0.02, TEN.size),
    "words in as much noise": TEN + RNG.normal(0, 0.2, TEN.size),
    "a word of ten seconds": np.concatenate([np.zeros(RATE), RNG.normal(0, 0.2, 10 * RATE), np.zeros(RATE)]),
    "words ever softer": TEN * np.geomspace(1, 1e-3, TEN.size),
    "words clipped": np.clip(100 * TEN, -1, 1),
    "words backwards": TEN[::-1],
    "fewer samples than a hop": np.ones(100),
    "float32": TEN.astype(np.float32),
}
FORMATS = [("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "DOUBLE"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM")]
FORMATS += [("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16")]
FORMATS += [("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
RATES = (3_999, 4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 192_000, 192_001)
SUFFIXES = ("", ".", ".WAV", ".Flac", ".mp3", ".wave", ".wav.bak", ".m4a", ".wav ", ".ogg.wav")
WORDS = (
    "",
    " ",
    ".",
    "-rf",
    "_",
    "a/b",
    "a\\b",
    "a\nb",
    "\x1b[31m",
    "hey computer",
    "'",
    '"',
    "$(reboot)",
    "`ls`",
    "~",
)
WORDS += ("привет", "你好", "مرحبا", "😀", "É", "e\u0301", "%s", "{0}", "a" * 100, "a" * 101, "a ", "a:b", "nul", "0")
WORDS += (
    "\u202eabc",
    "\udcff",
    "clips",
    "runs",
    "takes",
    "keyword",
    "BED",
    "bed",
    "$x$",
    "a=b",
    "a,b",
    "ß",
    "*",
    "a.b",
)


def mine(folder: Path) -> Path:
    """Enough takes, by one person."""
    write(folder / "mine" / "ann" / "ten.wav", TEN)
    return folder / "mine"


def data(folder: Path) -> Path:
    """Other words, and running speech."""
    write(folder / "data" / "bed" / "1_nohash_0.wav")
    write(folder / "speech" / "1-0.wav", ROOM)
    return folder / "data"


def started(folder: Path, word: str = "hello", **changes: object) -> None:
    """The command until it would train."""
    wish = {"recordings": mine(folder), "data": data(folder), "out": folder / "out"}
    sources = SceneSources((folder / "speech",))
    stop = mock.patch.multiple(own_keyword, save=mock.DEFAULT, _train=mock.Mock(side_effect=SystemExit(0)))
    with command(), stop:
        main(word, **(wish | {"sources": sources} | changes), quiet=True)


def divide(folder: Path) -> None:
    found = read_recordings(folder)
    kept, parts = divided(found)
    assert kept
    assert {part for row in parts for part in row} == {"training", "validation", "testing"}
    for recording, row in zip(found, parts, strict=True):
        assert recording.describe().isprintable()
        assert [clip.shape for clip in recording.clips()] == [(RATE,)] * len(row)


def called(name: str, is_folder: bool) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        write(mine(folder) / (f"{name}/a.wav" if is_folder else f"{name}.wav"), TEN)
        divide(folder / "mine")

    return run


def cut(samples: np.ndarray) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        found = takes(samples)
        assert (np.diff(found.ravel()) > -2 * RATE).all()
        assert all(0 <= start < end <= samples.size for start, end in found)
        for take in found:
            if take[1] - take[0] <= RATE:
                assert np.isfinite(clip_of(samples, take)).all()
        assert sum(map(len, pieces(samples))) <= samples.size

    return run


def saved(samples: np.ndarray) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        write(mine(folder) / "odd.wav", samples)
        divide(folder / "mine")

    return run


def made_as(format: str, subtype: str, rate: int, channels: int, suffix: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        samples = np.repeat(TEN[:, None], channels, axis=1)
        path = mine(folder) / f"odd{suffix}"
        soundfile.write(os.fsencode(path), samples, rate, format=format, subtype=subtype)
        divide(folder / "mine")

    return run


def among(make: Callable[[Path], object], number: int, suffix: str = ".wav") -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        for index in range(number):
            make(mine(folder) / f"{index}{suffix}")
        divide(folder / "mine")

    return run


def negatives(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        (folder / "room").mkdir()
        make(folder / "room" / "a.wav")
        started(folder, negatives=folder / "room")

    return run


def linked(link: str, target: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        (mine(folder) / link).symlink_to(target, target_is_directory=True)
        divide(folder / "mine")

    return run


def placed(**changes: str) -> Callable[[Path], None]:
    """Folders within folders, and what is none."""

    def run(folder: Path) -> None:
        (folder / "a file").touch()
        (folder / "empty").mkdir()
        (folder / "link").symlink_to("mine")
        write(folder / "data" / "_background_noise_" / "hum.wav", ROOM)
        write(folder / "mine" / "room" / "a.wav", TEN)
        started(folder, **{name: folder / place for name, place in changes.items()})

    return run


CASES = [
    *(
        Case("what a recording is called", f"{name_of(name)}{is_folder * '/'}", called(name, is_folder))
        for name, is_folder in product(NAMES, (False, True))
    ),
    *(Case("cut at its pauses", name, cut(samples)) for name, samples in SIGNALS.items()),
    *(Case("a recording among others", name, saved(samples)) for name, samples in SIGNALS.items()),
    *(
        Case("formats", f"{name} {coding} as {suffix}", made_as(name, coding, RATE, 1, suffix))
        for (name, coding), suffix in product(FORMATS, (".wav", ".mp3"))
    ),
    *(
        Case("rates", f"{rate} Hz, {channels} channels", made_as("WAV", "PCM_16", rate, channels, ".wav"))
        for rate, channels in product(RATES, (1, 2, 9))
    ),
    *(Case("suffixes", repr(x), made_as("WAV", "PCM_16", RATE, 1, x)) for x in SUFFIXES),
    *(
        Case("no recordings among some", f"{number} of {name}", among(make, number))
        for (name, make), number in product(BAD_FILES.items(), (1, 4))
        if name != "a link to a clip"
    ),
    *(
        Case("not the word", name, negatives(make))
        for name, make in [*BAD_FILES.items(), ("a second", lambda path: write(path, NOISE))]
        if name != "a link to a clip"
    ),
    *(
        Case("links", f"{link} to {target}", linked(link, target))
        for link in ("bob", "bob.wav")
        for target in ("ann", ".", "..", "ann/ten.wav", "nowhere", "bob", "/dev/null", "/proc/self", "bob.wav/..")
    ),
    *(
        Case("words of one's own", f"{len(word)}: {name_of(word)}", lambda folder, word=word: started(folder, word))
        for word in WORDS
    ),
    *(
        Case("folders", f"{name}: {place}", placed(**{name: place}))
        for name in ("recordings", "negatives", "data", "out")
        for place in (
            *("mine", "mine/room", "mine/ann/deep/er", "data", "data/bed", "data/new", "speech", "link", "link/ann"),
            *("out", "out/hello", "a file", "a file/b", "empty", "nowhere", ".", "..", "\udcff", "a\nb", "x" * 300),
        )
    ),
]  # fmt: skip
