"""What a run trains on: clips or scenes of its training speakers, ready to be augmented, and what an epoch draws."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from experiments.study.provenance import sources_fingerprint
from experiments.study.settings import Setting
from experiments.study.task import Task
from kws_jax.config import SAMPLE_RATE, CrnnConfig, FrontendConfig
from kws_jax.data.audio import FULL_SCALE, as_float
from kws_jax.data.scenes import TRAINED, build_scenes, gather
from kws_jax.data.splits import balanced_indices
from kws_jax.errors import UserError
from kws_jax.files import written
from kws_jax.frontend import mel_power
from kws_jax.training.recipe import Recipe
from kws_jax.training.scene_set import SceneSet, join_scenes
from kws_jax.training.train import num_window_frames
from kws_jax.training.training_set import TrainingSet, cached_mel_power, framing_offsets, moved

SCENES = "scenes"  # folder of mel power of scenes, which runs of a keyword and a front end share
SCENES_FORMAT = 2  # raise it when glueing changes, so that no scenes of before are taken
MINUTES_PER_STREAM = 10.0
LEAST_NOISE = 10.0  # s, longer than any window that is learnt from
Draw = Callable[[int], np.ndarray]


def training_material(setting: Setting, config: CrnnConfig, task: Task) -> tuple[TrainingSet | SceneSet, Draw]:
    """Material, and from an epoch's number to what it draws: positions of clips, or first frames of windows.

    Raises:
        UserError: If the setting trains on scenes and there is no running speech for them.
    """
    return _scenes(setting, config, task) if setting.scene_hours else _clips(setting, config.frontend, task)


def draw_clips(setting: Setting, task: Task, epoch: int) -> np.ndarray:
    """Positions among the training clips, for one epoch: class-balanced, as many as there are clips."""
    training = task.split.training
    rng = np.random.default_rng([task.seed, epoch])
    words = task.corpus.words[training]
    return balanced_indices(task.labels[training], training.shape[0], rng, words, setting.word_balance)


def _clips(setting: Setting, frontend: FrontendConfig, task: Task) -> tuple[TrainingSet, Draw]:
    training, labels = task.split.training, task.labels[task.split.training]
    clips = task.corpus.waveforms[training]
    offsets = framing_offsets(frontend.hop_length, setting.framings)
    power = np.concatenate([cached_mel_power(frontend, moved(clips, offset)) for offset in offsets])
    noise = noise_power(frontend, task.corpus.background)
    training_set = TrainingSet(jnp.asarray(power), jnp.tile(jnp.asarray(labels), setting.framings), jnp.asarray(noise))

    def draw(epoch: int) -> np.ndarray:
        rng = np.random.default_rng([task.seed, epoch, 1])
        drawn = draw_clips(setting, task, epoch)
        return drawn + len(clips) * rng.integers(0, setting.framings, drawn.shape[0])

    return training_set, draw


def _scenes(setting: Setting, config: CrnnConfig, task: Task) -> tuple[SceneSet, Draw]:
    assert isinstance(setting.recipe, Recipe)
    scenes = _scene_set(setting.scene_hours, replace(config.frontend, compression="log"), task)
    frames = num_window_frames(config, setting.recipe)
    starts = scenes.power.shape[0] - frames + 1

    def draw(epoch: int) -> np.ndarray:
        return np.random.default_rng([task.seed, epoch]).integers(0, starts, scenes.power.shape[0] // frames)

    return scenes, draw


def _scene_set(hours: float, frontend: FrontendConfig, task: Task) -> SceneSet:
    """Scenes of the training speakers, built once for all runs on the same; the seed of training does not matter."""
    if not task.source.sources.speech:
        raise UserError("this setting trains on scenes: give --speech folders of <speaker>-*.flac, .wav or .ogg files")
    split = task.split.training.tobytes()
    heard = (task.corpus.fingerprint, sources_fingerprint(task.source.sources))
    made = repr((SCENES_FORMAT, hours, frontend, task.keyword, *heard))
    path = task.out / SCENES / f"{hashlib.sha256(made.encode() + split).hexdigest()[:16]}.npz"
    if not path.is_file():
        material = gather(task.corpus, task.keyword, task.split, "training", task.source.sources)
        scenes = build_scenes(material, hours, min(MINUTES_PER_STREAM, 60 * hours), 0, TRAINED)
        powers = (joined_mel_power(frontend, (waveform,)) for waveform in scenes.waveforms)
        noise = noise_power(frontend, material.noise)
        with written(path) as part, part.open("wb") as file:
            np.savez(
                file, **join_scenes(frontend, powers, scenes.keyword_intervals, noise, _rounding(frontend))._asdict()
            )
    with np.load(path) as file:
        return SceneSet(*(file[name] for name in SceneSet._fields))


def _rounding(frontend: FrontendConfig) -> np.ndarray:
    """Mel power of a minute of errors of rounding to 16 bits: white, and as large as half a step."""
    errors = np.random.default_rng(0).uniform(-0.5, 0.5, 60 * SAMPLE_RATE) / FULL_SCALE
    return joined_mel_power(frontend, (errors.astype(np.float32),))


def noise_power(frontend: FrontendConfig, recordings: Sequence[np.ndarray]) -> np.ndarray:
    """Mel power of noise, of silence where there is none, again and again until there are LEAST_NOISE seconds."""
    power = joined_mel_power(frontend, recordings)
    least = math.ceil(LEAST_NOISE * SAMPLE_RATE / frontend.hop_length)
    return np.tile(power, (math.ceil(least / len(power)), 1)) if len(power) < least else power


def joined_mel_power(frontend: FrontendConfig, recordings: Sequence[np.ndarray]) -> np.ndarray:
    """Mel power of recordings, int16 or floats, end to end; silence where there are none."""
    recordings = recordings or (np.zeros(2 * SAMPLE_RATE, np.float32),)
    return np.concatenate([np.asarray(_mel_power(frontend, as_float(recording)[None])[0]) for recording in recordings])


_mel_power = jax.jit(mel_power, static_argnames="config")  # compiled once a length
