"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

# Tests compile hundreds of small functions that each run a few times: half the time went into optimising them.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real clips in the Speech Commands layout: $KWS_DATA, or the copy beside the project."""
    folder = Path(os.environ.get("KWS_DATA", SHARED_DATA / "speech_commands"))
    if not folder.is_dir():
        pytest.skip("needs real clips: set KWS_DATA to a folder in the Speech Commands layout")
    return folder
