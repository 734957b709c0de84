"""Executes a notebook and keeps its output, without what names the machine it ran on."""

from pathlib import Path

import tyro

from kws_jax.errors import UserError, one_line_errors

ROOT = Path(__file__).parents[1]


def main(notebook: tyro.conf.Positional[Path] = ROOT / "experiments" / "streaming_demo.ipynb") -> None:
    """Executes a notebook from the project's root, in place.

    Args:
        notebook: The file.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError as error:
        raise UserError("nbclient is not installed: pip install -e '.[notebook]'") from error
    node = nbformat.read(notebook, as_version=4)
    NotebookClient(node, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    node.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in node.cells:
        cell.metadata = {}
    nbformat.write(node, notebook)
    print(notebook)


if __name__ == "__main__":
    with one_line_errors():
        tyro.cli(main, description=__doc__)
