"""Checkpoints: one safetensors file that both frameworks load, or orbax's folder for models of one's own.

A file holds the weights in the number format that they were judged in, and in its header, under one key, the
configuration and what a detector needs to know. A folder holds orbax's arrays with the same words beside them as JSON.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from kws_jax.array_types import Params
from kws_jax.config import CrnnConfig, config_from_json
from kws_jax.detector import DetectorConfig
from kws_jax.errors import UserError
from kws_jax.files import written
from kws_jax.number_formats import MATRIX_BITS, dequantized
from kws_jax.state_dict import to_variables

__all__ = ["About", "Checkpoint", "describe", "header", "load", "packed_bytes", "restore", "rewrite", "save"]

HEADER_KEY = "kws"  # a single one, since safetensors draws the order of several
SUFFIX = ".safetensors"
ABOUT_FILE = "about.json"
ARRAYS_FOLDER = "variables"


@dataclass(frozen=True)
class About:
    """What is known of a model beside its weights and sizes; None where it is not.

    Attributes:
        keyword: The word that it spots.
        number_format: That its weights are stored in.
        threshold: Probability from which on the keyword is heard, chosen on validation speakers.
        smoothing: Steps that the probability is averaged over, chosen with it.
        false_alarms_per_hour: What the threshold stands for, at most so many on validation speakers.
        operating_points: Other thresholds for the same smoothing, by what they stand for: {"0.5": 0.98, "2": 0.91}.
        validation_hours: Of audio, words, speech and noise, that the thresholds were chosen on.
        setting: Of the study, that made it.
        seed: Of its training.
    """

    keyword: str | None = None
    number_format: str = "fp32"
    threshold: float | None = None
    smoothing: int | None = None
    false_alarms_per_hour: float | None = None
    operating_points: dict[str, float] | None = None
    validation_hours: float | None = None
    setting: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuses what no header should say.

        Raises:
            UserError: If a value is of another kind, not finite, or a text that cannot be printed.
        """
        texts = (self.keyword, self.number_format, self.setting)
        numbers = (self.threshold, self.false_alarms_per_hour, self.validation_hours, self.smoothing, self.seed)
        whole = (self.smoothing, self.seed)
        if not (
            all(text is None or (isinstance(text, str) and text.isprintable()) for text in texts)
            and all(n is None or (isinstance(n, int | float) and math.isfinite(n)) for n in numbers)
            and all(n is None or isinstance(n, int) for n in whole)
        ):
            raise UserError(f"a checkpoint says of itself what is no text or number: {self}")

    def detector(
        self,
        config: CrnnConfig,
        threshold: float | None = None,
        smoothing: int | None = None,
        false_alarms_per_hour: float | None = None,
    ) -> DetectorConfig:
        """The detector that the model asks for, but for what is given here; what is not known is the default.

        Args:
            config: The model.
            threshold: In place of the model's own.
            smoothing: The same.
            false_alarms_per_hour: Takes the threshold from the operating points.

        Raises:
            UserError: If the threshold or the smoothing is none, or there is no such point, or a threshold as well.
        """
        if false_alarms_per_hour is not None:
            if threshold is not None:
                raise UserError("a threshold and false alarms per hour exclude each other: give one of them")
            threshold = self._threshold_for(false_alarms_per_hour)
        chosen: dict[str, Any] = {
            "threshold": self.threshold if threshold is None else threshold,
            "smoothing": self.smoothing if smoothing is None else smoothing,
        }
        known = {name: value for name, value in chosen.items() if value is not None}
        return DetectorConfig(step_duration=config.step_duration, **known)

    def _threshold_for(self, false_alarms_per_hour: float) -> float:
        points = self.operating_points or {}
        if (name := f"{false_alarms_per_hour:g}") not in points:
            offered = f"it has them for {', '.join(points)}" if points else "it has none for any number"
            raise UserError(f"the checkpoint has no threshold for {name} false alarms per hour: {offered}")
        return points[name]


class Checkpoint(NamedTuple):
    """A model: its configuration, its variables, and what is known of it."""

    config: CrnnConfig
    variables: dict[str, Params]
    about: About


