"""What bad input, kills and changed code came to, as the commands that tried them have written it; each may be absent.

RESULTS/malformed.json              python -m tests.malformed
        kills.json                  KWS_KILLS=results/kills.json pytest -m slow tests/test_kills.py
        checkpoints_of_others.json  public checkpoints of the reference's model, by where they are from
        coverage.json               python -m tests.coverage
        mutants.json                python -m tests.mutants
        newcomer.json               python -m tests.newcomer
"""

from pathlib import Path
from typing import Any, TypedDict

from experiments.report.benchmark import Environment
from experiments.study.json_files import read_json

__all__ = ["read_robustness"]


class Outcomes(TypedDict):
    """Of malformed inputs of a kind."""

    taken: int
    refused: int


class Malformed(TypedDict):
    """By kind."""

    environment: Environment
    kinds: dict[str, Outcomes]


class Kills(TypedDict):
    """Of a kind of work."""

    kills: int
    whole: int


class Killed(TypedDict):
    """By what was done."""

    kills: dict[str, Kills]


class Foreign(TypedDict):
    """Files from one place."""

    files: int
    converted: int
    refused: int


class Others(TypedDict):
    """By where the files are from."""

    sources: dict[str, Foreign]


class Run(TypedDict):
    """What tests ran of a package."""

    lines: int
    lines_run: int
    branches: int
    branches_run: int


class Coverage(TypedDict):
    """By package."""

    environment: Environment
    packages: dict[str, Run]


class Survivor(TypedDict):
    """A mutant that no test noticed: the changed line, and why it may live."""

    line: int
    becomes: str
    why: str


class Mutants(TypedDict):
    """Of a module."""

    places: int
    dead: list[str]
    alive: dict[str, Survivor]


class Mutation(TypedDict):
    """By module."""

    environment: Environment
    modules: dict[str, Mutants]


class Step(TypedDict):
    """A command of a newcomer's, in a clone."""

    command: str
    seconds: float


class Newcomer(TypedDict):
    """In this order; the first sets up the environment."""

    environment: Environment
    steps: list[Step]


KINDS: dict[str, Any] = {
    "malformed": Malformed,
    "kills": Killed,
    "checkpoints_of_others": Others,
    "coverage": Coverage,
    "mutants": Mutation,
    "newcomer": Newcomer,
}


def read_robustness(results: Path) -> dict[str, Any]:
    """What is there, by the names of the files.

    Raises:
        UserError: If one of them is not of that kind.
    """
    paths = {name: results / f"{name}.json" for name in KINDS}
    return {name: read_json(path, KINDS[name], "file of this version") for name, path in paths.items() if path.exists()}
