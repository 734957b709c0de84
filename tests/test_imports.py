"""The house's rules: who may know whom, by every file's imports and by what is really loaded; how long a file is."""

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("kws_jax", "torch_ref", "conversion", "experiments")
TORCH, JAX = {"torch", "torchaudio", "thop"}, {"jax", "jaxlib", "flax", "optax", "orbax"}
FORBIDDEN = {
    "kws_jax": {*TORCH, "torch_ref", "conversion", "experiments"},
    "torch_ref": {*JAX, "kws_jax", "conversion", "experiments"},
    "conversion": {"experiments"},
}
# Rooms of experiments that others build on, and what they may know; the rest are commands, which only commands know.
ROOMS = {
    "study": set(),
    "plots": set(),
    "streams": {"study", "plots"},
    "benchmark": {"study"},
    "report": {
        "study.json_files",
        "study.lock",
        "study.records",
        "study.scores",
        "study.stream_records",
        "study.own_records",
        "plots",
    },
}
MAX_ROOMS, MAX_ARROWS = 16, 25
MAX_LINES = 250
LONG_FILES = {"experiments/study/settings.py": "one table, a row a setting"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    """Full names of all that a file imports, inside functions too; `from a import b` may mean the module a.b or a."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & MODULES.keys() or {node.module}
    return names


IMPORTED = {module: imported(path) for module, path in MODULES.items()}


def within(package: str, names: set[str]) -> set[str]:
    """What of a package is among the names, without the package's own name."""
    return {name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}.")}


def test_the_walk_finds_what_is_there():
    assert {"kws_jax.streaming", "torch_ref.model", "conversion.__main__", "experiments.study"} <= MODULES.keys()
    assert {"kws_jax.frontend", "jax.numpy", "typing"} <= IMPORTED["kws_jax.streaming.functions"]
    assert "thop" in IMPORTED["torch_ref.accounting"], "imports inside functions count"
    assert "report" in within("experiments", IMPORTED["experiments.report.__main__"] | {"experiments.report"})


@pytest.mark.parametrize("module", MODULES)
def test_arrows_run_one_way(module: str):
    roots = {name.partition(".")[0] for name in IMPORTED[module]}
    assert not roots & FORBIDDEN.get(module.partition(".")[0], set())


def test_only_training_knows_training():
    knowing = {module for module, names in IMPORTED.items() if any(n.startswith("kws_jax.training") for n in names)}
    assert {module for module in knowing if module.startswith("kws_jax.")} <= {
        module for module in MODULES if module.startswith("kws_jax.training.")
    }


def test_there_are_no_cycles():
    graph = {name: names & MODULES.keys() for name, names in IMPORTED.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_rooms_of_experiments_keep_their_order():
    arrows = set()
    for module, names in IMPORTED.items():
        if not (inner := module.removeprefix("experiments.")) or inner == module:
            continue
        room = inner.partition(".")[0]
        others = {name for name in within("experiments", names) if name.partition(".")[0] != room}
        arrows |= {(room, name.partition(".")[0]) for name in others}
        if room in ROOMS:
            known = {name for name in others if name in ROOMS[room] or name.partition(".")[0] in ROOMS[room]}
            assert others == known, module
    assert len(arrows) <= MAX_ARROWS
    assert len({module.split(".")[1] for module in MODULES if module.startswith("experiments.")}) <= MAX_ROOMS


# Imports the first groups one after another, then each of the last two in a process of its own, and says what is there.
LOADED = """
import importlib, json, os, sys
groups, frameworks = json.loads(sys.argv[1])
def say(group):
    for module in groups[group]:
        importlib.import_module(module)
    print(json.dumps([group, sorted(set(frameworks) & sys.modules.keys())]), flush=True)
say("NumPy only")
say("report")
if os.fork():
    say("kws_jax")
    os.wait()
else:
    say("torch_ref")
"""


def test_what_is_really_loaded():
    numpy_only = [f"kws_jax.{name}" for name in ("config", "errors", "files", "number_formats", "state_dict")]
    numpy_only += [name for name in MODULES if name.startswith(("kws_jax.data.", "kws_jax.evaluation."))]
    numpy_only.remove("kws_jax.evaluation.stream_metrics")  # the detector is JAX's
    groups = {
        "NumPy only": numpy_only,
        "report": [name for name in MODULES if name.startswith("experiments.report")],
        "kws_jax": [name for name in MODULES if name.startswith("kws_jax.")],
        "torch_ref": [name for name in MODULES if name.startswith("torch_ref.")],
    }
    command = [sys.executable, "-c", LOADED, json.dumps([groups, sorted(TORCH | JAX)])]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {group: set(frameworks) for group, frameworks in map(json.loads, output.splitlines())}
    assert found["NumPy only"] == found["report"] == set()
    assert "jax" in found["kws_jax"] <= JAX
    assert "torch" in found["torch_ref"] <= TORCH


# Runs commands' --help one after another, and says after each, and after what it then imports, what is there.
HELPED = """
import contextlib, importlib, io, json, runpy, sys
commands, heavy = json.loads(sys.argv[1])
def say(name):
    print(json.dumps([name, sorted(set(heavy) & sys.modules.keys())]))
for command in commands:
    sys.argv = [command, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        runpy.run_module(command, run_name="__main__")
    assert "usage" in text.getvalue(), command
    say(command)
importlib.import_module("kws_jax.streaming")
say("kws_jax.streaming")
"""


def test_help_comes_before_what_takes_seconds_to_import():
    doors = [name for name, path in MODULES.items() if 'if __name__ == "__main__":' in path.read_text()]
    commands = [name for name in doors if name.startswith(("conversion", "experiments"))]
    assert {"conversion.__main__", "experiments.benchmark.__main__", "experiments.run"} <= {*commands}
    command = [sys.executable, "-c", HELPED, json.dumps([commands, sorted(TORCH | JAX | {"matplotlib", "scipy"})])]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {name: set(heavy) for name, heavy in map(json.loads, output.splitlines())}
    streaming = found.pop("kws_jax.streaming")
    assert found == {name: set() for name in commands}
    assert streaming <= JAX


def test_files_stay_short():
    files = [*MODULES.values(), *(ROOT / "tests").rglob("*.py"), *ROOT.glob("*.py")]
    long = {str(path.relative_to(ROOT)) for path in files if len(path.read_text().splitlines()) > MAX_LINES}
    assert long == LONG_FILES.keys(), "shorten it, or give the reason; and take off the list what is short again"
