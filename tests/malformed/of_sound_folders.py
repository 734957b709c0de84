"""Corpora, running speech and noise: odd names, what is no file, damaged clips and caches, bent transcripts."""

import json
import os
import socket
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

from kws_jax.data.corpus import load_corpus
from kws_jax.data.recordings import check_sources, keyword_pattern, read_noise, read_speech, read_transcripts
from kws_jax.data.sources import SceneSources
from kws_jax.data.splits import speaker_percentage
from tests.malformed.harness import Case

NOISE = np.random.default_rng(0).normal(0, 0.1, 300)
NAMES = (
    "happy birthday", "голос", "你好", "e\u0301", "\u00e9", "'", '"', "$(reboot)", "-rf", "~", "%s{0}", "a\nb",
    "\x1b[31mred", "\u202egnp", "😀", "\udcff", "..", "a" * 200, " ", "con", "_nohash_", "a_nohash_b_nohash_0",
    "._mac", ".hidden", "\\", "a\tb", "\u200b", "0", "None", "a.wav",
)  # fmt: skip


def write(path: Path, samples: np.ndarray = NOISE, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), samples, rate, format="WAV", subtype="FLOAT")


def corpus(folder: Path) -> Path:
    """Two words by two speakers."""
    for word, speaker in product(("yes", "no"), ("ann", "bob")):
        write(folder / "corpus" / word / f"{speaker}_nohash_0.wav")
    return folder / "corpus"


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(path.parent)  # whose addresses are short
        try:
            one.bind(path.name)
        finally:
            os.chdir(before)


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no sound"),
    "no samples": lambda path: write(path, NOISE[:0]),
    "one sample": lambda path: write(path, NOISE[:1]),
    "NaN": lambda path: write(path, NOISE * np.nan),
    "silence": lambda path: write(path, 0 * NOISE),
    "a second of silence": lambda path: write(path, np.zeros(16_000)),
    "integers": lambda path: write(path, NOISE * 32_768),
    "turned over": lambda path: write(path, np.stack([NOISE, -NOISE], 1)),
    "one dead channel": lambda path: write(path, np.stack([NOISE, 0 * NOISE], 1)),
    "2 kHz": lambda path: write(path, NOISE, 2_000),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a clip": lambda path: path.symlink_to(path.parent.parent / "no" / "ann_nohash_0.wav"),
}
INDEX = '{"names": %s, "unreadable": %s, "fingerprint": %s}'
FOUR = json.dumps([f"{word}/{speaker}_nohash_0.wav" for word in ("no", "yes") for speaker in ("ann", "bob")])
CACHES = {
    "index.json": (
        *("", "{", "null", "[]", "{}", "3", "[" * 100_000, '"a"'),
        *(INDEX % each for each in (("[]", "{}", '"a"'), ("3", "{}", '"a"'), (FOUR, "[]", '"a"'), (FOUR, "{}", "3"))),
    ),
    "waveforms.npy": ("", "text", "\x93NUMPY", "\x93NUMPY\x01\x00\x05\x00{'a'}", "PK\3\4"),
}
TABLES = {
    "empty": b"",
    "a header": b"file\tword\n",
    "commas": b"file,word\na,b\n",
    "no word": b"file\ttext\na\tb\n",
    "twice": b"file\tfile\tword\na\tb\tc\n",
    "a byte order mark": b"\xef\xbb\xbffile\tword\na\tb\n",
    "UTF-16": "file\tword\na\tb\n".encode("utf-16"),
    "Latin-1": b"file\tword\na\t\xe9\n",
    "zeros": bytes(99),
    "zeros within": b"file\tword\na\0\tb\n",
    "DOS": b"file\tword\r\na\tb\r\n",
    "old Macs": b"file\tword\ra\tb\r",
    "quotes": b'file\tword\n"a\t"b\n',
    "missing": b"file\tword\na\n",
    "more": b"file\tword\na\tb\tc\td\n",
    "long": b"file\tword\na\t" + b"b" * 200_000 + b"\n",
    "blanks": b"file\tword\n\n \n\t\n\t\t\n",
    "paths": b"file\tword\n../../a\tb\n/\tb\n..\tb\n",
}
SPEAKER = next(f"{number}" for number in range(99) if speaker_percentage(f"{number}_1") < 60)  # who is learnt from
KEYWORDS = ("", " ", "(", "\\", ".*", "[", "y", "a" * 250, "\n", "é", "hey  you", "\x1b[31m", "*", "go")


