"""Fixtures of the page."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose probability crosses its thresholds often; not to be written to."""
    from tests.helpers.pages import save_toy

    path = tmp_path_factory.mktemp("models") / "toy"
    save_toy(path)
    return path


@pytest.fixture(scope="session")
def toy_page(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of that checkpoint and a shipped one."""
    from conversion.page import write_page
    from tests.helpers.pages import shipped

    path = tmp_path_factory.mktemp("pages") / "toy.html"
    write_page([toy, shipped("happy", "185x_stream_int5")], path)
    return path
