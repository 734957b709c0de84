"""Judges pocketsphinx's keyphrase search on the very scenes of `experiments.stream_eval`, and times it beside ours.

pocketsphinx lets a candidate through where its score reaches kws_threshold. The threshold changes nothing else in the
search, so one pass at the loosest threshold, with every candidate's score, is a pass at every threshold.
"""

from pathlib import Path

import tyro

from experiments.streams.recipe import SceneRecipe
from kws_jax.command import command


def main(
    checkpoints: tyro.conf.Positional[tuple[Path, ...]],
    scenes: tyro.conf.OmitArgPrefixes[SceneRecipe],
    out: Path = Path("out"),
    keyword: str = "happy",
    jobs: int = 1,
) -> None:
    """Judges the peer; its record lies in OUT/streams_peer.

    Args:
        checkpoints: Whose stream is timed beside the peer.
        scenes: What is heard, as in stream_eval.
        out: Folder of results.
        keyword: The word to spot.
        jobs: Processes.
    """
    from experiments.streams.peer import judge_peer  # seconds to import, which --help does not need

    judge_peer(checkpoints, scenes, out, keyword, jobs)


if __name__ == "__main__":
    with command():
        tyro.cli(main, description=__doc__)
