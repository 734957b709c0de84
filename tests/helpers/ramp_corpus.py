"""A tiny corpus of ramps, whose every sample says where it is from."""

from pathlib import Path

import numpy as np
import soundfile

from kws_jax.data.corpus import CLIP_LENGTH, Corpus, load_corpus

RAMP = np.linspace(-32_768, 32_767, CLIP_LENGTH).astype(np.int16)


def write_ramps(folder: Path) -> Path:
    """Three words, five clips, one noise recording."""
    for name in ("yes/ann_nohash_0", "yes/bob_nohash_0", "no/ann_nohash_0", "no/ann_nohash_1", "up/nameless"):
        write(folder / f"{name}.wav", np.roll(RAMP, len(name)))
    write(folder / "_background_noise_" / "hum.wav", RAMP)
    write(folder / "_rejected_" / "ann_nohash_0.wav", RAMP)
    return folder


def write(path: Path, samples: np.ndarray, sample_rate: int = 16_000, subtype: str | None = None) -> None:
    """A sound file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sample_rate, subtype)


def load(folder: Path) -> Corpus:
    """The corpus, with its cache beside it."""
    return load_corpus(folder, folder.parent / "caches")
