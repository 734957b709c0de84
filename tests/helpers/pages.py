"""What the tests of the page share: sound, files, and what they need."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from kws_jax.checkpoint import About, save
from kws_jax.compiled import stream as compiled
from kws_jax.data.audio import to_float
from tests.helpers import browser
from tests.helpers.models import TOY, loud_and_quiet, random_variables
from tests.helpers.streams import heard

SHIPPED = Path(__file__).parents[2] / "checkpoints"
KEYWORD = 'a "word" & </script><b>'
PCM = loud_and_quiet(160_001, 4_000)

needs_clang = pytest.mark.skipif(not shutil.which("clang") or not shutil.which("wasm-ld"), reason="needs clang and lld")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node")
needs_chromium = pytest.mark.skipif(browser.program() is None, reason="needs Chromium and bash")


def shipped(word: str, name: str) -> Path:
    return SHIPPED / word / f"student_{name}.safetensors"


def save_toy(path: Path) -> None:
    """Writes a checkpoint whose probability crosses its two thresholds often in `PCM`."""
    variables = random_variables(TOY)
    _, found = heard(compiled.StreamingKws(variables["params"], TOY), [to_float(PCM)])
    half, most = (round(float(np.quantile(found, part)), 4) for part in (0.5, 0.6))
    save(path, TOY, variables, About(KEYWORD, "fp32", half, 3, 2.0, {"1": most, "2": half}, 3.0))
