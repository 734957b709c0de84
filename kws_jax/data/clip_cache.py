"""The clips of a corpus, decoded once into a memory-mapped cache, which is there whole or not at all."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int16
from tqdm import tqdm

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import decode, to_pcm
from kws_jax.data.decoding import UNREADABLE, check_unreadable, said
from kws_jax.files import remove

__all__ = ["CLIP_LENGTH", "cache_key", "read_cache", "write_cache"]

CLIP_LENGTH = SAMPLE_RATE  # samples: every clip is cut or padded to 1 s
CACHE_FORMAT = "2"  # raise it when decoding changes, so that no cache of before is taken
INDEX = {"names": list, "unreadable": dict, "odd": dict, "fingerprint": str}  # beside the clips

logger = logging.getLogger(__name__)


def cache_key(folder: Path, names: Sequence[str]) -> str:
    """Digest of relative paths, sizes and modification times: what can be known without decoding."""
    digest = hashlib.sha256(f"{CACHE_FORMAT}\0".encode())
    for name in names:
        path = folder / name
        status = os.stat(path, follow_symlinks=path.exists())
        digest.update(os.fsencode(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def read_cache(cache: Path) -> tuple[dict[str, Any], np.ndarray] | None:
    """The index and the clips, or None where there is no cache; one that is damaged is removed."""
    if not cache.is_dir():
        return None
    try:
        index = {"odd": {}} | json.loads((cache / "index.json").read_text())  # which older ones lack
        waveforms = np.lib.format.open_memmap(cache / "waveforms.npy", mode="r")
        has_all = all(isinstance(index[name], kind) for name, kind in INDEX.items()) and waveforms.dtype == np.int16
        if has_all and waveforms.shape == (len(index["names"]), CLIP_LENGTH):
            return index, waveforms
    except (OSError, EOFError, KeyError, RecursionError, TypeError, ValueError):
        pass
    logger.warning("the cache %s is damaged, and made anew", cache)
    remove(cache)
    return None


def _read_clip(path: Path) -> tuple[Int16[np.ndarray, "samples"] | None, str | None]:
    """PCM of one clip and what is odd about it, or None and the reason why it is unreadable."""
    try:
        # Twice the clip's length, so that cropping comes after the resampling filter has seen what follows.
        samples, odd = decode(path, max_seconds=2 * CLIP_LENGTH / SAMPLE_RATE)
    except UNREADABLE as error:
        return None, said(error)
    pcm = to_pcm(samples[:CLIP_LENGTH])
    return np.pad(pcm, (0, CLIP_LENGTH - len(pcm))), odd


def write_cache(cache: Path, folder: Path, clips: Sequence[str], recordings: Sequence[np.ndarray]) -> None:
    """Packs all clips into a temporary folder and renames it to `cache`."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="packing-", dir=cache.parent) as temporary:
        packed = Path(temporary) / "packed"
        packed.mkdir()
        with (packed / "waveforms.npy").open("wb") as file:
            digest, unreadable, odd = _pack(file, folder, clips)
        check_unreadable(unreadable, len(clips), folder)
        for recording in recordings:
            digest.update(recording.tobytes())
        names = [name for name in clips if name not in unreadable]
        index = {"names": names, "unreadable": unreadable, "odd": odd, "fingerprint": digest.hexdigest()}
        (packed / "index.json").write_text(json.dumps(index))
        try:
            packed.rename(cache)
        except OSError:
            if not cache.is_dir():  # otherwise another process packed the same folder first
                raise


def _pack(file: BinaryIO, folder: Path, clips: Sequence[str]) -> tuple["hashlib._Hash", dict[str, str], dict[str, str]]:
    """Writes the readable clips as one .npy array.

    Returns:
        Their digest; by name, the reasons for the unreadable ones, and what is odd about others.
    """
    digest, unreadable, odd = hashlib.sha256(), dict[str, str](), dict[str, str]()
    _write_header(file, len(clips))
    with ThreadPool(os.cpu_count()) as pool:
        decoded = pool.imap(_read_clip, (folder / name for name in clips), chunksize=32)
        progress = tqdm(decoded, total=len(clips), desc="packing clips", unit="clip", disable=None)
        for name, (clip, words) in zip(clips, progress, strict=True):
            if words:
                (unreadable if clip is None else odd)[name] = words
            if clip is not None:
                digest.update(os.fsencode(name) + b"\0" + clip.tobytes())
                file.write(clip.tobytes())
    file.seek(0)
    _write_header(file, len(clips) - len(unreadable))
    return digest, unreadable, odd


def _write_header(file: BinaryIO, num_clips: int) -> None:
    """Starts a .npy file; NumPy pads the header so that its length is the same for any number of rows."""
    header = {"descr": "<i2", "fortran_order": False, "shape": (num_clips, CLIP_LENGTH)}
    np.lib.format.write_array_header_1_0(file, header)
