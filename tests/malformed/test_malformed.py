"""Every malformed input of the tables in this folder is taken, or refused in one line."""

import importlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

from tests.malformed.harness import Case, outcome

TABLES = sorted(path.stem for path in Path(__file__).parent.glob("of_*.py"))
CASES: list[Case] = [case for table in TABLES for case in importlib.import_module(f"tests.malformed.{table}").CASES]
SOME = 16  # of a kind that the fast tests try, evenly among them
BY_KIND: dict[str, list[Case]] = {}
for _case in CASES:
    BY_KIND.setdefault(_case.kind, []).append(_case)


@pytest.fixture
def unhooked() -> Iterator[None]:
    """Without the checker of types and shapes, which only tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("kind", BY_KIND)
@pytest.mark.parametrize("most", [SOME, pytest.param(None, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unhooked")
def test_what_is_malformed(kind: str, most: int | None, tmp_path: Path):
    cases = BY_KIND[kind][:: -(-len(BY_KIND[kind]) // most) if most else 1]
    for number, case in enumerate(cases):
        (folder := tmp_path / str(number)).mkdir()
        assert outcome(case, folder)


def test_no_name_is_twice():
    names = [(case.kind, case.name) for case in CASES]
    assert len(names) == len(set(names)), json.dumps([name for name, count in Counter(names).items() if count > 1])
