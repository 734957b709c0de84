"""The book: its examples and links hold, the annotated stream runs, and the notebook is the script."""

import doctest
import json
import re
import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

from experiments.report.figures import is_same

ROOT = Path(__file__).parents[1]
SCRIPT, NOTEBOOK = ROOT / "docs" / "stream.py", ROOT / "docs" / "stream.ipynb"
BOOK = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*BOOK, *sorted(ROOT.glob("*.md")), ROOT / "checkpoints" / "README.md"]


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


@pytest.mark.slow
@pytest.mark.parametrize("page", BOOK, ids=lambda page: page.name)
def test_examples_say_what_they_print(page: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    text, names, runner = page.read_text(), {}, doctest.DocTestRunner()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S):
        line = text[: block.start()].count("\n") + 1
        example = doctest.DocTestParser().get_doctest(block[1], names, page.name, str(page), line)
        assert example.examples, f"{page.name}, line {line}: a block without >>> is run by nobody"
        example.globs = names  # what a block defines, those after it use
        runner.run(example, clear_globs=False)
    assert not runner.failures, "see what was printed"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    links = [link for link in re.findall(r"\[([^][]*)\]\(([^)\s]+)\)", text) if not link[1].startswith("http")]
    for shown, target in links:
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)", path.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target
        if path.suffix == ".py" and (name := re.fullmatch(r"`(\w+)`", shown)):
            assert re.search(rf"\b(def|class) {name[1]}\b|^{name[1]} = ", path.read_text(), re.M), (
                f"{shown} in {target}"
            )


def test_the_index_has_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    assert {page.name for page in BOOK} - {"README.md"} <= {*re.findall(r"\]\(([\w.]+)\)", index)}


def test_the_picture_of_the_house_is_that_of_its_imports():
    house = runpy.run_path(str(ROOT / "docs" / "house.py"))
    assert is_same(house["TARGET"].read_text(), house["draw"]().decode()), "run python -m docs.house"
