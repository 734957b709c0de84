"""A tiny corpus on disk that scenes are made of, for tests of what is judged on them."""

import itertools
from pathlib import Path

import numpy as np
import soundfile

from experiments import continuous
from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_pcm
from kws_jax.data.splits import speaker_percentage
from tests.helpers.models import noise

WORD = slice(4_000, 9_000)  # where clips are loud


def clips(seed: int, number: int) -> np.ndarray:
    """Clips of noise that is loud in WORD alone."""
    quiet = noise(seed, number, SAMPLE_RATE, 1e-4)
    quiet[:, WORD] += noise(seed + 1, number, WORD.stop - WORD.start)
    return to_pcm(quiet)


def some_speakers(low: float, high: float, number: int) -> list[str]:
    """Speakers whose place in the split lies in [low, high)."""
    names = map(str, itertools.count())
    return list(itertools.islice((name for name in names if low <= speaker_percentage(name) < high), number))


def write_corpus(root: Path) -> Path:
    """Three speakers of each part say two words; running speech by one of each part, in root/speech; one noise."""
    parts = ((0, 10), (10, 20), (20, 100))  # validation, testing and training, in percent
    speakers = [speaker for low, high in parts for speaker in some_speakers(low, high, 3)]
    for seed, word in enumerate(("happy", "bed")):
        (root / "corpus" / word).mkdir(parents=True)
        for speaker, clip in zip(speakers, clips(seed, len(speakers)), strict=True):
            soundfile.write(root / "corpus" / word / f"{speaker}_nohash_0.wav", clip, SAMPLE_RATE)
    (root / "corpus" / "_background_noise_").mkdir()
    soundfile.write(root / "corpus" / "_background_noise_" / "hum.wav", noise(9, 1, 40_000)[0], SAMPLE_RATE)
    (root / "speech").mkdir()
    for low, high in continuous.SPEECH_PARTS.values():
        (speaker,) = some_speakers(low, high, 1)
        soundfile.write(root / "speech" / f"{speaker}-1.wav", noise(low, 1, 50_000)[0], SAMPLE_RATE)
    return root / "corpus"
