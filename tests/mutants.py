"""Do the tests notice? Changes an operator or a number of the arithmetic that all rests on, and runs its tests.

    pip install cosmic-ray; nice python -m tests.mutants --out results/mutants.json

Cosmic Ray says what can be changed; of that a sample with a fixed seed is tried in a copy of the checkout. A mutant
that fails its tests, or takes ten times as long, is dead. The file is written after every mutant, and goes on where it
stopped: a module whose source has changed starts anew, a dead mutant stays dead, and one that lives is tried again. Why
it may live is written into its "why" by hand, and kept.
"""

import ast
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
import tyro

ROOT = Path(__file__).parents[1]
TESTED_BY = {
    "kws_jax/state_dict.py": ["tests/conversion/test_state_dict.py", "tests/conversion/test_files.py"],
    "kws_jax/number_formats.py": ["tests/conversion/test_formats.py", "tests/torch_ref/test_packing.py"],
    "kws_jax/training/quantization.py": ["tests/kws_jax/test_quantization.py"],
    "kws_jax/training/pruning.py": ["tests/kws_jax/test_pruning.py"],
    "kws_jax/streaming/functions.py": [
        "tests/kws_jax/test_streaming.py",
        "tests/conversion/test_streaming_classes.py",
    ],
    "kws_jax/evaluation/metrics.py": ["tests/kws_jax/test_metrics.py"],
}
COPIED = ("kws_jax", "torch_ref", "conversion", "experiments", "tests", "checkpoints", "pyproject.toml")
PRELOADED = ["flax.linen", "hypothesis", "jax", "jaxtyping", "optax", "safetensors.torch", "scipy.special", "torch"]
# The profile has no deadline, which would fail on a busy machine, and the same examples every time.
QUICKLY = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
QUICKLY += ["--hypothesis-profile=ci"]
SLOWER = 10  # times the tests' own time that a mutant may take


class Mutant(NamedTuple):
    """A changed module.

    Attributes:
        name: Cosmic Ray's operator, and the place in the order of those that it can change.
        line: Number of the line that changes.
        source: Of the whole module.
    """

    name: str
    line: int
    source: str


def main(out: Path, sample: int = 50, seed: int = 0, only: tuple[str, ...] = tuple(TESTED_BY)) -> None:
    """Tries mutants of modules.

    Args:
        out: JSON file to write, and to go on with.
        sample: Mutants of each module.
        seed: Of the sample.
        only: The modules to try.
    """
    # Here, so that the processes that test have none of our own modules yet.
    from experiments.study.environment import environment
    from experiments.study.json_files import write_json

    modules = json.loads(out.read_text())["modules"] if out.is_file() else {}
    for module in only:
        source = (ROOT / module).read_text()
        mutants = list(_mutants(source, seed))
        digest = hashlib.sha256(f"{source}{seed}".encode()).hexdigest()
        known = modules.get(module, {"source": None})
        if known["source"] != digest:
            known = {"source": digest, "places": len(mutants), "dead": [], "alive": {}}
        with TemporaryDirectory() as folder:
            copy = _copied(Path(folder))
            limit = SLOWER * _seconds(copy, module)
            for mutant in mutants[:sample]:
                if mutant.name in known["dead"]:
                    continue
                (copy / module).write_text(mutant.source)
                is_dead = not _passes(copy, module, limit)
                before = known["alive"].pop(mutant.name, {"why": ""})
                if is_dead:
                    known["dead"].append(mutant.name)
                else:
                    changed = mutant.source.splitlines()[mutant.line - 1].strip()
                    known["alive"][mutant.name] = {"line": mutant.line, "becomes": changed, "why": before["why"]}
                modules[module] = known
                write_json(out, {"environment": environment(), "seed": seed, "modules": modules})
                print(module, mutant.name, "dead" if is_dead else f"lives: {changed}", flush=True)


def _mutants(source: str, seed: int) -> Iterator[Mutant]:
    """What Cosmic Ray can change, one a place and kind of operator, annotations left as they are; in a random order."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    annotations = list(_annotations(source))
    operators = {name: plugins.get_operator(name) for name in plugins.operator_names()}
    nodes = list(ast_nodes(get_ast(source)))
    places: dict[tuple[str, tuple[int, int]], list[tuple[str, int]]] = {}
    for name, operator in operators.items():
        found = (
            start for node in nodes if not operator.arguments() for start, _ in operator().mutation_positions(node)
        )
        for number, start in enumerate(found):
            if not any(begin <= start < end for begin, end in annotations):
                places.setdefault((name.split("_")[0], start), []).append((name, number))
    rng = random.Random(seed)
    order = rng.sample(sorted(places), len(places))
    for (name, number), line in [(rng.choice(places[place]), place[1][0]) for place in order]:
        mutant = Mutant(f"{name} {number}", line, mutate_code(source, operators[name](), number))
        with suppress(SyntaxError):
            ast.parse(mutant.source)
            yield mutant


def _annotations(source: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where types are written, which a mutant would break without anybody's asking what the code does."""
    for node in ast.walk(ast.parse(source)):
        for name in ("annotation", "returns"):
            if kind := getattr(node, name, None):
                yield (kind.lineno, kind.col_offset), (kind.end_lineno, kind.end_col_offset)


def _copied(folder: Path) -> Path:
    """A copy of what the tests need, to change modules in."""
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


def _seconds(copy: Path, module: str) -> float:
    """What the tests of a module take."""
    began = time.monotonic()
    assert _passes(copy, module, None), f"{module}: its tests fail without a mutant"
    return time.monotonic() - began


def _passes(copy: Path, module: str, limit: float | None) -> bool:
    """Whether a module's tests pass in time, in a process that has all but our own code imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_test, args=(copy, TESTED_BY[module]))
    process.start()
    process.join(limit)
    process.kill()
    process.join()
    return process.exitcode == 0


def _test(copy: Path, tests: list[str]) -> None:
    sys.dont_write_bytecode = True  # a change within a second, of the same length, would go unseen
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    raise SystemExit(pytest.main([*QUICKLY, *tests]))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
