"""Numbers out of range, field by field of all that a command line sets; words that are none; whole command lines."""

import dataclasses
import functools
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import tyro

from experiments import attention, publish, run, search, stream_eval, stream_peer
from experiments.benchmark import __main__ as benchmark
from experiments.streams.recipe import SceneRecipe
from experiments.study.settings import BY_NAME, STUDENT_12X
from experiments.study.task import check_seeds
from kws_jax.command import command
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.data.sources import NO_SOURCES, check_word
from kws_jax.detector import DetectorConfig
from kws_jax.errors import UserError
from kws_jax.training.augment import Augmentation
from kws_jax.training.pruning import PruningPlan
from kws_jax.training.recipe import Recipe
from tests.malformed.harness import Case
from torch_ref.train import SeminarRecipe

SCENES = SceneRecipe(Path("nowhere"), NO_SOURCES)
WHOLE = (FrontendConfig(), CrnnConfig(), STUDENT_12X, Recipe(), Augmentation(), PruningPlan(1, 1, 1), SeminarRecipe())
WHOLE += (SCENES, DetectorConfig(step_duration=0.08), BY_NAME["student_314x"])
NEVER = {
    "nan": math.nan,
    "-1": -1,
    "-1e300": -1e300,
}  # of no field of these but where less than nothing means something
SELDOM = {"0": 0, "infinity": math.inf, "-infinity": -math.inf, "10^12": 10**12, "10^30": 10**30, "1e-30": 1e-30}
SELDOM |= {"a half": 0.5}
# What commands import where they run, here, so that no case waits for it.
for _name in ("streams.evaluation", "streams.peer", "streams.publishing", "streams.attention", "study.sweep"):
    importlib.import_module(f"experiments.{_name}")
SIGNED = {"gain", "snr"}
LENIENT = (FrontendConfig, CrnnConfig, DetectorConfig)  # which check more than ranges, in tests of their own
REFUSED = (ValueError,)  # which torch_ref's recipe says, as it knows no UserError


def _fields(values: Any) -> Iterator[tuple[str, type, bool]]:
    """Names of fields that are numbers, or pairs of them, with the type of number."""
    for name, hint in typing.get_type_hints(type(values)).items():
        for part in typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,):
            numbers = typing.get_args(part) if typing.get_origin(part) is tuple else (part,)
            if numbers[0] in (int, float):
                yield name, numbers[0], len(numbers) == 2


def _set(values: Any, name: str, given: Any, _: Path) -> None:
    dataclasses.replace(values, **{name: given})


def _never(values: Any, name: str, given: Any, folder: Path) -> None:
    """What no field takes: to take it is a fault."""
    try:
        _set(values, name, given, folder)
    except ValueError as error:
        raise UserError(str(error)) from error
    raise AssertionError(f"{name} of {given} is taken")


def _in_fields() -> Iterator[Case]:
    for at, values in enumerate(WHOLE):
        for name, kind, is_pair in _fields(values):
            for said, number in (NEVER | SELDOM).items():
                if kind is int and not isinstance(number, int):
                    continue  # no command line gives that
                refuses = said in NEVER and name not in SIGNED and type(values) not in LENIENT
                given = (kind(number),) * 2 if is_pair else kind(number)
                call = functools.partial(_never if refuses else _set, values, name, given)
                yield Case("numbers out of range", f"{type(values).__name__} {at}, {name} of {said}", call, REFUSED)


WORDS = ("", " ", ".", "..", "../x", "a/b", "a\\b", "/", "-", "--help", "_background_noise_", ".hidden", "a\nb", "a\rb")
WORDS += (
    "\x1b[31mred",
    "\x07",
    "a\0b",
    "<b>",
    "<script>alert(1)</script>",
    "a|b",
    "a*b",
    "`ls`",
    "$(ls)",
    "$x^$",
    "&amp;",
)
WORDS += (
    "x" * 101,
    "x" * 250,
    "x" * 10_000,
    "\u202eyppah",
    "\ufeff",
    "\udc80",
    "\u2028",
    'a"b',
    "a&b",
    "{{word}}",
    "%s",
)
WORDS += (
    "happy",
    "ok google",
    "don't",
    "über",
    "ключ",
    "你好",
    "नमस्ते",
    "مرحبا",
    "🎉",
    "a,b",
    "a;b",
    "a:b",
    "#a",
    "[a](b)",
)
SEEDS = ((), (-1,), (0, -1), (2**31,), (2**64,), (10**100,), (-(10**100),), (0,), (2**31 - 1,), (0, 0))

