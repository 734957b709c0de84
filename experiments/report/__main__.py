"""Renders records: REPORT.md, its pages and pictures, and the results in README.md and checkpoints/README.md."""

from contextlib import nullcontext
from pathlib import Path

import tyro
from tyro.conf import Positional

from kws_jax.command import command


def main(results: Positional[Path], out: Path, check: bool = False) -> None:
    """Renders the report.

    Args:
        results: Folder of runs/ and perhaps streams/, streams_peer/, benchmark.json and search.jsonl.
        out: Folder for REPORT.md, report/ and figures/; a README.md there gets the results between its markers.
        check: Write nothing; fail if what lies there is not what the records say.
    """
    # Seconds to import, which --help does not need.
    from experiments.report.rendering import write_report
    from experiments.study.lock import locked

    with nullcontext() if check else locked(out):
        write_report(results, out, check)


if __name__ == "__main__":
    with command():
        tyro.cli(main, description=__doc__)
