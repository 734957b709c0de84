"""Makes a detector of a person's own word from 20 to 200 recordings of it, in minutes.

The recordings are of any length, rate and format: one take each, or many with pauses between them, at which they are
cut. A folder for each person who speaks keeps people apart. What is not the word is spoken by synthetic voices, unless
there is a data set, and by what --negatives holds. Takes that it did not learn from choose its threshold, and others
say how good it is. OUT/WORD.safetensors is the detector, beside its picture; OUT/clips holds what was learnt from.
"""

from pathlib import Path

import tyro

from kws_jax.command import command, heeds_quiet
from kws_jax.data.sources import NO_SOURCES, SceneSources


@heeds_quiet
def main(
    word: str,
    recordings: Path,
    negatives: Path | None = None,
    data: Path | None = None,
    sources: tyro.conf.OmitArgPrefixes[SceneSources] = NO_SOURCES,
    voices: bool = False,
    out: Path | None = None,
    quiet: bool = False,
) -> None:
    """Trains a detector.

    Args:
        word: The word, or a few, of less than a second in all.
        recordings: Folder of recordings of it.
        negatives: Folder of recordings of anything else, of any length, without the word: some half an hour of what is
            to be heard where it listens.
        data: Folder of other words, laid out as Speech Commands; clips of the word in it are learnt from too.
        sources: Of running speech and noise, beside the negatives.
        voices: Let synthetic voices say the word too.
        out: Folder to write; out/WORD by default. The same command goes on after a kill, and begins again with other
            recordings.
        quiet: Say nothing but what is wrong; OUT/keyword.json has what is known of the detector.
    """
    from experiments.streams.own_corpus import Wish  # seconds to import, which --help does not need
    from experiments.streams.own_keyword import make

    make(Wish(word, recordings, negatives, data, sources, voices, out or Path("out") / word))


if __name__ == "__main__":
    with command():
        tyro.cli(main, description=__doc__)
