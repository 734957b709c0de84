"""JSON files as dataclasses: what is read has every field, of its type, or the error names file, field and remedy."""

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from kws_jax.errors import UserError, printable
from kws_jax.files import written

LARGEST = 2.0**63  # of a number that anything here counts
AGAIN = "delete it and run again"


def write_json(path: Path, values: Any) -> None:
    """Writes JSON in one piece."""
    with written(path) as part:
        part.write_text(json.dumps(values, indent=1) + "\n")


def read_json(path: Path, kind: Any, what: str = "record of this version", remedy: str = AGAIN) -> Any:
    """Reads what `dataclasses.asdict` and JSON made of a value.

    Args:
        path: The file.
        kind: Its type: a dataclass, a typed dictionary, or what those are made of. A field annotated with a typed
            dictionary, `Annotated[dict[str, Any], Sizes]`, is checked as that, which may have more keys.
        what: That the file should be, for an error.
        remedy: What to do where it is not.

    Raises:
        UserError: If the file holds something else, a number that is not finite, or none that can be read.
    """
    try:
        return _decoded(kind, json.loads(_text(path)), "")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no {what} ({printable(str(error))}): {remedy}") from error


def read_lines(path: Path, kind: Any = dict[str, Any], remedy: str = AGAIN) -> list[Any]:
    """The lines of a log, each a value of its own; see `read_json`."""
    found: list[Any] = []
    try:
        found.extend(_decoded(kind, json.loads(line), "") for line in _text(path).splitlines())
    except (ValueError, RecursionError) as error:
        where = f"{path}, line {len(found) + 1}, is no line of a log"
        raise UserError(f"{where} ({printable(str(error))}): {remedy}") from error
    return found


def files_in(folder: Path) -> list[Path]:
    """All that lies in a folder of records, by name, but for what is hidden, as files of the system are.

    Raises:
        UserError: If it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder: move it away")
    return sorted(path for path in folder.glob("*") if not path.name.startswith("."))


def json_files_in(folder: Path) -> list[Path]:
    """The JSON files of a folder that holds nothing else.

    Raises:
        UserError: If it holds something else, which is named.
    """
    paths = files_in(folder)
    if strange := [path for path in paths if path.suffix != ".json" or not path.is_file()]:
        raise UserError(f"{strange[0]} is no record: move it out of this folder")
    return paths


def _text(path: Path) -> str:
    """A file's text; what would wait for a writer, or never end, is no file."""
    try:
        if not path.is_file():
            raise ValueError("no file" if path.exists() else "there is none")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(error.strerror) from error


def _decoded(kind: Any, value: Any, where: str) -> Any:
    """The value of a type that JSON stands for; `where` is its place in the file."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Annotated, NotRequired):
        return _decoded(kind.__metadata__[0] if origin is Annotated else parts[0], value, where)
    if origin in (Union, UnionType):
        return None if value is None else _decoded(next(one for one in parts if one is not NoneType), value, where)
    if is_dataclass(kind) or is_typeddict(kind):
        return _with_fields(kind, value, where)
    if kind is Any:
        kind = type(value)
        origin, parts = (kind, {dict: (str, Any), list: (Any,)}[kind]) if kind in (dict, list) else (None, ())
    if origin is dict:
        items = _expected(dict, value, where).items()
        return {_shown(name): _decoded(parts[1], part, f"{where}.{name}") for name, part in items}
    if origin in (list, tuple):
        return origin(_items(parts, _expected(list, value, where), where))
    return _plain(kind, value, where)


def _with_fields(kind: Any, value: Any, where: str) -> Any:
    """A dataclass, or a typed dictionary, which may hold more than its type says."""
    value, known = _expected(dict, value, where), get_type_hints(kind, include_extras=True)
    if is_dataclass(kind):
        needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
        if foreign := value.keys() - known:
            raise ValueError(f"{where or 'it'} has {min(foreign)!r}, which is unknown")
    else:
        needed = kind.__required_keys__
    if missing := needed - value.keys():
        raise ValueError(f"{where or 'it'} lacks {min(missing)!r}")
    return kind(**{name: _decoded(known.get(name, Any), part, f"{where}.{name}") for name, part in value.items()})


def _items(kinds: tuple[Any, ...], values: list[Any], where: str) -> Iterator[Any]:
    """The items of a list, of a tuple of any length, or of one with a type for each item."""
    if len(kinds) > 1 and kinds[1] is not Ellipsis:
        if len(values) != len(kinds):
            raise ValueError(f"{where} has {len(values)} items, not {len(kinds)}")
    else:
        kinds = kinds[:1] * len(values)
    for number, (kind, value) in enumerate(zip(kinds, values, strict=True)):
        yield _decoded(kind, value, f"{where}[{number}]")


def _plain(kind: Any, value: Any, where: str) -> Any:
    """Text that can be shown, a number that can be counted with, a truth, or nothing."""
    if kind is str:
        return _shown(_expected(str, value, where))
    if type(value) in (int, float) and not abs(value) < LARGEST:
        raise ValueError(f"{where} is {value!r:.20}, which is no number to count with")
    if kind is float and type(value) is int:
        return value
    return _expected(kind, value, where)


def _expected(kind: type, value: Any, where: str) -> Any:
    """The value, whose type must be this very one: a truth is no number."""
    if type(value) is not kind:
        raise ValueError(f"{where or 'it'} is {value!r:.40}, not of type {kind.__name__}")
    return value


def _shown(text: str) -> str:
    """Text that was written by anybody, with what cannot be printed marked, whoever shows it then."""
    return text if text.isprintable() else printable(text, 10 * len(text))
