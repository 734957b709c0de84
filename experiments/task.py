"""What settings are run on: a corpus, a keyword, a split, a seed, and the folder that holds the results."""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.records import run_name
from kws_jax import checkpoint
from kws_jax.config import CrnnConfig
from kws_jax.data import Corpus
from kws_jax.splits import Split


@dataclass(frozen=True)
class Task:
    """What settings are run on.

    Attributes:
        corpus: All clips.
        corpus_name: For records: "synthetic" or the folder's name.
        data_arguments: Of the command line, to repeat a run.
        keyword: The word to spot.
        split: Who trains, who chooses, who judges.
        seed: Of training.
        speech: Folder of running speech that some settings train on.
        out: Output folder with records/, logs/, scores/ and checkpoints/.
    """

    corpus: Corpus
    corpus_name: str
    data_arguments: tuple[str, ...]
    keyword: str
    split: Split
    seed: int
    speech: Path | None
    out: Path

    @cached_property
    def labels(self) -> np.ndarray:
        """1 for the keyword's clips."""
        return self.corpus.labels(self.keyword)

    def run_name(self, setting: str) -> str:
        """Name of a setting's run on this task."""
        return run_name(setting, self.keyword, self.split.name, self.seed)

    def record_path(self, setting: str) -> Path:
        """Where a setting's record lies."""
        return self.out / "records" / f"{self.run_name(setting)}.json"

    def checkpoint_folder(self, setting: str) -> Path:
        """Where a setting's weights lie: flax/ for JAX, model.safetensors for PyTorch."""
        return self.out / "checkpoints" / self.run_name(setting)

    def scores_path(self, setting: str) -> Path:
        """Where a setting's scores of the held-out clips lie."""
        return self.out / "scores" / f"{self.run_name(setting)}.npz"

    def log_path(self, setting: str) -> Path:
        """Where a setting's training log lies."""
        return self.out / "logs" / f"{self.run_name(setting)}.jsonl"

    def relative(self, path: Path) -> str:
        """A path below the output folder, as records hold it."""
        return path.relative_to(self.out).as_posix()

    def load_variables(self, setting: str) -> tuple[CrnnConfig, dict[str, Any]]:
        """A setting's trained model."""
        return checkpoint.restore(self.checkpoint_folder(setting) / "flax")

    def command(self, setting: str) -> str:
        """The command that runs one setting on this task."""
        words = ["python", "-m", "experiments.run", setting, *self.data_arguments, "--keyword", self.keyword]
        return shlex.join([*words, "--split", self.split.name, "--seed", str(self.seed)])

    def describe(self) -> dict[str, Any]:
        """The corpus's fingerprint, and the sizes of the split's parts."""
        split, labels, speakers = self.split, self.labels, self.corpus.speakers
        parts = {"training": split.training, "validation": split.validation, "testing": split.testing}
        return {"fingerprint": self.corpus.fingerprint, "unreadable": len(self.corpus.unreadable)} | {
            name: {
                "clips": int(part.size),
                "keyword_clips": int(labels[part].sum()),
                "speakers": int(np.unique(speakers[part]).size),
            }
            for name, part in parts.items()
        }
