"""Writes docs/licences.md: what is installed beside this package when it is asked for, and under which licence.

pip install -e '.[study,synthetic,microphone,benchmark,docs,dev]' -c constraints.txt; python docs/licences.py
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """# Licences of what this package uses

Written by `python docs/licences.py`; this package is MIT.

| extra | package | version | licence |
|:--|:--|:--|:--|
"""


def licence(package: str) -> str:
    """What a package says of its licence: an expression, else its classifiers, else the first line of its text."""
    about = metadata.metadata(package)
    classes = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    said = about.get("License-Expression") or ", ".join(classes) or (about.get("License") or "").partition("\n")[0]
    return said.replace("|", r"\|") or "not said"


def rows() -> list[str]:
    """A line a direct dependency, by extra; what is not installed says so."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = []
    for extra, needed in {"always": project["dependencies"], **project["optional-dependencies"]}.items():
        for name in [re.match(r"[\w.-]+", one)[0] for one in needed]:
            if name == project["name"]:
                continue
            try:
                found.append(f"| {extra} | {name} | {metadata.version(name)} | {licence(name)} |")
            except metadata.PackageNotFoundError:
                found.append(f"| {extra} | {name} | - | not installed here |")
    return found


if __name__ == "__main__":
    (ROOT / "docs/licences.md").write_text(HEAD + "\n".join(rows()) + "\n")
