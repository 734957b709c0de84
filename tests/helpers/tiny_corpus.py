"""Tiny corpora on disk: one whose words a quick training tells apart, and one that scenes are made of."""

import itertools
from pathlib import Path

import numpy as np
import soundfile

from experiments.study.task import Task, find_source, make_task
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_pcm
from kws_jax.data.corpus import load_corpus
from kws_jax.data.recordings import SPEECH_PARTS
from kws_jax.data.sources import NO_SOURCES
from kws_jax.data.splits import speaker_percentage
from tests.helpers.models import noise

PITCHES = {"up": 1500.0, "down": 600.0, "left": 900.0}  # Hz, of the corpus of tones
SPEAKERS = 90  # of the corpus of tones
WORD = slice(4_000, 9_000)  # where clips of the corpus for scenes are loud


def write_tone_corpus(folder: Path) -> Path:
    """Three words, each a tone of its own pitch, by ninety speakers."""
    rng = np.random.default_rng(0)
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for word, pitch in PITCHES.items():
        (folder / word).mkdir(parents=True)
        for speaker in range(SPEAKERS):
            wave = np.sin(2 * np.pi * pitch * rng.uniform(0.95, 1.05) * time) * np.exp(-((time - 0.5) ** 2) / 0.02)
            clip = 0.3 * wave + rng.normal(0, 0.01, time.shape)
            soundfile.write(folder / word / f"{speaker:08x}_nohash_0.wav", clip, SAMPLE_RATE)
    return folder


def task_of(corpus: Path, out: Path, seed: int = 0) -> Task:
    """A corpus of tones, split officially, with "up" as the keyword."""
    source = find_source(corpus, ("up",), NO_SOURCES, out)
    return make_task(source, load_corpus(corpus), "up", "official", seed, out)


def clips(seed: int, number: int) -> np.ndarray:
    """Clips of noise that is loud in WORD alone."""
    quiet = noise(seed, number, SAMPLE_RATE, 1e-4)
    quiet[:, WORD] += noise(seed + 1, number, WORD.stop - WORD.start)
    return to_pcm(quiet)


def some_speakers(low: float, high: float, number: int) -> list[str]:
    """Speakers whose place in the split lies in [low, high)."""
    names = map(str, itertools.count())
    return list(itertools.islice((name for name in names if low <= speaker_percentage(name) < high), number))


def write_scene_corpus(root: Path) -> Path:
    """Three speakers of each part say two words; one noise.

    Running speech by two of each part, in root/speech, one of whom says "happily" by root/speech/said.tsv; recordings
    of noise, one of each fold, in root/noise.
    """
    parts = ((0, 10), (10, 20), (20, 100))  # validation, testing and training, in percent
    speakers = [speaker for low, high in parts for speaker in some_speakers(low, high, 3)]
    for seed, word in enumerate(("happy", "bed")):
        (root / "corpus" / word).mkdir(parents=True)
        for speaker, clip in zip(speakers, clips(seed, len(speakers)), strict=True):
            soundfile.write(root / "corpus" / word / f"{speaker}_nohash_0.wav", clip, SAMPLE_RATE)
    (root / "corpus" / "_background_noise_").mkdir()
    soundfile.write(root / "corpus" / "_background_noise_" / "hum.wav", noise(9, 1, 40_000)[0], SAMPLE_RATE)
    (root / "speech").mkdir()
    said = ["file\tstart_s\tword\n"]
    for low, high in SPEECH_PARTS.values():
        for take, speaker in enumerate(some_speakers(low, high, 2)):
            soundfile.write(root / "speech" / f"{speaker}-{take}.wav", noise(low, 1, 50_000)[0], SAMPLE_RATE)
            said.append(f"{speaker}-{take}.wav\t0.5\t{('Quite', 'Happily,')[take]}\n")
    (root / "speech" / "said.tsv").write_text("".join(said))
    (root / "noise").mkdir()
    for fold in range(1, 6):
        soundfile.write(root / "noise" / f"a_dog_{fold}-7-A.wav", noise(fold, 1, 1000 * fold)[0], SAMPLE_RATE)
    return root / "corpus"
