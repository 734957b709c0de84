"""The seminar's training loop, deterministic by seed, and prediction over many clips."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from torch_ref.augment import WaveAugmentation, mask_mel_power
from torch_ref.config import TaskConfig
from torch_ref.frontend import MelPower
from torch_ref.model import CRNN
from torch_ref.resume import Resume, TrainingSaver
from torch_ref.threads import single_thread

__all__ = ["SeminarRecipe", "predict", "train"]

LOG_EVERY = 50  # steps
MOST = 10**6  # epochs, or clips in a step
Array = Tensor | np.ndarray
EpochBatches = Callable[[int], Iterable[tuple[Array, Array]]]


@dataclass(frozen=True)
class SeminarRecipe:
    """Adam with a constant learning rate.

    Attributes:
        batch_size: Clips in a step; whoever makes the batches reads it here.
        max_gradient_norm: Gradients are scaled down to this norm over all parameters.

    Raises:
        ValueError: If a number is out of its range.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 1e-5
    batch_size: int = 128
    epochs: int = 20
    max_gradient_norm: float = 5.0

    def __post_init__(self) -> None:
        if not (1 <= self.batch_size <= MOST and 1 <= self.epochs <= MOST):
            raise ValueError(f"batch_size and epochs go from 1 to {MOST}: {self}")
        if not (0 <= self.learning_rate <= 10 and 0 <= self.weight_decay <= 10 and 0 < self.max_gradient_norm < 1e9):
            raise ValueError(f"learning_rate and weight_decay go from 0 to 10, max_gradient_norm is above 0: {self}")


class _TrainingLog:
    """JSON lines of step, epoch, loss, seconds and clips_per_second, and the same numbers on a progress bar.

    Steps count from 1, epochs from 0. The loss is the mean, and clips_per_second the rate, since the line before;
    seconds are those spent in training since its start, without what happens between epochs.
    """

    def __init__(self, path: Path | None, epochs: int) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.bar = tqdm(total=epochs, desc="training", unit="epoch", disable=None)
        self.step, self.seconds, self.mark = 0, 0.0, 0.0
        self.losses: list[float] = []
        self.clips = 0
        self.lines: list[dict[str, Any]] = []

    def close(self) -> None:
        self.bar.close()

    def go_on(self, epochs: int, lines: list[dict[str, Any]]) -> None:
        """After so many epochs of a training that was stopped."""
        self.lines = lines
        if lines:
            self.step, self.seconds = lines[-1]["step"], lines[-1]["seconds"]
            self._save()
        self.bar.update(epochs)

    def start_epoch(self) -> None:
        self.mark = time.perf_counter()

    def add(self, epoch: int, loss: float, clips: int) -> None:
        self.step += 1
        self.losses.append(loss)
        self.clips += clips
        if self.step % LOG_EVERY == 0:
            self._write(epoch)

    def end_epoch(self, epoch: int) -> None:
        if self.losses:
            self._write(epoch)
        self._save()
        self.bar.update()

    def _save(self) -> None:
        if self.path is not None:
            self.path.write_text("".join(json.dumps(line) + "\n" for line in self.lines), encoding="utf-8")

    def _write(self, epoch: int) -> None:
        now = time.perf_counter()
        elapsed, self.mark = now - self.mark, now
        self.seconds += elapsed
        loss, rate = sum(self.losses) / len(self.losses), self.clips / elapsed
        self.losses, self.clips = [], 0
        self.bar.set_postfix(loss=f"{loss:.4f}", clips_per_second=f"{rate:.0f}")
        line = {"step": self.step, "epoch": epoch, "loss": loss, "seconds": round(self.seconds, 3)}
        self.lines.append(line | {"clips_per_second": round(rate, 1)})


def _as_waveforms(waveforms: Array) -> Float[Tensor, "batch samples"]:
    """Views or copies clips as a float32 tensor; refuses integers, whose scale is unknown."""
    tensor = torch.as_tensor(waveforms)
    if not tensor.is_floating_point():
        raise TypeError(f"waveforms must be floats in [-1, 1], not {tensor.dtype}")
    return tensor.float()


