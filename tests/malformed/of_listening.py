"""Listening with impossible options, sources and outputs, and detectors with impossible values."""

import contextlib
import io
import math
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import soundfile

from experiments import listen, stream_demo
from experiments.streams import listening
from kws_jax.checkpoint import load_deployed
from kws_jax.data.audio import checked_samples
from kws_jax.detector import Detector, DetectorConfig, detections, smooth
from kws_jax.errors import UserError
from tests.helpers.listening import PCM, write_model
from tests.malformed.harness import Case, kept_folder

PICTURES = ("", ".", "a", "a.mp3", "a.wav/b.png", "/proc/a.png", "a" * 300 + ".png", "a.wav", "/dev/null")
OPTIONS = {
    "--threshold": ("-1", "2", "nan", "inf", "abc", "", "1e400", "0,5", "-0.0", "1"),
    "--smoothing": ("0", "-1", "1000000000000", "1.5", "abc", "10001", "1e3", "10000"),
    "--refractory": ("-1", "nan", "inf", "1e9", "1e300", "abc", "0", "86400"),
    "--false-alarms-per-hour": ("0", "-1", "nan", "3", "inf", "1", "abc"),
    "--checkpoint": ("", ".", "/", "missing", "a.wav", "/dev/null", "\x1b[31m", "a" * 300, "toy.safetensors/x"),
    "--save": ("", "a.wav", "/proc/nowhere", "a.wav/b", "/dev/null", "new/\x1b[31m", "a" * 300),
    "--plot": (*PICTURES, "a.PNG"),
    "--device": ("", "0", "-1", "abc", "\x1b[31m"),
    "--level": ("no",),
    "--unknown": ("1",),
}
RAW = {
    "--rate": ("0", "-1", "3999", "192001", "44.1", "abc", "1000000000000", "48000", ""),
    "--channels": ("0", "-1", "65", "64", "1.5", "abc", "1000000000000", "2", ""),
    "--encoding": ("", "s16", "mp3", "S16LE", "f16le", "u16le", "\x1b[31m", "f64be"),
}
SOURCES = (
    *("", ".", "..", "/", "missing", "/dev/null", "a" * 300, "a.wav/b", "toy.safetensors"),
    *("\x1b[31m.wav", "a\nb", "\udcff", "--", "~"),
)
INPUTS = {
    "nothing": b"",
    "a byte": b"\0",
    "a step": bytes(4_000),
    "loud": b"\xff\x7f" * 4_000,
    "text": b"hello, world" * 99,
}
CONFIGS = [
    *({"threshold": value} for value in (-0.1, 1.1, math.nan, math.inf, 0.0, 1.0, 1e-300)),
    *({"smoothing": value} for value in (0, -1, 10**12, 10_001, 10_000, 2)),
    *({"refractory": value} for value in (-1.0, math.nan, math.inf, 1e9, 1e300, 0.0, 1e-300)),
    *({"step_duration": value} for value in (0.0, -0.08, math.nan, math.inf, 1e-300, 1e300)),
]
PROBABILITIES = (1.5, -0.1, math.inf, -math.inf, math.nan, 0.0, 1.0, 1 + 1e-7, -1e-30)
SAMPLES = {
    "a mask": np.ma.masked_greater(np.zeros(9, np.float32), -1),
    "an empty mask": np.ma.array(np.zeros(9, np.float32), mask=False),
    "integers": np.zeros(9, np.int16),
    "letters": np.array(["a"]),
    "objects": np.array([None, 1.0]),
    "complex": np.zeros(9, complex),
    "truth": np.zeros(9, bool),
    "times": np.zeros(9, "M8[s]"),
    "two axes": np.zeros((3, 3), np.float32),
    "no axis": np.zeros((), np.float32),
    "NaN": np.array([0, np.nan]),
    "infinity": np.array([0, -np.inf]),
    "a double beyond floats": np.array([1e300]),
    "halves": np.zeros(9, np.float16),
    "other bytes first": np.zeros(9, ">f4"),
    "every other": np.zeros(9, np.float32)[::2],
    "nothing": np.zeros(0, np.float32),
}


@cache
def model() -> str:
    """A checkpoint that is written once."""
    return write_model(kept_folder() / "toy.safetensors")


toy_of = cache(load_deployed)  # since to load and compile it a hundred times would show nothing


