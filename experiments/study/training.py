"""From a setting to a model in its number format, trained in PyTorch or in JAX."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from conversion.configs import to_task_config
from conversion.files import to_module, write_module
from experiments.study.judging import margins_of
from experiments.study.provenance import FILE, is_made_so, provenance, to_json, write
from experiments.study.records import LOG, UNFINISHED, Training, read_lines
from experiments.study.settings import NumberFormat, Setting
from experiments.study.task import Task
from kws_jax.checkpoint import About
from kws_jax.config import SAMPLE_RATE, CrnnConfig, FrontendConfig
from kws_jax.data.audio import to_float, to_pcm
from kws_jax.data.corpus import CLIP_LENGTH
from kws_jax.data.scenes import read_speech
from kws_jax.data.splits import balanced_indices
from kws_jax.errors import UserError
from kws_jax.evaluation.metrics import auroc_error
from kws_jax.files import remove, written
from kws_jax.frontend import mel_power
from kws_jax.model import fold_batch_norm
from kws_jax.training import resume as jax_resume
from kws_jax.training.losses import Teacher
from kws_jax.training.recipe import Recipe
from kws_jax.training.train import train
from kws_jax.training.training_set import TrainingSet, cached_mel_power, framing_offsets, moved
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
    if not (is_made_so(folder, made) and (setting.recipe is None or (folder / LOG).is_file())):
        remove(folder / FILE)  # what it says is no longer of the log and the model that come now
        config, model = _trained(setting, task, to_json(made))
        about = About(task.keyword, setting.number_format, setting=setting.name, seed=task.seed)
        write_module(task.model_path(setting.name), model, config, about)
        write(folder, made)
    return None if setting.recipe is None else _summary(made["framework"], read_lines(folder / LOG))


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
        drawn = training[_draw(setting, task, epoch)]
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
    training_set, draw = _material(setting, config.frontend, task)
    teacher = Teacher(*task.load_model(setting.teacher)[:2]) if setting.teacher else None
    folder = task.folder(setting.name)

    def attempt(number: int) -> Attempt:
        seed, log_path = task.seed + RESTART_SEEDS * number, folder / UNFINISHED / f"{number}.jsonl"
        resume = jax_resume.Resume(folder / UNFINISHED / f"training_{number}", identity)
        trained = fold_batch_norm(*train(config, recipe, training_set, draw, seed, teacher, log_path, initial, resume))
        model = in_format(*trained, setting.number_format)
        return Attempt(trained[0], model, log_path, _choice_error(setting, task, model))

    attempts = [attempt(number) for number in range(setting.restarts)]
    best = min(range(setting.restarts), key=lambda number: attempts[number].error)
    _write_log(folder / LOG, attempts, best)
    return attempts[best].config, attempts[best].model


def _material(
    setting: Setting, frontend: FrontendConfig, task: Task
) -> tuple[TrainingSet, Callable[[int], np.ndarray]]:
    """Training clips, ready to be augmented, and the draw of each epoch's: positions among them."""
    training, labels = task.split.training, task.labels[task.split.training]
    speech = speech_clips(task.source.speech, setting.speech_share, task.keyword)
    clips = np.concatenate([task.corpus.waveforms[training], speech])
    offsets = framing_offsets(frontend.hop_length, setting.framings)
    power = np.concatenate([cached_mel_power(frontend, moved(clips, offset)) for offset in offsets])
    all_labels = np.concatenate([labels, np.zeros(len(speech), np.int32)])
    noise = noise_mel_power(frontend, task.corpus.background)
    training_set = TrainingSet(
        jnp.asarray(power), jnp.tile(jnp.asarray(all_labels), setting.framings), jnp.asarray(noise)
    )

    def draw(epoch: int) -> np.ndarray:
        drawn = _draw(setting, task, epoch)
        rng = np.random.default_rng([task.seed, epoch, 1])
        replaced = (labels[drawn] == 0) & (rng.random(drawn.shape[0]) < setting.speech_share)
        drawn = np.where(replaced, training.shape[0] + rng.integers(0, max(1, len(speech)), drawn.shape[0]), drawn)
        return drawn + len(clips) * rng.integers(0, setting.framings, drawn.shape[0])

    return training_set, draw


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


def speech_clips(folder: Path | None, share: float, keyword: str) -> np.ndarray:
    """Seconds of the training speakers' running speech, every half second one: (clips, samples), int16.

    Raises:
        UserError: If a share of running speech is asked for and there is no folder of it.
    """
    if not share:
        return np.zeros((0, CLIP_LENGTH), np.int16)
    if folder is None:
        raise UserError("this setting trains on running speech: give --speech a folder of <speaker>-*.flac files")
    utterances = read_speech(folder, "training", keyword)
    seconds = [
        utterance[start : start + CLIP_LENGTH]
        for utterance in utterances
        for start in range(0, len(utterance) - CLIP_LENGTH + 1, CLIP_LENGTH // 2)
    ]
    return to_pcm(np.stack(seconds))


def _draw(setting: Setting, task: Task, epoch: int) -> np.ndarray:
    """Positions among the training clips, for one epoch: class-balanced, as many as there are clips."""
    training = task.split.training
    rng = np.random.default_rng([task.seed, epoch])
    words = task.corpus.words[training]
    return balanced_indices(task.labels[training], training.shape[0], rng, words, setting.word_balance)


def noise_mel_power(frontend: FrontendConfig, background: tuple[np.ndarray, ...]) -> np.ndarray:
    """Mel power of all background recordings, end to end; silence where there are none."""
    recordings = background or (np.zeros(2 * SAMPLE_RATE, np.float32),)
    transform = jax.jit(partial(mel_power, frontend))
    return np.concatenate([np.asarray(transform(jnp.asarray(recording)[None])[0]) for recording in recordings])


def _summary(framework: str, lines: list[dict[str, Any]]) -> Training:
    return Training(
        framework=framework,
        epochs=lines[-1]["epoch"] + 1,
        seconds=sum(lines[-1].get("restarts_seconds", [lines[-1]["seconds"]])),
        clips_per_second=float(np.median([line["clips_per_second"] for line in lines])),
        final_loss=lines[-1]["loss"],
        restarts=tuple(lines[-1].get("restarts", ())),
    )
