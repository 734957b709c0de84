"""Manifests, records and addresses that are bent, or lead elsewhere: what publishes and fetches models."""

import copy
import functools
import json
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import get_checkpoints
from experiments.streams.publishing import publish
from experiments.study.provenance import FILE, is_made_so
from experiments.study.records import MODEL, RUNS
from kws_jax.checkpoint import describe
from kws_jax.errors import UserError
from tests.helpers import fake_records
from tests.malformed.harness import Case

SHIPPED = Path(__file__).parents[2] / "checkpoints"
MODEL_FILE = "happy/student_314x_int5.safetensors"
MANIFEST = json.loads((SHIPPED / "manifest.json").read_text())
ENTRY = next(entry for entry in MANIFEST["checkpoints"] if entry["file"] == MODEL_FILE)
TEXTS = (
    "",
    " ",
    "{",
    "[]",
    "{}",
    "null",
    "1",
    '"a"',
    "[" * 100_000,
    '{"a":' * 100_000,
    "NaN",
    "\x00",
    "\ufeff{}",
    "a: b",
)
TEXTS += ('{"checkpoints": null}', '{"checkpoints": []}', '{"checkpoints": {}}', '{"checkpoints": [[]]}')
TEXTS += ('{"checkpoints": "happy"}', '{"checkpoints": [null]}', '{"checkpoints": [1]}', '{"checkpoints": [{}]}')
TEXTS += (json.dumps({"checkpoints": [ENTRY, ENTRY]}), json.dumps({"checkpoints": ENTRY}), json.dumps([ENTRY]))
ODD: tuple[Any, ...] = (
    None,
    [],
    {},
    -1,
    1e400,
    math.nan,
    True,
    "",
    "x",
    "\x1b[31m",
    "a\nb",
    "x" * 100_000,
    [[]],
    "../x",
    "/etc/x",
)
FILES = (
    "../x",
    "/etc/passwd",
    "a/../../x",
    "a\\..\\x",
    "",
    "C:x",
    "a//b",
    "happy",
    "happy/",
    "/base",
    "happy/base\n",
    "h/b\x00",
)
FILES += (
    "happy/base.safetensors/x",
    "./happy/base",
    "~/x",
    "$HOME/x",
    "happy/\x1b[31m",
    "happy/*",
    "%2e%2e/x",
    "happy/" + "x" * 300,
)
ADDRESSES = (
    "",
    " ",
    "x",
    "/",
    "//",
    "http:",
    "http://",
    "http://[",
    "http://[::1",
    "http://a b/",
    "http://127.0.0.1:9",
)
ADDRESSES += (
    "https://127.0.0.1:9",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:-1",
    "http://127.0.0.1:x",
    "http://:80",
)
ADDRESSES += (
    "file:",
    "file://",
    "file:///",
    "file:///nowhere",
    "file://elsewhere/x",
    "file:///dev/null",
    "file:///proc",
)
ADDRESSES += (
    "ftp:x",
    "gopher://x",
    "javascript:1",
    "data:,x",
    "s3://x",
    "doi:10.1/x",
    "sftp://127.0.0.1:9",
    "\x1b[31m",
    "a\nb",
)
ADDRESSES += (
    "http://\u202e",
    "http://" + "x" * 300,
    "x" * 100_000,
    "http://127.0.0.1:9/\n",
    "\udc80",
    "HTTP://127.0.0.1:9",
    "..",
)
NAMES = (
    "../x",
    "/x",
    "a/b",
    "",
    ".",
    "..",
    "a\nb",
    "\x1b[31m",
    "a b",
    "x" * 300,
    "*",
    "\udc80",
    "a\x00b",
    "C:x",
    "~",
    "a\\b",
)


def _read(manifest: str | bytes, folder: Path) -> None:
    text = manifest if isinstance(manifest, bytes) else manifest.encode(errors="surrogatepass")
    (folder / "manifest.json").write_bytes(text)
    models = get_checkpoints.read_manifest(folder)
    assert all((folder / file).resolve().is_relative_to(folder.resolve()) for file in models)


def _changed(changes: dict[str, Any], without: str | None = None) -> str:
    entry = copy.deepcopy(ENTRY) | changes
    entry.pop(without, None)
    return json.dumps({"checkpoints": [entry]})


def _publish_onto(manifest: str, folder: Path) -> None:
    target = folder / "out" / "checkpoints"
    target.mkdir(parents=True)
    (target / "manifest.json").write_text(manifest)
    _publish(fake_records.record(name="student_314x_int5"), folder)


def _publish(record: Any, folder: Path) -> None:
    """Into out/checkpoints; nothing may come to lie, or go, anywhere else."""
    (folder / "mine").write_text("mine")
    with_model = folder / "results" / RUNS / "student_314x_int5-happy-official-0"
    with_model.mkdir(parents=True)
    os.link(SHIPPED / MODEL_FILE, with_model / MODEL)
    before = {path for path in folder.rglob("*") if path.is_file()}
    target = folder / "out" / "checkpoints"
    publish([record], folder / "results", target, lambda path, about: describe(path)[1])
    after = {path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(target)}
    assert before - {target / "manifest.json"} == after


def _download(address: str, folder: Path) -> None:
    try:
        get_checkpoints.download(f"{address}/{MODEL_FILE}", folder / MODEL_FILE, ENTRY["sha256"])
    finally:
        assert [*folder.rglob("*")] == [], "something is left"
    raise AssertionError("fetched")


def _made_so(text: str, folder: Path) -> None:
    (folder / FILE).write_text(text, errors="surrogatepass")
    if is_made_so(folder, {"keyword": "up", "seed": 0}):
        raise AssertionError("taken for what made a model")
    raise UserError("made otherwise")


def _cases() -> Iterator[Case]:
    texts = {repr(text[:60]): text for text in TEXTS}
    for said, text in texts.items():
        yield Case("manifests", said, functools.partial(_read, text))
        yield Case("manifests to publish onto", said, functools.partial(_publish_onto, text))
        yield Case("provenance", said, functools.partial(_made_so, text))
    yield Case("manifests", "bytes", functools.partial(_read, bytes(range(256))))
    yield Case("manifests", "utf-16", functools.partial(_read, _changed({}).encode("utf-16")))
    for name in ENTRY:
        yield Case("manifests", f"without {name}", functools.partial(_read, _changed({}, name)))
        for odd in ODD:
            what = f"{name} of {odd!r:.40}"
            yield Case("manifests", what, functools.partial(_read, _changed({name: odd})))
    for file in FILES:
        changed = _changed({"file": f"{file}.safetensors"})
        yield Case("manifests that lead elsewhere", repr(file)[:60], functools.partial(_read, changed))
        yield Case(
            "manifests that lead elsewhere", f"{file!r:.60}, published", functools.partial(_publish_onto, changed)
        )
    for address in ADDRESSES:
        yield Case("addresses", repr(address)[:60], functools.partial(_download, address))
    record = fake_records.record(name="student_314x_int5")
    for name in NAMES:
        for field, bent in {
            "setting": replace(record, setting=record.setting | {"name": name}),
            "keyword": replace(record, keyword=name),
            "split": replace(record, split=name),
            "voices": replace(record, voices=name),
        }.items():
            yield Case("records that lead elsewhere", f"{field} {name!r:.60}", functools.partial(_publish, bent))
    yield Case("records that lead elsewhere", "none of it", functools.partial(_publish, record))


CASES = [*_cases()]