@cache
def toy_stream() -> object:
    config, variables, _ = toy_of(Path(model()))
    return listening.open_stream(variables["params"], config, print)


@contextlib.contextmanager
def standing_in(folder: Path, sent: bytes) -> Iterator[None]:
    """In a folder with a sound and a checkpoint, with this on standard input, and nobody who reads."""
    soundfile.write(folder / "a.wav", PCM[:4_000], 16_000)
    soundfile.write(folder / "short.wav", PCM[:9], 16_000)
    (folder / "toy.safetensors").write_bytes(Path(model()).read_bytes())
    toy_stream()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
        patch.object(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(sent))),
        patch.multiple(listening, load_deployed=toy_of, open_stream=lambda *of: toy_stream()),
    ):
        yield


def listened(*arguments: str, sent: bytes = PCM[:4_000].tobytes()) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        with standing_in(folder, sent):
            listen.main(arguments)

    return run


def drawn(out: str, **given: Path) -> Callable[[Path], None]:
    """A demo that is refused before anything is drawn."""

    def run(folder: Path) -> None:
        with standing_in(folder, b""):
            parts = dict.fromkeys(("before", "keyword_clip", "after"), Path("a.wav")) | given
            stream_demo.main(Path(out), checkpoint=Path("toy.safetensors"), **parts)

    return run


def refused(use: Callable[[], object]) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        try:
            use()
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error

    return run


def detected(config: dict, probability: float = 0.5) -> None:
    """All ways agree, or refuse alike."""
    made, found = DetectorConfig(**config), np.full(30, probability)
    times = np.arange(30) * made.step_duration
    scores = smooth(found, made.smoothing)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert len(detections(times, found, made)[0]) == len(Detector(made).push(times, found))


def pushed(samples: np.ndarray) -> None:
    found = checked_samples(samples, 16_000, 16_000)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


PARTS = {"before": "missing", "keyword_clip": ".", "after": "toy.safetensors"}
FILE, PIPE = ("a.wav", "--checkpoint", "toy.safetensors"), ("-", "--checkpoint", "toy.safetensors")
MODEL = PIPE[1:]
WORDS = (
    *((), ("a.wav",), ("--checkpoint",), MODEL, MODEL * 2, (*FILE, "toy.safetensors"), (*MODEL, "a.wav"), ("--help",)),
    *(("--microphone", *FILE), (*MODEL, "--microphone"), ("a.wav", *FILE), ("-", *PIPE), ("--list-devices",)),
    *((*FILE, "--save", "x", "--plot", "x"), (*FILE, "--level", "--quiet"), (*FILE, "--threshold")),
)
CASES = [
    *(
        Case("options of listen", f"{option} {value!r}", listened(*FILE, option, value))
        for option, values in OPTIONS.items()
        for value in values
    ),
    *(
        Case("raw PCM of listen", f"{option} {value!r}, {what}", listened(*source, option, value))
        for option, values in RAW.items()
        for value in values
        for what, source in (("a pipe", PIPE), ("a file", FILE))
    ),
    *(Case("sources of listen", repr(source), listened(source, *MODEL)) for source in SOURCES),
    *(
        Case("standard input of listen", f"{name} as {encoding}", listened(*PIPE, "--encoding", encoding, sent=sent))
        for (name, sent), encoding in product(INPUTS.items(), ("s16le", "s24be", "f32le"))
    ),
    *(Case("words of listen", " ".join(words) or "none", listened(*words)) for words in WORDS),
    *(Case("pictures of the demo", repr(out), drawn(out)) for out in PICTURES),
    *(Case("recordings of the demo", name, drawn("b.png", **{name: Path(path)})) for name, path in PARTS.items()),
    Case("recordings of the demo", "is what is written", drawn("a.png")),
    Case(
        "recordings of the demo", "no longer than a window", drawn("b.png", **dict.fromkeys(PARTS, Path("short.wav")))
    ),
    *(Case("values of a detector", str(config), lambda folder, c=config: detected(c)) for config in CONFIGS),
    *(Case("probabilities", str(p), refused(lambda p=p: detected({"smoothing": 3}, p))) for p in PROBABILITIES),
    *(Case("samples", name, refused(lambda s=samples: pushed(s))) for name, samples in SAMPLES.items()),
]
