"""What lies beside a run's record: scores of held-out clips, for intervals over any runs, and the training's log."""

import zlib
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from zipfile import BadZipFile

import numpy as np

from experiments.study.json_files import read_lines
from experiments.study.records import LOG, RUNS, Record
from kws_jax.errors import UserError, printable
from kws_jax.files import written

SCORES = "scores.npz"
# What NumPy and zipfile make of a file that is none of scores, of a part of one, or of one that claims too much.
UNREADABLE = (OSError, KeyError, ValueError, TypeError, BadZipFile, zlib.error, EOFError, RuntimeError, MemoryError)


class Scores(NamedTuple):
    """What a run made of its held-out clips.

    Attributes:
        ranks: Of the margins, logit of the keyword minus that of the rest: equal where they are equal. All that is made
            of scores here, 1 - AUROC and its intervals, uses their order alone.
        labels: 1 for the keyword, else 0.
        speakers: Numbers of the speakers over the whole corpus: the same person in all runs on it, whatever the split.
        testing: Whether a clip is a test speaker's, not a validation speaker's.
    """

    ranks: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    testing: np.ndarray


def write_scores(
    folder: Path, margins: np.ndarray, labels: np.ndarray, speakers: np.ndarray, testing: np.ndarray
) -> None:
    """Keeps a run's scores; arrays have one number a held-out clip."""
    with written(folder / SCORES) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            ranks=np.unique(margins, return_inverse=True)[1].astype(np.uint16),
            labels=labels.astype(np.int8),
            speakers=speakers.astype(np.uint16),
            testing=testing.astype(bool),
        )


def read_scores(results: Path, run: Record) -> Scores:
    """The scores of a run.

    Raises:
        UserError: If they are missing, damaged, or not of the clips that the record counts.
    """
    path = results / RUNS / run.name / SCORES
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with path.open("rb") as opened, np.load(opened) as file:
            scores = Scores(*(file[name] for name in Scores._fields))
        _check_scores(scores, run)
    except UNREADABLE as error:
        raise UserError(f"the scores of {run.name} cannot be read ({printable(str(error))}): run it again") from error
    return scores


def _check_scores(scores: Scores, run: Record) -> None:
    """Sees that each held-out clip has all four numbers, and that each part has the clips that the record says."""
    kinds = {name: getattr(scores, name).dtype.kind for name in Scores._fields}
    if kinds != {"ranks": "u", "labels": "i", "speakers": "u", "testing": "b"}:
        raise ValueError(f"arrays of other types: {kinds}")
    if any(array.shape != (run.held_out.clips,) for array in scores):
        raise ValueError(f"not one number for each of {run.held_out.clips} clips")
    if not np.isin(scores.labels, (0, 1)).all():
        raise ValueError("labels that are neither 0 nor 1")
    for part, quality in ((scores.testing, run.testing), (~scores.testing, run.validation)):
        counted = (np.count_nonzero(part), scores.labels[part].sum())
        if quality and counted != (quality.clips, quality.keyword_clips):
            raise ValueError(f"{counted[0]} clips, {counted[1]} of the keyword, where the record says {quality}")


class Step(TypedDict):
    """Of a line of a training's log, what is drawn."""

    step: int
    loss: float


def read_log(results: Path, run: str) -> list[dict[str, Any]]:
    """The lines of a run's training log; none where there is none."""
    path = results / RUNS / run / LOG
    lines = read_lines(path, Step, "run it again") if path.exists() else []
    if lines and lines[-1]["step"] < 1:
        raise UserError(f"{path} ends at step {lines[-1]['step']}: run it again")
    return lines
