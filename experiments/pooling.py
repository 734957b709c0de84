"""Runs judged together: one paired bootstrap over the speakers of all their scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from experiments.records import Record
from kws_jax.bootstrap import Interval, PairedScores, SpeakerBootstrap, speaker_bootstrap
from kws_jax.errors import UserError

__all__ = ["compare", "scores_path"]


@dataclass(frozen=True)
class _Scores:
    """What `experiments.judging.save_scores` keeps of a run's held-out clips.

    Attributes:
        margins: Logit of the keyword minus that of the rest.
        labels: 1 for the keyword, else 0.
        speakers: Numbers of the speakers.
        testing: Whether a clip is a test speaker's, not a validation speaker's.
        whole_corpus: Whether speakers are numbered over the whole corpus, so that a number is the same person in all
            runs on it, whatever the split; older files number those of their own held-out clips.
    """

    margins: np.ndarray
    labels: np.ndarray
    speakers: np.ndarray
    testing: np.ndarray
    whole_corpus: bool


def scores_path(results: Path, run: Record) -> Path:
    """Where a run's scores lie."""
    return results / run.paths["scores"]


def compare(runs: Sequence[Record], bar_runs: Sequence[Record], results: Path, part: str) -> SpeakerBootstrap:
    """Errors of a setting's runs beside those of another's, pooled over keywords and seeds.

    Where the runs do not number speakers alike, an interval's ends are the means of the single runs' ends, which are
    wider: the same speakers are then not resampled together.

    Args:
        runs: One a keyword and seed.
        bar_runs: The other setting's, with the same keywords and seeds.
        results: Folder that the paths in records are relative to.
        part: "validation", "testing" or "held_out".

    Raises:
        UserError: If scores are missing, or the two were judged on different clips.
    """
    groups, scores = [], []
    for run, bar_run in zip(runs, bar_runs, strict=True):
        own, bar = _read(results, run), _read(results, bar_run)
        if not np.array_equal(own.labels, bar.labels) or not np.array_equal(own.testing, bar.testing):
            raise UserError(f"{run.name} and {bar_run.name} were judged on different clips: run both again")
        chosen = {"testing": own.testing, "validation": ~own.testing}.get(part, np.ones_like(own.testing))
        groups.append(PairedScores(*(x[chosen] for x in (own.margins, bar.margins, own.labels, own.speakers))))
        scores.append(own)
    pooled = speaker_bootstrap(groups, kinds=[run.keyword for run in runs])
    alike = all(own.whole_corpus for own in scores) or all(
        own.whole_corpus == scores[0].whole_corpus and np.array_equal(own.speakers, scores[0].speakers)
        for own in scores
    )
    if alike and len({run.data["fingerprint"] for run in runs}) == 1:
        return pooled
    single = [speaker_bootstrap([group]) for group in groups]
    widened: dict[str, Any] = {}
    for name in ("student", "base", "ratio", "difference", "mean_ratio"):
        _, lows, highs = zip(*(getattr(one, name) for one in single), strict=True)
        widened[name] = Interval(getattr(pooled, name).estimate, fmean(lows), fmean(highs))
    return pooled._replace(**widened)


def _read(results: Path, run: Record) -> _Scores:
    try:
        with np.load(scores_path(results, run)) as file:
            whole_corpus = "corpus_speakers" in file
            speakers = file["corpus_speakers" if whole_corpus else "speakers"]
            return _Scores(file["margins"], file["labels"], speakers, file["testing"], whole_corpus)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"the scores of {run.name} cannot be read ({error}): run it again") from error
