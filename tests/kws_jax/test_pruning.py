"""Masks, importance and schedule against slices by hand, differences and closed forms; slim models against masked."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.files import to_module
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import UserError
from kws_jax.model import Crnn, init_variables
from kws_jax.training.losses import cross_entropy
from kws_jax.training.pruning import Masks, PruningPlan, Sizes, advance, full_masks, importance, kept, slim
from tests.helpers.models import STUDENT, TOY, random_model
from tests.helpers.pruning_models import (
    NORMED,
    SOME,
    assert_close,
    forward,
    masked,
    number_of,
    random_log_mel,
    random_scores,
    scaled,
    some_masks,
    units_of,
    update,
    views,
)
from tests.tolerances import CLOSED_FORM, CROSS_FRAMEWORK, EXACT, SAME_FRAMEWORK


@pytest.mark.parametrize("config", [BASE, NORMED], ids=["base", "toy"])
def test_masking_zeroes_what_is_owned_and_what_is_read_and_nothing_else(config: CrnnConfig):
    params, masks = random_model(config)["params"], some_masks(config)
    expected = jax.tree.map(np.array, params)
    for unit in units_of(config):
        if not number_of(masks, unit):
            expected = scaled(expected, config, unit, 0.0)
    assert_close(masked(params, masks), expected, EXACT)
    assert_close(masked(params, full_masks(config)), params, EXACT)


def _loss(params: dict, config: CrnnConfig, log_mel: np.ndarray) -> jax.Array:
    """In training mode, where batch normalisation depends on the whole batch."""
    (logits, attention), _ = Crnn(config).apply(
        {"params": params}, jnp.asarray(log_mel), training=True, mutable=["batch_stats"]
    )
    return cross_entropy(logits, jnp.arange(log_mel.shape[0]) % 2) + attention[:, 0].sum()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(TOY, marks=pytest.mark.slow),
        NORMED,
        pytest.param(replace(TOY, gru_layers=1), marks=pytest.mark.slow),
    ],
    ids=["toy", "batch norm", "one layer"],
)
def test_importance_is_the_first_order_change_of_the_loss(config: CrnnConfig):
    masks, params = some_masks(config, Sizes(2, 4, 3)), random_model(config)["params"]
    with jax.enable_x64(True):
        config = replace(config, gru_dropout=0.0)
        masks, params = jax.tree.map(lambda x: np.asarray(x, np.float64), (masks, params))
        pruned = jax.tree.map(np.array, masked(params, masks))
        log_mel = random_log_mel(config).astype(np.float64)
        loss_and_slopes = jax.jit(jax.value_and_grad(lambda params: _loss(params, config, log_mel)))
        gradient = jax.tree.map(np.asarray, loss_and_slopes(pruned)[1])
        scores, step = jax.jit(importance)(params, gradient, masks), 1e-4
        for unit in units_of(config):
            pairs = zip(views(pruned, config, unit), views(gradient, config, unit), strict=True)
            by_hand = sum(float((weight * slope).sum()) for weight, slope in pairs)
            above, below = (loss_and_slopes(scaled(pruned, config, unit, 1 + by))[0] for by in (step, -step))
            assert abs(number_of(scores, unit) - abs(by_hand)) < CLOSED_FORM, unit
            assert abs(number_of(scores, unit) - abs(float(above - below)) / (2 * step)) < SAME_FRAMEWORK, unit
            assert (number_of(scores, unit) > 0) == bool(number_of(masks, unit)), unit


def test_importance_is_the_same_from_a_gradient_through_the_mask():
    params, masks = random_model(BASE)["params"], some_masks(BASE)
    gradient = jax.tree.map(jnp.cos, params)
    through = masked(gradient, masks)  # the mask multiplies weights, so it multiplies slopes
    scored = jax.jit(importance)
    assert_close(scored(params, through, masks), scored(params, gradient, masks), EXACT)


PLAN = PruningPlan(conv_channels=3, gru_hidden=7, attention_width=1, begin=0.25, end=0.75, interval=3)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.25, 0.3, 0.4, 0.5, 0.62, 0.75, 0.9, 1.0])
def test_the_schedule_is_its_closed_form(share: float):
    progress = min(max((share - 0.25) / 0.5, 0), 1)
    expected = [round(last + (first - last) * (1 - progress) ** 3) for first, last in ((8, 3), (64, 7), (64, 1))]
    traced = jax.jit(lambda share: kept(PLAN, BASE, share))(share)
    assert list(map(int, traced)) == list(map(int, kept(PLAN, BASE, share))) == expected


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_update_keeps_the_best_of_the_living(data: st.DataObject):
    alive = np.float32(data.draw(st.lists(st.sampled_from([0, 1]), min_size=5, max_size=5)))
    scores = np.float32(data.draw(st.lists(st.integers(0, 4), min_size=5, max_size=5)))
    keep = data.draw(st.integers(0, 5))
    best = sorted(np.flatnonzero(alive), key=lambda unit: -scores[unit])[:keep]
    expected = np.float32([unit in best for unit in range(5)])
    ones = jnp.ones(3)
    masks = Masks(ones, jnp.stack([jnp.asarray(alive), jnp.ones(5)]), jnp.asarray(alive))
    updated = jax.jit(update)(
        masks, Masks(ones, jnp.stack([scores, scores]), jnp.asarray(scores)), Sizes(2, keep, keep)
    )
    np.testing.assert_array_equal(updated.gru[0], expected)
    np.testing.assert_array_equal(updated.attention, expected)
    np.testing.assert_array_equal(updated.conv, [1, 1, 0])
    assert updated.gru[1].sum() == keep


def test_masks_in_a_scan_follow_the_plan_and_never_revive():
    num_steps = 31

    def body(masks: Masks, step: jax.Array) -> tuple[Masks, Masks]:
        drawn = jax.random.split(jax.random.fold_in(jax.random.key(3), step), 3)
        scores = Masks(*(jax.random.uniform(key, part.shape) for key, part in zip(drawn, masks, strict=True)))
        masks = advance(PLAN, BASE, masks, scores, step, num_steps)
        return masks, masks

    last, history = jax.jit(lambda masks: jax.lax.scan(body, masks, jnp.arange(num_steps)))(full_masks(BASE))
    assert [part.sum(-1).tolist() for part in last] == [3, [7, 7], 1]
    assert (np.asarray(last.gru[0]) != np.asarray(last.gru[1])).any()
    for part, initial, at in zip(history, (8, 64, 64), range(3), strict=True):
        assert (np.diff(part, axis=0) <= 0).all()
        due = [(step + 1) // 3 * 3 if step + 1 < num_steps else num_steps for step in range(num_steps)]
        expected = [int(kept(PLAN, BASE, done / num_steps)[at]) if done else initial for done in due]
        np.testing.assert_array_equal(part.sum(-1).reshape(num_steps, -1)[:, 0], expected)


def test_a_plan_that_ends_with_the_training_is_fulfilled():
    plan = replace(PLAN, end=1.0, interval=7)
    masks, scores = full_masks(BASE), random_scores(BASE)
    compiled = jax.jit(advance, static_argnums=(0, 1, 5))
    for step in range(20):
        masks = compiled(plan, BASE, masks, scores, step, 20)
    assert [float(part.sum(-1).max()) for part in masks] == [3, 7, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"conv_channels": 0},
        {"gru_hidden": 0},
        {"attention_width": -1},
        {"interval": 0},
        {"begin": -0.1},
        {"end": 1.1},
        {"begin": 0.5, "end": 0.5},
        {"begin": float("nan")},
    ],
    ids=str,
)
def test_impossible_plans_are_errors(change: dict):
    with pytest.raises(UserError, match=r"1 or more|must begin before"):
        replace(PLAN, **change)


def test_a_plan_for_more_than_there_is_is_an_error():
    with pytest.raises(UserError, match=r"cannot end with \(9, 7, 1\).* where a model has \(8, 64, 64\)"):
        kept(replace(PLAN, conv_channels=9), BASE, 0.0)


@pytest.mark.parametrize(
    "config",
    [pytest.param(BASE, marks=pytest.mark.slow), STUDENT, NORMED],
    ids=["base", "one layer, batch norm", "two layers, batch norm"],
)
def test_slim_is_the_masked_model(config: CrnnConfig):
    variables, masks, log_mel = random_model(config), some_masks(config), random_log_mel(config)
    small, slimmed = slim(config, variables, masks)
    assert (small.conv_channels, small.gru_hidden, small.attention_width) == SOME
    shapes = jax.eval_shape(lambda: init_variables(jax.random.key(0), small))
    assert jax.tree.map(jnp.shape, slimmed) == jax.tree.map(jnp.shape, dict(shapes)), "arrays fit the configuration"
    before = forward(config, {**variables, "params": masked(variables["params"], masks)}, log_mel)
    assert_close(forward(small, slimmed, log_mel), before, SAME_FRAMEWORK)
    assert np.abs(before[0] - forward(config, variables, log_mel)[0]).max() > 1e-3, "nothing mattered"


@pytest.mark.slow
@given(st.data())
@settings(deadline=None, max_examples=12)
def test_any_slim_model_in_torch_is_the_masked_one(data: st.DataObject):
    config = data.draw(st.sampled_from([TOY, NORMED, replace(NORMED, gru_layers=1)]))
    hidden = data.draw(st.integers(1, config.gru_hidden))

    def some(total: int, least: int) -> np.ndarray:
        alive = data.draw(st.sets(st.integers(0, total - 1), min_size=least, max_size=total if least == 1 else least))
        return np.float32([unit in alive for unit in range(total)])

    layers = np.stack(
        [
            some(config.gru_hidden, hidden) if hidden > 1 else np.eye(config.gru_hidden)[0]
            for _ in range(config.gru_layers)
        ]
    )
    masks = Masks(*map(jnp.float32, (some(config.conv_channels, 1), layers, some(config.attention_width, 1))))
    variables, log_mel = random_model(config), random_log_mel(config, 2)
    logits, attention = forward(config, {**variables, "params": masked(variables["params"], masks)}, log_mel)
    module = to_module(*slim(config, variables, masks))
    with torch.no_grad():
        theirs = module.forward_with_attention(torch.from_numpy(log_mel).transpose(1, 2))
    assert_close((logits, attention), tuple(tensor.numpy() for tensor in theirs), CROSS_FRAMEWORK)


def test_impossible_requests_are_errors():
    variables, masks = random_model(TOY), full_masks(TOY)
    with pytest.raises(UserError, match=r"GRU layers have kept \[4, 5\] units"):
        slim(TOY, variables, masks._replace(gru=masks.gru.at[0, 2].set(0)))
    with pytest.raises(UserError, match="every size must be 1 or more"):
        slim(TOY, variables, masks._replace(conv=jnp.zeros(3)))
