"""What settings are run on: a corpus, a keyword, a split, a seed, and the folder that holds the results."""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.records import run_name
from experiments.voices import Said, speak, with_voices
from kws_jax import checkpoint
from kws_jax.config import CrnnConfig
from kws_jax.data import Corpus, load_corpus
from kws_jax.errors import UserError
from kws_jax.splits import Split, check_split, split_official, split_random
from kws_jax.synthetic import SPEECH_FOLDER, generate_corpus

SYNTHETIC_KEYWORD = "sheila"


@dataclass(frozen=True)
class Source:
    """Where clips and running speech lie.

    Attributes:
        name: For records: see `Record.corpus`.
        folder: Laid out as Speech Commands.
        keywords: The words to spot.
        speech: Folder of running speech that some settings train on.
        arguments: Of the command line, to repeat a run.
        voices: Folder of clips by synthetic voices that are added to those of `folder`, if any.
        voices_say: Which of them.
    """

    name: str
    folder: Path
    keywords: tuple[str, ...]
    speech: Path | None
    arguments: tuple[str, ...]
    voices: Path | None = None
    voices_say: Said = "words"

    def load(self) -> Corpus:
        """The clips."""
        corpus = load_corpus(self.folder)
        if self.voices is None:
            return corpus
        return with_voices(corpus, load_corpus(self.voices), self.keywords[0], self.voices_say)


def find_source(
    data: Path | None, keywords: tuple[str, ...], speech: Path | None, out: Path, voices: Said | None = None
) -> Source:
    """Clips on disk, or without `data` spoken by synthetic voices into `out`.

    Args:
        data: Folder laid out as Speech Commands.
        keywords: The words to spot.
        speech: Folder of running speech.
        out: Output folder.
        voices: What synthetic voices add to the clips on disk, if anything.

    Raises:
        UserError: If there is no keyword for real data, or more than one for synthetic, or the voices cannot speak.
    """
    if voices and (data is None or len(keywords) != 1):
        raise UserError("--voices adds one keyword to real clips: give --data DIR and --keywords WORD")
    if data is None:
        if len(keywords) > 1:
            raise UserError("the synthetic corpus is spoken for one keyword: name one, or give --data")
        keywords = keywords or (SYNTHETIC_KEYWORD,)
        folder = generate_corpus(out / "synthetic" / "corpus", keywords[0])
        return Source("synthetic", folder, keywords, folder / SPEECH_FOLDER, ())
    if not keywords:
        raise UserError("say which word to spot: --keywords WORD")
    arguments: tuple[str, ...] = ("--data", data.as_posix())
    if speech is not None:
        arguments = (*arguments, "--speech", speech.as_posix())
    if voices:
        name, arguments = f"{data.resolve().name} + {voices} by voices", (*arguments, "--voices", voices)
        return Source(name, data, keywords, speech, arguments, speak(keywords[0], out), voices)
    return Source(data.resolve().name, data, keywords, speech, arguments)


@dataclass(frozen=True)
class Task:
    """What settings are run on.

    Attributes:
        corpus: All clips.
        source: Where its clips and running speech lie.
        keyword: The word to spot.
        split: Who trains, who chooses, who judges.
        seed: Of training.
        out: Output folder with records/, logs/, scores/ and checkpoints/, and unfinished/ while there is work.
    """

    corpus: Corpus
    source: Source
    keyword: str
    split: Split
    seed: int
    out: Path

    @cached_property
    def labels(self) -> np.ndarray:
        """1 for the keyword's clips."""
        return self.corpus.labels(self.keyword)

    def run_name(self, setting: str) -> str:
        """Name of a setting's run on this task."""
        return run_name(setting, self.keyword, self.split.name, self.seed, self.source.name)

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

    def unfinished_folder(self, setting: str) -> Path:
        """What a setting's run keeps until it has its record: the state of its training, or why it failed."""
        return self.out / "unfinished" / self.run_name(setting)

    def relative(self, path: Path) -> str:
        """A path below the output folder, as records hold it."""
        return path.relative_to(self.out).as_posix()

    def load_variables(self, setting: str) -> tuple[CrnnConfig, dict[str, Any]]:
        """A setting's trained model."""
        return checkpoint.restore(self.checkpoint_folder(setting) / "flax")

    def command(self, setting: str) -> str:
        """The command that runs one setting on this task."""
        words = ["python", "-m", "experiments.run", setting, *self.source.arguments, "--keywords", self.keyword]
        return shlex.join([*words, "--split", self.split.name, "--seeds", str(self.seed)])

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


def make_task(source: Source, corpus: Corpus, keyword: str, split: str, seed: int, out: Path) -> Task:
    """Splits a corpus.

    Raises:
        UserError: If no clip has the keyword, or a part of the split lacks a class.
    """
    parts = split_official(corpus) if split == "official" else split_random(corpus, seed)
    check_split(parts, corpus.labels(keyword), keyword)
    return Task(corpus, source, keyword, parts, seed, out)
