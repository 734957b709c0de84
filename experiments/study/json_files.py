"""Dataclasses as JSON files."""

import json
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from kws_jax.errors import UserError
from kws_jax.files import written


def write_json(path: Path, values: Any) -> None:
    """Writes JSON in one piece."""
    with written(path) as part:
        part.write_text(json.dumps(values, indent=1) + "\n")


def read_json(path: Path, kind: Any) -> Any:
    """Reads a dataclass of some kind, written as `dataclasses.asdict` has it.

    Raises:
        UserError: If the file holds something else.
    """
    try:
        return _decoded(kind, json.loads(path.read_text()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is no record of this version ({error}): delete it and run again") from error


def _decoded(kind: Any, value: Any) -> Any:
    """The value of a type that JSON's dictionaries and lists stand for."""
    if is_dataclass(kind):
        fields = get_type_hints(kind)
        return kind(**{name: _decoded(fields[name], part) for name, part in value.items()})  # type: ignore[operator]
    if get_origin(kind) is UnionType and value is not None:
        return _decoded(get_args(kind)[0], value)
    if get_origin(kind) is dict:
        return {name: _decoded(get_args(kind)[1], part) for name, part in value.items()}
    if get_origin(kind) is tuple:
        return tuple(_decoded(get_args(kind)[0], part) for part in value)
    return value
