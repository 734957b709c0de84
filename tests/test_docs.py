"""The annotated stream: its assertions hold, and the notebook is the script."""

import json
import re
import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT, NOTEBOOK = ROOT / "docs" / "stream.py", ROOT / "docs" / "stream.ipynb"


@pytest.mark.slow
def test_the_page_runs_and_hears_the_word_once(monkeypatch):
    pytest.importorskip("espeakng_loader", reason="needs espeakng-loader")
    monkeypatch.chdir(ROOT)
    mpl.use("Agg")
    page = runpy.run_path(str(SCRIPT))
    (time,) = [time for time, _ in page["found"]]
    assert page["said"][0] < time < page["said"][1] + page["config"].receptive_field / 16_000


def test_the_notebook_is_the_script_and_was_run():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    kinds, texts = zip(
        *re.findall(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", SCRIPT.read_text(), re.M | re.S), strict=True
    )
    plain = [re.sub(r"^# ?", "", text, flags=re.M) if kind else text for kind, text in zip(kinds, texts, strict=True)]
    assert ["".join(cell["source"]) for cell in cells] == [text.strip() for text in plain]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert NOTEBOOK.stat().st_size < 200_000
