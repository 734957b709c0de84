"""The losses against torch's own or NumPy in float64, and what a training step makes of them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr, softmax
from torch.nn import functional

from kws_jax.config import BASE
from kws_jax.frontend import log_compress
from kws_jax.model import Crnn
from kws_jax.training import train as training
from kws_jax.training.losses import (
    Batch,
    Teacher,
    attention_transfer,
    cross_entropy,
    dark_knowledge,
    loss_function,
    similarity,
    step_times,
    trailing_attention_transfer,
)
from kws_jax.training.recipe import Recipe, optimizer
from tests.helpers.models import TOY, random_model
from tests.helpers.toy_training import RECIPE, TONES
from tests.tolerances import CROSS_FRAMEWORK, GRADIENT, SAME_FRAMEWORK

LOGITS = arrays(np.float32, (4, 3), elements=st.floats(-8, 8, width=32))
TEMPERATURES = st.sampled_from([0.5, 1.0, 3.0, 20.0])
few = settings(max_examples=25, deadline=None)


def _batch(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (5, 3)).astype(np.float32)


@few
@given(logits=LOGITS, labels=arrays(np.int32, 4, elements=st.integers(0, 2)))
def test_cross_entropy(logits: np.ndarray, labels: np.ndarray):
    theirs = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels).long())
    assert float(cross_entropy(jnp.asarray(logits), jnp.asarray(labels))) == pytest.approx(
        float(theirs), abs=CROSS_FRAMEWORK
    )


@few
@given(student=LOGITS, teacher=LOGITS, temperature=TEMPERATURES)
def test_dark_knowledge(student: np.ndarray, teacher: np.ndarray, temperature: float):
    ours = float(dark_knowledge(jnp.asarray(student), jnp.asarray(teacher), temperature))
    logs = [(torch.from_numpy(logits) / temperature).log_softmax(1) for logits in (student, teacher)]
    theirs = temperature**2 * float(functional.kl_div(*logs, reduction="batchmean", log_target=True))
    # T^2 magnifies the rounding of the divergence as it does the divergence.
    assert ours == pytest.approx(theirs, rel=CROSS_FRAMEWORK, abs=CROSS_FRAMEWORK * temperature**2)


@few
@given(logits=LOGITS, shift=st.floats(-5, 5, width=32), temperature=TEMPERATURES)
def test_dark_knowledge_is_zero_at_equality(logits: np.ndarray, shift: float, temperature: float):
    shifted = jnp.asarray(logits + np.float32(shift))
    assert float(dark_knowledge(jnp.asarray(logits), jnp.asarray(logits), temperature)) == 0
    assert abs(float(dark_knowledge(shifted, jnp.asarray(logits), temperature))) < SAME_FRAMEWORK * temperature**2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_gradients_reach_the_student_alone(temperature: float):
    student, teacher = jnp.asarray(_batch(0)), jnp.asarray(_batch(1))
    to_student, to_teacher = jax.jit(jax.grad(dark_knowledge, argnums=(0, 1)), static_argnums=2)(
        student, teacher, temperature
    )
    by_hand = temperature * (softmax(_batch(0) / temperature, axis=1) - softmax(_batch(1) / temperature, axis=1)) / 5
    np.testing.assert_allclose(to_student, by_hand, atol=GRADIENT)
    np.testing.assert_array_equal(to_teacher, np.zeros((5, 3)))


def test_the_gradient_keeps_its_size_when_the_temperature_rises():
    student, teacher = jnp.asarray(_batch(0)), jnp.asarray(_batch(1))
    gradient = jax.jit(jax.grad(dark_knowledge), static_argnums=2)
    norms = [np.linalg.norm(gradient(student, teacher, t)) for t in (10.0, 100.0)]
    centred = [x - x.mean(axis=1, keepdims=True) for x in (_batch(0), _batch(1))]
    limit = np.linalg.norm(centred[0] - centred[1]) / (3 * 5)
    assert abs(norms[1] / limit - 1) < abs(norms[0] / limit - 1) < 0.2


def _attention(seed: int, steps: int) -> np.ndarray:
    return softmax(np.random.default_rng(seed).normal(0, 2, (5, steps)), axis=1).astype(np.float32)


@pytest.mark.parametrize(("steps", "teacher_steps"), [(11, 11), (8, 11), (12, 5)])
def test_attention_transfer(steps: int, teacher_steps: int):
    student, teacher = _attention(0, steps), _attention(1, teacher_steps)
    times, teacher_times = np.linspace(0.2, 0.9, steps), np.linspace(0.1, 0.95, teacher_steps)
    ours = float(attention_transfer(*map(jnp.asarray, (student, teacher, times, teacher_times))))
    by_hand = 0.0
    for row, taught in zip(student.astype(np.float64), teacher.astype(np.float64), strict=True):
        target = np.interp(times, teacher_times, taught)
        by_hand += rel_entr(target / target.sum(), row).sum() / len(student)
    assert ours == pytest.approx(by_hand, abs=CROSS_FRAMEWORK)


def test_attention_transfer_at_its_ends():
    times = jnp.arange(4.0)
    same = jnp.asarray(_attention(0, 4))
    assert float(attention_transfer(same, same, times, times)) == pytest.approx(0, abs=SAME_FRAMEWORK)
    certain, elsewhere = (jnp.asarray(np.eye(4, dtype=np.float32)[[index]]) for index in (0, 2))
    gradients = jax.jit(jax.grad(attention_transfer, argnums=(0, 1)))(elsewhere, certain, times, times)
    assert np.isfinite(attention_transfer(elsewhere, certain, times, times))
    assert np.isfinite(gradients[0]).all()
    np.testing.assert_array_equal(gradients[1], np.zeros((1, 4)))


@pytest.mark.parametrize("window", [1, 4, 20])
def test_trailing_attention_transfer(window: int):
    student, teacher = np.random.default_rng(window).normal(0, 3, (2, 5, 9)).astype(np.float32)
    ours = float(trailing_attention_transfer(jnp.asarray(student), jnp.asarray(teacher), window))
    by_hand = []
    for row, taught in zip(student.astype(np.float64), teacher.astype(np.float64), strict=True):
        for end in range(1, 10):
            seen = slice(max(0, end - window), end)
            by_hand.append(rel_entr(softmax(taught[seen]), softmax(row[seen])).sum())
    assert ours == pytest.approx(np.mean(by_hand), abs=CROSS_FRAMEWORK)
    gradients = jax.jit(jax.grad(trailing_attention_transfer, argnums=(0, 1)), static_argnums=2)(
        jnp.asarray(student), jnp.asarray(teacher), window
    )
    assert np.isfinite(gradients[0]).all()
    np.testing.assert_array_equal(gradients[1], np.zeros((5, 9)))


def test_similarity():
    rng = np.random.default_rng(0)
    student, teacher = (rng.normal(size=(6, width)).astype(np.float32) for width in (3, 8))
    ours = float(similarity(jnp.asarray(student), jnp.asarray(teacher)))
    grams = [features.astype(np.float64) @ features.T for features in (student, teacher)]
    grams = [gram / np.linalg.norm(gram, axis=1, keepdims=True) for gram in grams]
    assert ours == pytest.approx(((grams[0] - grams[1]) ** 2).sum() / 36, abs=CROSS_FRAMEWORK)
    turned = student @ np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    assert float(similarity(jnp.asarray(3 * turned), jnp.asarray(student))) < SAME_FRAMEWORK
    gradient = jax.jit(jax.grad(similarity, argnums=1))(jnp.asarray(student), jnp.asarray(teacher))
    np.testing.assert_array_equal(gradient, np.zeros((6, 8)))


def test_similarity_of_nothing_has_a_gradient():
    nothing = jnp.zeros((3, 2))
    assert np.isfinite(jax.jit(jax.grad(similarity))(nothing, jnp.ones((3, 2)))).all()


def test_what_the_teacher_adds_to_the_loss():
    config = replace(TOY, gru_layers=1, stride=(2, 1))
    variables, teacher = random_model(config), Teacher(TOY, random_model(TOY, 1))
    weights = [{"teacher_weight": 0.3}, {"teacher_weight": 1.0}, {"attention_weight": 0.7}, {"similarity_weight": 0.7}]

    @jax.jit
    def losses(power: jax.Array, labels: jax.Array) -> tuple:
        clips = log_compress(power)
        student, taught = (Crnn(c).apply(v, clips, method="outputs") for c, v in ((config, variables), teacher))
        times = [step_times(c, o.attention.shape[1]) for c, o in ((config, student), (TOY, taught))]
        assert len(times[0]) > len(times[1])
        parts = (
            cross_entropy(student.logits, labels),
            dark_knowledge(student.logits, taught.logits, 2.0),
            attention_transfer(student.attention, taught.attention, *times),
            similarity(student.context, taught.context),
        )
        recipes = [Recipe(temperature=2.0, augmentation=None, **weight) for weight in weights]
        key = jax.random.key(1)
        batch = Batch(power, labels, key)
        return parts, [loss_function(variables, config, recipe, batch, teacher, key)[0] for recipe in recipes]

    parts, found = losses(jnp.asarray(TONES.power[:6]), jnp.asarray(TONES.labels[:6]))
    hard, soft, attention, alike = map(float, parts)
    expected = [0.7 * hard + 0.3 * soft, soft, hard + 0.7 * attention, hard + 0.7 * alike]
    assert found == pytest.approx(expected, abs=SAME_FRAMEWORK)
    assert min(soft, attention, alike) > 100 * SAME_FRAMEWORK


def test_steps_lie_in_the_middle_of_what_they_see():
    np.testing.assert_allclose(step_times(BASE, 3), [0.095, 0.175, 0.255], atol=SAME_FRAMEWORK)


@pytest.mark.slow
def test_the_teacher_hears_what_the_student_hears():
    """A student without dropout that is its own teacher has nothing to learn, whatever the augmentation does."""
    config = replace(TOY, gru_layers=1)
    recipe = replace(RECIPE, teacher_weight=1.0, attention_weight=1.0, similarity_weight=1.0)
    variables = random_model(config)
    state = training.start_state(variables, config, optimizer(recipe, 10), jax.random.key(1))
    corpus = jax.tree.map(jnp.asarray, TONES)
    rest = {"config": config, "recipe": recipe, "num_steps": 10}
    step = jax.jit(partial(training.train_step, teacher=Teacher(config, variables), **rest))
    _, loss = step(state, corpus, jnp.arange(16))
    assert abs(float(loss)) < SAME_FRAMEWORK
