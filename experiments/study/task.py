"""What settings are run on: clips, a keyword, a split, a seed, and the folder that holds the results."""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from experiments.study.records import MODEL, RUNS, run_name
from kws_jax.checkpoint import Checkpoint, load
from kws_jax.data.corpus import CLIP_LENGTH, Corpus, load_corpus
from kws_jax.data.recordings import check_sources
from kws_jax.data.sources import SceneSources, Voices, check_word
from kws_jax.data.splits import Split, check_split, split_official, split_random
from kws_jax.data.synthetic import SPEECH_FOLDER, generate_corpus
from kws_jax.errors import UserError

SYNTHETIC_KEYWORD = "sheila"
# Takes of the keyword by each voice: 38 of the 64 voices train, so 1,368 takes do, as many as real ones of "happy".
TAKES_OF_KEYWORD = 36
MOST_SEEDS = 2**31


@dataclass(frozen=True)
class DataSource:
    """Where clips, running speech and noise lie.

    Attributes:
        name: "synthetic", or the name of the data folder.
        folder: Laid out as Speech Commands.
        keywords: The words to spot.
        sources: Of running speech and noise, which some settings train on.
        arguments: Of the command line, to repeat a run.
        voices: What synthetic voices add to the clips of `folder`, if anything.
        spoken: Folder of what they say.
    """

    name: str
    folder: Path
    keywords: tuple[str, ...]
    sources: SceneSources
    arguments: tuple[str, ...]
    voices: Voices | None = None
    spoken: Path | None = None

    def load(self) -> Corpus:
        """The clips."""
        corpus = load_corpus(self.folder)
        if self.spoken is None:
            return corpus
        return with_voices(corpus, load_corpus(self.spoken), self.keywords[0], self.voices or "words")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuses seeds that not everything here can be seeded with.

    Raises:
        UserError: If there is none, or one is out of range.
    """
    if not seeds or not all(0 <= seed < MOST_SEEDS for seed in seeds):
        raise UserError(f"give at least one seed, from 0 to {MOST_SEEDS - 1:,}")


def find_source(
    data: Path | None, keywords: tuple[str, ...], sources: SceneSources, out: Path, voices: Voices | None = None
) -> DataSource:
    """Clips on disk, or without `data` spoken by synthetic voices into `out`.

    Args:
        data: Folder laid out as Speech Commands.
        keywords: The words to spot.
        sources: Of running speech and noise, beside the clips on disk; the voices speak themselves.
        out: Output folder.
        voices: What synthetic voices add to the clips on disk, if anything.

    Raises:
        UserError: If a keyword is no word, or there is none for real data, or more than one for synthetic, or a folder
            or transcripts are missing, or if the voices cannot speak.
    """
    for word in keywords:
        check_word(word)
    if voices and (data is None or len(keywords) != 1):
        raise UserError("--voices adds one keyword to real clips: give --data DIR and --keywords WORD")
    if data is None:
        if len(keywords) > 1:
            raise UserError("the synthetic corpus is spoken for one keyword: name one, or give --data")
        keywords = keywords or (SYNTHETIC_KEYWORD,)
        folder = generate_corpus(out / "synthetic" / "corpus", keywords[0])
        return DataSource("synthetic", folder, keywords, SceneSources((folder / SPEECH_FOLDER,)), ())
    if not keywords:
        raise UserError("say which word to spot: --keywords WORD")
    check_sources(sources)
    given: dict[str, tuple[Any, ...]] = {"--data": (data,), "--speech": sources.speech, "--noise": sources.noise}
    given |= {"--transcripts": (sources.transcripts,), "--voices": (voices,)}
    arguments = tuple(word for name, values in given.items() if any(values) for word in (name, *map(str, values)))
    spoken = out / "synthetic" / f"voices-{keywords[0]}" if voices else None
    if spoken:
        generate_corpus(spoken, keywords[0], clips_of_keyword=TAKES_OF_KEYWORD)
    return DataSource(data.resolve().name, data, keywords, sources, arguments, voices, spoken)


def with_voices(real: Corpus, spoken: Corpus, keyword: str, voices: Voices) -> Corpus:
    """Adds a synthetic corpus's clips to those of a real one; the noise stays the real one's.

    A voice is a speaker like any other, whose part of the split follows from its name.

    Args:
        real: Clips by people, perhaps none of the keyword.
        spoken: Clips by synthetic voices.
        keyword: The word to spot.
        voices: Which of the voices' clips.

    Raises:
        UserError: If a file of the same name is in both.
    """
    chosen = np.flatnonzero(spoken.words == keyword) if voices == "keyword" else np.arange(len(spoken.names))
    names = np.concatenate([real.names, spoken.names[chosen]])
    order = np.argsort(names)
    if (twice := names[order][1:][names[order][1:] == names[order][:-1]]).size:
        raise UserError(f"{twice[0]} is both in the data and among the synthetic voices' clips: rename one")
    place = np.argsort(order)  # of each clip among all
    waveforms = np.empty((len(names), CLIP_LENGTH), real.waveforms.dtype)
    waveforms[place[: len(real.names)]] = real.waveforms
    waveforms[place[len(real.names) :]] = spoken.waveforms[chosen]
    return Corpus(
        waveforms=waveforms,
        words=np.concatenate([real.words, spoken.words[chosen]])[order],
        speakers=np.concatenate([real.speakers, spoken.speakers[chosen]])[order],
        names=names[order],
        background=real.background,
        fingerprint=hashlib.sha256(f"{real.fingerprint} {spoken.fingerprint} {voices}".encode()).hexdigest(),
        unreadable=(*real.unreadable, *spoken.unreadable),
    )


@dataclass(frozen=True)
class Task:
    """What settings are run on.

    Attributes:
        corpus: All clips.
        source: Where its clips and running speech lie.
        keyword: The word to spot.
        split: Who trains, who chooses, who judges.
        seed: Of training.
        out: Results folder.
        quick: Whether runs only show that everything works.
    """

    corpus: Corpus
    source: DataSource
    keyword: str
    split: Split
    seed: int
    out: Path
    quick: bool = False

    @cached_property
    def labels(self) -> np.ndarray:
        """1 for the keyword's clips."""
        return self.corpus.labels(self.keyword)

    def folder(self, setting: str) -> Path:
        """Where all that a setting's run leaves behind lies; see `experiments.study.records`."""
        return self.out / RUNS / run_name(setting, self.keyword, self.source.voices, self.split.name, self.seed)

    def model_path(self, setting: str) -> Path:
        """Where a setting's model lies, as it was judged."""
        return self.folder(setting) / MODEL

    def load_model(self, setting: str) -> Checkpoint:
        """A setting's trained model."""
        return load(self.model_path(setting))

    def command(self, setting: str) -> str:
        """The command that runs one setting on this task."""
        words = ["python", "-m", "experiments.run", setting, *self.source.arguments, "--keywords", self.keyword]
        words += ["--split", self.split.name, "--seeds", str(self.seed)]
        return shlex.join([*words, "--quick"] if self.quick else words)

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


def make_task(
    source: DataSource, corpus: Corpus, keyword: str, split: str, seed: int, out: Path, quick: bool = False
) -> Task:
    """Splits a corpus.

    Raises:
        UserError: If no clip has the keyword, or a part of the split lacks a class.
    """
    parts = split_official(corpus) if split == "official" else split_random(corpus, seed)
    check_split(parts, corpus.labels(keyword), keyword)
    return Task(corpus, source, keyword, parts, seed, out, quick)
