"""Builds stream.ipynb from stream.py and runs it; two builds differ in nothing that a machine or a clock decides."""

from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main() -> None:
    """Writes the notebook beside the script, once it ran without an error."""
    notebook = jupytext.read(HERE / "stream.py")
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": str(HERE)}}).execute()
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(notebook, HERE / "stream.ipynb")


if __name__ == "__main__":
    main()
