"""Results of other versions, other people and bad disks: every field of every record, and files bent in every way."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from experiments.report.benchmark import read_benchmark
from experiments.study.json_files import read_lines
from experiments.study.provenance import FILE, is_made_so
from experiments.study.records import RECORD, RUNS, read_records
from experiments.study.stream_records import PEERS, STREAMS, read_peers, read_streams
from kws_jax.config import BASE
from tests.helpers import fake_records as fake
from tests.malformed.harness import Case

RUN = fake.record()
BENCHMARK = json.loads(json.dumps(fake.benchmark({"base": BASE, "student": replace(BASE, gru_hidden=8)})))
Place = tuple[str | int, ...]
WRONG = {
    "null": None,
    "a list": [],
    "a dictionary": {},
    "text": "x",
    "a truth": True,
    "a number": 7,
    "below zero": -1,
    "a huge number": 10**30,
    "not a number": float("nan"),
    "infinity": float("inf"),
}
BROKEN = {
    "nothing": b"",
    "half a file": json.dumps(asdict(RUN)).encode()[:700],
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "text": b'"record"',
    "100,000 brackets": b"[" * 100_000,
    "100,000 dictionaries": b'{"a":' * 100_000,
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "bytes": bytes(range(256)),
    "zeros": bytes(500),
    "two records": b"{}{}",
    "a number of 5,000 digits": b"1" * 5_000,
    "no quotes": b"{keyword: happy}",
    "another schema": b'{"name": "base", "metrics": {"au_fa_fr": 1e-5}}',
    "a comma too many": b'{"setting": {},}',
}


@cache
def examples() -> dict[str, dict[str, Any]]:
    """A record of each kind, as JSON."""
    kinds = {"run": RUN, "stream": fake.stream_record(), "peer": fake.peer_record()}
    return {kind: json.loads(json.dumps(asdict(record))) for kind, record in kinds.items()}


def read(kind: str, content: bytes, folder: Path) -> object:
    """Reads a file as the report does."""
    places = {"run": f"{RUNS}/{RUN.name}/{RECORD}", "stream": f"{STREAMS}/a.json", "peer": f"{PEERS}/a.json"}
    places |= {"benchmark": "benchmark.json", "search": "search.jsonl", "provenance": FILE}
    path = folder / places[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if kind == "search":
        return read_lines(path)
    if kind == "provenance":
        return is_made_so(folder, {"framework": "JAX"})
    return {"run": read_records, "stream": read_streams, "peer": read_peers, "benchmark": read_benchmark}[kind](folder)


def places(value: Any, prefix: Place = ()) -> Iterator[Place]:
    """Where the values of a record lie, of lists the first item alone."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, part in items:
        yield (*prefix, name)
        yield from places(part, (*prefix, name))


def changed(values: Any, place: Place, value: Any) -> Any:
    """A copy with another value at a place; without what is there where the value is `changed`."""
    copy = json.loads(json.dumps(values))
    inner = copy
    for name in place[:-1]:
        inner = inner[name]
    if value is changed:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return copy


def field_cases() -> Iterator[Case]:
    """Every field without a value, and with one of another kind."""
    for kind, example in {**examples(), "benchmark": BENCHMARK}.items():
        every = [place for place in places(example) if "model" not in place[:-1] and "models" not in place]
        for number, place in enumerate(every):
            wrong = {**WRONG, "missing": changed}
            where = ".".join(map(str, place))
            for name in list(wrong)[number % 3 :: 3]:  # each field a third of them, and each of them on many fields
                content = json.dumps(changed(example, place, wrong[name])).encode()
                yield Case("record fields of another kind", f"{kind}, {where}: {name}", partial(read, kind, content))
        for place in (), ("cost",), ("heard",), ("quality",), ("data", "testing"):
            if not place or place[0] in example:
                foreign = json.dumps(changed(example, (*place, "gone"), 1)).encode()
                yield Case("record fields of another kind", f"{kind}, {place} has more", partial(read, kind, foreign))


def file_cases() -> Iterator[Case]:
    for kind in ("run", "stream", "peer", "benchmark", "search", "provenance"):
        for name, content in BROKEN.items():
            yield Case("files that are no records", f"{kind}: {name}", partial(read, kind, content))


CASES = [*field_cases(), *file_cases()]
