"""Checkpoints of this project as bytes and as files: cut, flipped, with parts missing, and what is no file."""

import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

from conversion.__main__ import main
from conversion.files import load, read_module
from kws_jax import checkpoint
from kws_jax.errors import UserError
from tests.helpers.checkpoints import STATE, assert_holds, write_shipped
from tests.helpers.models import TOY, random_variables
from tests.malformed.harness import Case, kept_folder

WORDS = {"keyword": "happy", "threshold": 0.5}


@cache
def whole() -> tuple[bytes, Path]:
    """A shipped file's bytes, and a folder of the same model, which nobody changes."""
    folder = kept_folder()
    checkpoint.save(folder / "flax", TOY, random_variables(TOY), checkpoint.About("happy"))
    write_shipped(folder / "a", {key: array for key, array in STATE.items() if array.ndim}, asdict(TOY), WORDS)
    return (folder / "a").read_bytes(), folder / "flax"


def bent_file(kind: str, name: str, bend: Callable[[bytes], bytes], damaged: bool = True) -> Case:
    def run(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(bend(whole()[0]))
        with suppress(UserError):
            read_module(path)
            assert not damaged, "taken by PyTorch's side"
        checkpoint.load(path)
        assert not damaged, "taken"

    return Case(kind, name, run)


def bent_files() -> Iterator[Case]:
    rng = random.Random(0)
    for share in (*(number / 40 for number in range(40)), 0.999):
        yield bent_file("shipped files that are cut", f"{share}", lambda b, s=share: b[: int(s * len(b))])
    for number in range(60):
        place, bit = rng.random(), 1 << rng.randrange(8)

        def flip(content: bytes, place: float = place, bit: int = bit) -> bytes:
            where = int(place * len(content))
            return content[:where] + bytes([content[where] ^ bit]) + content[where + 1 :]

        yield bent_file("shipped files with a flipped bit", f"{number}", flip, damaged=False)
    for name, bend in {
        "one byte more": lambda b: b + b"\0",
        "twice": lambda b: b + b,
        "a mark before it": lambda b: b"\xef\xbb\xbf" + b,
        "lines of Windows": lambda b: b.replace(b"\n", b"\r\n") + b"\r\n",
        "as text": lambda b: b.decode("latin1").encode(),
        "zeros": lambda b: bytes(len(b)),
        "length of 2^63": lambda b: (2**63).to_bytes(8, "little") + b[8:],
        "length of the file": lambda b: len(b).to_bytes(8, "little") + b[8:],
        "length of 2": lambda b: (2).to_bytes(8, "little") + b"{}",
        "no JSON": lambda b: (9).to_bytes(8, "little") + b"{kws: 1}\n",
        "deep JSON": lambda b: _header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "deep words": lambda b: _header(json.dumps({"__metadata__": {"kws": "[" * 100_000}}).encode()),
        "deep configuration": lambda b: _header(
            json.dumps({"__metadata__": {"kws": '{"config":' + '{"frontend":' * 900 + "}" * 900 + "}"}}).encode()
        ),
        "words that are no text": lambda b: _header(b'{"__metadata__":{"kws":5}}'),
        "a shape of terabytes": lambda b: b.replace(b'"shape":[3]', b'"shape":[9999999999999]'),
        "offsets of another": lambda b: b.replace(b'"data_offsets":[0,', b'"data_offsets":[4,', 1),
        "negative offsets": lambda b: b.replace(b'"data_offsets":[0,', b'"data_offsets":[-4,', 1),
        "another type": lambda b: b.replace(b'"F32"', b'"I32"', 1),
        "bfloat16": lambda b: b.replace(b'"F32"', b'"BF16"'),
        "unknown type": lambda b: b.replace(b'"F32"', b'"F33"'),
    }.items():
        yield bent_file("shipped files with bent headers", name, bend)


def _header(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


def folder_case(name: str, bend: Callable[[Path], object], damaged: bool = True) -> Case:
    """A folder of orbax's that is bent; taken, it holds the very same numbers."""

    def run(folder: Path) -> None:
        copy = shutil.copytree(whole()[1], folder / "flax")
        bend(copy)
        assert_holds(copy, STATE)
        assert not damaged, name

    return Case("folders with parts missing or bent", name, run)


def bent_folders() -> Iterator[Case]:
    names = ["about.json", "variables", "variables/_METADATA", "variables/manifest.ocdbt", "variables/ocdbt.process_0"]
    for name in names:
        needed = not name.endswith("process_0")  # what is there twice
        yield folder_case(f"{name} missing", lambda f, n=name: _remove(f / n), needed)
        for what, junk in (("a file of junk", b"\xff{}"), ("empty", b"")):
            yield folder_case(f"{name} {what}", lambda f, n=name, j=junk: _replace(f / n, j), needed)
        yield folder_case(f"{name} a pipe", lambda f, n=name: (_remove(f / n), os.mkfifo(f / n)))
    yield folder_case("data cut", lambda f: [_cut(path) for path in f.rglob("d/*")])
    for number in range(6):
        yield folder_case(f"data flipped {number}", lambda f, n=number: _flip(f, n), damaged=False)
    yield folder_case("a pipe among the data", lambda f: os.mkfifo(f / "variables" / "d" / "pipe"))
    yield folder_case("a link to itself", lambda f: (f / "variables" / "d" / "loop").symlink_to("loop"))
    yield folder_case("notes beside it", lambda f: (f / "notes.txt").write_text("mine"), damaged=False)
    yield folder_case("a folder in place of words", lambda f: (_remove(f / "about.json"), (f / "about.json").mkdir()))
    for name, text in {
        "Latin-1": '{"ü": 1}'.encode("latin1"),
        "deep": b"[" * 100_000,
        "NUL": b"\0",
        "null": b"null",
    }.items():
        yield folder_case(f"words {name}", lambda f, t=text: (f / "about.json").write_bytes(t))
    for name, changes in {
        **{
            "wider": {"gru_hidden": 6},
            "deeper": {"gru_layers": 3},
            "flatter": {"gru_layers": 1},
            "more": {"num_classes": 3},
        },
        **{"normed": {"batch_norm": True}, "huge": {"gru_hidden": 65_536}},
    }.items():
        yield folder_case(f"words of a model {name}", lambda f, c=changes: _say(f, c))


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _replace(path: Path, content: bytes) -> None:
    _remove(path)
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(folder: Path, number: int) -> None:
    for path in folder.rglob("d/*"):
        content = bytearray(path.read_bytes())
        content[(number * len(content)) // 6] ^= 0x10
        path.write_bytes(content)


def _say(folder: Path, changes: dict) -> None:
    words = json.loads((folder / "about.json").read_text())
    words["config"] |= changes
    (folder / "about.json").write_text(json.dumps(words))


def no_files() -> Iterator[Case]:
    def make_socket(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as opened:
            here = Path.cwd()
            os.chdir(path.parent)  # a socket's path is short
            try:
                opened.bind(path.name)
            finally:
                os.chdir(here)

    makers: dict[str, Callable[[Path], object]] = {
        **{
            "absent": lambda path: None,
            "empty": Path.touch,
            "pipe": os.mkfifo,
            "socket": make_socket,
            "folder": Path.mkdir,
        },
        "device": lambda path: path.symlink_to("/dev/zero"),
        "link to itself": lambda path: path.symlink_to(path.name),
        "link to nothing": lambda path: path.symlink_to("nothing"),
        "text": lambda path: path.write_text("not a model\n"),
        "picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)),
        "tar": lambda path: path.write_bytes(b"data.pkl" + bytes(249) + b"ustar\x0000" + bytes(999)),
    }
    names = {"": "model.pt", " of a safe name": "model.safetensors", " of an odd name": "a b\n\x1b[31m\u202e.pt"}
    readers: dict[str, Callable[[Path], object]] = {"load": load, "checkpoint": checkpoint.load, "module": read_module}
    for what, make in makers.items():
        for named, file_name in names.items():
            for reader, read in readers.items():

                def run(folder: Path, make: Callable = make, name: str = file_name, read: Callable = read) -> None:
                    make(folder / name)
                    read(folder / name)
                    raise AssertionError("taken")

                yield Case("what is no file of a model", f"{what}{named}, {reader}", run)
    for reader, read in readers.items():
        for name, path in {
            "NUL": "a\0b",
            "long": "x" * 5_000,
            "surrogate": "\udc80.pt",
            "root": "/",
            "here": ".",
        }.items():
            yield Case("what is no file of a model", f"{name}, {reader}", lambda folder, r=read, p=path: r(Path(p)))


def foreign_targets() -> Iterator[Case]:
    def run(folder: Path, make: Callable[[Path], object]) -> None:
        (folder / "model.safetensors").write_bytes(whole()[0])
        make(folder / "target")
        before = sorted(str(path) for path in folder.rglob("*"))
        try:
            main(["torch-to-flax", str(folder / "model.safetensors"), str(folder / "target")])
        finally:
            assert sorted(str(path) for path in folder.rglob("*")) == before
        raise AssertionError("taken")

    def notes(path: Path) -> None:
        path.mkdir()
        (path / "notes.txt").write_text("mine")

    for name, make in {
        **{"a file": Path.touch, "a folder of notes": notes, "a pipe": os.mkfifo},
        "a link to the file": lambda path: path.symlink_to("model.safetensors"),
        "words alone": lambda path: (path.mkdir(), (path / "about.json").write_text("{}")),
        "arrays alone": lambda path: (path / "variables").mkdir(parents=True),
        "a checkpoint with notes": lambda path: (shutil.copytree(whole()[1], path), (path / "notes").touch()),
    }.items():
        yield Case("targets that are somebody's", name, lambda folder, m=make: run(folder, m))


CASES = [*bent_files(), *bent_folders(), *no_files(), *foreign_targets()]