S = ("--data", "nowhere")
LINES: dict[Callable[..., Any], tuple[tuple[str, ...], ...]] = {
    run.main: (
        *((), ("nothing",), ("base", "--jobs", "0"), ("base", "--jobs", "-1"), ("base", "--jobs", "x")),
        *(("base", "--seeds", "-1"), ("base", "--seeds=-1"), ("base", "--seeds", "1.5"), ("base", "--seeds", "9" * 30)),
        *(("base", "--split", "else"), ("base", "--voices", "else"), ("base", "--data"), ("base", "--out")),
        *(("base", *S, "--keywords", "../x"), ("base", *S, "--keywords", "a\nb"), ("base", *S, "--keywords", "")),
        *(("base", *S, "--keywords", "up"), ("base", *S), ("base", "--keywords", "$x^$"), ("base", "--quick", "maybe")),
        *(("base", "--nothing"), ("--all", "--jobs", "0"), ("", "--jobs", "1"), ("base\x1b[31m",), ("../base",)),
    ),
    stream_eval.main: (
        *((), S, ("a", *S), ("a", *S, "--hours", "inf"), ("a", *S, "--hours", "nan"), ("a", *S, "--hours", "-1")),
        *(
            ("a", *S, "--hours", "0"),
            ("a", *S, "--hours", "1e300"),
            ("a", *S, "--hours", "x"),
            ("a", *S, "--seed", "-1"),
        ),
        *(("a", *S, "--minutes-per-stream", "0"), ("a", *S, "--minutes-per-stream", "-1"), ("a", *S, "--jobs", "0")),
        *(("a", *S, "--jobs", "-5"), ("a", *S, "--keyword", ""), ("a", *S, "--seed", "9" * 40), ("a\nb", *S)),
    ),
    stream_peer.main: ((*S, "--jobs", "0"), (*S, "--keyword", ""), (*S, "--keyword", "../a"), (*S, "--hours", "inf")),
    publish.main: (
        ("nowhere", *S),
        ("nowhere", *S, "--run-seed", "x"),
        ("nowhere", *S, "--hours", "inf"),
        ("nowhere",),
    ),
    attention.main: (
        ("a", *S, "--out", "b"),
        ("a", *S, "--out", "b.odd"),
        ("a", *S, "--out", "."),
        (*S, "--out", "b.png"),
    ),
    benchmark.main: (
        ("nothing", "--out", "b.json"),
        ("base", "--out", "."),
        ("base", "--out", "/dev/null"),
        ("--out",),
    ),
}
CHANGES = (
    "--recipe.epochs 0",
    "--recipe.epochs -1",
    "--recipe.epochs x",
    "--recipe.batch-size 0",
    "--recipe.window nan",
)
CHANGES += (
    "--recipe.peak-learning-rate inf",
    "--recipe.peak-learning-rate -1",
    "--recipe.temperature 0",
    "--restarts 0",
)
CHANGES += ("--recipe.average-decay 1", "--recipe.teacher-weight 2", "--model.frontend.num-mels 4000", "--framings 0")
CHANGES += ("--model.frontend.num-mels 0", "--model.gru-hidden 0", "--model.gru-hidden abc", "--model.stride 0 0")
CHANGES += ("--model.kernel-size 99 99", "--model.pool -1 1", "--scene-hours inf", "--word-balance nan", "--seeds -1")
CHANGES += ("--recipe.augmentation.gain 3 -3", "--recipe.augmentation.noise-rate 2", "--number-format int3", "--seeds")
CHANGES += ("--recipe.augmentation.max-shift -1", "--model.frontend.window-length 401", "--name a/b", "--out")
CHANGES += ("--recipe.pruning.interval 0", "--recipe.scheme int3", "--keywords ../x", "--keywords", "--data")


def _line(main: Callable[..., Any], words: tuple[str, ...], folder: Path) -> None:
    """A command line in an empty folder, as a person would give it; what a parser says is of no interest."""
    with redirect_stderr(StringIO()), command():
        if main is search.main:
            search.main(words)
        elif "out" in inspect.signature(main).parameters and "--out" not in words:
            tyro.cli(main, args=(*words, "--out", str(folder / "out")))
        else:
            tyro.cli(main, args=words)


def _lines() -> Iterator[Case]:
    for main, all_words in LINES.items():
        for words in all_words:
            name = f"{main.__module__} {words}"
            yield Case("command lines", name, functools.partial(_line, main, words))
    for change in CHANGES:
        words = ("student_314x", *change.split(), "--data", "nowhere", "--keywords", "up")
        yield Case("changes to a setting", change, functools.partial(_line, search.main, words))


CASES = [
    *_in_fields(),
    *(Case("words", repr(word), functools.partial(lambda word, _: check_word(word), word)) for word in WORDS),
    *(Case("seeds", str(seeds)[:80], functools.partial(lambda seeds, _: check_seeds(seeds), seeds)) for seeds in SEEDS),
    *_lines(),
]
