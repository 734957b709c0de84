"""The README, and what else tells commands: what they name is there, their options are taken, and what can run runs."""

import json
import operator
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

import get_checkpoints
from kws_jax import checkpoint
from kws_jax.data.audio import to_float
from kws_jax.detector import detections
from kws_jax.streaming import StreamingKws
from tests.helpers.models import loud_and_quiet, noise
from tests.helpers.streams import heard

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = ("kws_jax", "torch_ref", "conversion", "experiments", "get_checkpoints")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w.-]*")
SHIPPED = ROOT / "checkpoints" / "happy" / "student_314x_int5.safetensors"
PCM = loud_and_quiet(60_001, 4_000)


class Command(NamedTuple):
    """A line that a page tells to run: its module, its words after that, and the whole of it."""

    module: str
    words: tuple[str, ...]
    line: str

    @property
    def helped(self) -> tuple[str, ...]:
        """What says --help of it: the module, and the first word where that is a command of its own."""
        return (self.module, *self.words[:1]) if self.module == "conversion" else (self.module,)


def blocks(text: str, *languages: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [block for language, block in fenced if language in languages]


def told(text: str) -> list[str]:
    """All code but Python's: lines of blocks without their comments, and what stands between backticks."""
    plain = "\n".join(blocks(text, "", "sh")).replace("\\\n", " ")
    spans = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    lines = [part.strip() for line in plain.splitlines() for part in line.partition("#")[0].split("&&")]
    return lines + [span.replace("\n", " ") for span in spans]


def commands(text: str) -> list[Command]:
    """The lines that run what is ours."""
    found = []
    for line in told(text):
        if run := re.fullmatch(r"python (?:-m )?([\w.]+?)(?:\.py)?( .*)?", line):
            command = Command(run[1], tuple(shlex.split(run[2] or "")), line)
            found += [command] if run[1].partition(".")[0] in OURS else []
    return found


ALL = list(dict.fromkeys(command for page in PAGES for command in commands(page.read_text())))
# Says each command's --help, one after another: before one is run, nothing heavy is imported.
HELPS = """
import contextlib, io, json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = [words[0], *words[1:], "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        runpy.run_module(words[0], run_name="__main__")
    print(json.dumps(text.getvalue()))
"""


@cache
def options() -> dict[tuple[str, ...], set[str]]:
    """What each command's --help says that it takes."""
    helped = list(dict.fromkeys(command.helped for command in ALL if find_spec(command.module)))
    words = [sys.executable, "-c", HELPS, json.dumps(helped)]
    environment = os.environ | {"COLUMNS": "400"}
    ran = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    texts = [json.loads(line) for line in ran.stdout.splitlines()]
    assert all("usage" in text for text in texts)
    return {name: {*OPTION.findall(text)} for name, text in zip(helped, texts, strict=True)}


def test_the_pages_are_read():
    told_by_readme = {command.helped for command in commands(README)}
    assert {("get_checkpoints",), ("experiments.run",), ("conversion", "check")} <= told_by_readme
    assert "--microphone" in options()[("experiments.listen",)]


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.line)
def test_commands_take_their_options(command: Command):
    from experiments.study.settings import BY_NAME

    assert find_spec(command.module), "there is no such command"
    asked = {*OPTION.findall(command.line)}
    for change in {option for option in asked if "." in option}:  # of a setting, by `experiments.search`
        operator.attrgetter(change[2:].replace("-", "_"))(BY_NAME["student_21x"])
        asked.remove(change)
    assert asked <= options()[command.helped]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_named_elsewhere_are_some_commands(page: Path):
    text = page.read_text()
    for row in re.findall(r"^\|.*", text, re.M):
        if inner := commands(row):
            assert {*OPTION.findall(row)} <= options()[inner[0].helped], "a row tells of one command"
    prose = [line for line in told(text) if not re.match(r"python |make test |.*pytest ", line)]
    assert {option for line in prose for option in OPTION.findall(line)} <= set().union(*options().values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_code_are_there(page: Path):
    for span in told(page.read_text()):
        if re.fullmatch(rf"({'|'.join(OURS)})(\.\w+)+", span):
            pkgutil.resolve_name(span)


TARGETS = {line for page in PAGES for line in told(page.read_text()) if re.match(r"make [a-z]", line)}


@pytest.mark.parametrize("line", sorted(TARGETS))
def test_make_knows_its_targets(line: str):
    ran = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


def test_extras_are_there():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for words in re.findall(r"\.\[([\w,]+)\]", README) for name in words.split(",")}
    assert named
    assert named <= extras.keys()


