"""Counts what comes of every malformed input: python -m tests.malformed --out results/malformed.json."""

import logging
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro

from experiments.study.environment import environment
from experiments.study.json_files import write_json
from tests.malformed.harness import outcome
from tests.malformed.test_malformed import BY_KIND


def main(out: Path) -> None:
    """Tries them all; the first that ends in any other way ends this.

    Args:
        out: JSON file to write: of each kind, how many were taken and how many refused.
    """
    warnings.simplefilter("ignore")
    logging.disable()
    kinds: dict[str, dict[str, int]] = {}
    for kind, cases in BY_KIND.items():
        found: Counter[str] = Counter()
        for case in cases:
            with TemporaryDirectory() as folder:
                found[outcome(case, Path(folder))] += 1
        kinds[kind] = {"taken": found["taken"], "refused": found["refused"]}
        print(f"{kind}: {kinds[kind]}")
    write_json(out, {"environment": environment(), "kinds": kinds})
    print(out)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
