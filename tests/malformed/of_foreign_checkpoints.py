"""Files of PyTorch, cut, flipped, packed again, and nested in every way; taken, they hold the very same numbers."""

import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from safetensors.torch import save

from tests.helpers.checkpoints import TENSORS
from tests.malformed.harness import Case
from tests.malformed.of_pickles import PICKLED, SAVED, case


def saved(content: Any, **options: Any) -> bytes:
    written = io.BytesIO()
    torch.save(content, written, **options)
    return written.getvalue()


OLDER = saved(TENSORS, _use_new_zipfile_serialization=False)


def nested() -> Iterator[Case]:
    prefixes = ["", "module.", "_orig_mod.", "module._orig_mod.", "module.module.", "model.", "net.student.", "ü."]
    nests: dict[str, Callable[[dict], Any]] = {
        "bare": lambda state: state,
        "state_dict": lambda state: {"state_dict": state, "epoch": 3},
        "three deep": lambda state: {"a": {"b": {"c": state}}},
        "in a list": lambda state: [None, {"model": state}],
        "beside an optimizer": lambda state: {"net": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
        "beside a classifier": lambda state: {"net": state, "other": {"classifier.weight": torch.zeros(2, 5)}},
        "no text as a key": lambda state: {0: state, (1, 2): "x", None: None},
        "empty name": lambda state: {"": state},
        "odd name": lambda state: {"\x1b[2J.\n": state},
    }
    for prefix in prefixes:
        state = {prefix + key: tensor for key, tensor in TENSORS.items()}
        for name, nest in nests.items():
            yield case("nests and prefixes", f"{prefix or 'none'} {name}", saved(nest(state)), taken=True)
        yield case("nests and prefixes", f"{prefix or 'none'} safetensors", save(state), taken=True)
        twice = state | {f"b.{key}": tensor for key, tensor in TENSORS.items()}
        yield case("several models", f"{prefix or 'none'} and b.", saved(twice))
        yield case("several models", f"{prefix or 'none'} and another nest", saved({"a": state, "b": TENSORS}))
        yield case(
            "several models",
            f"{prefix or 'none'} and in parallel",
            saved(state | {f"module.{k}": t for k, t in state.items()}),
        )


def bent() -> Iterator[Case]:
    rng, whole = random.Random(0), SAVED.getvalue()
    for share in (*(number / 30 for number in range(30)), 0.999):
        yield case("files of PyTorch that are cut", f"zip {share}", whole[: int(share * len(whole))])
        yield case("files of PyTorch that are cut", f"older {share}", OLDER[: int(share * len(OLDER))])
    for number in range(80):
        place, bit = rng.random(), 1 << rng.randrange(8)
        for name, content in (("zip", whole), ("older", OLDER)):
            where = int(place * len(content))
            flipped = content[:where] + bytes([content[where] ^ bit]) + content[where + 1 :]
            yield case(
                "files of PyTorch with a flipped bit", f"{name} {number}", flipped, taken=None, same=name == "zip"
            )


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return written.getvalue()


def archives() -> Iterator[Case]:
    kind = "archives with odd members"
    with zipfile.ZipFile(SAVED) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    root = next(name for name in members if name.endswith("data.pkl")).removesuffix("data.pkl")
    for name, content in {
        "packed again": packed(members),
        "compressed": packed(members, zipfile.ZIP_DEFLATED),
        "another root": packed({name.replace(root, "x y/z/"): content for name, content in members.items()}),
        "no root": packed({name.replace(root, ""): content for name, content in members.items()}),
        "another data.pkl deeper": packed(members | {f"{root}more/data.pkl": b"junk"}),
        "code beside it": packed(members | {f"{root}code/__torch__.py": b"import os; os.mkdir('executed')"}),
        "a name that leaves": packed(members | {"../../executed": b"x"}),
        "no byte order": packed({name: content for name, content in members.items() if "byteorder" not in name}),
        "something before it": packed({"__MACOSX/._x": b"x"} | members),
    }.items():
        yield case(kind, name, content, taken=True)
    for name, content in {
        "nothing": packed({}),
        "no data.pkl": packed({name: content for name, content in members.items() if "data.pkl" not in name}),
        "a folder of it": packed({f"{root}data.pkl/": b""}),
        "big-endian": packed(members | {f"{root}byteorder": b"big"}),
        "byte order of neither": packed(members | {f"{root}byteorder": b"\x1b[31m"}),
        "empty data.pkl": packed(members | {f"{root}data.pkl": b""}),
        "cut data.pkl": packed(members | {f"{root}data.pkl": PICKLED[:-9]}),
        "storage shorter": packed(members | {f"{root}data/0": members[f"{root}data/0"][:-4]}),
        "storage longer": packed(members | {f"{root}data/0": members[f"{root}data/0"] + bytes(4)}),
        "storage missing": packed({name: content for name, content in members.items() if name != f"{root}data/0"}),
        "model within": packed({"model.pt": SAVED.getvalue()}),
        "a sheet": packed({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}),
        "encrypted": packed(members).replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0"),
        "of an unknown method": packed(members).replace(
            b"PK\x01\x02\x14\x03\x14\0\0\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\0\x63\0"
        ),
        "a bomb": _bomb(members, f"{root}data/0"),
        "two of one name": _two_of_one_name(members),
    }.items():
        yield case(kind, name, content)


def _bomb(members: dict[str, bytes], name: str) -> bytes:
    """A storage that claims to unpack to 3 GB."""
    content = bytearray(packed(members, zipfile.ZIP_DEFLATED))
    entry = content.rindex(name.encode()) - 46
    content[entry + 24 : entry + 28] = struct.pack("<I", 3 << 30)
    return bytes(content)


def _two_of_one_name(members: dict[str, bytes]) -> bytes:
    other = {
        name.replace("data/0", "data/O"): bytes(len(content)) for name, content in members.items() if "data/0" in name
    }
    return packed(members | other).replace(b"data/O", b"data/0")


def claiming() -> Iterator[Case]:
    """Tensors that claim what their storage, three numbers, does not hold; in place of the convolution's bias."""
    kind = "tensors that claim what is not there"
    claims: dict[str, tuple[Any, Any, Any]] = {
        **{"offset": (1, (3,), (1,)), "negative offset": (-1, (3,), (1,)), "offset of 2^62": (2**62, (3,), (1,))},
        **{
            "more": (0, (4,), (1,)),
            "stride": (0, (3,), (2,)),
            "stride of 2^62": (0, (3,), (2**62,)),
            "minus": (2, (3,), (-1,)),
        },
        **{
            "terabytes": (0, (3, 10**12), (0, 0)),
            "expanded": (0, (2, 3), (0, 1)),
            "overflow": (0, (2**62, 2**62), (1, 1)),
        },
        **{
            "size and stride": (0, (3,), (1, 1)),
            "no sizes": (0, None, None),
            "number": (0, 3, 1),
            "text": ("0", ("3",), ("1",)),
        },
        **{
            "float": (0.0, (3.0,), (1.0,)),
            "yes": (False, (True,), (True,)),
            "half": (0, (2,), (1,)),
            "scalar": (0, (), ()),
        },
        **{"empty": (0, (0,), (1,)), "65 axes": (0, (1,) * 65, (1,) * 65), "empty and huge": (0, (0, 2**62), (1, 1))},
        "list in a list": (0, [[3]], [[1]]),
    }
    for name, claim in claims.items():
        for protocol in (0, 2, 4):
            yield case(kind, f"{name}, protocol {protocol}", _claimed(claim, protocol))
    for name, storage in {
        **{
            "of no type": (None, "0", "cpu", 3),
            "unknown type": (torch.Tensor, "0", "cpu", 3),
            "of numbers": (1, 2, 3, 4),
        },
        **{
            "of another length": (torch.FloatStorage, "0", "cpu", 4),
            "of 2^62": (torch.FloatStorage, "0", "cpu", 2**62),
        },
        **{
            "of another type": (torch.DoubleStorage, "0", "cpu", 3),
            "elsewhere": (torch.FloatStorage, "../version", "cpu", 3),
        },
        **{
            "absent": (torch.FloatStorage, "99", "cpu", 3),
            "half": (torch.FloatStorage, "0"),
            "quantized": (torch.QInt8Storage, "0", "cpu", 12),
        },
        "wide": (torch.ComplexFloatStorage, "0", "cpu", 1),
    }.items():
        yield case(kind, f"storage {name}", _claimed((0, (3,), (1,)), 2, storage))


class _Stored:
    """Pickled as what `persistent_id` makes of it."""


def _claimed(claim: tuple[Any, Any, Any], protocol: int, storage: Any = (torch.FloatStorage, "0", "cpu", 3)) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", *storage) if isinstance(value, _Stored) else None

    class Tensor:
        def __reduce__(self) -> tuple[Callable, tuple]:
            return torch._utils._rebuild_tensor_v2, (_Stored(), *claim, False, {})

    written, packed = io.BytesIO(), io.BytesIO()
    Pickler(written, max(protocol, 1)).dump({"conv.0.weight": Tensor(), "conv.0.bias": Tensor()})
    with zipfile.ZipFile(packed, "w") as new:
        new.writestr("a/data.pkl", written.getvalue())
        new.writestr("a/data/0", struct.pack("<3f", 1, 2, 3))
        new.writestr("a/version", "123456789012")
    return packed.getvalue()


CASES = [*nested(), *bent(), *archives(), *claiming()]
