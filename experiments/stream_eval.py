"""Judges checkpoints as detectors on hours of continuous audio: misses against false alarms per hour.

The audio is glued from held-out speakers (see `kws_jax.data.scenes`), the same for every checkpoint and every way of
running it. Thresholds and smoothing are chosen on validation speakers and applied unchanged to test speakers.
"""

from pathlib import Path

import tyro
from tyro.conf import Positional

from experiments.streams.recipe import Judgement
from kws_jax.command import command, heeds_quiet


@heeds_quiet
def main(
    checkpoints: Positional[tuple[Path, ...]],
    judgement: tyro.conf.OmitArgPrefixes[Judgement],
    out: Path = Path("out"),
    keyword: str | None = None,
    jobs: int = 1,
    quiet: bool = False,
) -> None:
    """Judges checkpoints; each gets a record in OUT/streams, and one that is there is not judged again.

    Args:
        checkpoints: Shipped files, or folders of models of one's own.
        judgement: How they are judged.
        out: Folder of results.
        keyword: The word to spot, where the checkpoint does not say.
        jobs: Processes, of one core and some 2 GB each.
        quiet: Say nothing but what is wrong.
    """
    from experiments.streams.evaluation import judge_checkpoints  # seconds to import, which --help does not need

    judge_checkpoints(checkpoints, judgement, out, keyword, jobs)


if __name__ == "__main__":
    with command():
        tyro.cli(main, description=__doc__)
