"""Sound from a pipe: raw PCM and WAV as they arrive, whatever else has a header when it has ended; in flat memory."""

import logging
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32, Float64

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.decoding import blocks, check_rate, open_sound, said
from kws_jax.data.resampling import at_16_khz
from kws_jax.errors import UserError

__all__ = ["ENCODINGS", "Pcm", "pipe_chunks"]

PIPE_BLOCK = 65_536  # bytes at most: a pipe's capacity, so about 2 s; what has arrived is taken at once
MAX_CHANNELS = 64
MAX_HEADER = 2**20  # bytes before a WAV's first sample
UNTRUE = 0x7FFF_0000  # bytes: programs that write a WAV into a pipe claim so much or more, or nothing
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # formats of a WAV
HEADS = (b"fLaC", b"OggS", b"FORM", b"caff", b".snd", b"riff", b"ID3", b"NIST_1A", b"Creative Voi", b"\x1aE\xdf\xa3")
WAVS = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}
THROUGH_FFMPEG = "ffmpeg -i - -f wav - | before this command reads whatever ffmpeg knows"

ENCODINGS = ("s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le", "f64be", "u8")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pcm:
    """Raw sound.

    Attributes:
        sample_rate: In Hz.
        channels: Interleaved.
        encoding: Integers (s, u) or floats (f), their bits, and which byte comes first, as ffmpeg and sox call it.
        length: In bytes, where it is known.

    Raises:
        UserError: If there is no such sound.
    """

    sample_rate: int = SAMPLE_RATE
    channels: int = 1
    encoding: str = "s16le"
    length: int | None = None

    def __post_init__(self) -> None:
        try:
            check_rate(self.sample_rate)
        except ValueError as error:
            raise UserError(str(error)) from error
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise UserError(f"{self.channels} channels: 1 to {MAX_CHANNELS} are heard")
        if self.encoding not in ENCODINGS:
            raise UserError(f"encoding {self.encoding!r}: choose one of {', '.join(ENCODINGS)}")

    def __str__(self) -> str:
        channels = "one channel" if self.channels == 1 else f"{self.channels} channels"
        return f"{self.encoding} PCM, {channels}, {self.sample_rate} Hz"

    @property
    def frame_bytes(self) -> int:
        """Of one sample of every channel."""
        return self.channels * self._width

    @property
    def _width(self) -> int:
        return int(self.encoding[1:].rstrip("lbe")) // 8

    def decode(self, data: bytes) -> Float64[np.ndarray, "frames channels"]:
        """Amplitudes of whole frames; integers of so many bits are in [-1, 1)."""
        order, width = ">" if self.encoding.endswith("be") else "<", self._width
        if self.encoding[0] == "f":
            return np.frombuffer(data, f"{order}f{width}").astype(np.float64).reshape(-1, self.channels)
        each = np.frombuffer(data, np.uint8).reshape(-1, width) ^ np.uint8(0x80 if self.encoding[0] == "u" else 0)
        wide = np.zeros((len(each), 4), np.uint8)  # the most significant bytes of 32 bits
        wide[:, slice(4 - width, 4) if order == "<" else slice(width)] = each
        return wide.view(f"{order}i4").reshape(-1, self.channels) / 2.0**31


def pipe_chunks(pipe: BufferedIOBase, raw: Pcm | None = None) -> Iterator[Float32[np.ndarray, "_"]]:
    """Samples at 16 kHz of what comes through a pipe, whose header is believed where it has one.

    Args:
        pipe: Open to be read.
        raw: What it is where it has no header.

    Raises:
        ValueError: There are no samples, or no sound of that kind, or NaN or infinity among them.
        OSError, soundfile.SoundFileError: It has a header and cannot be decoded.
    """
    head = bytearray()
    _read_to(pipe, head, 12)
    has_header = head.startswith((*HEADS, *WAVS)) or head[4:8] == b"ftyp"
    if not head:
        raise ValueError(f"no samples: it takes a WAV, or {raw or Pcm()}")
    if has_header and (raw := _wav_format(pipe, head)) is None:
        yield from _spooled(pipe, head)
        return
    raw = raw or Pcm()
    yield from at_16_khz(_pcm_blocks(pipe, bytes(head), raw), raw.sample_rate)


