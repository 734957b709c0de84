"""The notebook is kept with its output, and says nothing of the machine that it ran on."""

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "experiments" / "streaming_demo.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text())["cells"]


def test_output_is_kept(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "largest difference: 0.0e+00\n" in outputs[-1]["text"]


def test_cells_are_short_and_valid(cells):
    for cell in cells:
        source = "".join(cell["source"])
        assert len(source.splitlines()) <= 20
        assert all(len(line) <= 120 for line in source.splitlines())
        if cell["cell_type"] == "code":
            ast.parse("\n".join(line for line in source.splitlines() if not line.startswith("%")))


def test_no_path_of_a_machine_is_left():
    text = re.sub(r'"image/png": "[^"]*"', '"image/png": ""', NOTEBOOK.read_text())
    assert not re.search(r"""(^|[\s"'(=])(/[A-Za-z]\w*/|[A-Z]:\\\\|~/)""", text)
    assert set(json.loads(text)["metadata"]) == {"kernelspec"}
