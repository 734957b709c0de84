"""A training that goes on after a kill: what it holds between two epochs, kept through orbax."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from kws_jax.devices import is_key, numbers
from kws_jax.errors import UserError
from kws_jax.files import check_room

State = TypeVar("State")
Lines = list[dict[str, Any]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resume:
    """Where to keep an unfinished training.

    Attributes:
        folder: Of this training alone; whoever has its result removes it.
        identity: All that decides the result beside what `train` is told as numbers: the clips, the teacher.
        interval: Seconds between two saves, at least; a save waits for an epoch's end.
    """

    folder: Path
    identity: str = ""
    interval: float = 30.0


class TrainingSaver:
    """Saves a training's state and log now and then, and gives them back.

    A save appears by one rename, so a kill leaves the last one whole. What another training left in the folder is
    dropped with a warning rather than refused: after a change of a setting, nobody has a use for half of its old run,
    and a sweep goes on by itself.
    """

    def __init__(self, resume: Resume | None, identity: str) -> None:
        self.identity, self.interval, self.saved = identity, 0.0, time.monotonic()
        self.manager = None
        if resume is not None:
            self.folder = resume.folder.resolve()  # orbax wants absolute paths
            self.identity, self.interval = f"{identity} {resume.identity}", resume.interval
            options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
            self.manager = ocp.CheckpointManager(self.folder, options=options)

    def close(self) -> None:
        """Ends orbax's threads."""
        if self.manager is not None:
            self.manager.close()

    def load(self, start: State) -> tuple[State, Lines]:
        """The state that was saved last and the log until then; `start` and an empty log where there is none.

        Raises:
            UserError: If the folder is damaged.
        """
        step = None if self.manager is None else self.manager.latest_step()
        if self.manager is None or step is None:
            return start, []
        try:
            log = self.manager.restore(step, args=ocp.args.Composite(log=ocp.args.JsonRestore()))["log"]
            if log["identity"] != self.identity:
                logger.warning("%s is of another training: dropped", self.folder)
                self.manager.delete(step)
                return start, []
            wanted = ocp.args.Composite(state=ocp.args.StandardRestore(_to_arrays(start)))
            state, lines = _from_arrays(self.manager.restore(step, args=wanted)["state"], start), list(log["lines"])
            if len(lines) != step or not all(line["step"] >= 0 and line["seconds"] >= 0 for line in lines):
                raise ValueError("its log is none")
            return state, lines
        except (ValueError, TypeError, LookupError, AttributeError, OSError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"{self.folder} is damaged ({reason}): delete it, and the training starts anew") from error

    def save(self, state: Any, lines: Lines) -> None:
        """Keeps the state after as many epochs as there are lines, if the interval is over."""
        if self.manager is None or time.monotonic() - self.saved < self.interval:
            return
        arrays = _to_arrays(state)
        check_room(self.folder, sum(array.nbytes for array in arrays.values()))
        state_args = ocp.args.StandardSave(arrays)
        log_args = ocp.args.JsonSave({"identity": self.identity, "lines": lines})
        self.manager.save(len(lines), args=ocp.args.Composite(state=state_args, log=log_args))
        self.saved = time.monotonic()


def _to_arrays(state: Any) -> dict[str, np.ndarray]:
    """The leaves, numbered; of random keys, their numbers."""
    return {str(number): np.asarray(numbers(leaf)) for number, leaf in enumerate(jax.tree.leaves(state))}


def _from_arrays(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """Inverse of `_to_arrays`."""
    leaves, structure = jax.tree.flatten(like)
    saved = [jnp.asarray(arrays[str(number)]) for number in range(len(leaves))]
    if [array.shape for array in saved] != [numbers(leaf).shape for leaf in leaves]:
        raise ValueError("it holds another state")
    kept = [jax.random.wrap_key_data(new) if is_key(old) else new for new, old in zip(saved, leaves, strict=True)]
    return jax.tree.unflatten(structure, kept)
