"""Models in C: where the text comes from, and everything that is in its way, as one line."""

import sys
from pathlib import Path

import numpy as np
import pytest

from kws_jax.checkpoint import About
from kws_jax.compiled import stream as compiled
from kws_jax.compiled.source import c_source, write_c
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.errors import UserError
from kws_jax.state_dict import from_variables
from tests.helpers.models import LIGHT, TOY, random_variables

SHIPPED = Path(__file__).parents[2] / "checkpoints"
SMALL = SHIPPED / "happy" / "student_185x_stream_int5.safetensors"

pytestmark = pytest.mark.skipif(compiled.compiler() is None, reason="needs a C compiler")


def test_the_file_says_where_it_comes_from(tmp_path: Path):
    write_c(SMALL, tmp_path / "c", "a command with */ in it")
    (tmp_path / "c" / "listen").write_text("what make leaves")
    write_c(SMALL, tmp_path / "c", "again", as_stored=True)
    text = (tmp_path / "c" / "kws.c").read_text()
    assert "MIT" in text
    assert "`again`" in text
    assert SMALL.name in text
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "Makefile",
        "README.md",
        "kws.c",
        "kws.h",
        "listen.c",
    ]


def test_a_library_of_another_model_is_refused():
    other = compiled.StreamingKws(random_variables(LIGHT)["params"], LIGHT)
    with pytest.raises(UserError, match="it is another model's"):
        compiled.StreamingKws(random_variables(TOY)["params"], TOY, other._library)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CrnnConfig(FrontendConfig(window_length=402)), "windows of 402 samples: give a multiple of 4"),
        (CrnnConfig(FrontendConfig(window_length=4 * 37)), "no prime factor above 31"),
        (CrnnConfig(num_classes=3), "for 3 classes"),
    ],
)
def test_what_cannot_be_written_is_named(config: CrnnConfig, message: str):
    state = from_variables(random_variables(config), config)
    with pytest.raises(UserError, match=message):
        c_source(config, state, About(), "A test")


def test_what_is_in_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("do not lose")
    with pytest.raises(UserError, match=r"holds thesis\.tex: name"):
        write_c(SMALL, tmp_path / "mine", "a test")
    (tmp_path / "mine" / "thesis.tex").rename(tmp_path / "mine" / "README.md")
    with pytest.raises(UserError, match=r"holds README\.md: name"):
        write_c(SMALL, tmp_path / "mine", "a test")
    assert (tmp_path / "mine" / "README.md").read_text() == "do not lose"
    with pytest.raises(UserError, match="only int8, int5 or int4 can be read in place"):
        write_c(SHIPPED / "happy" / "base.safetensors", tmp_path / "c", "a test", as_stored=True)
    variables = random_variables(TOY)
    variables["params"]["classifier"]["bias"] = np.array([np.nan, 0.0], np.float32)
    with pytest.raises(UserError, match=r"classifier\.bias: a weight is not finite"):
        compiled.StreamingKws(variables["params"], TOY)
    compiled.compiled.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler -O9")
    with pytest.raises(UserError, match="no-such-compiler -O9 compiles no stream"):
        compiled.StreamingKws(random_variables(TOY)["params"], TOY)
    monkeypatch.setenv("CC", "'unclosed")
    with pytest.raises(UserError, match="CC is no command: No closing quotation"):
        compiled.StreamingKws(random_variables(TOY)["params"], TOY)
    monkeypatch.setenv("CC", f"{sys.executable} -c 'import pathlib; pathlib.Path(\"kws.so\").touch()'")
    with pytest.raises(UserError, match="compiles no stream"):
        compiled.StreamingKws(random_variables(TOY)["params"], TOY)
    with monkeypatch.context() as nowhere:
        nowhere.setattr(compiled.tempfile, "TemporaryDirectory", lambda: (_ for _ in ()).throw(OSError()))
        with pytest.raises(UserError, match="compiles no stream: OSError"):
            compiled.StreamingKws(random_variables(TOY)["params"], TOY)
    monkeypatch.setenv("CC", "")
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="install gcc or clang"):
        compiled.StreamingKws(random_variables(TOY)["params"], TOY)
