"""Speech Commands on disk: the clips of a folder, decoded once into a memory-mapped cache."""

import difflib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16, Int32, Shaped

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import decode, is_sound_file
from kws_jax.data.clip_cache import CLIP_LENGTH, cache_key, read_cache, write_cache
from kws_jax.data.decoding import NAMED, UNREADABLE, check_unreadable, said, warn_left_out
from kws_jax.errors import UserError, printable

__all__ = ["CLIP_LENGTH", "Corpus", "load_corpus"]

BACKGROUND_FOLDER = "_background_noise_"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """One-second clips of spoken words; row i of every array is the same clip.

    Attributes:
        waveforms: 16 kHz PCM, memory-mapped and read-only.
        words: The folder that holds the clip.
        speakers: Speaker id: the file name's part before `_nohash_`, or all of its stem.
        names: Path relative to the corpus folder, with forward slashes; ascending.
        background: Noise recordings that are no shorter than a clip and not silent, 16 kHz, in [-1, 1].
        fingerprint: SHA-256 (hex) of names, decoded clips and noise recordings: the same on every machine.
        unreadable: Names of the files that were left out.
    """

    waveforms: Int16[np.ndarray, "clips samples"]
    words: Shaped[np.ndarray, "clips"]
    speakers: Shaped[np.ndarray, "clips"]
    names: Shaped[np.ndarray, "clips"]
    background: tuple[Float32[np.ndarray, "_"], ...]
    fingerprint: str
    unreadable: tuple[str, ...]

    @property
    def speaker_numbers(self) -> Int32[np.ndarray, "clips"]:
        """A number for each clip's speaker, in the order of their ids."""
        return np.unique(self.speakers, return_inverse=True)[1].astype(np.int32)

    def labels(self, keyword: str) -> Int32[np.ndarray, "clips"]:
        """Class of each clip: 1 where the word is `keyword`, else 0.

        Raises:
            UserError: No clip has this word; near matches are named.
        """
        words = np.unique(self.words).tolist()
        if keyword not in words:
            near = difflib.get_close_matches(keyword.lower(), words)
            hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(words)}"
            raise UserError(f"no clips of the keyword {keyword!r}: {hint}")
        return (self.words == keyword).astype(np.int32)


def load_corpus(folder: str | Path, cache_dir: str | Path | None = None) -> Corpus:
    """Loads a folder laid out as Speech Commands: `<word>/<speaker>_nohash_<n>.wav`, `.flac` or `.ogg`.

    Folders that start with `_` hold no words; `_background_noise_` holds noise. Shorter clips are zero-padded at the
    end, longer ones cropped. The first call decodes every clip into the cache; later calls map it, until a file's
    path, size or modification time changes. A cache appears by one rename, so a kill leaves none that is half written.

    Args:
        folder: The corpus.
        cache_dir: Where caches lie (32 kB a clip); by default $KWS_CACHE, else ~/.cache/kws-jax.

    Raises:
        UserError: The folder is missing, has no clips, or over 1 % and over 3 of them are unreadable; or the cache
            cannot be written. Fewer unreadable files are warned of by name and left out, and so is noise that is
            silent or shorter than a clip. A cache that is damaged is made anew.

    References:
        Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, 2018.
    """
    folder = Path(folder).expanduser()
    clips, noises = _index(folder)
    recordings, unreadable, odd = _read_background(folder, noises)
    caches = Path(cache_dir or os.environ.get("KWS_CACHE") or "~/.cache/kws-jax").expanduser()
    cache = caches / cache_key(folder, [*clips, *noises])
    try:
        if (read := read_cache(cache)) is None:
            write_cache(cache, folder, clips, recordings)
            read = read_cache(cache)
    except OSError as error:
        raise UserError(f"cannot write the cache {cache} ({error}): set KWS_CACHE to a folder with room") from error
    assert read is not None, "what was just written can be read"
    index, waveforms = read
    unreadable = index["unreadable"] | unreadable
    _warn(folder, unreadable, index["odd"] | odd, len(clips + noises))
    names: list[str] = index["names"]
    return Corpus(
        waveforms=waveforms,
        words=np.array([name.split("/")[0] for name in names]),
        speakers=np.array([Path(name).stem.split("_nohash_")[0] for name in names]),
        names=np.array(names),
        background=tuple(filter(_is_noise, recordings)),
        fingerprint=index["fingerprint"],
        unreadable=tuple(unreadable),
    )


def _warn(folder: Path, unreadable: dict[str, str], odd: dict[str, str], total: int) -> None:
    warn_left_out(unreadable)
    if unreadable:
        logger.warning("left out %d unreadable of %d files in %s", len(unreadable), total, folder)
    for name, what in islice(odd.items(), NAMED):
        logger.warning("%s: %s", printable(name), what)
    if len(odd) > NAMED:
        logger.warning("and %d other files in %s are like these", len(odd) - NAMED, folder)


def _index(folder: Path) -> tuple[list[str], list[str]]:
    """Sorted relative paths of the clips, and of the noise recordings."""
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: name one laid out as Speech Commands, with one folder a word")
    paths = filter(is_sound_file, folder.glob("*/*"))
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    clips = [name for name in names if name[0] not in "_."]
    if not clips:
        raise UserError(f"no clips in {folder}: it needs files <word>/<speaker>_nohash_<n>.wav or .flac")
    return clips, [name for name in names if name.startswith(f"{BACKGROUND_FOLDER}/")]


def _read_background(folder: Path, names: Sequence[str]) -> tuple[list[np.ndarray], dict[str, str], dict[str, str]]:
    """Noise recordings, and by name the reasons why others are unreadable, and what is odd about some."""
    recordings, unreadable, odd = [], dict[str, str](), dict[str, str]()
    for name in names:
        try:
            recording, oddity = decode(folder / name)
        except UNREADABLE as error:
            unreadable[name] = said(error)
            continue
        recordings.append(recording)
        if not _is_noise(recording):
            oddity = f"left out: noise of {len(recording) / SAMPLE_RATE:g} s that is silent, or shorter than a clip"
        if oddity:
            odd[name] = oddity
    check_unreadable(unreadable, len(names), folder / BACKGROUND_FOLDER)
    return recordings, unreadable, odd


def _is_noise(recording: Float32[np.ndarray, "_"]) -> bool:
    return len(recording) >= CLIP_LENGTH and bool(recording.any())
