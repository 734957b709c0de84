"""Fixtures that several test files share."""

import os
import signal
from pathlib import Path

import pytest

# Tests compile hundreds of small functions that each run a few times: most of the time went into optimising them.
QUICK_TO_COMPILE = (
    "backend_optimization_level=0",
    "llvm_disable_expensive_passes=true",
    "cpu_use_fusion_emitters=false",
)
os.environ.setdefault("XLA_FLAGS", " ".join(f"--xla_{flag}" for flag in QUICK_TO_COMPILE))
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")  # that `listen` keeps in the home folder

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the processes inherit that tests send it to

# What imports the packages is imported in the fixtures: the checker of shapes hooks into imports after this file.


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real clips in the Speech Commands layout: $KWS_DATA."""
    if "KWS_DATA" not in os.environ:
        pytest.skip("needs real clips: set KWS_DATA to a folder in the Speech Commands layout")
    return Path(os.environ["KWS_DATA"])


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the corpus of tones; not to be written to."""
    from tests.helpers.tiny_corpus import write_tone_corpus

    return write_tone_corpus(tmp_path_factory.mktemp("tones") / "corpus")


@pytest.fixture(scope="session")
def scene_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the corpus for scenes, with speech beside it; not to be written to."""
    from tests.helpers.tiny_corpus import write_scene_corpus

    return write_scene_corpus(tmp_path_factory.mktemp("scenes"))