def train(
    config: TaskConfig,
    recipe: SeminarRecipe,
    epoch_batches: EpochBatches,
    background: Sequence[Array],
    seed: int,
    on_epoch: Callable[[int, CRNN], None] | None = None,
    log_path: Path | None = None,
    resume: Resume | None = None,
) -> CRNN:
    """Trains a CRNN by the seminar's recipe.

    The same seed and batches give, on one machine, the same weights bit for bit.

    Args:
        config: Of the front end and the model.
        recipe: Of the optimiser.
        epoch_batches: Called with the epoch, from 0; gives its batches: waveforms (batch, samples), floats in [-1, 1],
            and labels (batch,), integers in [0, num_classes). It decides on sampling and order.
        background: Noise recordings for the waveform augmentation, see `WaveAugmentation`.
        seed: Of the initial weights, the augmentation and the dropout.
        on_epoch: Called after each epoch with its number and the model in evaluation mode.
        log_path: File for the training log, one JSON object a line.
        resume: Where to keep the training between epochs, and to go on from after a kill, to the same weights.

    Returns:
        The model after the last epoch, in evaluation mode.

    Raises:
        ValueError: An epoch has no batch, or what is to be gone on from is damaged.
        RuntimeError: A gradient is not finite.
    """
    with single_thread(), torch.random.fork_rng(devices=[]), closing(_TrainingLog(log_path, recipe.epochs)) as log:
        torch.manual_seed(seed)
        model = CRNN(config)
        optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
        generator = torch.Generator().manual_seed(seed)
        step = _train_step(model, optimizer, recipe, WaveAugmentation(background), generator)
        saver = TrainingSaver(resume, repr((config, recipe, seed)), model, optimizer, generator)
        epochs_done, lines = saver.load()
        log.go_on(epochs_done, lines)
        for epoch in range(epochs_done, recipe.epochs):
            model.train()
            log.start_epoch()
            first = log.step
            for waveforms, labels in epoch_batches(epoch):
                log.add(epoch, step(_as_waveforms(waveforms), torch.as_tensor(labels).long()), len(labels))
            if log.step == first:
                raise ValueError(f"epoch {epoch} has no batch")
            log.end_epoch(epoch)
            model.eval()
            saver.save(epoch + 1, log.lines)
            if on_epoch is not None:
                on_epoch(epoch, model)
        return model.eval()


def _train_step(
    model: CRNN,
    optimizer: torch.optim.Optimizer,
    recipe: SeminarRecipe,
    augment_waves: WaveAugmentation,
    generator: torch.Generator,
) -> Callable[[Float[Tensor, "batch samples"], Int[Tensor, "batch"]], float]:
    """Returns the function from a batch to its loss that also updates the model."""
    mel_power = MelPower(model.config)

    def step(waveforms: Float[Tensor, "batch samples"], labels: Int[Tensor, "batch"]) -> float:
        mels = mask_mel_power(mel_power(augment_waves(waveforms, generator)), generator)
        loss = nn.functional.cross_entropy(model(model.compress(mels)), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.max_gradient_norm, error_if_nonfinite=True)
        optimizer.step()
        return loss.item()

    return step


def predict(model: CRNN, frontend: MelPower, waveforms: Array, batch_size: int = 256) -> np.ndarray:
    """Returns the logits (clips, classes) of many clips, float32, from a float32, float16 or qint8 model.

    The frames are computed in float32 and cast to the model's type. A dynamically quantized model takes the range of
    its activations over the batch, so its logits depend, slightly, on which clips share one; batch_size=1 makes them
    independent.

    Args:
        model: Left in the mode it is in; evaluated in evaluation mode.
        frontend: Of the model's configuration.
        waveforms: (clips, samples), floats in [-1, 1].
        batch_size: Clips at a time.
    """
    was_training, dtype = model.training, next(model.parameters()).dtype
    logits = np.empty((len(waveforms), model.config.num_classes), np.float32)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(waveforms), batch_size):
            rows = slice(start, start + batch_size)
            frames = model.compress(frontend(_as_waveforms(waveforms[rows]))).to(dtype)
            logits[rows] = model(frames).float().numpy()
    model.train(was_training)
    return logits
