"""What a detector of a person's own word learns from: their takes among other words, and running sound, as a corpus."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from experiments.streams.recordings import Recording, pieces, read_all
from experiments.study.task import DataSource
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_pcm
from kws_jax.data.corpus import BACKGROUND_FOLDER
from kws_jax.data.recordings import SPEECH_PARTS, check_sources
from kws_jax.data.sentences import NEAR
from kws_jax.data.sources import SceneSources, check_word
from kws_jax.data.splits import PLACES, name_in, speaker_percentage
from kws_jax.data.synthetic import SPEECH_FOLDER, generate_corpus
from kws_jax.errors import UserError
from kws_jax.files import written

CLIPS, SPEECH, SYNTHETIC = "clips", "speech", "synthetic"
PARTS_OF_PIECES = ("training", "training", "training", "validation", "testing")  # of running sound, in turn


@dataclass(frozen=True)
class Wish:
    """What a person has and wants; see `experiments.keyword`."""

    word: str
    recordings: Path
    negatives: Path | None
    data: Path | None
    sources: SceneSources
    voices: bool
    out: Path


def check(wish: Wish) -> None:
    """Sees whether all is there, no recording of the word is anything else too, and nothing is written where it reads.

    Raises:
        UserError: If it is not so.
    """
    check_word(wish.word)
    check_sources(wish.sources)
    if wish.data and not wish.data.is_dir():
        raise UserError(f"no folder {wish.data}: name one laid out as Speech Commands, with one folder a word")
    read = [folder for folder in (wish.negatives, wish.data, *wish.sources.speech, *wish.sources.noise) if folder]
    pairs = [*((wish.recordings, other) for other in (*read, wish.out)), *((other, wish.out) for other in read)]
    for one, other in pairs:
        a, b = (Path(os.path.realpath(folder)) for folder in (one, other))
        if a.is_relative_to(b) or b.is_relative_to(a):
            raise UserError(f"{one} and {other} would hold the same files: name folders that lie side by side")


def lay_out(wish: Wish, recordings: Sequence[Recording], parts: Sequence[Sequence[str]]) -> DataSource:
    """Writes the corpus: the takes, each in its part, and links to the folders of other words; and running sound.

    Of the word itself, what others say is learnt from alone: it is the person's takes that choose and judge.
    """
    speech, noise, spoken = [*wish.sources.speech], wish.sources.noise, None
    if wish.negatives:
        _write_pieces(wish.negatives, wish.out / SPEECH)
    if wish.data is None or wish.voices or not speech:
        # One take of each voice: thirty of each drown a person's few, and the voices are learnt in the word's place.
        spoken = generate_corpus(wish.out / SYNTHETIC, wish.word, clips_of_keyword=int(wish.voices))
        speech.append(spoken / SPEECH_FOLDER)
    if wish.negatives:
        speech.append(wish.out / SPEECH)
    with written(wish.out / CLIPS) as clips:
        (clips / wish.word).mkdir(parents=True)
        _write_takes(recordings, parts, clips / wish.word)
        if spoken and wish.voices:
            _link_learnt(spoken / wish.word, clips / wish.word)
        others = wish.data or spoken
        assert others is not None
        for folder in sorted(path for path in others.resolve().iterdir() if path.is_dir()):
            name = wish.word if folder.name.casefold() == wish.word.casefold() else folder.name
            # In scenes words that sound like it would come every few minutes, as they do nowhere else, and no
            # threshold would be low enough.
            if name == wish.word or (others == spoken and name in NEAR):
                _link_learnt(folder, clips / name)
            elif name[0] not in "_." or name == BACKGROUND_FOLDER:
                (clips / name).symlink_to(folder)
    sources = SceneSources(tuple(speech), noise, wish.sources.transcripts)
    return DataSource("own", wish.out / CLIPS, (wish.word,), sources, ())


def _link_learnt(folder: Path, target: Path) -> None:
    """Links to those clips of a word that are learnt from."""
    low, high = PLACES["training"]
    target.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if low <= speaker_percentage(path.stem.split("_nohash_")[0]) < high and not (target / path.name).exists():
            (target / path.name).symlink_to(path)


def _write_takes(recordings: Sequence[Recording], parts: Sequence[Sequence[str]], folder: Path) -> None:
    """Each take by a speaker of its part, so that the data set's own rule splits them."""
    takes = Counter[str]()
    for recording, row in zip(recordings, parts, strict=True):
        for clip, part in zip(recording.clips(), row, strict=True):
            speaker = name_in(f"{recording.person or recording.name} {part}", *PLACES[part])
            _write(folder / f"{speaker}_nohash_{takes[speaker]}.wav", clip)
            takes[speaker] += 1


def _write_pieces(folder: Path, target: Path) -> None:
    """Running sound as running speech is laid out, every part some of it."""
    with written(target) as made:
        made.mkdir()
        number = 0
        for path, samples in read_all(folder).items():
            for piece in pieces(samples):
                part = PARTS_OF_PIECES[number % len(PARTS_OF_PIECES)]
                name = f"{name_in(f'{path.name} {part}', *SPEECH_PARTS[part])}-{number}.flac"
                _write(made / name, piece)
                number += 1
        if not number:
            raise UserError(f"{folder} holds nothing but silence: record what is heard where it is to listen")


def _write(path: Path, samples: Float32[np.ndarray, " samples"]) -> None:
    soundfile.write(os.fsencode(path), to_pcm(samples), SAMPLE_RATE, format=path.suffix[1:].upper())
