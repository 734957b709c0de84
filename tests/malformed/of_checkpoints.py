"""Checkpoints of this project, damaged or bent: shipped files and folders."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from conversion.files import read_module
from kws_jax import checkpoint
from kws_jax.checkpoint import About
from kws_jax.errors import UserError
from tests.helpers.checkpoints import STATE, write_shipped
from tests.helpers.models import TOY
from tests.malformed.harness import Case

CONFIG, HAPPY = asdict(TOY), {"keyword": "happy", "threshold": 0.5, "smoothing": 3}
FLOATS = {key: array for key, array in STATE.items() if array.ndim}


def refused(path: Path) -> None:
    """By both sides, the second left to the harness."""
    with suppress(UserError):
        read_module(path)
        raise AssertionError("taken by PyTorch's side")
    checkpoint.load(path)
    raise AssertionError("taken")


def shipped(
    kind: str, name: str, tensors: dict | None = None, config: dict | None = None, about: dict | None = None
) -> Case:
    """A file that has to be refused."""

    def run(folder: Path) -> None:
        path = folder / "model.safetensors"
        write_shipped(path, FLOATS if tensors is None else tensors, CONFIG | (config or {}), HAPPY | (about or {}))
        refused(path)

    return Case(kind, name, run)


VALUES: dict[str, Any] = {
    **{"null": None, "text": "5", "yes": True, "list": [1], "three": [1, 1, 1], "object": {"a": 1}, "empty": []},
    **{"zero": 0, "negative": -1, "half": 0.5, "enormous": 10**13, "beyond floats": 10**400, "NaN": float("nan")},
    **{"infinity": float("inf"), "pair of text": ["1", "1"], "pair of floats": [1.0, 1.0], "negative pair": [-1, -1]},
    **{"enormous pair": [10**13, 10**13], "terminal codes": "\x1b[31m\n", "long text": "x" * 100_000},
}
# What a field may be of these: it is another model then, whose arrays do not fit, or the same.
FINE = {
    **{"batch_norm": {"yes"}, "relu": {"yes"}, "gru_dropout": {"zero", "half"}, "f_max": {"null", "half"}},
    "f_min": {"zero", "half"},
}


def wrong_fields() -> Iterator[Case]:
    for field in (name for name in CONFIG if name != "frontend"):
        for name, value in VALUES.items():
            if name not in FINE.get(field, ()):
                yield shipped("fields of a configuration", f"{field} {name}", config={field: value})
    for field in CONFIG["frontend"]:
        for name, value in VALUES.items():
            if name not in FINE.get(field, ()):
                frontend = {"frontend": CONFIG["frontend"] | {field: value}}
                yield shipped("fields of a configuration", f"{field} {name}", config=frontend)
    for name, value in (VALUES | {"frontend": CONFIG}).items():
        yield shipped("fields of a configuration", f"frontend {name}", config={"frontend": value})
    for name, config in {
        **{"sample rate": {"sample_rate": 8_000}, "a property": {"features": 3}, "empty name": {"": 1}},
        **{"one class": {"num_classes": 1}, "three classes": {"num_classes": 3}, "dropout of 1": {"gru_dropout": 1.0}},
        **{"other hidden": {"gru_hidden": 6}, "more layers": {"gru_layers": 3}, "100 layers": {"gru_layers": 100}},
        **{"one layer": {"gru_layers": 1}, "as wide as may be": {"gru_hidden": 65_536}, "normed": {"batch_norm": True}},
        **{"skips frames": {"stride": [2, 5]}, "tall kernel": {"kernel_size": [7, 4]}, "no room": {"pool": [12, 1]}},
        "floor above ceiling": {"frontend": CONFIG["frontend"] | {"f_min": 5000.0, "f_max": 4000.0}},
        "above half the rate": {"frontend": CONFIG["frontend"] | {"f_max": 8001.0}},
        "odd window": {"frontend": CONFIG["frontend"] | {"window_length": 127}},
        "pcen without its tensors": {"frontend": CONFIG["frontend"] | {"compression": "pcen"}},
        "other compression": {"frontend": CONFIG["frontend"] | {"compression": "cube"}},
        "window beyond a step": {"frontend": CONFIG["frontend"] | {"window_length": 60_000}},
    }.items():
        yield shipped("fields of a configuration", name, config=config)


def wrong_words() -> Iterator[Case]:
    kind = "words about a model"
    texts, any_number = {"null", "text"}, {"null", "zero", "half", "negative"}
    fine = {
        **{"keyword": texts, "setting": texts, "number_format": {"text"}, "threshold": {"null", "zero", "half"}},
        **{
            "smoothing": {"null"},
            "seed": {"null", "zero", "negative", "enormous"},
            "operating_points": {"null", "empty"},
        },
        **dict.fromkeys(("false_alarms_per_hour", "validation_hours"), any_number | {"enormous"}),
    }
    for field in asdict(About()):
        for name, value in VALUES.items():
            if name not in fine[field]:
                yield shipped(kind, f"{field} {name}", about={field: value})
    for name, points in {
        **{"text": {"1": "high"}, "above 1": {"1": 1.5}, "NaN": {"1": float("nan")}, "null": {"1": None}},
        **{
            "yes": {"1": True},
            "no number": {"one": 0.5},
            "terminal codes": {"\x1b[31m": 0.5},
            "nested": {"1": {"1": 1}},
        },
    }.items():
        yield shipped(kind, f"operating point {name}", about={"operating_points": points})
    yield shipped(kind, "another word", about={"word": "happy"})
    yield shipped(kind, "packed, it says", about={"number_format": "int8"})


def wrong_tensors() -> Iterator[Case]:
    damages: dict[str, Callable[[np.ndarray], np.ndarray | None]] = {
        "missing": lambda array: None,
        "flattened": lambda array: array.reshape(1, 1, -1),
        "one row less": lambda array: array[1:] if len(array) > 1 else np.zeros((2, *array.shape[1:]), np.float32),
        "float64": lambda array: array.astype(np.float64),
        "int8": lambda array: array.astype(np.int8),
        "NaN": lambda array: np.where(np.arange(array.size).reshape(array.shape) == 0, np.float32(np.nan), array),
        "infinity": lambda array: array / np.float32(0),
    }
    with np.errstate(all="ignore"):
        for key, array in FLOATS.items():
            for name, damage in damages.items():
                tensors = FLOATS | {key: damage(array)}
                tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items() if value is not None}
                yield shipped("tensors of a shipped file", f"{key} {name}", tensors)
    zero, one = np.zeros((), np.float32), np.zeros(3, np.float32)
    for name, tensors in {
        **{
            "none": {},
            "other": {"a": one},
            "one more": FLOATS | {"extra": one},
            "one more layer": FLOATS | {"gru.x": one},
        },
        **{"scale of nothing": FLOATS | {"conv.0.bias.scale": zero}, "name of codes": FLOATS | {"\x1b[2J\r\n": one}},
        **{
            "name of 100,000 letters": FLOATS | {"x" * 100_000: one},
            "batches": FLOATS | {"conv.1.num_batches_tracked": zero},
        },
        **{"packed": {"int8": np.zeros(9, np.uint8)}, "packed and not": FLOATS | {"int8": np.zeros(9, np.uint8)}},
    }.items():
        yield shipped("tensors of a shipped file", name, tensors)
    key, integers = "classifier.weight", {"classifier.weight": np.ones((2, 5), np.int8)}
    grid = {f"{key}.scale": np.array(0.5, np.float32), f"{key}.zero_point": np.array(0, np.int8)}
    for name, changes in {
        **{
            "no scale": {},
            "no zero": {f"{key}.scale": zero},
            "wide zero": grid | {f"{key}.zero_point": np.array(0, np.int32)},
        },
        **{"scales": grid | {f"{key}.scale": one}, "zero scale": grid | {f"{key}.scale": zero}},
        **{
            "NaN scale": grid | {f"{key}.scale": np.array(np.nan, np.float32)},
            "wide scale": grid | {f"{key}.scale": np.zeros(())},
        },
    }.items():
        yield shipped(
            "tensors of a shipped file", f"qint8 {name}", FLOATS | integers | changes, about={"number_format": "qint8"}
        )


CASES = [*wrong_fields(), *wrong_words(), *wrong_tensors()]
