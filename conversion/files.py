"""Checkpoint files: a torch side that never executes a pickle, and a Flax side through orbax."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from conversion.configs import infer_config, to_task_config
from conversion.errors import ConversionError
from conversion.mapping import flax_to_torch, torch_to_flax, unwrap
from kws_jax.checkpoint import config_from_json, config_to_json
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import UserError
from torch_ref import tensor_files
from torch_ref.formats import FORMATS, format_of, format_of_tensors
from torch_ref.model import CRNN
from torch_ref.packed import MATRIX_BITS

CONFIG_KEY = "config"


def read_state_dict(path: Path) -> tuple[dict[str, np.ndarray], CrnnConfig | None]:
    """Reads a torch-side checkpoint: safetensors, or a .pt or .pth file of plain tensors, nested or not.

    Packed weights come back as the float32 numbers that they stand for.

    Returns:
        The bare state_dict, and the configuration where the file carries one (those written here do).

    Raises:
        ConversionError: If the file is absent, is neither, is damaged, holds something else than dense tensors, or
            would have to execute code to be read.
    """
    try:
        tensors = tensor_files.read_state_dict(path)
        if tensors.keys() & MATRIX_BITS.keys():
            tensors = dict(read_module(path)[1].state_dict())
        state = {key: _as_array(path, key, value) for key, value in unwrap(tensors).items()}
    except OSError as error:
        raise ConversionError(f"{path} cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise error if isinstance(error, ConversionError) else ConversionError(str(error)) from error
    return state, _read_config(path)


def _as_array(path: Path, key: str, value: Any) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        raise ConversionError(f"{path}: {key} is a {type(value).__name__}, not a tensor")
    try:
        # NumPy has no bfloat16; float32 holds every value of it.
        return (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise ConversionError(f"{path}: {key} is a {value.dtype} {value.layout}: give a dense float tensor") from error


def _read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says in its header; nothing for any other file."""
    try:
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def _read_config(path: Path) -> CrnnConfig | None:
    metadata = _read_metadata(path)
    try:
        return config_from_json(metadata[CONFIG_KEY]) if CONFIG_KEY in metadata else None
    except UserError as error:
        raise ConversionError(f"{path}: {error}") from error


def write_state_dict(path: Path, state: dict[str, np.ndarray], config: CrnnConfig) -> None:
    """Writes a torch-side checkpoint: .safetensors with the configuration in its header, else torch.save's format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if path.suffix == ".safetensors":
        save_file(state, part, metadata={CONFIG_KEY: config_to_json(config)})
    else:
        torch.save({key: torch.from_numpy(array) for key, array in state.items()}, part)
    part.replace(path)


def write_module(path: Path, model: CRNN, config: CrnnConfig) -> None:
    """Writes a PyTorch model in any number format as safetensors; the configuration is in its header."""
    part = path.with_name(path.name + ".part")
    tensors = FORMATS[format_of(model)].tensors(model)
    tensor_files.save_tensors(part, tensors, {CONFIG_KEY: config_to_json(config)})
    part.replace(path)


def read_module(path: Path) -> tuple[CrnnConfig, CRNN]:
    """The model that `write_module` wrote, bit for bit, in evaluation mode.

    Raises:
        ConversionError: If the file is absent, damaged, or none of those.
    """
    if not path.is_file():
        raise ConversionError(f"{path} cannot be opened: no such file")
    config = _read_config(path)
    if config is None:
        raise ConversionError(f"{path}: not a whole safetensors file with a configuration in its header")
    try:
        tensors = tensor_files.load_tensors(path)
        return config, FORMATS[format_of_tensors(tensors)].load(to_task_config(config), tensors)
    except ConversionError:
        raise
    except ValueError as error:
        raise ConversionError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def load_for_flax(path: Path, known: CrnnConfig = BASE) -> tuple[CrnnConfig, dict[str, Any]]:
    """A torch-side checkpoint as Flax variables; without a configuration of its own, the shapes tell it."""
    state, config = read_state_dict(path)
    config = config or infer_config(state, known)
    return config, torch_to_flax(state, config)


def to_module(config: CrnnConfig, variables: dict[str, Any]) -> CRNN:
    """The PyTorch model that holds the variables, ready for inference."""
    model = CRNN(to_task_config(config))
    state = flax_to_torch(variables, config)
    model.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    return model.eval()


def from_module(model: CRNN, config: CrnnConfig) -> dict[str, Any]:
    """The Flax variables that hold a PyTorch model's tensors."""
    return torch_to_flax({key: tensor.detach().cpu().numpy() for key, tensor in model.state_dict().items()}, config)
