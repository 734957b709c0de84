"""Sound files and pipes: headers that lie, sounds cut short, every format there is, and numbers that are no sound."""

import io
import struct
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

from kws_jax.data.audio import read_audio
from kws_jax.data.decoding import UNREADABLE
from kws_jax.data.inputs import file_chunks
from kws_jax.data.pipes import ENCODINGS, Pcm, pipe_chunks
from kws_jax.errors import UserError
from tests.malformed.harness import Case
from tests.tolerances import SAME_FRAMEWORK

TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(600) / 16_000)
FIELDS = {
    "size": (4, "I"),
    "length of fmt": (16, "I"),
    "tag": (20, "H"),
    "channels": (22, "H"),
    "rate": (24, "I"),
    "bytes a second": (28, "I"),
    "bytes a frame": (32, "H"),
    "bits": (34, "H"),
    "length of data": (40, "I"),
}
VALUES = (0, 1, 3, 7, 17, 24, 32, 255, 4_096, 65_535, 0x7FFF_FFFF, 0xFFFF_FFFF)
CUTS = (1, 4, 11, 12, 20, 43, 60, 100, 0.5, 0.9)  # bytes, and shares of all
RATES = (1, 100, 3_999, 4_000, 8_000, 9_600, 11_025, 22_050, 37_800, 96_000, 192_000, 192_001, 384_000, 2**31 - 1)
NUMBERS = (np.nan, np.inf, -np.inf, 1e39, 1e300, 3.4e38, 40_000.0, -1.5, 1e-310)
WAVE = b"RIFF\0\0\0\0WAVE"
FORMAT = b"fmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
HEADS = {
    "an MP4": b"\0\0\0\x20ftypM4A ",
    "a WebM": b"\x1aE\xdf\xa3",
    "an AVI": b"RIFF\x40\0\0\0AVI LIST",
    "an MP3's tag": b"ID3\4\0\0\0\0\0\0",
    "a page": b"<!DOCTYPE html><html></html>",
    "an archive": b"PK\3\4",
    "a picture": b"\x89PNG\r\n\x1a\n",
    "a byte order mark": b"\xef\xbb\xbfRIFF",
    "a WAV of nothing": WAVE,
    "chunks that lead nowhere": WAVE + b"LIST\xff\xff\xff\x7f",
    "a thousand chunks": WAVE + 1_000 * b"JUNK\0\0\0\0",
    "two formats": WAVE + 2 * FORMAT + b"data\x3c\0\0\0",
    "a short format": WAVE + b"fmt \2\0\0\0\1\0data\x3c\0\0\0",
    "data first": WAVE + b"data\x3c\0\0\0",
    "a long header": WAVE + b"LIST\0\0\x20\0" + bytes(2**21) + FORMAT + b"data\x3c\0\0\0",
    "lengths of 64 bits": b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0" + b"\xff" * 28 + FORMAT + b"data\xff\xff\xff\xff",
    "no lengths of 64 bits": b"RF64\xff\xff\xff\xffWAVEds64\4\0\0\0" + bytes(4) + FORMAT + b"data\xff\xff\xff\xff",
    "other bytes first": b"RIFX\0\0\0\0WAVE" + FORMAT + b"data\0\0\0\x3c",
}


def hear(path: Path) -> None:
    """Both readers of files take it, to the same samples, or both refuse it."""
    try:
        whole = read_audio(path)
    except UNREADABLE:
        whole = None
    try:
        pieces = np.concatenate(list(file_chunks(path)))
    except UserError:
        assert whole is None, "one reader takes it"
        raise
    assert whole is not None, "one reader refuses it"
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(pieces, whole, rtol=SAME_FRAMEWORK, atol=SAME_FRAMEWORK)


def pipe(content: bytes, raw: Pcm | None = None) -> None:
    """What a pipe gives is finite, and there is some."""
    heard = np.concatenate(list(pipe_chunks(io.BytesIO(content), raw)))
    assert np.isfinite(heard).all()


def of_file(kind: str, name: str, content: bytes, suffix: str = "wav") -> Case:
    def run(folder: Path) -> None:
        (folder / f"a.{suffix}").write_bytes(content)
        hear(folder / f"a.{suffix}")

    return Case(kind, name, run)


def of_pipe(kind: str, name: str, content: bytes, raw: Pcm | None = None) -> Case:
    return Case(kind, name, lambda folder: pipe(content, raw), UNREADABLE)


@cache
def encoded(kind: str, subtype: str | None = None, rate: int = 16_000, channels: int = 1, frames: int = 600) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, np.tile(TONE[:frames, None], channels), rate, subtype, format=kind)
    return content.getvalue()


