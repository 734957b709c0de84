"""From a setting to trained weights, in PyTorch or in JAX."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from conversion.configs import to_task_config
from conversion.files import from_module
from experiments.records import Training
from experiments.settings import Setting
from experiments.task import Task
from kws_jax import train
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.data import to_float
from kws_jax.frontend import mel_power
from kws_jax.model import Crnn, fold_batch_norm
from kws_jax.splits import balanced_indices
from torch_ref.train import SeminarRecipe
from torch_ref.train import train as train_torch


def trained_weights(setting: Setting, task: Task) -> tuple[CrnnConfig, dict[str, Any], Training | None]:
    """The setting's deployed model: trained here, or another setting's."""
    if setting.recipe is None:
        assert setting.source is not None
        return *task.load_variables(setting.source), None
    log_path = task.log_path(setting.name)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    if isinstance(setting.recipe, SeminarRecipe):
        config, variables = setting.model, _train_in_torch(setting, setting.recipe, task, log_path)
    else:
        config, variables = _train_in_jax(setting, setting.recipe, task, log_path)
    return config, variables, _summary(setting.recipe, log_path, time.perf_counter() - start)


def _train_in_torch(setting: Setting, recipe: SeminarRecipe, task: Task, log_path: Path) -> dict[str, Any]:
    labels = task.labels

    def epoch_batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        drawn = _draw(task, labels, epoch)
        for start in range(0, drawn.shape[0], recipe.batch_size):
            batch = drawn[start : start + recipe.batch_size]
            yield to_float(task.corpus.waveforms[batch]), labels[batch]

    task_config = to_task_config(setting.model)
    model = train_torch(task_config, recipe, epoch_batches, task.corpus.background, task.seed, log_path=log_path)
    return from_module(model, setting.model)


def _train_in_jax(
    setting: Setting, recipe: train.Recipe, task: Task, log_path: Path
) -> tuple[CrnnConfig, dict[str, Any]]:
    training = task.split.training
    labels = task.labels
    frontend = setting.model.frontend
    material = train.Corpus(
        power=train.cached_mel_power(frontend, task.corpus.waveforms[training]),
        labels=labels[training],
        noise=noise_mel_power(frontend, task.corpus.background),
    )
    position = np.zeros(labels.shape[0], np.int64)
    position[training] = np.arange(training.shape[0])
    variables = train.train(
        setting.model,
        recipe,
        material,
        lambda epoch: position[_draw(task, labels, epoch)],
        task.seed,
        teacher=load_teacher(setting.teacher, task) if setting.teacher else None,
        log_path=log_path,
    )
    return fold_batch_norm(setting.model, variables)


def _draw(task: Task, labels: np.ndarray, epoch: int) -> np.ndarray:
    """Clips of one epoch: class-balanced, as many as there are training clips."""
    training = task.split.training
    rng = np.random.default_rng([task.seed, epoch])
    return training[balanced_indices(labels[training], training.shape[0], rng)]


def noise_mel_power(frontend: FrontendConfig, background: tuple[np.ndarray, ...]) -> np.ndarray:
    """Mel power of all background recordings, end to end; silence where there are none."""
    recordings = background or (np.zeros(2 * frontend.sample_rate, np.float32),)
    transform = jax.jit(partial(mel_power, frontend))
    return np.concatenate([np.asarray(transform(jnp.asarray(recording)[None])[0]) for recording in recordings])


def load_teacher(name: str, task: Task) -> train.Teacher:
    """A trained setting as a function from log-mels to logits."""
    config, variables = task.load_variables(name)
    return lambda log_mel: Crnn(config).apply(variables, log_mel)[0]


def _summary(recipe: SeminarRecipe | train.Recipe, log_path: Path, seconds: float) -> Training:
    lines = [json.loads(line) for line in log_path.read_text().splitlines()]
    return Training(
        framework="PyTorch" if isinstance(recipe, SeminarRecipe) else "JAX",
        epochs=recipe.epochs,
        seconds=seconds,
        clips_per_second=float(np.median([line["clips_per_second"] for line in lines])),
        final_loss=lines[-1]["loss"],
    )
