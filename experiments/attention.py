"""Draws where models listen: the attention of a teacher and its students over one clip, under the clip's log-mel."""

from pathlib import Path

import tyro
from tyro.conf import Positional

from kws_jax.command import command


def main(checkpoints: Positional[tuple[Path, ...]], data: Path, out: Path, clip: int = 0) -> None:
    """Draws the attention of models over a clip of their keyword by a test speaker.

    Args:
        checkpoints: Checkpoints of one keyword, the teacher first.
        data: Folder laid out as Speech Commands.
        out: Picture to write.
        clip: Number of the clip among the test speakers' clips of the keyword.
    """
    from experiments.streams.attention import draw  # seconds to import, which --help does not need

    draw(checkpoints, data, out, clip)


if __name__ == "__main__":
    with command():
        tyro.cli(main, description=__doc__)