def bent_headers() -> Iterator[Case]:
    for (field, (offset, kind)), value in product(FIELDS.items(), VALUES):
        content = bytearray(encoded("WAV", "PCM_16"))
        struct.pack_into(f"<{kind}", content, offset, value & (0xFFFF if kind == "H" else 0xFFFF_FFFF))
        yield of_file("WAV headers that lie", f"{field} {value}", bytes(content))
        yield of_pipe("WAV headers that lie, in a pipe", f"{field} {value}", bytes(content))


def cut_short() -> Iterator[Case]:
    for kind, cut in product(("WAV", "FLAC", "OGG", "AIFF", "CAF", "AU", "W64", "RF64", "MP3"), CUTS):
        content = encoded(kind)
        content = content[: cut if isinstance(cut, int) else int(cut * len(content))]
        yield of_file("sounds cut short", f"{kind} {cut}", content, kind.lower())
        yield of_pipe("sounds cut short, in a pipe", f"{kind} {cut}", content)


def every_format() -> Iterator[Case]:
    for number, kind in enumerate(sorted({*soundfile.available_formats()} - {"SD2"})):  # which writes a file beside
        for subtype in soundfile.available_subtypes(kind):
            rate = 8_000 if "GSM" in subtype or kind in ("WVE", "SDS") else (16_000, 48_000)[number % 2]
            try:
                content = encoded(kind, subtype, rate)
            except soundfile.SoundFileError:
                continue  # what libsndfile cannot write at all
            yield of_file("every format and subtype", f"{kind} {subtype}", content, kind.lower())
            yield of_pipe("every format and subtype, in a pipe", f"{kind} {subtype}", content)


def odd_rates() -> Iterator[Case]:
    for rate, channels in product(RATES, (1, 2, 6, 64)):
        content = bytearray(encoded("WAV", "PCM_16", 16_000, channels))
        struct.pack_into("<II", content, 24, rate, min(rate * channels * 2, 2**32 - 1))
        yield of_file("odd rates and channels", f"{rate} Hz, {channels}", bytes(content))
    for frames, rate in product(range(6), (8_000, 16_000, 22_050, 48_000)):
        yield of_file("a few samples", f"{frames} at {rate} Hz", encoded("WAV", "PCM_16", rate, 1, frames))


def odd_numbers() -> Iterator[Case]:
    for number, subtype, place, channels in product(NUMBERS, ("FLOAT", "DOUBLE"), (0, 599), (1, 2)):
        samples = np.tile(TONE[:, None], channels)
        with np.errstate(all="ignore"):
            samples[place, -1] = np.float32(number) if subtype == "FLOAT" else number
            samples = samples.astype(np.float32 if subtype == "FLOAT" else np.float64)
        content = io.BytesIO()
        soundfile.write(content, samples, 16_000, subtype, format="WAV")
        name = f"{number} as {subtype} at {place} of {channels}"
        yield of_file("numbers that are no sound", name, content.getvalue())
        yield of_pipe("numbers that are no sound, in a pipe", name, content.getvalue())


def raw_bytes() -> Iterator[Case]:
    for encoding, length in product(ENCODINGS, (0, 1, 2, 3, 7, 13, 64)):
        content = bytes(range(1, 1 + length))
        yield of_pipe("PCM of odd lengths", f"{encoding}, {length} bytes", content, Pcm(16_000, 1, encoding))
        yield of_pipe(
            "PCM of odd lengths", f"{encoding}, {length} bytes, three channels", content, Pcm(8_000, 3, encoding)
        )


def flac_lengths() -> Iterator[Case]:
    for total in (0, 1, 599, 601, 70_000, 2**32, 2**36 - 1):
        content = bytearray(encoded("FLAC"))
        content[21] = content[21] & 0xF0 | total >> 32
        content[22:26] = struct.pack(">I", total & 0xFFFF_FFFF)
        yield of_file("FLAC that claims a length", str(total), bytes(content), "flac")
        yield of_pipe("FLAC that claims a length", f"{total}, in a pipe", bytes(content))


def other_heads() -> Iterator[Case]:
    for (name, content), behind in product(HEADS.items(), (0, 1, 60)):
        yield of_file("what else a file may be", f"{name}, {behind} bytes behind it", content + bytes(behind))
        yield of_pipe("what else a pipe may bring", f"{name}, {behind} bytes behind it", content + bytes(behind))


CASES = [
    case
    for table in (bent_headers, cut_short, every_format, odd_rates, odd_numbers, raw_bytes, flac_lengths, other_heads)
    for case in table()
]
