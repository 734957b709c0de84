"""Does what the README says first as a newcomer would, in a clone without an environment, and says how long each takes.

python -m tests.newcomer --data DIR --negatives DIR --out results/newcomer.json, on a machine with nothing else to do.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Literal

import tyro

from experiments.study.environment import environment
from experiments.study.json_files import write_json

ROOT = Path(__file__).parents[1]
Step = Literal["demo", "keyword", "run", "test"]
PEOPLE, TAKES = 10, 48  # who say the word, and how often in all


def main(
    data: Path,
    negatives: Path,
    word: str = "zero",
    steps: tuple[Step, ...] = ("demo", "keyword", "run", "test"),
    out: Path = Path("out/newcomer.json"),
) -> None:
    """Times commands in a clone of what is committed; the first sets up the environment, and "test" adds to it.

    Args:
        data: Folder laid out as Speech Commands, which the takes of the word are from.
        negatives: Folder of running speech without the word.
        word: What ten people say, some 48 times in all, for `make keyword`.
        steps: Targets of make, in this order.
        out: JSON file to write.
    """
    found: list[dict[str, str | float]] = []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        words = [f"WORD={word}", f"RECORDINGS={record(data / word, clone.parent / 'mine')}"]
        arguments = {"keyword": [*words, f"NEGATIVES={negatives.resolve()}"]}
        for step in steps:
            begun = time.monotonic()
            subprocess.run(["make", step, *arguments.get(step, [])], cwd=clone, env=bare(), check=True)
            found.append({"command": f"make {step}", "seconds": time.monotonic() - begun})
            write_json(out, {"environment": environment(), "steps": found})


def bare() -> dict[str, str]:
    """The environment of a newcomer: no other virtual environment's."""
    return {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}


def record(clips: Path, folder: Path) -> Path:
    """Copies takes of those people who say the word most often, a folder each."""
    takes = defaultdict[str, list[Path]](list)
    for path in sorted(clips.iterdir()):
        takes[path.stem.split("_nohash_")[0]].append(path)
    people = sorted(takes, key=lambda person: (-len(takes[person]), person))[:PEOPLE]
    for path in [path for person in people for path in takes[person]][:TAKES]:
        (person := folder / path.stem.split("_nohash_")[0]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, person)
    return folder


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
