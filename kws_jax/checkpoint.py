"""Checkpoints: orbax for the arrays, with the model's configuration beside them as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from kws_jax.array_types import Params
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.detector import DetectorConfig
from kws_jax.errors import UserError

CONFIG_FILE = "config.json"
ARRAYS_FOLDER = "variables"
ABOUT_FILE = "about.json"


def config_to_json(config: CrnnConfig) -> str:
    """One line of JSON."""
    return json.dumps(asdict(config))


def config_from_json(text: str) -> CrnnConfig:
    """Inverse of `config_to_json`.

    Raises:
        UserError: If the text is no configuration of this project.
    """
    try:
        fields = json.loads(text)
        frontend = FrontendConfig(**fields.pop("frontend"))
        pairs: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        return CrnnConfig(frontend=frontend, **pairs)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"not a model configuration: {error!r}") from error


def save(folder: Path, config: CrnnConfig, variables: dict[str, Params], about: dict[str, Any] | None = None) -> None:
    """Writes a model; returns when it is complete on disk. An existing checkpoint is replaced.

    Args:
        folder: Where to write.
        config: Model.
        variables: Its variables.
        about: What a detector needs to know beside the weights: "keyword", the word it spots; "threshold", the
            probability from which on it is heard; "smoothing", in steps. Any may be left out.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        # Host arrays carry no device's name, so that a model trained on one kind of device restores on another.
        checkpointer.save(folder / ARRAYS_FOLDER, jax.device_get(variables), force=True)
    # orbax notes this machine's path here, and never reads it on a file system.
    (folder / ARRAYS_FOLDER / "commit_success.txt").unlink(missing_ok=True)
    (folder / CONFIG_FILE).write_text(config_to_json(config) + "\n")
    if about is None:
        (folder / ABOUT_FILE).unlink(missing_ok=True)
    else:
        (folder / ABOUT_FILE).write_text(json.dumps(about) + "\n")


def restore(folder: Path) -> tuple[CrnnConfig, dict[str, Params]]:
    """Reads a model.

    Raises:
        UserError: If the folder holds no checkpoint of this project, or a damaged one.
    """
    folder = Path(folder).resolve()
    if not (folder / CONFIG_FILE).is_file() or not (folder / ARRAYS_FOLDER).is_dir():
        raise UserError(f"{folder} is no checkpoint: it needs {CONFIG_FILE} and {ARRAYS_FOLDER}/")
    try:
        config = config_from_json((folder / CONFIG_FILE).read_text())
        with ocp.StandardCheckpointer() as checkpointer:
            variables: dict[str, Any] = checkpointer.restore(folder / ARRAYS_FOLDER)
    except (ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{folder} is damaged: {reason}") from error
    return config, jax.tree.map(jnp.asarray, variables)


def read_about(folder: Path) -> dict[str, Any]:
    """What `save` was told about the model; empty where it was told nothing.

    Raises:
        UserError: If the file holds no JSON object.
    """
    path = Path(folder) / ABOUT_FILE
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(about, dict):
        raise UserError(f"{path} holds no JSON object")
    return about


def read_detector(folder: Path, config: CrnnConfig) -> DetectorConfig:
    """The detector that a checkpoint asks for; what it does not say is the default.

    Raises:
        UserError: If what it says is no threshold or smoothing.
    """
    about = read_about(folder)
    try:
        return DetectorConfig(
            threshold=float(about.get("threshold", DetectorConfig.threshold)),
            smoothing=int(about.get("smoothing", DetectorConfig.smoothing)),
            step_duration=config.block_size / config.frontend.sample_rate,
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{Path(folder) / ABOUT_FILE}: {error}") from error
