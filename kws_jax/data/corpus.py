"""Speech Commands on disk: the clips of a folder, decoded once into a memory-mapped cache."""

import difflib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from jaxtyping import Float32, Int16, Int32, Shaped
from tqdm import tqdm

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import is_sound_file, read_audio, to_pcm
from kws_jax.errors import UserError

__all__ = ["CLIP_LENGTH", "Corpus", "load_corpus"]

CLIP_LENGTH = SAMPLE_RATE  # samples: every clip is cut or padded to 1 s
BACKGROUND_FOLDER = "_background_noise_"
MAX_UNREADABLE = 0.01  # share of the clips
CACHE_FORMAT = "2"  # raise it when decoding changes, so that no cache of before is taken

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """One-second clips of spoken words; row i of every array is the same clip.

    Attributes:
        waveforms: 16 kHz PCM, memory-mapped and read-only.
        words: The folder that holds the clip.
        speakers: Speaker id: the file name's part before `_nohash_`, or all of its stem.
        names: Path relative to the corpus folder, with forward slashes; ascending.
        background: Noise recordings of any length, 16 kHz, in [-1, 1].
        fingerprint: SHA-256 (hex) of names, decoded clips and background: the same on every machine.
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
        UserError: The folder is missing, has no clips, or over 1 % of them are unreadable; or the cache cannot be
            written. Fewer unreadable files are warned of by name and left out.

    References:
        Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, 2018.
    """
    folder = Path(folder).expanduser()
    clips, noises = _index(folder)
    background, unreadable = _read_background(folder, noises)
    caches = Path(cache_dir or os.environ.get("KWS_CACHE") or "~/.cache/kws-jax").expanduser()
    cache = caches / _cache_key(folder, [*clips, *noises])
    if not cache.is_dir():
        try:
            _write_cache(cache, folder, clips, background)
        except OSError as error:
            raise UserError(f"cannot write the cache {cache} ({error}): set KWS_CACHE to a folder with room") from error
    index = json.loads((cache / "index.json").read_text())
    unreadable = index["unreadable"] | unreadable
    for name, reason in unreadable.items():
        logger.warning("left out unreadable %s: %s", name, reason)
    if unreadable:
        logger.warning("left out %d unreadable of %d files in %s", len(unreadable), len(clips + noises), folder)
    names: list[str] = index["names"]
    return Corpus(
        waveforms=np.load(cache / "waveforms.npy", mmap_mode="r"),
        words=np.array([name.split("/")[0] for name in names]),
        speakers=np.array([Path(name).stem.split("_nohash_")[0] for name in names]),
        names=np.array(names),
        background=background,
        fingerprint=index["fingerprint"],
        unreadable=tuple(unreadable),
    )


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


def _cache_key(folder: Path, names: Sequence[str]) -> str:
    """Digest of relative paths, sizes and modification times: what can be known without decoding."""
    digest = hashlib.sha256(f"{CACHE_FORMAT}\0".encode())
    for name in names:
        path = folder / name
        status = os.stat(path, follow_symlinks=path.exists())
        digest.update(os.fsencode(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def _read_background(folder: Path, names: Sequence[str]) -> tuple[tuple[np.ndarray, ...], dict[str, str]]:
    """Noise recordings, and the reasons why others are unreadable by name."""
    recordings, unreadable = [], {}
    for name in names:
        try:
            recordings.append(read_audio(folder / name))
        except (OSError, ValueError, soundfile.SoundFileError) as error:
            unreadable[name] = str(error)
    return tuple(recordings), unreadable


def _read_clip(path: Path) -> Int16[np.ndarray, "samples"] | str:
    """PCM of one clip, or the reason why it is unreadable."""
    try:
        # Twice the clip's length, so that cropping comes after the resampling filter has seen what follows.
        samples = read_audio(path, max_seconds=2 * CLIP_LENGTH / SAMPLE_RATE)[:CLIP_LENGTH]
    except (OSError, ValueError, soundfile.SoundFileError) as error:
        return str(error)
    pcm = to_pcm(samples)
    return np.pad(pcm, (0, CLIP_LENGTH - len(pcm)))


def _write_cache(cache: Path, folder: Path, clips: Sequence[str], background: Sequence[np.ndarray]) -> None:
    """Packs all clips into a temporary folder and renames it to `cache`."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="packing-", dir=cache.parent) as temporary:
        packed = Path(temporary) / "packed"
        packed.mkdir()
        with (packed / "waveforms.npy").open("wb") as file:
            digest, unreadable = _pack(file, folder, clips)
        if len(unreadable) > MAX_UNREADABLE * len(clips):
            name, reason = next(iter(unreadable.items()))
            share = f"{len(unreadable)} of {len(clips)} clips in {folder} are unreadable, over {MAX_UNREADABLE:.0%}"
            raise UserError(f"{share}: restore or delete them, first {name} ({reason})")
        for noise in background:
            digest.update(noise.tobytes())
        names = [name for name in clips if name not in unreadable]
        index = {"names": names, "unreadable": unreadable, "fingerprint": digest.hexdigest()}
        (packed / "index.json").write_text(json.dumps(index))
        try:
            packed.rename(cache)
        except OSError:
            if not cache.is_dir():  # otherwise another process packed the same folder first
                raise


def _pack(file: BinaryIO, folder: Path, clips: Sequence[str]) -> tuple["hashlib._Hash", dict[str, str]]:
    """Writes the readable clips as one .npy array; returns their digest and the reasons for the unreadable ones."""
    digest, unreadable = hashlib.sha256(), {}
    _write_header(file, len(clips))
    with ThreadPool(os.cpu_count()) as pool:
        decoded = pool.imap(_read_clip, (folder / name for name in clips), chunksize=32)
        progress = tqdm(decoded, total=len(clips), desc="packing clips", unit="clip", disable=None)
        for name, clip in zip(clips, progress, strict=True):
            if isinstance(clip, str):
                unreadable[name] = clip
                continue
            digest.update(os.fsencode(name) + b"\0" + clip.tobytes())
            file.write(clip.tobytes())
    file.seek(0)
    _write_header(file, len(clips) - len(unreadable))
    return digest, unreadable


def _write_header(file: BinaryIO, num_clips: int) -> None:
    """Starts a .npy file; NumPy pads the header so that its length is the same for any number of rows."""
    header = {"descr": "<i2", "fortran_order": False, "shape": (num_clips, CLIP_LENGTH)}
    np.lib.format.write_array_header_1_0(file, header)
