"""From a setting to trained weights, in PyTorch or in JAX."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from conversion.configs import to_task_config
from conversion.files import from_module, to_module
from experiments.continuous import read_speech
from experiments.judging import in_format, margins_of
from experiments.origin import FILE as ORIGIN_FILE
from experiments.origin import has_origin, origin
from experiments.records import Training
from experiments.setting import Setting
from experiments.task import Task
from kws_jax import checkpoint
from kws_jax import resume as jax_resume
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.data import CLIP_LENGTH, to_float, to_pcm
from kws_jax.errors import UserError
from kws_jax.frontend import mel_power
from kws_jax.material import Corpus, WaveformCorpus, cached_mel_power, moved, phase_offsets
from kws_jax.metrics import auroc_error
from kws_jax.model import fold_batch_norm
from kws_jax.objective import Teacher
from kws_jax.recipe import Recipe
from kws_jax.splits import balanced_indices
from kws_jax.train import train
from torch_ref import resume as torch_resume
from torch_ref.train import SeminarRecipe
from torch_ref.train import train as train_torch

RESTART_SEEDS = 1_000  # apart, so that no seed's restart is another seed


class Attempt(NamedTuple):
    """A training from one initialisation: the deployed model, its log, and the error that it is chosen by."""

    config: CrnnConfig
    variables: dict[str, Any]
    log_path: Path
    error: float


def trained_weights(setting: Setting, task: Task) -> tuple[CrnnConfig, dict[str, Any], Training | None]:
    """The setting's deployed model: another setting's, or its own, which is trained unless its checkpoint is there."""
    if setting.recipe is None:
        assert setting.source is not None
        return *task.load_variables(setting.source), None
    folder, log_path = task.checkpoint_folder(setting.name), task.log_path(setting.name)
    made = origin(setting, setting.recipe, task)
    if not (has_origin(folder, made) and log_path.is_file()):
        (folder / ORIGIN_FILE).unlink(missing_ok=True)
        config, variables = _train(setting, task, made.to_json())
        checkpoint.save(folder / "flax", config, variables, about={"keyword": task.keyword})
        (folder / ORIGIN_FILE).write_text(made.to_json() + "\n")
    return *task.load_variables(setting.name), _summary(made.framework, log_path)


def _train(setting: Setting, task: Task, identity: str) -> tuple[CrnnConfig, dict[str, Any]]:
    if isinstance(setting.recipe, SeminarRecipe):
        unfinished = task.unfinished_folder(setting.name) / "training"
        return _train_in_torch(setting, setting.recipe, task, torch_resume.Resume(unfinished, identity))
    assert setting.recipe is not None
    return _train_in_jax(setting, setting.recipe, task, identity)


def _train_in_torch(
    setting: Setting, recipe: SeminarRecipe, task: Task, resume: torch_resume.Resume
) -> tuple[CrnnConfig, dict[str, Any]]:
    def epoch_batches(epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        drawn = _draw(setting, task, epoch)
        for start in range(0, drawn.shape[0], recipe.batch_size):
            batch = drawn[start : start + recipe.batch_size]
            yield to_float(task.corpus.waveforms[batch]), task.labels[batch]

    model = train_torch(
        to_task_config(setting.model),
        recipe,
        epoch_batches,
        task.corpus.background,
        task.seed,
        log_path=task.log_path(setting.name),
        resume=resume,
    )
    return setting.model, from_module(model, setting.model)


def _train_in_jax(setting: Setting, recipe: Recipe, task: Task, identity: str) -> tuple[CrnnConfig, dict[str, Any]]:
    """Trains from every initialisation and keeps the one that does best on validation speakers."""
    config, initial = task.load_variables(setting.source) if setting.source else (setting.model, None)
    corpus, draw = _material(setting, config.frontend, task)
    teacher = load_teacher(setting.teacher, task) if setting.teacher else None
    unfinished = task.unfinished_folder(setting.name)

    def attempt(number: int) -> Attempt:
        seed, log_path = task.seed + RESTART_SEEDS * number, unfinished / f"{number}.jsonl"
        resume = jax_resume.Resume(unfinished / f"training_{number}", identity)
        model = fold_batch_norm(*train(config, recipe, corpus, draw, seed, teacher, log_path, initial, resume))
        return Attempt(*model, log_path, _choice_error(setting, task, *model))

    attempts = [attempt(number) for number in range(setting.restarts)]
    best = min(range(setting.restarts), key=lambda number: attempts[number].error)
    _write_log(task.log_path(setting.name), attempts, best)
    return attempts[best].config, attempts[best].variables


def _material(
    setting: Setting, frontend: FrontendConfig, task: Task
) -> tuple[Corpus | WaveformCorpus, Callable[[int], np.ndarray]]:
    """Training clips, ready to be augmented, and the draw of each epoch's."""
    training, background = task.split.training, task.corpus.background
    speech = speech_clips(task.source.speech, setting.speech_share, task.keyword)
    clips = np.concatenate([task.corpus.waveforms[training], speech])
    labels = jnp.asarray(np.concatenate([task.labels[training], np.zeros(len(speech), np.int32)]))
    corpus: Corpus | WaveformCorpus
    if setting.augments_waveforms:
        corpus = WaveformCorpus(
            jnp.asarray(clips), labels, jnp.asarray(np.concatenate([np.zeros(0, np.float32), *background]))
        )
    else:
        offsets = phase_offsets(frontend.hop_length, setting.phases)
        power = np.concatenate([cached_mel_power(frontend, moved(clips, offset)) for offset in offsets])
        noise = noise_mel_power(frontend, background)
        corpus = Corpus(jnp.asarray(power), jnp.tile(labels, setting.phases), jnp.asarray(noise))

    def draw(epoch: int) -> np.ndarray:
        drawn = np.searchsorted(training, _draw(setting, task, epoch))
        rng = np.random.default_rng([task.seed, epoch, 1])
        replaced = (task.labels[training[drawn]] == 0) & (rng.random(drawn.shape[0]) < setting.speech_share)
        drawn = np.where(replaced, training.shape[0] + rng.integers(0, max(1, len(speech)), drawn.shape[0]), drawn)
        return drawn + len(clips) * rng.integers(0, setting.phases, drawn.shape[0])

    return corpus, draw


