"""Synthetic voices for a keyword that too few people have said: their clips join a corpus of real ones."""

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from kws_jax.data import CLIP_LENGTH, Corpus
from kws_jax.errors import UserError
from kws_jax.synthetic import generate_corpus

__all__ = ["Said", "speak", "with_voices"]

# Takes of the keyword by each voice: 38 of the 64 voices train, so 1,368 takes do, as many as real ones of "happy".
CLIPS_OF_KEYWORD = 36
Said = Literal["keyword", "words"]  # the keyword alone, or other words too


def speak(keyword: str, out: Path) -> Path:
    """Has the synthetic voices say the keyword and other words; returns the folder."""
    return generate_corpus(out / "synthetic" / f"voices-{keyword}", keyword, clips_of_keyword=CLIPS_OF_KEYWORD)


def with_voices(real: Corpus, spoken: Corpus, keyword: str, said: Said) -> Corpus:
    """Adds a synthetic corpus's clips to those of a real one; the noise stays the real one's.

    A voice is a speaker like any other, whose part of the split follows from its name.

    Args:
        real: Clips by people, perhaps none of the keyword.
        spoken: Clips by synthetic voices.
        keyword: The word to spot.
        said: Which of the voices' clips: "keyword", or all "words".

    Raises:
        UserError: If a file of the same name is in both.
    """
    chosen = np.flatnonzero(spoken.words == keyword) if said == "keyword" else np.arange(len(spoken.names))
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
        fingerprint=hashlib.sha256(f"{real.fingerprint} {spoken.fingerprint} {said}".encode()).hexdigest(),
        unreadable=(*real.unreadable, *spoken.unreadable),
    )
