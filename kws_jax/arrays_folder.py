"""A folder of arrays, as orbax writes it; what is damaged in it ends in one line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kws_jax.array_types import Params
from kws_jax.config import CrnnConfig
from kws_jax.errors import UserError, WeightsError
from kws_jax.state_dict import from_variables

__all__ = ["first_line", "restore_arrays", "save_arrays"]

# What reads and writes is imported where it is used: that takes seconds, which a shipped file does not need.


def save_arrays(folder: Path, variables: dict[str, Params]) -> None:
    """Writes variables as a folder that is not there yet."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        # Host arrays carry no device's name, so that a model trained on one kind of device restores on another.
        checkpointer.save(folder, jax.device_get(variables))
    # orbax notes this machine's path here, and never reads it on a file system.
    (folder / "commit_success.txt").unlink(missing_ok=True)


def restore_arrays(folder: Path, config: CrnnConfig) -> dict[str, Any]:
    """The variables of a folder, read once their shapes are known to be the model's.

    Raises:
        WeightsError: If they are not, or the folder is damaged.
    """
    import orbax.checkpoint as ocp

    try:
        _read_in_order(folder)
        with _orbax_in_errors_only(), ocp.StandardCheckpointer() as checkpointer:
            if (stored := checkpointer.metadata(folder).item_metadata) is None:
                raise WeightsError("it is damaged: its arrays cannot be read")
            # Without the numbers first: arrays that one byte claims to be terabytes are refused by their shape.
            claimed = jax.tree.map(lambda array: np.broadcast_to(np.zeros((), array.dtype), array.shape), stored.tree)
            from_variables(claimed, config)
            variables: dict[str, Any] = checkpointer.restore(folder)
        return variables
    except UserError:
        raise
    except Exception as error:  # what a damaged folder raises is orbax's and tensorstore's
        raise WeightsError(f"it is damaged: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What an error says, without what follows."""
    return str(error).partition("\n")[0] or type(error).__name__


def _read_in_order(folder: Path) -> None:
    """Finds damage one array after the other: of two damaged ones at a time orbax prints tracebacks of its own."""
    import tensorstore

    if strange := [path.name for path in folder.rglob("*") if not (path.is_file() or path.is_dir())]:
        raise OSError(f"{strange[0]} is no regular file")  # a pipe would be waited for
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}}).result()
    for key in store.list().result():
        store.read(key).result()


@contextmanager
def _orbax_in_errors_only() -> Iterator[None]:
    """Without orbax's warnings of what then ends in one line anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
