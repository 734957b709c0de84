"""One toy sweep that the tests of runs share."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

SETTINGS = ("base_fp16", "base_qint8", "student_314x_int5")
LEARNT_FROM = ("base", "student_314x")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Toy corpora are cached where tests write, not where the user's own are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KWS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of quick runs of every kind of format on "corpus" beside it, for all workers; not to be written to."""
    from experiments.study.pipeline import run_setting
    from experiments.study.scaling import resolved
    from experiments.study.settings import with_needs
    from tests.helpers.tiny_corpus import task_of, write_tone_corpus

    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "swept"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            write_tone_corpus(root / "corpus")
            task = replace(task_of(root / "corpus", root / "out"), quick=True)
            for setting in with_needs(SETTINGS):
                run_setting(resolved(setting, task.split.training.size, quick=True), task)
    return root / "out"


@pytest.fixture
def out(swept: Path, tmp_path: Path) -> Path:
    """A copy of the sweep to work on."""
    return Path(shutil.copytree(swept, tmp_path / "out"))
