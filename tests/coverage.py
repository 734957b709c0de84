"""What the tests ran of each package, held against the least that they must.

`make test` and `make test-slow` as `.ci/run` gives them; python -m tests.coverage out/coverage.json --out FILE
"""

import json
from pathlib import Path

import tyro
from tyro.conf import Positional

from experiments.study.environment import environment
from experiments.study.json_files import write_json

LEAST = {"lines": 0.90, "branches": 0.85}
COUNTED = {"lines": "num_statements", "lines_run": "covered_lines"}
COUNTED |= {"branches": "num_branches", "branches_run": "covered_branches"}


def main(found: Positional[Path], out: Path | None = None) -> None:
    """Sums up coverage's report.

    Args:
        found: Its JSON file.
        out: JSON file to write.
    """
    packages: dict[str, dict[str, int]] = {}
    for file, counts in json.loads(found.read_text())["files"].items():
        own = packages.setdefault(Path(file).parts[0], dict.fromkeys(COUNTED, 0))
        for name, counted in COUNTED.items():
            own[name] += counts["summary"][counted]
    if out:
        write_json(out, {"environment": environment(), "packages": packages})
    for kind, least in LEAST.items():
        ran, there = (sum(own[name] for own in packages.values()) for name in (f"{kind}_run", kind))
        print(f"{ran:,} of {there:,} {kind} run, {ran / there:.1%}")
        if ran < least * there:
            raise SystemExit(f"error: the tests must run {least:.0%} of the {kind}: see {found}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
