"""What is heard beside a corpus's clips, as a command line says it; what reads it is in `kws_jax.data.recordings`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Voices = Literal["keyword", "words"]  # what synthetic voices say: the keyword alone, or other words too


@dataclass(frozen=True)
class SceneSources:
    """What scenes are made of, beside the corpus.

    Attributes:
        speech: Folders of running speech, files <speaker>-*.flac, .wav or .ogg.
        noise: Folders of noise recordings, which come to the corpus's own.
        transcripts: Table of the words of the speech, with tabs between its columns, of which "file" and "word" are
            read; utterances that hold the keyword are left out. Without it none is, whatever is said.
    """

    speech: tuple[Path, ...] = ()
    noise: tuple[Path, ...] = ()
    transcripts: Path | None = None


NO_SOURCES = SceneSources()
