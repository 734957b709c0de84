"""Running speech and noise on disk: whose recordings are of which part, and what is said in them."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from kws_jax.data.audio import is_sound_file, read_audio, to_pcm
from kws_jax.data.decoding import UNREADABLE, check_unreadable, said, warn_left_out
from kws_jax.data.sources import SceneSources
from kws_jax.data.splits import speaker_percentage
from kws_jax.errors import UserError

SPEECH_PARTS = {"training": (0, 60), "validation": (60, 80), "testing": (80, 101)}  # % of the speakers, by hash
NOISE_FOLDS = {"training": "123", "validation": "4", "testing": "5"}  # of recordings <kind>_<fold>-<name>


def check_sources(sources: SceneSources) -> None:
    """Sees whether all is there, long before it is used.

    Raises:
        UserError: If a folder or file is missing, or the table is none.
    """
    for folder in (*sources.speech, *sources.noise):
        _sound_files(folder)
    if sources.transcripts:
        read_transcripts(sources.transcripts)


def read_speech(sources: SceneSources, part: str, keyword: str) -> list[np.ndarray]:
    """Utterances of one part of the speakers of running speech, int16.

    Args:
        sources: Whose speech and transcripts.
        part: "training", "validation" or "testing": 60, 20 and 20 % of the speakers, by the hash that also splits the
            corpus. There is too little speech for its 80, 10 and 10 %.
        keyword: Utterances whose transcript holds it are left out; see `keyword_pattern`.

    Raises:
        UserError: If there is none, or a folder or file is missing or cannot be read.
    """
    spoken, held = read_transcripts(sources.transcripts) if sources.transcripts else {}, keyword_pattern(keyword)
    paths = [path for folder in sources.speech for path in speech_files(folder, part)]
    paths = [path for path in paths if not held.search(spoken.get(path.stem, ""))]
    folders = ", ".join(map(str, sources.speech)) or "no folder"
    if not paths:
        raise UserError(f"no {part} speech in {folders}: give --speech folders of <speaker>-*.flac, .wav or .ogg files")
    return _read(paths, folders)


def speech_files(folder: Path, part: str) -> list[Path]:
    """The files of `read_speech` in one folder; none where there are none.

    Raises:
        UserError: If there is no such folder.
    """
    return [path for path in _sound_files(folder) if _is_in_part(path.stem.split("-")[0], part)]


def read_noise(sources: SceneSources, part: str) -> list[np.ndarray]:
    """Noise recordings of a part, int16: <kind>_<fold>-<name> by fold, 1 to 3, 4 and 5, others by their names' hash.

    What is silent is left out.

    Raises:
        UserError: If a folder is missing, or a file cannot be read.
    """
    paths = [path for folder in sources.noise for path in _sound_files(folder) if _is_noise_of(path.stem, part)]
    return [recording for recording in _read(paths, ", ".join(map(str, sources.noise))) if recording.any()]


def _is_noise_of(name: str, part: str) -> bool:
    fold = re.fullmatch(r".+_([1-5])-.*", name)
    return fold[1] in NOISE_FOLDS[part] if fold else _is_in_part(name, part)


def _sound_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give --speech and --noise folders of .flac, .wav or .ogg files")
    return sorted(filter(is_sound_file, folder.glob("*")))


def _is_in_part(name: str, part: str) -> bool:
    low, high = SPEECH_PARTS[part]
    return low <= speaker_percentage(name) < high


def _read(paths: Sequence[Path], where: str) -> list[np.ndarray]:
    return [to_pcm(samples) for samples in read_sounds(paths, where).values()]


def read_sounds(paths: Sequence[Path], where: str) -> dict[Path, Float32[np.ndarray, "_"]]:
    """Recordings at 16 kHz by their files; a few that are unreadable are named and left out.

    Args:
        paths: Sound files.
        where: They lie, for an error.

    Raises:
        UserError: If too many are unreadable; it names them.
    """
    recordings, unreadable = {}, dict[str, str]()
    for path in paths:
        try:
            recordings[path] = read_audio(path)
        except UNREADABLE as error:
            unreadable[str(path)] = said(error)
    check_unreadable(unreadable, len(paths), where)
    warn_left_out(unreadable)
    return recordings


def read_named(path: Path) -> Float32[np.ndarray, "_"]:
    """One recording at 16 kHz.

    Raises:
        UserError: If it cannot be read; it names the file.
    """
    try:
        return read_audio(path)
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {said(error)}") from error


def read_transcripts(path: Path) -> dict[str, str]:
    """What is said in each file, by its name without suffix: its words in lower case, of letters and digits.

    Raises:
        UserError: If there is no such file, or it lacks a column.
    """
    spoken: dict[str, list[str]] = {}
    try:
        if path.exists() and not path.is_file():
            raise ValueError("is no regular file")
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if not {"file", "word"} <= set(table.fieldnames or ()):
                raise ValueError("it lacks a column: it needs file and word, with tabs between its columns")
            for row in table:
                spoken.setdefault(Path(row["file"] or "").stem, []).append(_letters(row["word"] or ""))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read the transcripts {path}: {said(error)}") from error
    return {name: " ".join(words) for name, words in spoken.items()}


def keyword_pattern(keyword: str) -> re.Pattern[str]:
    """What the keyword is held by, in a text of `read_transcripts`: itself, and words that may sound like it.

    A word counts that begins with the keyword, whose last y may be an i, or has it after one or two letters:
    "happiness", "unhappy", "bedroom", "bright"; neither "happened" nor "described". Words of two letters are in too
    many others, "go" in "good": they count with -s, -es or -ing behind them alone.
    """
    stem = re.sub("y$", "[yi]", " ".join(map(_letters, keyword.split())))
    return re.compile(rf"\b{stem}(e?s|ing)?\b" if len(keyword) < 3 else rf"\b\w{{0,2}}{stem}")


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
