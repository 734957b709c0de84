"""A person's own recordings of a word, cut at their pauses, and which of them are learnt from, chosen by and judged."""

import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import SUFFIXES, is_sound_file
from kws_jax.data.recordings import read_sounds
from kws_jax.data.takes import MAX_TAKE, clip_of, takes
from kws_jax.errors import UserError, printable

FEWEST, ENOUGH = 10, 50  # takes
SHARES = {"training": 0.7, "validation": 0.15, "testing": 0.15}
FEWEST_GROUPS = 5  # people, else recordings, else stretches of them, that the parts are made of
PIECE = 12.0  # s of running sound in one file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recording:
    """One recording, and where the word is said in it.

    Attributes:
        name: Of its file, within the folder of all.
        person: Who speaks, as far as its folder or name tells; else empty.
        samples: At 16 kHz.
        found: First and last sample of every take.
    """

    name: str
    person: str
    samples: Float32[np.ndarray, " samples"]
    found: Int[np.ndarray, "takes 2"]

    @property
    def fits(self) -> np.ndarray:
        """Which takes are short enough for a clip."""
        return self.found[:, 1] - self.found[:, 0] <= MAX_TAKE * SAMPLE_RATE

    @property
    def is_single(self) -> bool:
        """Whether it is one take, as nothing needs to be said of."""
        return bool(self.fits.size == self.fits.sum() == 1)

    def clips(self) -> list[np.ndarray]:
        """A clip of a second for each take that fits, without what is said before and behind."""
        middles = (self.found[:-1, 1] + self.found[1:, 0]) // 2
        edges = np.concatenate([[0], middles, [self.samples.size]])[: len(self.found) + 1]
        pairs = zip(self.found, edges, edges[1:], self.fits, strict=False)
        return [clip_of(self.samples, take, int(left), int(right)) for take, left, right, fits in pairs if fits]

    def describe(self) -> str:
        """One line."""
        taken, rest = np.count_nonzero(self.fits), np.count_nonzero(~self.fits)
        quiet = "" if self.found.size else ": nothing stands out, so speak nearer"
        long = f", {rest} longer than {MAX_TAKE:g} s left out: pause between words" if rest else ""
        seconds = self.samples.size / SAMPLE_RATE
        return f"{printable(self.name)}: {taken} {'take' if taken == 1 else 'takes'} in {seconds:.1f} s{long}{quiet}"


def read_recordings(folder: Path) -> list[Recording]:
    """All recordings of a folder and its subfolders, whose names are taken for people's.

    Raises:
        UserError: If the folder is missing, a file cannot be read, or there are too few takes.
    """
    sounds = _without_copies(read_all(folder))
    recordings = [_recording(path.relative_to(folder), samples) for path, samples in sounds.items()]
    found = sum(int(recording.fits.sum()) for recording in recordings)
    if found < FEWEST:
        raise UserError(
            f"{found} takes of the word in {folder}: record at least {FEWEST}, better {ENOUGH}, with pauses"
        )
    return recordings


def _without_copies(sounds: dict[Path, Float32[np.ndarray, " samples"]]) -> dict[Path, Float32[np.ndarray, " samples"]]:
    """Each sound once, so that none is both learnt from and judged by; says what is left out."""
    once: dict[str, Path] = {}
    for path, samples in sounds.items():
        first = once.setdefault(sha256(samples.tobytes()).hexdigest(), path)
        if first != path:
            logger.warning("left out %s: it is a copy of %s", printable(str(path)), printable(str(first)))
    return {path: sounds[path] for path in once.values()}


def read_all(folder: Path) -> dict[Path, Float32[np.ndarray, " samples"]]:
    """All recordings in a folder and below it, at 16 kHz; a few that are unreadable are named and left out.

    Raises:
        UserError: If there is no such folder, no sound in it, or too many are unreadable.
    """
    paths = sorted(path for path in folder.rglob("*") if path.name[0] != ".") if folder.is_dir() else []
    sounds, others = [], []
    for path in paths:
        if is_sound_file(path):
            sounds.append(path)
        elif path.is_symlink() or not path.is_dir():
            others.append(path)
    suffixes = ", ".join(SUFFIXES)
    if not sounds:
        raise UserError(f"no recordings in {folder}: name a folder of {suffixes} files")
    if others:
        logger.warning(
            "left out %d that are neither folders nor %s files, such as %s: ffmpeg -i FILE FILE.wav makes one",
            *(len(others), suffixes, printable(str(others[0]))),
        )
    return read_sounds(sounds, str(folder))


def _recording(path: Path, samples: Float32[np.ndarray, " samples"]) -> Recording:
    """A recording of a file within the folder of all."""
    above = path.parts[:-1]
    person = above[0] if above else path.stem.split("_nohash_")[0] if "_nohash_" in path.stem else ""
    return Recording(path.as_posix(), person, samples, takes(samples))


def divided(recordings: Sequence[Recording]) -> tuple[str, list[list[str]]]:
    """The part of every take of every recording: "training", "validation" or "testing".

    People are kept apart if there are some, else recordings, else stretches of takes.

    Returns:
        What was kept apart, and the parts.
    """
    counts = [int(recording.fits.sum()) for recording in recordings]
    candidates: dict[str, list[list[Hashable]]] = {
        "people": [[recording.person] * count for recording, count in zip(recordings, counts, strict=True)],
        "recordings": [[recording.name] * count for recording, count in zip(recordings, counts, strict=True)],
        "stretches": [[(number, take // 2) for take in range(count)] for number, count in enumerate(counts)],
    }
    sizes = {kept: Counter(chain.from_iterable(groups)) for kept, groups in candidates.items()}
    kept = next((kept for kept in candidates if len(sizes[kept]) >= FEWEST_GROUPS), "stretches")
    part_of = _parts(sizes[kept])
    return kept, [[part_of[group] for group in row] for row in candidates[kept]]


def _parts(sizes: Counter[Hashable]) -> dict[Hashable, str]:
    """Groups by part, the largest first, each where most takes are lacking of the part's share."""
    lacking = {part: share * sizes.total() for part, share in SHARES.items()}
    parts = {}
    for group, size in sizes.most_common():
        parts[group] = max(lacking, key=lacking.__getitem__)
        lacking[parts[group]] -= size
    return parts


def pieces(samples: Float32[np.ndarray, " samples"]) -> list[np.ndarray]:
    """Running sound in pieces of PIECE seconds; what is left at the end goes to the last."""
    number = max(1, round(samples.size / (PIECE * SAMPLE_RATE)))
    return [piece for piece in np.array_split(samples, number) if piece.any()]