def test_the_python_block_prints_what_the_detector_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (block,) = blocks(README, "python")  # another one wants a test of its own
    (file,), (sound,) = re.findall(r'"(checkpoints/[^"]+)"', block), re.findall(r'"([^"]+\.wav)"', block)
    config, variables, about = checkpoint.load(ROOT / file)
    times, probabilities = heard(StreamingKws(variables["params"], config), [to_float(PCM)])
    often = replace(about, threshold=round(float(np.median(probabilities)), 6))  # noise is not the word
    checkpoint.rewrite(ROOT / file, tmp_path / file, often)
    soundfile.write(tmp_path / sound, PCM, 16_000)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    expected = zip(*detections(times, probabilities, often.detector(config)), strict=True)
    lines = [f"'{about.keyword}' at {time:.2f} s, probability {probability:.3f}" for time, probability in expected]
    assert lines
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize("option", ["--list", "--verify"])
def test_the_shipped_files_are_told(option: str, capsys: pytest.CaptureFixture):
    assert any(option in told(row) or option in row for row in README.splitlines() if "get_checkpoints.py" in row)
    get_checkpoints.main([option])
    assert ("happy/base" in capsys.readouterr().out) == (option == "--list")


# Runs `conversion` for each list of words, in one process, as --help is one.
CONVERT = """
import json, sys
from conversion.__main__ import main
for words in json.loads(sys.argv[1]):
    main(words)
"""


@pytest.mark.slow
def test_conversions_run_in_their_order(tmp_path: Path):
    if not (shutil.which("clang") and shutil.which("wasm-ld")):
        pytest.skip("needs clang and lld")
    asked = [command.words for command in commands(README) if command.module == "conversion"]
    first = ("flax-to-torch", str(SHIPPED.with_stem("base")), "model.pt")  # which the page has from elsewhere
    names = {"FILE": str(SHIPPED), "FILE...": str(SHIPPED), "A": "model.safetensors", "B": "flax_model"}
    words = [[names.get(word, word) for word in line] for line in (first, *asked)]
    ran = [sys.executable, "-c", CONVERT, json.dumps(words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = subprocess.run(ran, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("wrote ") == len(words) - sum(line[0] == "check" for line in words)
    assert "equal: " in said.stdout
    folder = next(Path(line[-1]) for line in words if line[0] == "to-c")
    subprocess.run(["make"], cwd=tmp_path / folder, check=True, capture_output=True)
    subprocess.run(["./listen"], cwd=tmp_path / folder, input=PCM.tobytes(), check=True, capture_output=True)


@pytest.mark.slow
def test_a_keyword_of_ones_own_is_trained_and_heard(scene_corpus: Path, tmp_path: Path):
    """The lines of the block that trains a word, on a toy corpus: quickly, and from a file in place of a microphone."""
    lines = [c for block in blocks(README, "", "sh") for c in commands(f"```\n{block}```") if "out/runs/" in block]
    if [line.module for line in lines] != ["experiments.run", "experiments.listen"]:
        pytest.skip("the page tells another way to a word of one's own")
    train, listen = lines
    (word,) = re.findall(r"--keywords (\S+)", train.line)
    shutil.copytree(scene_corpus.parent / "noise", tmp_path / "noise")
    for fold in range(1, 6):  # as long as a window of scenes
        soundfile.write(tmp_path / "noise" / f"hum_{fold}-8-A.wav", noise(fold, 1, 160_000)[0], 16_000)
    soundfile.write(tmp_path / "heard.wav", PCM, 16_000)
    names = {"clips": str(scene_corpus), "speech": str(scene_corpus.parent / "speech"), word: "happy"}
    run = [*(names.get(part, part) for part in train.words), "--quick"]
    hear = [part.replace(f"-{word}-", "-happy-").replace("--microphone", "heard.wav") for part in listen.words]
    for module, words in ((train.module, run), (listen.module, hear)):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        said = subprocess.run([sys.executable, "-m", module, *words], cwd=tmp_path, env=environment, text=True)
        assert said.returncode == 0
