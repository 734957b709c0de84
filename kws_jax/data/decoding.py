"""Sound files in blocks, whatever length they claim, and what is odd about how a recording was made."""

import logging
import math
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float64

from kws_jax.errors import UserError, printable

__all__ = ["UNREADABLE", "Oddity", "blocks", "check_rate", "check_unreadable", "open_sound", "said", "warn_left_out"]

UNREADABLE = (OSError, ValueError, soundfile.SoundFileError)  # what a file that is no good sound raises
BLOCK = 160_000  # values at a time: 10 s of one channel at 16 kHz
LOUD = 8.0  # amplitude that no float recording reaches which was not scaled as integers
CANCELLED = 1e-3  # of the channels' energy: their mean, where one is the other turned over
TOLERATED = 0.01  # share of a folder's files that may be unreadable
NAMED = 10  # of many files
FEW = 3  # files that may be so in any case, if others are not
DEAD = 1e-6  # of the loudest channel's energy: a channel to which nothing was connected

logger = logging.getLogger(__name__)


class _InOrder(soundfile.SoundFile):
    """A sound that is read from start to end: a seek to where the reading is fails where a length is not true."""

    def seekable(self) -> bool:
        return False


def open_sound(path: str | Path) -> soundfile.SoundFile:
    """Opens a sound file.

    Raises:
        OSError, ValueError, soundfile.SoundFileError: It is none, or claims a sample rate outside 4 to
            192 kHz.
    """
    if not (path := Path(path)).is_file():
        path.stat()  # says what is missing
        raise ValueError("is no regular file")  # one without a writer would never open
    try:
        sound = _InOrder(os.fsencode(path))
    except TypeError as error:
        raise ValueError("has no header, so nothing says what it is") from error
    try:
        check_rate(sound.samplerate)
    except ValueError:
        sound.close()
        raise
    return sound


def check_rate(sample_rate: int) -> None:
    """Raises a ValueError where there is no sound at such a rate."""
    if not 4_000 <= sample_rate <= 192_000:
        raise ValueError(f"sample rate of {sample_rate} Hz: 4000 to 192000 are heard")


def blocks(
    sound: soundfile.SoundFile, frames: float | int = math.inf
) -> Iterator[Float64[np.ndarray, "frames channels"]]:
    """Amplitudes from where the reading is, at most so many frames; the end is where no more come."""
    most = min(max(1, BLOCK // sound.channels), sound.frames + 1)
    while len(block := sound.read(int(min(most, frames)), dtype="float64", always_2d=True)):
        frames -= len(block)
        yield block


def said(error: Exception) -> str:
    """What a decoder or the system says is wrong with a file, in one line without the file's name."""
    words = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return printable(" ".join(words.split()).rstrip("."))


def check_unreadable(reasons: Mapping[str, str], total: int, where: str | Path) -> None:
    """Lets pass that few files of a folder are damaged.

    Args:
        reasons: Why files are unreadable, by their names.
        total: Number of all files.
        where: They lie.

    Raises:
        UserError: If they are over 1 % and over 3, or all; it names them.
    """
    if len(reasons) > max(TOLERATED * total, FEW) or 0 < total == len(reasons):
        named = [f"{name} ({reason})" for name, reason in islice(reasons.items(), NAMED)]
        more = f" and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
        share = f"{len(reasons)} of {total} sounds in {where} are unreadable"
        raise UserError(f"{share}: restore or delete {', '.join(named)}{more}")


def warn_left_out(reasons: Mapping[str, str]) -> None:
    """Names the files that `check_unreadable` lets pass."""
    for name, reason in reasons.items():
        logger.warning("left out unreadable %s: %s", printable(name), reason)


class Oddity:
    """Finds what is odd about a recording from what its channels add up to."""

    def __init__(self) -> None:
        self._peak, self._mean, self._each = 0.0, 0.0, np.zeros(1)

    def add(self, block: Float64[np.ndarray, "frames channels"]) -> None:
        """Takes in the next amplitudes, at least one frame of them."""
        with np.errstate(all="ignore"):  # of what is not finite, others complain
            self._peak = max(self._peak, float(np.abs(block).max()))
            if block.shape[1] > 1:
                self._mean += float(np.square(block.mean(axis=1)).sum())
                self._each = self._each + np.square(block).sum(axis=0)

    def found(self) -> str | None:
        """What was made wrong, and what to do; None where nothing is odd so far."""
        channels, loudest = len(self._each), self._each.max()
        if self._peak > LOUD:
            return (
                f"samples reach {self._peak:.4g}, but 1 is full scale: divide integers before they are saved as floats"
            )
        if self._mean < CANCELLED * self._each.mean():
            return "the channels cancel each other: one is the other turned over, so give one channel alone"
        if dead := np.count_nonzero(self._each < DEAD * loudest):
            quieter = 20 * math.log10(channels / (channels - dead))
            return (
                f"{dead} of {channels} channels are silent, so their mean is {quieter:.0f} dB quieter: leave them out"
            )
        return None
