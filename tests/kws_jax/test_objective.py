"""What a training step makes small, against the losses it is made of."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kws_jax.training.objective import Teacher, loss_function, step_times
from test_train import CORPUS, RECIPE

from kws_jax.config import BASE
from kws_jax.frontend import log_compress
from kws_jax.model import Crnn, init_variables
from kws_jax.training import train as training
from kws_jax.training.losses import attention_transfer, cross_entropy, dark_knowledge, similarity
from kws_jax.training.recipe import Recipe, optimizer
from tests.helpers.models import TOY
from tests.tolerances import SAME_FRAMEWORK


def test_what_the_teacher_adds_to_the_loss():
    config = replace(TOY, gru_layers=1, stride=(2, 1))
    variables, teacher = (init_variables(jax.random.key(seed), c) for seed, c in enumerate((config, TOY)))
    clips = log_compress(jnp.asarray(CORPUS.power[:6]))
    student, taught = (Crnn(c).apply(v, clips, method="outputs") for c, v in ((config, variables), (TOY, teacher)))
    times = [step_times(c, o.attention.shape[1]) for c, o in ((config, student), (TOY, taught))]
    assert len(times[0]) > len(times[1])
    soft = float(dark_knowledge(student.logits, taught.logits, 2.0))
    added = {
        "attention_weight": float(attention_transfer(student.attention, taught.attention, *times)),
        "similarity_weight": float(similarity(student.context, taught.context)),
    }
    weights = [{"teacher_weight": 0.3}, {"teacher_weight": 1.0}, *({name: 0.7} for name in added)]
    recipes = [Recipe(temperature=2.0, **weight) for weight in weights]

    @jax.jit
    def losses(labels: jax.Array) -> list[jax.Array]:
        def loss(recipe: Recipe) -> jax.Array:
            key = jax.random.key(1)
            return loss_function(variables, config, recipe, clips, labels, Teacher(TOY, teacher), key)[0]

        return [loss(recipe) for recipe in recipes]

    labels = jnp.asarray(CORPUS.labels[:6])
    hard = float(cross_entropy(student.logits, labels))
    expected = [0.7 * hard + 0.3 * soft, soft, *(hard + 0.7 * value for value in added.values())]
    assert losses(labels) == pytest.approx(expected, abs=SAME_FRAMEWORK)
    assert min(soft, *added.values()) > 100 * SAME_FRAMEWORK


def test_steps_lie_in_the_middle_of_what_they_see():
    np.testing.assert_allclose(step_times(BASE, 3), [0.095, 0.175, 0.255], atol=SAME_FRAMEWORK)


def test_the_teacher_hears_what_the_student_hears():
    """A student without dropout that is its own teacher has nothing to learn, whatever the augmentation does."""
    config = replace(TOY, gru_layers=1)
    recipe = replace(RECIPE, teacher_weight=1.0, attention_weight=1.0, similarity_weight=1.0)
    variables, transformation = init_variables(jax.random.key(0), config), optimizer(recipe, 10)
    state = training.start_state(variables, config, transformation, jax.random.key(1))
    corpus = jax.tree.map(jnp.asarray, CORPUS)
    rest = {"config": config, "recipe": recipe, "transformation": transformation, "num_steps": 10}
    step = jax.jit(partial(training.train_step, teacher=Teacher(config, variables), **rest))
    _, loss = step(state, corpus, jnp.arange(16))
    assert abs(float(loss)) < SAME_FRAMEWORK
