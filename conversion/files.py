"""Checkpoint files between the frameworks; no pickle is ever executed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from conversion.configs import infer_config, to_task_config
from kws_jax import checkpoint
from kws_jax.checkpoint import About, Checkpoint
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import DuplicateTensor, UserError, WeightsError
from kws_jax.files import written
from kws_jax.number_formats import dequantized
from kws_jax.state_dict import from_variables, to_variables
from torch_ref import files as tensor_files
from torch_ref.formats import FORMATS, format_of
from torch_ref.model import CRNN

STATE_DICT_KEYS = ("state_dict", "model_state", "model", "model_state_dict")


def load(path: Path, known: CrnnConfig = BASE) -> Checkpoint:
    """Any checkpoint as Flax variables: one of this project, or a file of tensors with the reference's names.

    A foreign file is safetensors, or a .pt or .pth of plain tensors, nested or not; its sizes are read off its shapes.

    Args:
        path: File, or folder of a Flax checkpoint.
        known: What the shapes of a foreign file do not tell.

    Raises:
        UserError: If it is absent, damaged, holds something else than dense tensors of the model, or would have to
            execute code to be read.
    """
    if path.is_dir() or has_header(path):
        return checkpoint.load(path)
    try:
        stored = tensor_files.read_state_dict(path)
    except OSError as error:
        raise UserError(f"{path} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise UserError(str(error)) from error
    try:
        state = dequantized({key: _as_array(key, value) for key, value in unwrap(stored).items()})
        config = infer_config(state, known)
        return Checkpoint(config, to_variables(state, config), About())
    except UserError as error:
        raise type(error)(f"{path}: {error}") from error


def has_header(path: Path) -> bool:
    """Whether a file says itself what model it holds."""
    try:
        with safe_open(path, "np") as file:
            return checkpoint.HEADER_KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def unwrap(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The bare state_dict of a checkpoint: nesting and `module.` prefixes taken off.

    Raises:
        DuplicateTensor: If a tensor is there with and without the prefix.
    """
    for name in STATE_DICT_KEYS:
        if isinstance(stored.get(name), Mapping):
            return unwrap(stored[name])
    state: dict[str, Any] = {}
    for key, tensor in stored.items():
        bare = str(key).removeprefix("module.")
        if bare in state:
            raise DuplicateTensor(f"{bare} is there twice, with and without the prefix 'module.': remove one")
        state[bare] = tensor
    return state


def _as_array(key: str, value: Any) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        raise WeightsError(f"{key} is a {type(value).__name__}, not a tensor")
    try:
        # NumPy has no bfloat16; float32 holds every value of it.
        return (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise WeightsError(f"{key} is a {value.dtype} {value.layout}: give a dense float tensor") from error


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
    config, about = checkpoint.describe(path)
    if about.number_format not in FORMATS:
        raise UserError(f"{path} says number format {about.number_format!r}: it must be one of {', '.join(FORMATS)}")
    try:
        tensors = tensor_files.load_tensors(path)
        return config, FORMATS[about.number_format].load(to_task_config(config), tensors)
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
