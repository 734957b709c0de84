"""Training on a toy corpus that seconds suffice to learn."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kws_jax.config import FrontendConfig
from kws_jax.errors import UserError
from kws_jax.frontend import log_compress, log_mel, mel_power
from kws_jax.model import Crnn, init_variables
from kws_jax.training import train as training
from kws_jax.training.losses import Teacher, cross_entropy
from kws_jax.training.pruning import PruningPlan, full_masks
from kws_jax.training.quantization import fake_quantize_params
from kws_jax.training.recipe import Recipe, optimizer
from kws_jax.training.train import train
from kws_jax.training.training_set import cached_mel_power
from tests.helpers.models import noise, random_model
from tests.helpers.toy_training import CLIPS, CONFIG, RECIPE, TONES, draw, equal
from tests.tolerances import SAME_FRAMEWORK

PLAIN = replace(RECIPE, epochs=1, augmentation=None)  # compiles faster


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "new" / "log.jsonl"


@pytest.fixture(scope="module")
def trained(log_path: Path) -> dict:
    return train(CONFIG, RECIPE, TONES, draw, seed=0, log_path=log_path)[1]


def test_what_is_learnt_is_right(trained: dict):
    logits, _ = jax.jit(Crnn(CONFIG).apply)(trained, log_compress(jnp.asarray(TONES.power)))
    assert (np.asarray(logits).argmax(1) == TONES.labels).mean() > 0.95
    before = init_variables(jax.random.key(0), CONFIG)["batch_stats"]
    assert not equal(trained["batch_stats"], before), "the statistics of the batches are kept"


def test_the_log(trained: dict, log_path: Path):
    lines = [json.loads(line) for line in log_path.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(RECIPE.epochs))
    assert [line["step"] for line in lines] == [4 * (epoch + 1) for epoch in range(RECIPE.epochs)], (
        "4 batches of 16, and 4 clips"
    )
    assert all(set(line) == {"step", "epoch", "loss", "seconds", "clips_per_second"} for line in lines)
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    for last, line in zip([{"seconds": 0.0}, *lines], lines, strict=False):
        assert line["clips_per_second"] > 0
        assert line["seconds"] >= last["seconds"]


def test_the_seed_decides_and_an_epoch_is_compiled_once(trained: dict):
    compiled = training.train_epoch._cache_size()
    assert equal(trained, train(CONFIG, RECIPE, TONES, draw, seed=0)[1])
    assert not equal(trained, train(CONFIG, RECIPE, TONES, draw, seed=1)[1])
    assert training.train_epoch._cache_size() == compiled


def test_what_is_not_finite_stops_the_training(tmp_path: Path):
    spoiled = TONES.power.copy()
    spoiled[:5, 0, 0] = np.nan
    with pytest.raises(RuntimeError, match="epoch 0: the loss or a weight is not finite"):
        train(CONFIG, PLAIN, TONES._replace(power=spoiled), draw, 0, log_path=tmp_path / "log.jsonl")
    assert not (tmp_path / "log.jsonl").exists()


def test_misuse_is_named():
    with pytest.raises(UserError, match="an epoch of 68 clips is less than a batch of 128"):
        train(CONFIG, Recipe(), TONES, draw, 0)
    for weight in ("teacher_weight", "attention_weight", "similarity_weight"):
        with pytest.raises(ValueError, match="asks for a teacher, but there is none"):
            train(CONFIG, replace(RECIPE, **{weight: 0.5}), TONES, draw, 0)
    other = replace(CONFIG, frontend=replace(CONFIG.frontend, num_mels=14))
    with pytest.raises(UserError, match=r"the teacher's front end .*num_mels=14.* is not the model's"):
        train(CONFIG, RECIPE, TONES, draw, 0, Teacher(other, {}))
    with pytest.raises(ValueError, match=r"average_decay is 1\.0"):
        replace(RECIPE, average_decay=1.0)
    with pytest.raises(IndexError, match="an epoch draws clips 5 to 68 of 68"):
        train(CONFIG, RECIPE, TONES, lambda _: np.arange(5, CLIPS + 1), 0)


def test_the_average_follows_the_steps():
    recipe = replace(PLAIN, average_decay=0.75)
    variables = random_model(CONFIG)
    state = training.start_state(variables, CONFIG, optimizer(recipe, 10), jax.random.key(1))
    corpus, by_hand = jax.tree.map(jnp.asarray, TONES), variables
    step = jax.jit(partial(training.train_step, config=CONFIG, recipe=recipe, teacher=None, num_steps=10))
    for number in range(3):
        state, _ = step(state, corpus, jnp.arange(16) + number)
        by_hand = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, by_hand, state.variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=SAME_FRAMEWORK), by_hand, state.average)
    assert not equal(state.average, state.variables)


def test_training_goes_on_from_given_variables():
    start = random_model(CONFIG, 5)
    still = replace(PLAIN, peak_learning_rate=1e-30, weight_decay=0.0)
    trained = train(CONFIG, still, TONES, draw, 0, initial=start)[1]["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=SAME_FRAMEWORK), trained, start["params"])
    fresh = train(CONFIG, still, TONES, draw, 0)[1]["params"]
    assert np.abs(fresh["conv"]["kernel"] - start["params"]["conv"]["kernel"]).max() > 0.01


@pytest.mark.slow
def test_pruning_ends_as_planned_and_the_rest_learns():
    plan = PruningPlan(conv_channels=2, gru_hidden=5, attention_width=3, interval=7)
    config, variables = train(CONFIG, replace(RECIPE, pruning=plan, average_decay=0.9), TONES, draw, 0)
    assert (config.conv_channels, config.gru_hidden, config.attention_width) == (2, 5, 3)
    logits, _ = Crnn(config).apply(variables, log_compress(jnp.asarray(TONES.power)))
    assert (np.asarray(logits).argmax(1) == TONES.labels).mean() > 0.9


@pytest.mark.slow
def test_training_on_a_grid_sees_the_rounded_weights():
    """On 4 bits, the loss is that of the rounded weights, and what is returned are the weights before rounding."""
    config, recipe = replace(CONFIG, batch_norm=False), replace(PLAIN, scheme="int4")
    variables, masks = random_model(config), full_masks(config)
    rounded = training.deployed(variables["params"], masks, recipe)
    assert equal(rounded, fake_quantize_params(variables["params"], "int4"))
    state = training.start_state(variables, config, optimizer(recipe, 10), jax.random.key(1))
    step = jax.jit(partial(training.train_step, config=config, recipe=recipe, teacher=None, num_steps=10))
    after, loss = step(state, corpus := jax.tree.map(jnp.asarray, TONES), jnp.arange(16))
    clips = log_compress(corpus.power[:16])
    expected = cross_entropy(Crnn(config).apply({"params": rounded}, clips)[0], corpus.labels[:16])
    assert float(loss) == pytest.approx(float(expected), abs=SAME_FRAMEWORK)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.variables["params"], variables["params"])
    assert jax.tree.all(moved), "every weight learns through the rounding"
    with pytest.raises(ValueError, match="fold batch normalisation first"):
        train(CONFIG, recipe, TONES, draw, 0)


@pytest.mark.parametrize("batch_size", [3, 512])
def test_cached_mel_power_is_the_front_ends(batch_size: int):
    config = FrontendConfig(window_length=64, hop_length=32, num_mels=6)
    waveforms = (noise(0, 7, 500) * 32768).astype(np.int16)
    cached = cached_mel_power(config, waveforms, batch_size)
    floats = jnp.asarray(waveforms / 32768, jnp.float32)
    assert cached.dtype == np.float32
    np.testing.assert_allclose(cached, mel_power(config, floats), rtol=SAME_FRAMEWORK, atol=SAME_FRAMEWORK)
    np.testing.assert_allclose(log_compress(jnp.asarray(cached)), log_mel(config, floats), atol=10 * SAME_FRAMEWORK)


def _updates(recipe: Recipe, num_steps: int, gradients: list[float], weight: float = 0.0) -> np.ndarray:
    """What the optimizer adds to one weight, held still, at each step."""
    transformation = optimizer(recipe, num_steps)
    state, updates = transformation.init(jnp.float32(weight)), []
    step = jax.jit(transformation.update)
    for gradient in gradients:
        update, state = step(jnp.float32(gradient), state, jnp.float32(weight))
        updates.append(float(update))
    return np.array(updates)


def _one_cycle(step: int, num_steps: int, peak: float) -> float:
    """Cosine from peak / 25 up to the peak at 30 % of the steps, and down to a 10,000th of the start."""
    top = int(0.3 * num_steps)
    low, share = (peak / 25, 1 - step / top) if step < top else (peak / 25e4, (step - top) / (num_steps - top))
    return low + (peak - low) * (1 + np.cos(np.pi * share)) / 2


def test_the_learning_rate_rises_once_and_falls():
    # Adam's step under a constant gradient is the learning rate.
    rates = -_updates(Recipe(peak_learning_rate=1e-2, weight_decay=0.0), 50, [1.0] * 50)
    np.testing.assert_allclose(rates, [_one_cycle(step, 50, 1e-2) for step in range(50)], atol=SAME_FRAMEWORK)


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_the_shortest_trainings_have_a_learning_rate(num_steps: int):
    assert np.isfinite(_updates(Recipe(), num_steps, [1.0] * num_steps)).all()


def test_long_gradients_are_cut_and_weights_decay_by_themselves():
    recipe = Recipe(weight_decay=0.1)
    np.testing.assert_array_equal(_updates(recipe, 50, [1e3, 1.0]), _updates(recipe, 50, [5.0, 1.0]))
    assert (_updates(recipe, 50, [4.0, 1.0]) != _updates(recipe, 50, [5.0, 1.0])).any()
    decay = _updates(recipe, 50, [0.0] * 5, weight=2.0)
    np.testing.assert_allclose(decay, [-0.1 * 2 * _one_cycle(step, 50, 5e-3) for step in range(5)], atol=SAME_FRAMEWORK)
