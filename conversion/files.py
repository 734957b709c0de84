"""Checkpoint files between the frameworks; nothing in them is ever executed."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from conversion.configs import infer_config, to_task_config
from conversion.parts import find_model
from kws_jax import checkpoint
from kws_jax.checkpoint import About, Checkpoint
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import UserError, WeightsError
from kws_jax.files import written
from kws_jax.number_formats import dequantized
from kws_jax.state_dict import check_numbers, from_variables, to_variables
from torch_ref import files as tensor_files
from torch_ref.archives import as_tensor
from torch_ref.formats import FORMATS, format_of
from torch_ref.model import CRNN


def load(
    path: Path, known: CrnnConfig = BASE, stride: tuple[int, int] | None = None, part: str | None = None
) -> Checkpoint:
    """Any checkpoint as Flax variables: one of this project, or a file that holds tensors with the reference's names.

    A foreign file is safetensors, what torch.save or torch.jit.save wrote, or a pickle; its sizes are read off its
    shapes.

    Args:
        path: File, or folder of a Flax checkpoint.
        known: What the shapes of a foreign file do not tell.
        stride: The same, in place of the known one, which holds for the known kernel alone.
        part: Of a foreign file that holds several models.

    Raises:
        UserError: If it is absent, damaged, or holds something else than dense, finite tensors of one model.
    """
    if is_ours(path):
        return checkpoint.load(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise UserError("no regular file")
        found = find_model(tensor_files.read_tensors(path), part)
        state = dequantized({key: _as_array(key, value) for key, value in found.items()})
        config = infer_config(state, known, stride)
        variables = to_variables(state, config)
        check_numbers(state)
        return Checkpoint(config, variables, About())
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        kind = type(error) if isinstance(error, UserError) else UserError
        raise kind(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def is_ours(path: Path) -> bool:
    """Whether it is a folder, or a file that says itself what model it holds."""
    try:
        if not path.is_file():
            return path.is_dir()
        with safe_open(path, "np") as file:
            return checkpoint.HEADER_KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _as_array(key: str, value: Any) -> np.ndarray:
    try:
        tensor = as_tensor(value)
        # NumPy has no bfloat16; float32 holds every value of it.
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except Exception as error:  # a damaged file can raise nearly anything
        raise WeightsError(f"{key} cannot be read: {error}") from error


def write_state_dict(path: Path, state: dict[str, np.ndarray], config: CrnnConfig, about: About | None = None) -> None:
    """Writes a float32 checkpoint: .safetensors as shipped files are, any other name in torch.save's format."""
    with written(path) as part:
        if path.suffix == checkpoint.SUFFIX:
            part.write_bytes(to_bytes(state, checkpoint.header(config, about or About())))
        else:
            torch.save({key: torch.from_numpy(array) for key, array in state.items()}, part)


def write_module(path: Path, model: CRNN, config: CrnnConfig, about: About) -> None:
    """Writes a PyTorch model in its number format as a shipped file is."""
    tensors = FORMATS[format_of(model)].tensors(model)
    with written(path) as part:
        tensor_files.save_tensors(part, tensors, checkpoint.header(config, about))


def read_module(path: Path) -> tuple[CrnnConfig, CRNN]:
    """The model that `write_module` wrote, bit for bit, in evaluation mode.

    Raises:
        UserError: If the file is absent, damaged, or none of those.
    """
    config, _, about = checkpoint.load(path)  # which has seen that the tensors are the model's, before one is made
    if about.number_format not in FORMATS:
        raise UserError(f"{path} says number format {about.number_format!r}: it must be one of {', '.join(FORMATS)}")
    try:
        return config, FORMATS[about.number_format].load(to_task_config(config), tensor_files.load_tensors(path))
    except ValueError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def to_module(config: CrnnConfig, variables: dict[str, Any]) -> CRNN:
    """The PyTorch model that holds the variables, ready for inference."""
    model = CRNN(to_task_config(config))
    state = from_variables(variables, config)
    model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return model.eval()


def from_module(model: CRNN, config: CrnnConfig) -> dict[str, Any]:
    """The Flax variables that hold a PyTorch model's tensors."""
    return to_variables({key: tensor.detach().cpu().numpy() for key, tensor in model.state_dict().items()}, config)
