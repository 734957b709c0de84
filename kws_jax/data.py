"""Speech Commands on disk: the clips of a folder, decoded once into a memory-mapped cache."""

import difflib
import hashlib
import json
import logging
import math
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
from scipy.signal import resample_poly
from tqdm import tqdm

from kws_jax.config import SAMPLE_RATE
from kws_jax.errors import UserError

__all__ = ["CLIP_LENGTH", "Corpus", "load_corpus", "read_audio", "to_float", "to_pcm"]

CLIP_LENGTH = SAMPLE_RATE  # samples: every clip is cut or padded to 1 s
SUFFIXES = (".wav", ".flac")
BACKGROUND_FOLDER = "_background_noise_"
MAX_UNREADABLE = 0.01  # share of the clips
FULL_SCALE = 32_768  # int16 steps per unit of amplitude

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


def to_float(waveforms: Int16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
    """PCM as amplitudes in [-1, 1): divided by 32,768, which is exact in float32."""
    return waveforms.astype(np.float32) / np.float32(FULL_SCALE)


def to_pcm(waveforms: Float32[np.ndarray, "*axes"]) -> Int16[np.ndarray, "*axes"]:
    """Amplitudes as 16-bit PCM, rounded and clipped: the inverse of `to_float`."""
    return np.clip(np.rint(waveforms * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def read_audio(path: str | Path, max_seconds: float | None = None) -> Float32[np.ndarray, "samples"]:
    """Decodes a file to 16 kHz: channels are averaged, other sample rates resampled by a polyphase filter.

    A 16-bit mono file at 16 kHz comes out exactly as `to_float` of its PCM.

    Args:
        path: Anything libsndfile reads.
        max_seconds: Decode no more than this from the start; None for all of it.

    Raises:
        OSError, soundfile.SoundFileError: The file cannot be opened or decoded.
        ValueError: It holds no samples, NaN or infinity, or claims a sample rate outside 4 to 192 kHz.
    """
    with soundfile.SoundFile(path) as sound:
        sample_rate = sound.samplerate
        if not 4_000 <= sample_rate <= 192_000:
            raise ValueError(f"sample rate of {sample_rate} Hz")
        frames = -1 if max_seconds is None else math.ceil(max_seconds * sample_rate)
        samples = sound.read(frames, dtype="float64", always_2d=True).mean(axis=1)
    if not len(samples):
        raise ValueError("no samples")
    if not np.isfinite(samples).all():
        raise ValueError("NaN or infinite samples")
    if sample_rate != SAMPLE_RATE:
        divisor = math.gcd(sample_rate, SAMPLE_RATE)
        samples = resample_poly(samples, SAMPLE_RATE // divisor, sample_rate // divisor)
    return samples.astype(np.float32)


def load_corpus(folder: str | Path, cache_dir: str | Path | None = None) -> Corpus:
    """Loads a folder laid out as Speech Commands: `<word>/<speaker>_nohash_<n>.wav` or `.flac`.

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
    paths = [path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    clips = [name for name in names if name[0] not in "_."]
    if not clips:
        raise UserError(f"no clips in {folder}: it needs files <word>/<speaker>_nohash_<n>.wav or .flac")
    return clips, [name for name in names if name.startswith(f"{BACKGROUND_FOLDER}/")]


def _cache_key(folder: Path, names: Sequence[str]) -> str:
    """Digest of relative paths, sizes and modification times: what can be known without decoding."""
    digest = hashlib.sha256()
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
