"""What is heard beside a corpus's clips, as a command line says it; what reads it is in `kws_jax.data.recordings`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kws_jax.errors import UserError, printable

LONGEST_WORD, MARKUP = 100, {*'/\\<>&|`*$"'}
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


def check_word(word: str, what: str = "keyword") -> None:
    """Refuses what can be no part of a name: words name files, and stand in pictures and pages.

    Args:
        word: From outside.
        what: It is.

    Raises:
        UserError: If it is empty or very long, or holds what a path, a page or a picture takes for more than a letter.
    """
    if not 0 < len(word) <= LONGEST_WORD or not word.isprintable() or MARKUP & {*word} or word[0] in " .-_":
        allowed = f"1 to {LONGEST_WORD} letters, none of {' '.join(sorted(MARKUP))}, the first none of . - _"
        raise UserError(f"{printable(word, LONGEST_WORD)!r} is no {what}: {allowed}")