def load(folder: Path) -> None:
    found = load_corpus(folder / "corpus", folder / "cache")
    assert len(found.names) == len(found.waveforms) == len(found.words)
    assert all(recording.any() for recording in found.background)


def called(name: str) -> Callable[[Path], None]:
    """A word, a clip and a noise of this name."""

    def run(folder: Path) -> None:
        corpus(folder)
        for path in (f"{name}/ann_nohash_0.wav", f"yes/{name}.wav", f"_background_noise_/{name}.wav"):
            write(folder / "corpus" / path)
        load(folder)

    return run


def with_files(make: Callable[[Path], object], place: str, number: int) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        (corpus(folder) / place).mkdir(exist_ok=True)
        for index in range(number):
            make(folder / "corpus" / place / f"{index}_nohash_0.wav")
        load(folder)

    return run


def with_cache(name: str, content: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        first = np.array(load_corpus(corpus(folder), folder / "cache").waveforms)  # before its file is cut
        (cache,) = (folder / "cache").iterdir()
        (cache / name).write_bytes(content.encode("latin-1"))
        again = load_corpus(folder / "corpus", folder / "cache")
        np.testing.assert_array_equal(first, again.waveforms)

    return run


def recordings(make: Callable[[Path], object], number: int) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        for index in range(5):
            (write if index >= number else make)(folder / f"{SPEAKER}_1-{index}.wav")
        sources = SceneSources((folder,), (folder,))
        read_speech(sources, "training", "happy")
        assert all(recording.any() for recording in read_noise(sources, "training"))

    return run


def transcripts(content: bytes) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        (folder / "said.tsv").write_bytes(content)
        check_sources(SceneSources(transcripts=folder / "said.tsv"))
        assert all(isinstance(text, str) for text in read_transcripts(folder / "said.tsv").values())

    return run


def missing(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Nothing that can be a corpus, speech, transcripts or a cache."""

    def run(folder: Path) -> None:
        make(folder / "it")
        for use in (
            lambda: load_corpus(folder / "it", folder / "cache"),
            lambda: check_sources(SceneSources((folder / "it",))),
            lambda: read_transcripts(folder / "it"),
            lambda: load_corpus(corpus(folder), folder / "it"),
        ):
            try:
                use()
            except ValueError as error:
                refused = error
        raise refused

    return run


def name_of(name: str) -> str:
    return name.encode("unicode_escape").decode()[:60]


CASES = [
    *(Case("what is called so", name_of(name), called(name)) for name in NAMES),
    *(
        Case(f"among {place}", f"{number} of {name}", with_files(make, place, number))
        for place, (name, make), number in product(("yes", "_background_noise_"), BAD_FILES.items(), (1, 4))
    ),
    *(
        Case("running speech and noise", f"{number} of {name}", recordings(make, number))
        for (name, make), number in product(BAD_FILES.items(), (1, 3, 5))
        if name != "a link to a clip"
    ),
    *(
        Case("damaged caches", f"{name} {c[:20]}...{c[-40:]}", with_cache(name, c))
        for name, each in CACHES.items()
        for c in each
    ),
    *(Case("transcripts", name, transcripts(content)) for name, content in TABLES.items()),
    *(
        Case("what is none of it", name, missing(make))
        for name, make in BAD_FILES.items()
        if name != "a link to a clip"
    ),
    *(Case("keywords to leave out", name_of(k), lambda f, k=k: keyword_pattern(k).search("a (b)")) for k in KEYWORDS),
]
