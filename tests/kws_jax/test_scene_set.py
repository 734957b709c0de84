"""Training on scenes: what is asked of each frame and step, against loops, and that it is learnt."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kws_jax.config import SAMPLE_RATE, CrnnConfig, FrontendConfig
from kws_jax.evaluation.stream_metrics import HIT_TOLERANCE
from kws_jax.model import Crnn
from kws_jax.training.losses import Batch, Teacher, dark_knowledge, loss_function, trailing_attention_transfer
from kws_jax.training.scene_set import (
    AFTER_END,
    BEFORE_END,
    WORST,
    SceneSet,
    SceneTargets,
    frame_targets,
    join_scenes,
    scene_loss,
    windows,
)
from kws_jax.training.train import num_window_frames, train
from tests.helpers.models import random_model
from tests.helpers.toy_training import CONFIG, RECIPE
from tests.tolerances import CROSS_FRAMEWORK, SAME_FRAMEWORK

FRONTEND = FrontendConfig(window_length=320, hop_length=320, num_mels=12)
WORDS = np.array([[0.5, 0.9], [3.0, 3.4], [3.7, 4.1]])  # the third begins before the second may be forgotten
ROWS = 8  # of a batch


def test_what_is_asked_of_each_frame():
    word, is_quiet, first, last = frame_targets(FRONTEND, 400, WORDS)
    for frame in range(400):
        time = (frame * FRONTEND.hop_length + FRONTEND.padding) / SAMPLE_RATE
        asking = [n for n, (_, end) in enumerate(WORDS, 1) if end - BEFORE_END <= time < end + AFTER_END]
        assert word[frame] == (asking or [0])[-1]
        assert is_quiet[frame] == all(not start <= time < end + HIT_TOLERANCE for start, end in WORDS)
    for number in range(1, 4):
        assert first[number - 1] < np.flatnonzero(word == number)[0]
    assert last[2] == np.flatnonzero(word)[-1]


def scenes(seed: int = 0, count: int = 6, seconds: float = 10.0) -> SceneSet:
    """A keyword is a second-long sweep upwards; sweeps downwards are not."""
    rng, frames = np.random.default_rng(seed), round(seconds * SAMPLE_RATE) // FRONTEND.hop_length
    powers, intervals = [], []
    for _ in range(count):
        power = rng.exponential(1.0, (frames, 12)).astype(np.float32)
        starts = np.arange(0.4, seconds - 1, 2.5)
        upwards = rng.random(len(starts)) < 0.5
        for start, is_up in zip(starts, upwards, strict=True):
            at = round(start * SAMPLE_RATE) // FRONTEND.hop_length
            for t in range(48):
                power[at + t, t // 4 if is_up else 11 - t // 4] += 30.0
        powers.append(power)
        intervals.append(np.array([(start, start + 0.96) for start in starts[upwards]]).reshape(-1, 2))
    noise, rounding = (rng.exponential(level, (500, 12)).astype(np.float32) for level in (1.0, 0.01))
    return join_scenes(FRONTEND, powers, intervals, noise, rounding)


def test_windows_ask_for_whole_words_alone():
    joined = jax.tree.map(jnp.asarray, scenes())
    starts = jnp.arange(0, len(joined.power) - 120, 37)
    power, targets = windows(jax.random.key(0), joined, starts, 120, None)
    noisy, _ = windows(jax.random.key(0), joined, starts, 120, replace(RECIPE.augmentation, noise_rate=1.0))
    joined, targets = jax.tree.map(np.asarray, (joined, targets))  # of which no slice is compiled
    for row, start in enumerate(starts.tolist()):
        np.testing.assert_array_equal(power[row], joined.power[start : start + 120])
        inside = [
            number
            for number, (first, last) in enumerate(zip(joined.first, joined.last, strict=True), 1)
            if start <= first and last < start + 120
        ]
        asked = joined.word[start : start + 120]
        np.testing.assert_array_equal(targets.word[row], np.where(np.isin(asked, inside), asked, 0))
        np.testing.assert_array_equal(targets.is_quiet[row], joined.is_quiet[start : start + 120])
    assert (np.asarray(noisy) != np.asarray(power)).all()


def test_the_loss():
    config = CrnnConfig(frontend=FRONTEND, kernel_size=(5, 4), stride=(2, 4))
    rng, frames = np.random.default_rng(0), 400
    word, is_quiet, *_ = frame_targets(FRONTEND, frames, WORDS)
    both = SceneTargets(jnp.stack([word, 0 * word] * (ROWS // 2)), jnp.stack([is_quiet, is_quiet | True] * (ROWS // 2)))
    margins = rng.normal(0, 3, (ROWS, config.num_steps(frames)))
    margins[1, :2] = 12, 11  # two of one window, of which one step counts
    missed, alarms, worst = [], [], []
    for row, (numbers, quiet) in enumerate(zip(*map(np.asarray, both), strict=True)):
        by_word: dict[int, list[float]] = {}
        silent = []
        for step, margin in enumerate(margins[row]):
            frame = step * config.stride_frames + config.kernel_frames - 1
            if numbers[frame]:
                by_word.setdefault(int(numbers[frame]), []).append(margin)
            if quiet[frame]:
                silent.append(np.log1p(np.exp(margin)))
        missed += [np.log1p(np.exp(-max(said))) for said in by_word.values()]
        alarms += silent
        worst.append(max(silent))
    assert len(missed) == ROWS // 2 * len(WORDS)
    logits = jnp.stack([jnp.zeros(margins.shape), jnp.asarray(margins, jnp.float32)], axis=2) + 0.3
    ours = float(scene_loss(logits, both, config))
    worst = sorted(worst)[-(ROWS // WORST) :]
    assert ours == pytest.approx(np.mean(missed) + np.mean(alarms) + np.mean(worst), abs=CROSS_FRAMEWORK)


def test_windows_without_a_keyword_have_a_gradient():
    config = CrnnConfig(frontend=FRONTEND, kernel_size=(5, 4), stride=(2, 4))
    nothing = SceneTargets(jnp.zeros((2, 400), int), jnp.ones((2, 400), bool))
    loss, gradient = jax.jit(jax.value_and_grad(lambda logits: scene_loss(logits, nothing, config)))(
        jnp.zeros((2, config.num_steps(400), 2))
    )
    assert float(loss) == pytest.approx(2 * np.log(2), abs=SAME_FRAMEWORK), "a window at least is the worst"
    gradient = gradient[..., 1]
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient) > 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["log", "pcen"])
def test_scenes_are_learnt(compression: str):
    """After seconds of training, a step at a keyword's end is surer than all the quiet ones, on other scenes too."""
    frontend = replace(FRONTEND, compression=compression)
    config = replace(CONFIG, frontend=frontend, kernel_size=(3, 4), stride=(2, 2), max_window_length=14)
    augmentation = replace(RECIPE.augmentation, max_masked_mels=0, max_masked_frames=0)
    recipe = replace(RECIPE, epochs=40, batch_size=8, window=4.0, augmentation=augmentation)
    material = scenes(count=10)
    starts = len(material.power) - num_window_frames(config, recipe) + 1
    config, variables = train(
        config, recipe, material, lambda epoch: np.random.default_rng(epoch).integers(0, starts, 32), seed=0
    )
    other = scenes(seed=1)

    def every_step(model: Crnn, power: jax.Array) -> jax.Array:
        return model.every_step(model.compress(power)[0])

    logits = Crnn(config).apply(variables, jnp.asarray(other.power)[None], method=every_step)[0]
    margins = np.asarray(logits[:, 1] - logits[:, 0])
    frames = np.arange(len(margins)) * config.stride_frames + config.kernel_frames - 1
    best = [margins[other.word[frames] == number].max() for number in range(1, len(other.first) + 1)]
    quiet = margins[other.is_quiet[frames]]
    assert np.mean(np.array(best) > np.quantile(quiet, 0.99)) > 0.9


