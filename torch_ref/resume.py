"""A training that goes on after a kill: what it holds between two epochs, in one file of plain tensors."""

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save_file
from torch import Tensor, nn

__all__ = ["Resume", "TrainingSaver"]

FILE = "training.safetensors"
Lines = list[dict[str, Any]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resume:
    """Where to keep an unfinished training.

    Attributes:
        folder: Of this training alone; whoever has its result removes it.
        identity: All that decides the result beside what `train` is told as numbers: the clips.
        interval: Seconds between two saves, at least; a save waits for an epoch's end.
    """

    folder: Path
    identity: str = ""
    interval: float = 30.0


class TrainingSaver:
    """Saves what a training holds now and then, and puts it back.

    Kept are the model, Adam's moments, torch's own random state (dropout), the augmentation's, and the log. The file
    appears by one rename, so a kill leaves the last one whole. What another training left there is dropped with a
    warning rather than refused: after a change of a setting, nobody has a use for half of its old run.
    """

    def __init__(
        self,
        resume: Resume | None,
        identity: str,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        self.model, self.optimizer, self.generator = model, optimizer, generator
        self.path = None if resume is None else resume.folder / FILE
        self.identity = identity if resume is None else f"{identity} {resume.identity}"
        self.interval, self.saved = 0.0 if resume is None else resume.interval, time.monotonic()

    def load(self) -> tuple[int, Lines]:
        """Puts back what was saved last; returns the epochs done and the log until then.

        Raises:
            ValueError: The file is damaged.
        """
        if self.path is None or not self.path.is_file():
            return 0, []
        try:
            with safetensors.safe_open(self.path, "pt") as file:
                about = json.loads(file.metadata()["about"])
            tensors = load(self.path.read_bytes())  # not mapped into memory, since the next save replaces it
            if about["identity"] != self.identity:
                logger.warning("%s is of another training: dropped", self.path)
                self.path.unlink()
                return 0, []
            self._put_back(_split(tensors))
            epochs, lines = int(about["epochs"]), list(about["lines"])
            if epochs < 0 or not all(line["step"] >= 0 and line["seconds"] >= 0 for line in lines):
                raise ValueError("its log is none")
        except (safetensors.SafetensorError, ValueError, TypeError, LookupError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{self.path} is damaged ({reason}): delete it, and the training starts anew") from error
        return epochs, lines

    def _put_back(self, parts: dict[str, dict[str, Tensor]]) -> None:
        self.model.load_state_dict(parts["model"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, _, moment = name.partition(".")
            moments.setdefault(int(number), {})[moment] = tensor
        for index, parameter in enumerate(self.model.parameters()):
            if any(moments[index][name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
                raise ValueError(f"the optimizer's {index} has another shape")
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        torch.set_rng_state(parts["random"]["torch"])
        self.generator.set_state(parts["random"]["augmentation"])

    def save(self, epochs: int, lines: Lines) -> None:
        """Keeps the state after so many epochs, if the interval is over."""
        if self.path is None or time.monotonic() - self.saved < self.interval:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
        tensors |= {"random.torch": torch.get_rng_state(), "random.augmentation": self.generator.get_state()}
        about = json.dumps({"identity": self.identity, "epochs": epochs, "lines": lines})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        save_file(tensors, part, metadata={"about": about})
        part.replace(self.path)
        self.saved = time.monotonic()


def _split(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by the first word of their names."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    return parts
