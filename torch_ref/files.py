"""Files of named tensors: safetensors out, safetensors or PyTorch checkpoints in, and never code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from torch_ref.archives import read_content

__all__ = ["check_like", "load_tensors", "read_tensors", "save_tensors"]


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes tensors as safetensors, with one or no word about them in its header; equal tensors give equal bytes.

    (Of several words, safetensors draws the order.)
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    path.write_bytes(safetensors.torch.save(contiguous, metadata))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        ValueError: The file is no whole safetensors file.
    """
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({_first_line(error)})") from error


def check_like(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Compares names, shapes and types.

    Raises:
        ValueError: Tensors are missing, unexpected, or of another shape or type; it names all.
    """
    problems = [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in expected]
    for name in expected.keys() & tensors.keys():
        wanted, given = ((tuple(t.shape), t.dtype) for t in (expected[name], tensors[name]))
        if wanted != given:
            problems.append(f"{name} is {given}, not {wanted}")
    if problems:
        raise ValueError("not the tensors of this model: " + "; ".join(sorted(problems)))


def read_tensors(path: Path) -> Any:
    """Reads a checkpoint, by its content either safetensors or what PyTorch or pickle wrote; nothing is executed.

    Returns:
        A dictionary of tensors, or the containers that they lie in: see `torch_ref.archives.read_content`.

    Raises:
        ValueError: The file is neither, or damaged.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(9)
    # A safetensors file is the header's length in eight bytes, then the header, a JSON object.
    if start[8:] == b"{":
        return load_tensors(path)
    try:
        return read_content(path)
    except Exception as error:  # a damaged file can raise nearly anything
        raise ValueError(
            f"{path}: neither safetensors nor a whole file of PyTorch or pickle ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
