"""What can be listened to: a file, a pipe or a microphone, as samples at 16 kHz."""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float32

from kws_jax.data.decoding import UNREADABLE, blocks, open_sound, said
from kws_jax.data.microphone import microphone_chunks
from kws_jax.data.pipes import Pcm, pipe_chunks
from kws_jax.data.resampling import at_16_khz
from kws_jax.errors import UserError

__all__ = ["file_chunks", "open_source"]

Chunks = Iterator[Float32[np.ndarray, "_"]]


def open_source(
    source: str | None, is_microphone: bool = False, device: str | None = None, raw: Pcm | None = None
) -> Chunks:
    """Chunks of samples at 16 kHz, in [-1, 1].

    Args:
        source: A file, a pipe's path, or - for standard input.
        is_microphone: Whether to listen to a microphone.
        device: Which one; see `microphone_chunks`.
        raw: What comes through a pipe without a header; by default 16 bits, one channel, 16 kHz.

    Raises:
        UserError: If there is not exactly one source, no such file, or what is said of it has no meaning for it.
    """
    if (source is None) == (not is_microphone):
        raise UserError("name one source: a sound file, - for standard input, or --microphone")
    if device is not None and not is_microphone:
        raise UserError("--device is a microphone's: give --microphone too")
    is_pipe = source == "-"
    if source is not None and not is_pipe:
        if not os.path.exists(source):
            raise UserError(f"no file {source!r}")
        is_pipe = not os.path.isfile(source) and not os.path.isdir(source)
    if raw and not is_pipe:
        raise UserError("--rate, --channels and --encoding are for raw sound from a pipe: all else says it by itself")
    if source is None:
        return microphone_chunks(device)
    if source == "-" and sys.stdin is None:
        raise UserError("standard input is closed: pipe sound into it")
    return _pipe_chunks(source, raw) if is_pipe else file_chunks(Path(source))


def file_chunks(path: Path) -> Chunks:
    """A sound file in blocks, as `kws_jax.data.audio.read_audio` decodes it, whatever its length.

    Raises:
        UserError: If the file cannot be decoded, or holds no samples, NaN or infinity.
    """
    try:
        with open_sound(path) as sound:
            yield from at_16_khz(blocks(sound), sound.samplerate)
    except UNREADABLE as error:
        raise UserError(f"{path}: {said(error)}") from error


def _pipe_chunks(source: str, raw: Pcm | None) -> Chunks:
    try:
        with nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb") as pipe:
            yield from pipe_chunks(cast(BufferedIOBase, pipe), raw)
    except UNREADABLE as error:
        raise UserError(f"{'standard input' if source == '-' else source}: {said(error)}") from error
