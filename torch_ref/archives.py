"""Tensors in files of PyTorch and in pickles, read without executing anything.

| file             | begins with | what is in it                                                                     |
|------------------|-------------|-----------------------------------------------------------------------------------|
| torch.save       | ZIP_START   | `data.pkl`, a pickle in which storages are ids, and each storage as a file        |
| torch.jit.save   | ZIP_START   | the same, a module as objects, and code, which nothing looks at                   |
| torch.save <1.6  | a pickle    | pickles: MAGIC, version, system, content, ids; then each storage: elements, bytes |
| pickle.dump      | a pickle    | the content, each storage a string of bytes in the format before                  |
"""

import io
import mmap
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from torch_ref.pickles import Inert, unpickle

__all__ = ["StoredTensor", "as_tensor", "is_tensor", "read_content"]

MAGIC = 0x1950A86A20F9469CFC6C
ZIP_START = b"PK\3\4"
MOST_UNPACKED = 2**28  # bytes that an archive may hold beyond its own size, if somebody has compressed it
DTYPES = {
    **{"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16},
    **{"BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32},
    **{"ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8},
    **{"BoolStorage": torch.bool, "UntypedStorage": torch.uint8},
    **{"ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128},
}
BYTES = {kind: dtype.itemsize for kind, dtype in DTYPES.items()} | {
    **{"QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4},  # read to come to the next, and never looked at
}
MOST_AXES = 8


@dataclass(frozen=True, repr=False)
class Storage:
    """Elements in a row that tensors are views of; `contents` has the bytes once they have been read.

    Attributes:
        contents: Bytes by key.
        key: Among them.
        kind: PyTorch's name of the storage, without its module.
        start: Its first element.
    """

    contents: Mapping[Any, bytes]
    key: Any
    kind: str
    start: int = 0


@dataclass(frozen=True, repr=False)
class StoredTensor:
    """What a file says of a tensor: a storage, and which of its elements."""

    storage: Any
    offset: Any
    size: Any
    stride: Any

    def tensor(self) -> Tensor:
        """The tensor itself.

        Raises:
            ValueError: The file claims what is not there, or the elements are of a kind that is not known.
        """
        storage, size, stride = self.storage, tuple(self.size), tuple(self.stride)
        if not isinstance(storage, Storage) or storage.kind not in DTYPES:
            raise ValueError(f"a tensor of {getattr(storage, 'kind', 'no storage')}")
        content, dtype = storage.contents[storage.key], DTYPES[storage.kind]
        offset, elements = storage.start + self.offset, len(content) // dtype.itemsize
        numbers = (offset, *size, *stride)
        if len(size) > MOST_AXES or not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise ValueError("its sizes are no sizes")
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if prod(size) > elements or (prod(size) and last >= elements):
            raise ValueError("it reaches beyond what is stored of it")
        if not prod(size):
            return torch.empty(size, dtype=dtype)
        content = content[offset * dtype.itemsize : (last + 1) * dtype.itemsize]
        return torch.frombuffer(bytearray(content), dtype=dtype).as_strided(size, stride)


def is_tensor(value: Any) -> bool:
    """Whether something that was read stands for a tensor: PyTorch's, or an array of NumPy."""
    is_array = isinstance(value, Inert) and value.name.endswith(".multiarray._reconstruct")
    return is_array or isinstance(value, Tensor | StoredTensor)


def as_tensor(value: Any) -> Tensor:
    """The tensor that such a thing stands for.

    Raises:
        ValueError: It is no such thing, or the file claims what is not there.
    """
    try:
        if isinstance(value, StoredTensor):
            return value.tensor()
        return value if isinstance(value, Tensor) else _of_numpy(value.state)
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"a {getattr(value, 'name', type(value).__name__)}, not a dense tensor") from error


def _of_numpy(state: Any) -> Tensor:
    """An array by what `numpy.ndarray.__setstate__` takes."""
    _, shape, dtype, is_fortran, content = state
    (code, *_), (_, order, *_) = dtype.arguments, dtype.state
    if not re.fullmatch(r"[fiu][1248]|b1", code):
        raise ValueError(f"an array of {code}")
    array = np.frombuffer(content, np.dtype(code).newbyteorder(order)).reshape(shape, order="F" if is_fortran else "C")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def read_content(path: Path) -> Any:
    """What torch.save, torch.jit.save or pickle.dump wrote: containers, numbers, text, `StoredTensor` and `Inert`.

    Raises:
        ValueError: The file is damaged, or none of those; OSError and others that a damaged file can raise.
    """
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) == ZIP_START:
            return _read_archive(path)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:  # reads no more than there is
            return _read_stream(mapped, _call)


def _read_archive(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names, left = archive.namelist(), path.stat().st_size + MOST_UNPACKED
        known = frozenset(names)
        roots = [name.removesuffix("data.pkl") for name in names if f"/{name}".endswith("/data.pkl")]
        if not roots:
            raise ValueError("a zip archive without the data.pkl of torch.save: unpack it")
        if len(known) < len(names):
            raise ValueError("an archive with two files of one name")
        root, contents = min(roots, key=len), dict[Any, bytes]()

        def content(name: str) -> bytes:
            nonlocal left
            if root + name not in known:
                raise ValueError(f"an archive without {name}")
            left -= archive.getinfo(root + name).file_size
            if left < 0:
                raise ValueError("an archive that unpacks to far more than its size")
            return archive.read(root + name)

        def storage(identity: Any) -> Storage:
            _, kind, key, _, elements = identity
            if _key(key) not in contents:
                contents[key] = content(f"data/{key}")
            return _checked(Storage(contents, key, _last_word(kind)), elements)

        if f"{root}byteorder" in known and content("byteorder") != b"little":
            raise ValueError("written on a big-endian machine: load and save it on another")
        return unpickle(io.BytesIO(content("data.pkl")), _call, storage)


def _checked(storage: Storage, elements: Any) -> Storage:
    found = len(storage.contents[storage.key])
    if storage.kind in DTYPES and found != elements * DTYPES[storage.kind].itemsize:
        raise ValueError(f"a storage of {found} bytes that should be {elements} elements of {storage.kind}")
    return storage


def _read_stream(stream: Any, call: Callable[[str, tuple[Any, ...]], Any]) -> Any:
    contents, sizes = dict[Any, bytes](), dict[Any, int]()

    def outside(identity: Any) -> Any:
        kind, *rest = identity
        if kind == "module":  # a class, and its source
            return rest[0]
        storage_kind, key, _, _, view = rest
        sizes[_key(key)] = BYTES[_last_word(storage_kind)]
        return Storage(contents, key, _last_word(storage_kind), start=view[1] if view else 0)

    content = unpickle(stream, call, outside)
    if not (isinstance(content, int) and content == MAGIC):
        return content
    for _ in ("version", "system"):
        unpickle(stream)
    content = unpickle(stream, call, outside)
    for key in unpickle(stream):
        length = int.from_bytes(_exactly(stream, 8), "little") * sizes[_key(key)]
        contents[key] = _exactly(stream, length)
    return content


def _exactly(stream: IO[bytes], length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise ValueError("it ends within a storage")
    return content


def _key(key: Any) -> str:
    if not isinstance(key, str):  # a tuple of tuples of tuples would be too deep to be hashed
        raise ValueError("a storage is called by a text")
    return key


def _last_word(kind: Any) -> str:
    name: str = kind.name
    return name.rpartition(".")[2]


def _call(name: str, arguments: tuple[Any, ...]) -> Any:
    """What PyTorch would make of a call: tensors of the dense kinds, and all else a note of the call."""
    if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2") and not any(arguments[6:]):
        return StoredTensor(*arguments[:4])
    if name in WRAPPING and arguments:
        return arguments[0]
    if name == "torch._tensor._rebuild_from_type_v2":
        return _call(arguments[0].name, arguments[2])
    if name == "torch.storage._load_from_bytes":
        return _read_stream(io.BytesIO(arguments[0]), Inert)
    if name == "_codecs.encode":
        return arguments[0].encode("latin1")
    if name == "collections.OrderedDict" and arguments:
        return {key: value for key, value in arguments[0] if isinstance(key, str)}
    return Inert(name, arguments)


# What holds a tensor, or a size, as its first argument.
WRAPPING = frozenset(
    {
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch.nn.parameter.Parameter",
        "torch.Size",
    }
)
