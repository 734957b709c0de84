"""Pickles that want to execute, to fill the memory, or to be taken for tensors that they are not."""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from conversion.files import load
from kws_jax.errors import UserError
from kws_jax.state_dict import from_variables
from tests.helpers.checkpoints import STATE, TENSORS, assert_holds
from tests.helpers.models import TOY
from tests.malformed.harness import Case

SAVED = io.BytesIO()
torch.save(TENSORS, SAVED)
KEY = b"X\x0d\0\0\0conv.0.weight"


def archive(pickled: bytes) -> bytes:
    """What torch.save wrote of the toy's tensors, with another pickle in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(SAVED) as old, zipfile.ZipFile(packed, "w") as new:
        for info in old.infolist():
            new.writestr(info, pickled if info.filename.endswith("data.pkl") else old.read(info))
    return packed.getvalue()


with zipfile.ZipFile(SAVED) as _whole:
    PICKLED = _whole.read(next(name for name in _whole.namelist() if name.endswith("data.pkl")))


def run(folder: Path, content: bytes, taken: bool | None, same: bool = True) -> None:
    """Reads the content; `executed` is what every hostile one here would make.

    Taken or refused as it is said, or either where nothing is; what is taken holds the same numbers, if they can be
    told from others.
    """
    path, here = folder / "model.pt", Path.cwd()
    path.write_bytes(content)
    os.chdir(folder)
    try:
        if taken:
            return assert_taken(path)
        config, variables, _ = load(path, TOY)
        assert taken is None, "taken"
        found = from_variables(variables, config)
        assert not same or all(found[key].tobytes() == array.tobytes() for key, array in STATE.items())
    finally:
        os.chdir(here)
        assert not (folder / "executed").exists(), "executed"


def assert_taken(path: Path) -> None:
    try:
        assert_holds(path, TENSORS)
    except UserError as error:
        raise AssertionError("refused") from error


def case(kind: str, name: str, content: bytes, taken: bool | None = False, same: bool = True) -> Case:
    return Case(kind, name, lambda folder: run(folder, content, taken, same))


def text(letters: str) -> bytes:
    return b"X" + len(letters).to_bytes(4, "little") + letters.encode()


PYTHON, NAME = text("__import__('os').mkdir('executed')"), text("executed")
CALLS = {
    "reduce": b"cos\nmkdir\n(" + NAME + b"tR",
    "reduce, posix": b"cposix\nmkdir\n(" + NAME + b"tR",
    "reduce, with a number": b"cos\nmkdir\n" + NAME + b"M\xff\x01\x86R",
    "stack global": b"\x8c\x02os\x8c\x05mkdir\x93" + NAME + b"\x85R",
    "inst": b"(" + NAME + b"ios\nmkdir\n",
    "obj": b"(cos\nmkdir\n" + NAME + b"o",
    "new object": b"cpathlib\nPosixPath\n)R0cos\nmkdir\n" + NAME + b"\x85\x81",
    "new object with names": b"cos\nmkdir\n" + NAME + b"\x85}\x92",
    "system": b"cos\nsystem\n(" + text("mkdir executed") + b"tR",
    "eval": b"c__builtin__\neval\n(" + PYTHON + b"tR",
    "exec": b"cbuiltins\nexec\n(" + PYTHON + b"tR",
    "getattr": b"cbuiltins\ngetattr\n(cos\nsystem\n" + text("__call__") + b"tR(" + text("mkdir executed") + b"tR",
    "subprocess": b"csubprocess\ncall\n((" + text("mkdir") + NAME + b"ltR",
    "a method by dots": b"\x8c\x02os\x8c\x0dpath.os.mkdir\x93" + NAME + b"\x85R",
    "runpy": b"crunpy\n_run_code\n(" + PYTHON + b"}tR",
    "a class changed": b"ccollections\nOrderedDict\n}" + text("items") + b"cos\nmkdir\nsb",
    "a hook of state": b"cargparse\nNamespace\n)R}" + text("__setstate__") + b"cos\nmkdir\nsb" + NAME + b"b",
    "a key that is a call": b"}cos\nmkdir\n(" + NAME + b"tRK\x01s",
    "torch's own loader": b"ctorch\nload\n(" + NAME + b"tR",
    "numpy's loader": b"cnumpy\nload\n(" + NAME + b"tR",
    "a tensor around a call": b"ctorch._utils\n_rebuild_parameter\n(cos\nmkdir\n(" + NAME + b"tR\x89)tR",
    "an array around a call": b"cnumpy.core.multiarray\n_reconstruct\n(cos\nmkdir\n(" + NAME + b"ttR",
    # These are refused even beside what is whole.
    "a type that calls": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nmkdir\nN" + NAME + b"\x85NtR",
    "torch's bytes": b"ctorch.storage\n_load_from_bytes\n(B\x1d\0\0\0cos\nmkdir\n(" + NAME + b"tR.tR",
    "a called result": b"cbuiltins\ngetattr\n(cos\n" + NAME + b"tR)R",
    "an extension": b"\x82\x01",
    "an extension of two": b"\x83\x01\x00",
    "an id": NAME + b"Q",
    "an id of old": b"Pexecuted\n",
}
REFUSED = {*list(CALLS)[-8:], "getattr"}


def executing() -> Iterator[Case]:
    kind = "pickles that would execute"
    for name, call in CALLS.items():
        yield case(kind, f"{name}, alone", b"\x80\x02" + call + b".")
        yield case(kind, f"{name}, in an archive", archive(b"\x80\x02" + call + b"."))
        beside = PICKLED[:2] + call + b"0" + PICKLED[2:]  # made, thrown away, and then the tensors
        yield case(kind, f"{name}, before the tensors", archive(beside), None if name in REFUSED else True)
        in_place = b"\x80\x02}" + KEY + call + b"s."
        yield case(kind, f"{name}, as a tensor", archive(in_place))


def deep(opening: bytes, closing: bytes, depth: int = 4_000) -> bytes:
    return b"\x80\x02" + opening * depth + b"N" + closing * depth + b"."


DEEP_ID = b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\nN" + b"\x85" * 100_000


def filling() -> Iterator[Case]:
    kind = "pickles that fill the memory"
    for name, content in {
        "memo of 2^32": b"\x80\x02}r\xff\xff\xff\xff.",
        "memo of 2^31 by text": b"}p2147483647\n.",
        "text of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
        "text of 2^63": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        "bytes of 2^63": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        "bytearray of 2^40": b"\x80\x05\x96\0\0\0\0\0\x01\0\0abc.",
        "bytearray by call": b"\x80\x02cbuiltins\nbytearray\n(\x8a\x06\0\0\0\0\0\x01tR.",
        "tensor by call": b"\x80\x02ctorch\nTensor\n(\x8a\x06\0\0\0\0\0\x01tR.",
        "number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
        "number of -1 bytes": b"\x80\x02\x8b\xff\xff\xff\xffabc.",
        "number of 100,000 digits": b"I" + b"9" * 100_000 + b"\n.",
        "frame of 2^63": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
        "deep tuples": deep(b"", b"\x85"),
        "deep lists": deep(b"]", b"a"),
        "deep dictionaries": deep(b"}X\x01\0\0\0a", b"s"),
        "deep marks": deep(b"(", b""),
        "deep objects": deep(b"cos\nmkdir\n", b"\x85R"),
        "deep keys": b"\x80\x02}N" + b"\x85" * 100_000 + b"Ns.",
        "deep pairs": b"\x80\x02ccollections\nOrderedDict\n]]N" + b"\x85" * 100_000 + b"aK\x01aa\x85R.",
        "a deep id": DEEP_ID + b"NK\x01tQ.",
        "a deep id of old": DEEP_ID + b"NK\x01NtQ.",
        "a list of itself": b"\x80\x02]q\0h\0a.",
        "a dictionary of itself": b"\x80\x02}q\0X\x01\0\0\0ah\0s.",
        "a state of itself": b"\x80\x02cargparse\nNamespace\n)Rq\0h\0b.",
        "names of names": _laughing(),
        "long names within names": b"\x80\x02" + (b"}X\x10\x27\0\0" + b"a" * 10_000) * 500 + b"N" + b"s" * 500 + b".",
        "many marks and pops": deep(b"(1", b""),
    }.items():
        if name != "a deep id":
            yield case(kind, f"{name}, alone", content)
        if name == "a deep id" or not name.startswith(("deep keys", "deep pairs", "a deep", "names of")):
            yield case(kind, f"{name}, in an archive", archive(content))


def _laughing() -> bytes:
    """Twenty dictionaries, each twice in the next."""
    content = b"\x80\x02}q\0"
    for number in range(20):
        content += b"}" + b"".join(b"X\x01\0\0\0" + name + b"h" + bytes([number]) + b"s" for name in (b"a", b"b"))
        content += b"q" + bytes([number + 1])
    return content + b"."


def broken() -> Iterator[Case]:
    kind = "pickles that are broken"
    pieces = {
        **{"nothing": b"", "a stop": b".", "no stop": b"\x80\x02}", "protocol 200": b"\x80\xc8}.", "no value": b"}s."},
        **{
            "set into a number": b"K\x01K\x01K\x01s.",
            "appended to a number": b"K\x01K\x01a.",
            "odd items": b"}(K\x01u.",
        },
        **{"unknown memo": b"h\x07.", "no mark": b"t.", "state of nothing": b"b.", "called number": b"K\x01)R."},
        **{
            "called without a tuple": b"cos\nmkdir\nK\x01R.",
            "named by a number": b"K\x01K\x01\x93.",
            "no name": b"c\n",
        },
        **{"text without quotes": b"Sabc\n.", "half an escape": b"S'\\x'\n.", "bad UTF-8": b"X\x01\0\0\0\xff."},
        **{"a surrogate": b"X\x03\0\0\0\xed\xa0\x80.", "float of letters": b"Fabc\n.", "number of letters": b"Iabc\n."},
        **{"unknown opcode": b"\xff.", "a buffer": b"\x97.", "pop of nothing": b"0.", "text": b"hello world\n"},
        **{
            "zeros": bytes(99),
            "a name of codes": b"c\x1b[31m\n\x1b[2J\n)R.",
            "twice a pickle": b"}.}.",
            "magic alone": MAGIC,
        },
        **{"magic and no more pickles": MAGIC + b"M\xe9\x03.}.", "magic, keys that are none": MAGIC + b"N.N.}.N."},
        **{"magic, a key of nothing": MAGIC + b"N.N.}.]X\x01\0\0\0aa.", "magic twice": MAGIC + MAGIC},
    }
    for name, content in pieces.items():
        yield case(kind, f"{name}, alone", content)
        yield case(kind, f"{name}, in an archive", archive(content))


MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


CASES = [*executing(), *filling(), *broken()]