def validation_margins(
    setting: Setting, task: Task, config: CrnnConfig, variables: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Margins of a deployed model, in the setting's number format, and the indices of the clips they are of.

    Of validation speakers; on a random split, which has none, of the training clips.
    """
    part = task.split.validation if task.split.validation.size else task.split.training
    return margins_of(in_format(to_module(config, variables), setting.number_format), task, part), part


def _choice_error(setting: Setting, task: Task, config: CrnnConfig, variables: dict[str, Any]) -> float:
    """1 - AUROC that initialisations are chosen by; 0 where there is no choice."""
    if setting.restarts == 1:
        return 0.0
    margins, part = validation_margins(setting, task, config, variables)
    return auroc_error(margins, task.labels[part])


def _write_log(path: Path, attempts: list[Attempt], best: int) -> None:
    """The best attempt's log; where there was a choice, its last line says between what, and how long all took."""
    logs = [_read_log(attempt.log_path) for attempt in attempts]
    lines = logs[best]
    if len(attempts) > 1:
        errors, seconds = [attempt.error for attempt in attempts], [log[-1]["seconds"] for log in logs]
        lines[-1] |= {"restarts": errors, "restarts_seconds": seconds}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _read_log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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
    """Clips of one epoch: class-balanced, as many as there are training clips."""
    training = task.split.training
    rng = np.random.default_rng([task.seed, epoch])
    words = task.corpus.words[training]
    return training[balanced_indices(task.labels[training], training.shape[0], rng, words, setting.word_exponent)]


def noise_mel_power(frontend: FrontendConfig, background: tuple[np.ndarray, ...]) -> np.ndarray:
    """Mel power of all background recordings, end to end; silence where there are none."""
    recordings = background or (np.zeros(2 * frontend.sample_rate, np.float32),)
    transform = jax.jit(partial(mel_power, frontend))
    return np.concatenate([np.asarray(transform(jnp.asarray(recording)[None])[0]) for recording in recordings])


def load_teacher(name: str, task: Task) -> Teacher:
    """A trained setting, to learn from."""
    return Teacher(*task.load_variables(name))


def _summary(framework: str, log_path: Path) -> Training:
    lines = _read_log(log_path)
    return Training(
        framework=framework,
        epochs=lines[-1]["epoch"] + 1,
        seconds=sum(lines[-1].get("restarts_seconds", [lines[-1]["seconds"]])),
        clips_per_second=float(np.median([line["clips_per_second"] for line in lines])),
        final_loss=lines[-1]["loss"],
        restarts=tuple(lines[-1].get("restarts", ())),
    )
