"""Copies models into checkpoints/, each with its detector's thresholds, and writes the manifest of get_checkpoints.py.

Thresholds are chosen on hours of continuous audio by validation speakers, in the number format that is shipped, with
the state carried: the fewest misses at no more than 0.2, 0.5, 1 and 2 false alarms an hour, as far as any threshold
reaches that. In use is that for 0.5, else that for 1. The folder is built beside and renamed: after a kill the old one
is there.
"""

from pathlib import Path

import tyro
from tyro.conf import Positional

from experiments.streams.recipe import SceneRecipe
from kws_jax.command import command, heeds_quiet


@heeds_quiet
def main(
    results: Positional[Path],
    scenes: tyro.conf.OmitArgPrefixes[SceneRecipe],
    split: str = "official",
    run_seed: int = 0,
    again: bool = False,
    drop: bool = False,
    quiet: bool = False,
) -> None:
    """Publishes every setting and keyword of one split and seed.

    Args:
        results: Folder of records.
        scenes: What thresholds are chosen on.
        split: Of the runs.
        run_seed: Of the runs.
        again: Choose thresholds anew where a shipped model has them.
        drop: Let shipped checkpoints go that no record stands for.
        quiet: Say nothing but what is wrong.
    """
    from experiments.streams.publishing import (
        choose_and_publish,  # seconds to import, which --help does not need
    )

    choose_and_publish(results, scenes, split, run_seed, again, drop)


if __name__ == "__main__":
    with command():
        tyro.cli(main, description=__doc__)