@pytest.mark.parametrize("weights", [{"teacher_weight": 1.0}, {"teacher_weight": 1.0, "attention_weight": 1.0}])
def test_a_model_has_nothing_to_learn_from_itself(weights: dict[str, float]):
    config = replace(CONFIG, frontend=FRONTEND, batch_norm=False)
    variables = random_model(config)
    recipe = replace(RECIPE, **weights)
    power, targets = windows(jax.random.key(0), jax.tree.map(jnp.asarray, scenes()), jnp.arange(3) * 50, 150, None)
    batch, key = Batch(power, targets, jax.random.key(1)), jax.random.key(2)
    distilled = jax.jit(lambda other: loss_function(variables, config, recipe, batch, Teacher(config, other), key)[0])
    loss = [distilled(other) for other in (variables, random_model(config, 3))]
    assert abs(float(loss[0])) < SAME_FRAMEWORK
    assert float(loss[1]) > 100 * SAME_FRAMEWORK


def test_what_a_teacher_adds_at_every_step():
    """Teacher and student step at other times: logits and energies are read off where the student's steps end."""
    config = replace(CONFIG, frontend=FRONTEND, batch_norm=False)
    other = replace(config, stride=(2, 2 * config.stride[1]), kernel_size=(3, 2 * config.stride[1]))
    variables, teacher = random_model(config), Teacher(other, random_model(other, 1))
    power, targets = windows(jax.random.key(0), jax.tree.map(jnp.asarray, scenes()), jnp.arange(3) * 50, 150, None)
    key = jax.random.key(1)
    recipe = replace(RECIPE, teacher_weight=0.3, attention_weight=0.7, temperature=2.0)
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, max_masked_mels=0, max_masked_frames=0))

    @jax.jit
    def losses(power: jax.Array) -> tuple:
        def hear(model: Crnn, power: jax.Array) -> tuple:
            return model.steps_and_energies(model.compress(power)[0])

        said = [Crnn(c).apply(v, power, method=hear) for c, v in ((config, variables), teacher)]
        return said, loss_function(variables, config, recipe, Batch(power, targets, key), teacher, key)[0]

    ((logits, energies), (taught, taught_energies)), found = losses(power)
    ends, taught_ends = (c.step_end(np.arange(e.shape[1])) for c, e in ((config, energies), (other, taught_energies)))
    assert len(ends) > len(taught_ends)
    heard = [[np.interp(ends, taught_ends, row[:, k]) for k in range(2)] for row in np.asarray(taught)]
    soft = dark_knowledge(
        logits.reshape(-1, 2), jnp.asarray(heard, jnp.float32).transpose(0, 2, 1).reshape(-1, 2), recipe.temperature
    )
    read = jnp.asarray([np.interp(ends, taught_ends, row) for row in np.asarray(taught_energies)], jnp.float32)
    attention = trailing_attention_transfer(energies, read, config.max_window_length)
    hard = scene_loss(logits, targets, config)
    assert float(found) == pytest.approx(float(0.7 * hard + 0.3 * soft + 0.7 * attention), abs=CROSS_FRAMEWORK)
    alike = replace(recipe, similarity_weight=1.0)
    with pytest.raises(ValueError, match="similarity is of clips"):
        loss_function(variables, config, alike, Batch(power, targets, key), teacher, key)