def load(path: Path | str) -> Checkpoint:
    """Reads a model from a shipped file or from a folder of `save`; integers come back as the numbers that were judged.

    Raises:
        UserError: If there is no checkpoint of this project, or a damaged one.
    """
    path = Path(path)
    config, about = describe(path)
    if path.is_dir():
        return Checkpoint(config, _restore_arrays(path), about)
    try:
        with safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        variables = to_variables(dequantized(tensors, config), config)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {_first_line(error)}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)):
        raise UserError(f"{path} is damaged: a weight is not finite")
    return Checkpoint(config, jax.tree.map(jnp.asarray, variables), about)


def restore(path: Path | str) -> tuple[CrnnConfig, dict[str, Params]]:
    """Reads a model without what is known of it; see `load`."""
    config, variables, _ = load(path)
    return config, variables


def packed_bytes(path: Path) -> bytes | None:
    """The packed integers of a shipped file; None where its weights are stored otherwise."""
    if path.is_dir() or describe(path)[1].number_format not in MATRIX_BITS:
        return None
    with safe_open(path, "np") as file:
        stored: np.ndarray = file.get_tensor(describe(path)[1].number_format)
    return stored.tobytes()


def describe(path: Path | str) -> tuple[CrnnConfig, About]:
    """What a checkpoint says of itself; its weights are not read.

    Raises:
        UserError: If there is no checkpoint of this project.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _from_json((path / ABOUT_FILE).read_text())
        with safe_open(path, "np") as file:
            return _from_json((file.metadata() or {})[HEADER_KEY])
    except (OSError, SafetensorError, KeyError, UnicodeDecodeError) as error:
        what = f"a {SUFFIX} file with a configuration in its header, or a folder with {ABOUT_FILE}"
        reason = (getattr(error, "strerror", None) or _first_line(error)).removesuffix(f": {path}")
        raise UserError(f"{path} is no checkpoint: it must be {what} ({reason})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


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
    with safe_open(source, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    with written(target) as part:
        part.write_bytes(to_bytes(tensors, header(config, about)))  # save_file lets nobody else read it


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
    import orbax.checkpoint as ocp  # seconds to import, which a shipped file does not need

    folder = Path(folder).resolve()
    if folder.exists() and not _is_free(folder):
        raise UserError(f"{folder} is there already and is no checkpoint: name an empty folder, or a new one")
    with written(folder) as part:
        part.mkdir()
        with ocp.StandardCheckpointer() as checkpointer:
            # Host arrays carry no device's name, so that a model trained on one kind of device restores on another.
            checkpointer.save(part / ARRAYS_FOLDER, jax.device_get(variables))
        # orbax notes this machine's path here, and never reads it on a file system.
        (part / ARRAYS_FOLDER / "commit_success.txt").unlink(missing_ok=True)
        (part / ABOUT_FILE).write_text(header(config, about or About())[HEADER_KEY] + "\n")


def _is_free(folder: Path) -> bool:
    """Whether a folder is empty, or holds a checkpoint and nothing else."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    try:
        return not names or (names <= {ABOUT_FILE, ARRAYS_FOLDER} and bool(describe(folder)))
    except UserError:
        return False


def _restore_arrays(folder: Path) -> dict[str, Params]:
    import orbax.checkpoint as ocp

    try:
        with ocp.StandardCheckpointer() as checkpointer:
            variables: dict[str, Any] = checkpointer.restore(folder.resolve() / ARRAYS_FOLDER)
    except (ValueError, OSError) as error:
        raise UserError(f"{folder} is damaged: {_first_line(error)}") from error
    return jax.tree.map(jnp.asarray, variables)


def _from_json(text: str) -> tuple[CrnnConfig, About]:
    try:
        fields = json.loads(text)
        config, about = config_from_json(fields["config"]), About(**fields["about"])
        for threshold in (None, *dict(about.operating_points or {}).values()):
            about.detector(config, threshold)  # which refuses what is no threshold
        return config, about
    except UserError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"its header says no configuration: {error!r}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