def _pcm_blocks(pipe: BufferedIOBase, rest: bytes, raw: Pcm) -> Iterator[np.ndarray]:
    """Whole frames as they arrive, after the bytes that are here already; part of one at the end is left out."""
    left = raw.length
    while data := rest + pipe.read1(PIPE_BLOCK):
        data = data[:left]
        whole = len(data) // raw.frame_bytes * raw.frame_bytes
        if not whole and data == rest:
            break
        if whole:
            yield raw.decode(data[:whole])
        rest, left = data[whole:], None if left is None else left - whole
        if left == 0:
            return
    if rest:
        logger.warning("left out %d bytes at the end, half a sample: is this %s?", len(rest), raw)


def _read_to(pipe: BufferedIOBase, head: bytearray, length: int) -> bool:
    """Reads until so many bytes are here; whether there were as many."""
    while len(head) < length and (data := pipe.read(length - len(head))):
        head += data
    return len(head) >= length


def _wav_format(pipe: BufferedIOBase, head: bytearray) -> Pcm | None:
    """Reads a WAV up to its first sample, which is then all of `head`; None where it is more than plain numbers."""
    if not (order := WAVS.get(bytes(head[:4]))) or head[8:12] != b"WAVE":
        return None
    start, found, long = 12, None, 0
    while _read_to(pipe, head, start + 8):
        name, size = struct.unpack_from(f"{order}4sI", head, start)
        start += 8
        if name == b"data":
            if not found:
                return None
            del head[:start]
            length = long if size == 0xFFFF_FFFF else size
            return Pcm(*found, length=length if 0 < length < UNTRUE or 0 < long == length else None)
        if start + size + size % 2 > MAX_HEADER or not _read_to(pipe, head, start + size + size % 2):
            return None
        if name == b"ds64" and size >= 16:
            (long,) = struct.unpack_from(f"{order}Q", head, start + 8)
        if name == b"fmt " and not (size >= 16 and (found := _plain(head[start : start + size], order))):
            return None
        start += size + size % 2
    return None


def _plain(fmt: bytearray, order: str) -> tuple[int, int, str] | None:
    """Sample rate, channels and encoding by a WAV's format chunk, where we can decode it."""
    tag, channels, sample_rate, _, frame_bytes, bits = struct.unpack_from(f"{order}HHIIHH", fmt)
    if tag == EXTENSIBLE and len(fmt) >= 26:
        (tag,) = struct.unpack_from(f"{order}H", fmt, 24)
    letter = {PCM: "s", FLOAT: "f"}.get(tag, "") if bits > 8 else {PCM: "u"}.get(tag, "")
    encoding = f"{letter}{bits}" + ("" if bits == 8 else "le" if order == "<" else "be")
    is_plain = encoding in ENCODINGS and 1 <= channels <= MAX_CHANNELS and frame_bytes == channels * bits // 8
    return (sample_rate, channels, encoding) if is_plain else None


def _spooled(pipe: BufferedIOBase, head: bytearray) -> Iterator[np.ndarray]:
    """What only a file can be decoded from, once it has ended."""
    logger.warning("what begins with %r is heard when it has ended; %s, and at once", bytes(head[:4]), THROUGH_FFMPEG)
    with tempfile.TemporaryDirectory() as folder:
        with Path(folder, "sound").open("wb") as file:
            file.write(head)
            shutil.copyfileobj(pipe, file)
        try:
            sound = open_sound(file.name)
        except soundfile.SoundFileError as error:
            raise ValueError(f"{said(error)}; {THROUGH_FFMPEG}") from error
        with sound:
            yield from at_16_khz(blocks(sound), sound.samplerate)
