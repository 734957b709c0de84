"""From a setting to a model in its number format, trained in PyTorch or in JAX."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from conversion.configs import to_task_config
from conversion.files import to_module, write_module
from experiments.study.json_files import read_lines
from experiments.study.judging import margins_of
from experiments.study.material import draw_clips, training_material
from experiments.study.provenance import FILE, framework_of, is_made_so, provenance, to_json, write
from experiments.study.records import LOG, UNFINISHED, Training
from experiments.study.settings import NumberFormat, Setting
from experiments.study.task import Task
from kws_jax import devices
from kws_jax.checkpoint import About
from kws_jax.config import CrnnConfig
from kws_jax.data.audio import to_float
from kws_jax.evaluation.metrics import auroc_error
from kws_jax.files import remove, written
from kws_jax.model import fold_batch_norm
from kws_jax.training import resume as jax_resume
from kws_jax.training.losses import Teacher
from kws_jax.training.recipe import Recipe
from kws_jax.training.train import train
from torch_ref import resume as torch_resume
from torch_ref.formats import FORMATS
from torch_ref.model import CRNN
from torch_ref.train import SeminarRecipe
from torch_ref.train import train as train_torch

RESTART_SEEDS = 1_000  # apart, so that no seed's restart is another seed


class Attempt(NamedTuple):
    """A training from one initialisation: the deployed model, its log, and the error that it is chosen by."""

    config: CrnnConfig
    model: CRNN
    log_path: Path
    error: float


def make_model(setting: Setting, task: Task) -> Training | None:
    """Leaves the setting's model in its run's folder, in its number format; trains it unless it is there already.

    Returns:
        How it was trained; None where the weights are another setting's.
    """
    folder = task.folder(setting.name)
    made = provenance(setting, task)
    if not (is_made_so(folder, made) and _is_whole(setting, task)):
        remove(folder / FILE)  # what it says is no longer of the log and the model that come now
        config, model = _trained(setting, task, to_json(made))
        about = About(task.keyword, setting.number_format, setting=setting.name, seed=task.seed)
        write_module(task.model_path(setting.name), model, config, about)
        write(folder, made)
    return _training(setting, folder)


def _is_whole(setting: Setting, task: Task) -> bool:
    """Whether a run's model and log can be read; what a disk or a person has spoilt is made again."""
    try:
        task.load_model(setting.name)
        _training(setting, task.folder(setting.name))
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return True


def in_format(config: CrnnConfig, variables: dict[str, Any], number_format: NumberFormat) -> CRNN:
    """The PyTorch model with its weights stored as `number_format`."""
    return FORMATS[number_format].convert(to_module(config, variables))


def _trained(setting: Setting, task: Task, identity: str) -> tuple[CrnnConfig, CRNN]:
    if isinstance(setting.recipe, SeminarRecipe):
        return _train_in_torch(setting, setting.recipe, task, identity)
    if setting.recipe is not None:
        return _train_in_jax(setting, setting.recipe, task, identity)
    assert setting.weights_from is not None
    config, variables, _ = task.load_model(setting.weights_from)
    return config, in_format(config, variables, setting.number_format)


def _train_in_torch(setting: Setting, recipe: SeminarRecipe, task: Task, identity: str) -> tuple[CrnnConfig, CRNN]:
    config, training, folder = setting.model, task.split.training, task.folder(setting.name)
    assert config is not None

    def epoch_batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        drawn = training[draw_clips(setting, task, epoch)]
        for start in range(0, drawn.shape[0], recipe.batch_size):
            batch = drawn[start : start + recipe.batch_size]
            yield to_float(task.corpus.waveforms[batch]), task.labels[batch]

    model = train_torch(
        to_task_config(config),
        recipe,
        epoch_batches,
        task.corpus.background,
        task.seed,
        log_path=folder / LOG,
        resume=torch_resume.Resume(folder / UNFINISHED / "training", identity),
    )
    return config, FORMATS[setting.number_format].convert(model)


def _train_in_jax(setting: Setting, recipe: Recipe, task: Task, identity: str) -> tuple[CrnnConfig, CRNN]:
    """Trains from every initialisation and keeps the one that does best on validation speakers."""
    initial: dict[str, Any] | None = None
    if setting.weights_from:
        config, initial, _ = task.load_model(setting.weights_from)
    else:
        assert setting.model is not None
        config = setting.model
    training_set, draw = training_material(setting, config, task)
    teacher = Teacher(*task.load_model(setting.teacher)[:2]) if setting.teacher else None
    folder = task.folder(setting.name)

    def attempt(number: int) -> Attempt:
        seed, log_path = task.seed + RESTART_SEEDS * number, folder / UNFINISHED / f"{number}.jsonl"
        resume = jax_resume.Resume(folder / UNFINISHED / f"training_{number}", identity)
        mesh = devices.all_that_divide(recipe.batch_size)
        trained = fold_batch_norm(
            *train(config, recipe, training_set, draw, seed, teacher, log_path, initial, resume, mesh)
        )
        model = in_format(*trained, setting.number_format)
        return Attempt(trained[0], model, log_path, _choice_error(setting, task, model))

    attempts = [attempt(number) for number in range(setting.restarts)]
    best = min(range(setting.restarts), key=lambda number: attempts[number].error)
    _write_log(folder / LOG, attempts, best)
    return attempts[best].config, attempts[best].model


def validation_margins(task: Task, model: CRNN) -> tuple[np.ndarray, np.ndarray]:
    """Margins of a model in its number format, and the indices of the clips they are of.

    Of validation speakers; on a random split, which has none, of the training clips.
    """
    part = task.split.validation if task.split.validation.size else task.split.training
    return margins_of(model, task, part), part


def _choice_error(setting: Setting, task: Task, model: CRNN) -> float:
    """1 - AUROC that initialisations are chosen by; 0 where there is no choice."""
    if setting.restarts == 1:
        return 0.0
    margins, part = validation_margins(task, model)
    return auroc_error(margins, task.labels[part])


def _write_log(path: Path, attempts: list[Attempt], best: int) -> None:
    """The best attempt's log; where there was a choice, its last line says between what, and how long all took."""
    logs = [read_lines(attempt.log_path) for attempt in attempts]
    lines = logs[best]
    if len(attempts) > 1:
        errors, seconds = [attempt.error for attempt in attempts], [log[-1]["seconds"] for log in logs]
        lines[-1] |= {"restarts": errors, "restarts_seconds": seconds}
    with written(path) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _training(setting: Setting, folder: Path) -> Training | None:
    """How a setting's run was trained, by its log; None where its weights are another setting's."""
    if setting.recipe is None:
        return None
    lines = read_lines(folder / LOG)
    return Training(
        framework=framework_of(setting),
        epochs=lines[-1]["epoch"] + 1,
        seconds=sum(lines[-1].get("restarts_seconds", [lines[-1]["seconds"]])),
        clips_per_second=float(np.median([line["clips_per_second"] for line in lines])),
        final_loss=lines[-1]["loss"],
        restarts=tuple(lines[-1].get("restarts", ())),
    )
