"""Training for streams: glueing, what each step must say, the loss, and that a model learns from it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kws_jax.config import BASE, CrnnConfig
from kws_jax.frontend import log_compress
from kws_jax.model import Crnn
from kws_jax.training.recipe import Recipe
from kws_jax.training.sequences import glue, sequence_loss, step_coverage
from kws_jax.training.train import train
from tests.helpers.models import CONFIGS, LIGHT, TOY
from tests.helpers.toy_training import CONFIG, RECIPE, TONES, draw, equal
from tests.tolerances import SAME_FRAMEWORK


def _must_say(config: CrnnConfig, labels: list[int], frames: int, step: int) -> int | None:
    """What a step must say, frame by frame: 1 keyword, 0 not, None as it likes."""
    hop = config.frontend.hop_length / 16_000
    reach = max(0.12, config.stride_frames * hop / 2) + 1e-9  # s
    last = step * config.stride_frames + config.kernel_frames - 1
    heard = range(last - (config.max_window_length - 1) * config.stride_frames - config.kernel_frames + 1, last + 1)
    keywords = [range(frames * clip, frames * (clip + 1)) for clip, label in enumerate(labels) if label]
    if any(abs(last - clip[-1]) * hop <= reach for clip in keywords):
        return 1
    return None if any(frame in clip for clip in keywords for frame in heard) else 0


def test_glued_clips_follow_each_other_without_their_last_frame():
    clips = np.arange(6 * 5 * 2, dtype=np.float32).reshape(6, 5, 2)
    expected = np.stack([np.concatenate(clips[row * 3 : row * 3 + 3, :4]) for row in range(2)])
    np.testing.assert_array_equal(glue(jnp.asarray(clips), 3), expected)


@pytest.mark.parametrize(("config", "frames"), [(BASE, 100), (CONFIGS["student"], 100), (LIGHT, 25), (TOY, 120)])
def test_the_loss_is_the_loop(config: CrnnConfig, frames: int):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (8, 4))
    labels[0], labels[1] = 0, 1
    steps = step_coverage(config, frames, 4)[0].shape[0]
    assert steps == config.num_steps(4 * frames)
    logits = rng.normal(0, 2, (8, steps, 2)).astype(np.float32)
    losses: dict[int | None, list[float]] = {0: [], 1: [], None: []}
    for row, sequence in enumerate(labels.tolist()):
        for step in range(steps):
            must = _must_say(config, sequence, frames, step)
            wrong, right = logits[row, step, 1 - (must or 0)], logits[row, step, must or 0]
            losses[must].append(float(np.logaddexp(0.0, np.float64(wrong) - right)))
    assert all(losses.values()), "every kind of step is there"
    compiled = jax.jit(sequence_loss, static_argnums=(2, 3))
    loss = compiled(jnp.asarray(logits), jnp.asarray(labels.ravel(), jnp.int32), config, frames)
    assert abs(float(loss) - 0.5 * (np.mean(losses[0]) + np.mean(losses[1]))) < SAME_FRAMEWORK


@pytest.mark.parametrize("config", [BASE, LIGHT, replace(LIGHT, stride=(1, 8))], ids=["80 ms", "160 ms", "320 ms"])
def test_a_keyword_is_never_without_a_step_that_must_say_it(config: CrnnConfig):
    """However far apart the steps are; and those that must lie near its end in time, whatever a frame lasts."""
    frames = config.frontend.num_frames(16_000) - 1
    at_end, _ = step_coverage(config, frames, 6)
    assert at_end[:, :-1].any(axis=0).all()
    step, clip = np.nonzero(at_end)
    late = config.step_end(step) / 16_000 - (clip + 1.0)
    # A clip's last frame lies a hop before its end, and a frame's right edge half a window after its middle.
    offset = (config.frontend.padding - config.frontend.hop_length) / 16_000
    assert np.abs(late - offset).max() <= max(0.12, config.block_size / 32_000) + 1e-9


def test_without_a_keyword_the_loss_is_that_of_silence():
    logits = jnp.zeros((2, TOY.num_steps(46), 2))
    loss = sequence_loss(logits, jnp.zeros(4, jnp.int32), TOY, 23)
    assert abs(float(loss) - 0.5 * np.log(2)) < SAME_FRAMEWORK


@pytest.mark.slow
def test_a_model_learns_from_sequences():
    recipe = replace(RECIPE, clips_per_sequence=4)
    # Frames 40 ms apart, so that the corpus's clips last a second, longer than the tolerance around their ends.
    config = replace(CONFIG, frontend=replace(CONFIG.frontend, hop_length=640))
    _, variables = train(config, recipe, TONES, draw, seed=0)
    logits, _ = jax.jit(Crnn(config).apply)(variables, log_compress(jnp.asarray(TONES.power)))
    assert (np.asarray(logits).argmax(1) == TONES.labels).mean() > 0.9
    assert not equal(variables, train(config, RECIPE, TONES, draw, seed=0)[1])


@pytest.mark.parametrize("fields", [{"teacher_weight": 0.5}, {"batch_size": 30}])
def test_sequences_that_cannot_be_made_are_named(fields: dict):
    with pytest.raises(ValueError, match="whole number of sequences"):
        Recipe(clips_per_sequence=4, **fields)
