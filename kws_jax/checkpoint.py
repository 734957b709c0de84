"""Checkpoints: one safetensors file that both frameworks load, or orbax's folder for models of one's own.

A file holds the weights in the number format that they were judged in, and in its header, under one key, the
configuration and what a detector needs to know. A folder holds orbax's arrays with the same words beside them as JSON.
"""

import errno
import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from kws_jax.about import About
from kws_jax.array_types import Params
from kws_jax.arrays_folder import first_line, restore_arrays, save_arrays
from kws_jax.config import CrnnConfig, config_from_json
from kws_jax.errors import UserError, WeightsError
from kws_jax.files import check_room, written
from kws_jax.model import fold_batch_norm
from kws_jax.number_formats import MATRIX_BITS, dequantized
from kws_jax.state_dict import check_numbers, from_variables, to_variables

__all__ = [
    "About",
    "Checkpoint",
    "describe",
    "header",
    "load",
    "load_deployed",
    "packed_bytes",
    "restore",
    "rewrite",
    "save",
]

HEADER_KEY = "kws"  # a single one, since safetensors draws the order of several
SUFFIX = ".safetensors"
ABOUT_FILE = "about.json"
ARRAYS_FOLDER = "variables"


class Checkpoint(NamedTuple):
    """A model: its configuration, its variables, and what is known of it."""

    config: CrnnConfig
    variables: dict[str, Params]
    about: About


def load(path: Path | str) -> Checkpoint:
    """Reads a model from a shipped file or from a folder of `save`; integers come back as the numbers that were judged.

    Raises:
        UserError: If there is no checkpoint of this project, or a damaged one, or its weights are not the model's.
    """
    path = Path(path)
    config, about = describe(path)
    try:
        if path.is_dir():
            state = from_variables(restore_arrays(path.resolve() / ARRAYS_FOLDER, config), config)
        else:
            tensors = _tensors(path)
            packed = tensors.keys() & MATRIX_BITS.keys()
            if packed != {about.number_format} & MATRIX_BITS.keys():
                raise WeightsError(
                    f"it says number format {about.number_format}, and holds {', '.join(sorted(tensors))}"
                )
            state = dequantized(tensors, config)
        variables = to_variables(state, config)
        check_numbers(state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return Checkpoint(config, jax.tree.map(jnp.asarray, variables), about)


def load_deployed(path: Path | str) -> Checkpoint:
    """`load`, with batch normalisation folded where there is any: the model as it streams."""
    config, variables, about = load(path)
    return Checkpoint(*fold_batch_norm(config, variables), about)


def restore(path: Path | str) -> tuple[CrnnConfig, dict[str, Params]]:
    """Reads a model without what is known of it; see `load`."""
    config, variables, _ = load(path)
    return config, variables


def packed_bytes(path: Path) -> bytes | None:
    """The packed integers of a shipped file; None where its weights are stored otherwise."""
    if path.is_dir() or (number_format := describe(path)[1].number_format) not in MATRIX_BITS:
        return None
    return _tensors(path)[number_format].tobytes()


def describe(path: Path | str) -> tuple[CrnnConfig, About]:
    """What a checkpoint says of itself; its weights are not read.

    Raises:
        UserError: If there is no checkpoint of this project.
    """
    path = Path(path)
    try:
        return _from_json(_header_of(path))
    except (OSError, SafetensorError, KeyError, UnicodeDecodeError) as error:
        what = f"a {SUFFIX} file with a configuration in its header, or a folder with {ABOUT_FILE}"
        reason = (getattr(error, "strerror", None) or first_line(error)).removesuffix(f": {path}")
        raise UserError(f"{path} is no checkpoint: it must be {what} ({reason})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _header_of(path: Path) -> str:
    """The JSON that a checkpoint says of itself."""
    about = path / ABOUT_FILE if path.is_dir() else path
    if about.exists() and not about.is_file():  # a pipe would be waited for
        raise OSError(errno.EINVAL, "no regular file", str(about))
    if path.is_dir():
        return about.read_text(encoding="utf-8")
    with safe_open(path, "np") as file:
        return str((file.metadata() or {})[HEADER_KEY])


def _tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a shipped file as they are stored.

    Raises:
        WeightsError: If the file is damaged, or a tensor of a type that NumPy has not.
    """
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"it is damaged: {first_line(error)}") from error


def header(config: CrnnConfig, about: About) -> dict[str, str]:
    """What a shipped file says of itself, as safetensors' metadata."""
    known = {name: value for name, value in asdict(about).items() if value is not None}
    return {HEADER_KEY: json.dumps({"config": asdict(config), "about": known}, separators=(",", ":"))}


def rewrite(source: Path, target: Path, about: About) -> None:
    """Writes a shipped file again with other words about it and the very same tensors.

    Raises:
        UserError: If the source is no checkpoint.
    """
    config, _ = describe(source)
    with written(target) as part:
        part.write_bytes(to_bytes(_tensors(source), header(config, about)))  # save_file lets nobody else read it


def save(folder: Path | str, config: CrnnConfig, variables: dict[str, Params], about: About | None = None) -> None:
    """Writes a model as a folder, which appears when it is complete; an existing checkpoint there is replaced.

    Args:
        folder: Where to write.
        config: Model.
        variables: Its variables.
        about: What is known of it.

    Raises:
        UserError: If something else than a checkpoint lies there.
    """
    folder = Path(folder).resolve()
    if folder.exists() and not _is_free(folder):
        raise UserError(f"{folder} is there already and is no checkpoint: name an empty folder, or a new one")
    with written(folder) as part:
        part.mkdir()
        check_room(part.parent, sum(leaf.nbytes for leaf in jax.tree.leaves(variables)))
        save_arrays(part / ARRAYS_FOLDER, variables)
        (part / ABOUT_FILE).write_text(header(config, about or About())[HEADER_KEY] + "\n")


def _is_free(folder: Path) -> bool:
    """Whether a folder is empty, or holds a checkpoint and nothing else."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    try:
        return not names or (names <= {ABOUT_FILE, ARRAYS_FOLDER} and bool(describe(folder)))
    except UserError:
        return False


def _from_json(text: str) -> tuple[CrnnConfig, About]:
    try:
        fields = json.loads(text)
        config, about = config_from_json(fields["config"]), About(**fields["about"])
        for threshold in (None, *(about.operating_points or {}).values()):
            about.detector(config, threshold)  # which refuses what is no threshold
        return config, about
    except UserError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise UserError(f"its header says no configuration: {error!r}") from error
