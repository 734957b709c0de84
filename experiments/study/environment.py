"""Where a run ran: the code's commit, the versions of what matters, and the device."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = ("jax", "flax", "optax", "torch", "torchaudio", "numpy", "thop")


def environment() -> dict[str, Any]:
    """The parts of a record that describe where it ran: commit, versions, device."""
    versions = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    return {"commit": commit(ROOT), "versions": versions, "device": _device()}


def commit(root: Path) -> str:
    """Commit of a checkout's code, with "+" when a Python file in it has changed since, or is new."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=all", "--", "*.py")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _device() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"
