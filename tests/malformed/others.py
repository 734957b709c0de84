"""Counts which checkpoints of a folder convert, and which are refused.

python -m tests.malformed.others FOLDER --of "what they are" --out results/checkpoints_of_others.json
"""

from pathlib import Path

import tyro
from tyro.conf import Positional

from conversion.files import load
from experiments.study.json_files import read_json, write_json
from kws_jax.errors import UserError


def main(folder: Positional[Path], of: str, out: Path) -> None:
    """Tries each file, and says what is wrong with those that are refused.

    Args:
        folder: Of checkpoints, however they are called.
        of: Whose they are, or what.
        out: JSON file to write; what it says of other folders stays.
    """
    found = {"files": 0, "converted": 0, "refused": 0}
    for path in sorted(folder.iterdir()):
        found["files"] += 1
        try:
            load(path)
            found["converted"] += 1
        except UserError as error:
            found["refused"] += 1
            print(error)
    known = read_json(out, dict)["sources"] if out.exists() else {}
    write_json(out, {"sources": known | {of: found}})
    print(found)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
