"""The house's rules: who may know whom, by every file's imports and by what is really loaded; how long a file is."""

import ast
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
# What needs NumPy alone stays usable, and quick to start, where no framework is.
NUMPY_ONLY = ("data", "splits", "metrics", "bootstrap", "synthetic", "espeak", "config", "errors")
MAX_LINES = 250
LONG_FILES = {
    "experiments/settings.py": "one table, a row a setting",
    "get_checkpoints.py": "one file that runs alone, before anything is installed",
    "tests/test_data.py": "one reader, and every kind of damage that a folder of clips can have",
    "tests/test_get_checkpoints.py": "a small web server that breaks off in every way, and the fetches from it",
}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
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


def test_the_walk_finds_what_is_there():
    assert {"kws_jax.streaming", "torch_ref.model", "conversion.__main__"} <= MODULES.keys()
    assert {"kws_jax.frontend", "jax.numpy", "typing"} <= imported(MODULES["kws_jax.streaming"])
    assert "thop" in imported(MODULES["torch_ref.accounting"]), "imports inside functions count"


@pytest.mark.parametrize("module", MODULES)
def test_arrows_run_one_way(module: str):
    roots = {name.partition(".")[0] for name in imported(MODULES[module])}
    assert not roots & FORBIDDEN.get(module.partition(".")[0], set())


def test_there_are_no_cycles():
    graph = {name: imported(path) & MODULES.keys() for name, path in MODULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ([f"kws_jax.{name}" for name in NUMPY_ONLY], TORCH | JAX),
        ([name for name in MODULES if name.startswith("kws_jax.")], TORCH),
        ([name for name in MODULES if name.startswith("torch_ref.")], JAX),
    ],
    ids=["NumPy only", "kws_jax", "torch_ref"],
)
def test_what_is_really_loaded(modules: list[str], absent: set[str]):
    script = f"import sys, {', '.join(modules)}; print(*{absent!r} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_files_stay_short():
    files = [*MODULES.values(), *(ROOT / "tests").glob("*.py"), *ROOT.glob("*.py")]
    long = {str(path.relative_to(ROOT)) for path in files if len(path.read_text().splitlines()) > MAX_LINES}
    assert long == LONG_FILES.keys(), "shorten it, or give the reason; and take off the list what is short again"
