"""The slim model against the masked one: whole clips, streams, and in PyTorch."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.files import to_module
from kws_jax import cost, streaming
from kws_jax.config import BASE, CrnnConfig
from kws_jax.errors import UserError
from kws_jax.model import fold_batch_norm, init_variables
from kws_jax.training.pruning import Masks, Sizes, full_masks, slim
from tests.helpers.models import STUDENT, TOY, noise
from tests.helpers.pruning_models import (
    NORMED,
    SOME,
    assert_close,
    forward,
    masked,
    random_log_mel,
    random_model,
    some_masks,
)
from tests.tolerances import CROSS_FRAMEWORK, SAME_FRAMEWORK
from torch_ref.accounting import flop_counter_macs, num_parameters, thop_macs, weight_bytes

CONFIGS = {"base": BASE, "one layer, batch norm": STUDENT, "two layers, batch norm": NORMED}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_slim_is_the_masked_model(config: CrnnConfig):
    variables, masks, log_mel = random_model(config), some_masks(config), random_log_mel(config)
    small, slimmed = slim(config, variables, masks)
    assert (small.conv_channels, small.gru_hidden, small.attention_width) == SOME
    shapes = jax.eval_shape(lambda: init_variables(jax.random.key(0), small))
    assert jax.tree.map(jnp.shape, slimmed) == jax.tree.map(jnp.shape, dict(shapes)), "arrays fit the configuration"
    before = forward(config, {**variables, "params": masked(variables["params"], masks)}, log_mel)
    assert_close(forward(small, slimmed, log_mel), before, SAME_FRAMEWORK)
    assert np.abs(before[0] - forward(config, variables, log_mel)[0]).max() > 1e-3, "nothing mattered"


def test_streams_of_both_are_equal():
    config = NORMED
    variables, masks = random_model(config), some_masks(config)
    samples = jnp.asarray(noise(1, 2, 6 * config.block_size))
    models = [(config, {**variables, "params": masked(variables["params"], masks)}), slim(config, variables, masks)]
    logits, hidden = [], []
    for deployed, folded in (fold_batch_norm(*model) for model in models):
        step = jax.jit(partial(streaming.step, config=deployed))
        state = streaming.init_state(deployed, 2)
        for block in jnp.split(samples, 6, axis=1):
            state, outputs = step(folded["params"], state=state, samples=block)
        logits.append(outputs)
        hidden.append(np.asarray(state.hidden))
    assert np.isfinite(logits[0]).all()
    assert_close(logits[1], logits[0], SAME_FRAMEWORK)
    for layer, units in enumerate(np.asarray(masks.gru)):
        np.testing.assert_allclose(hidden[1][:, layer], hidden[0][:, layer, units > 0], atol=SAME_FRAMEWORK)
        assert not hidden[0][:, layer, units == 0].any()


@given(st.data())
@settings(deadline=None, max_examples=30)
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


def test_torch_counts_less_after_slimming():
    variables, masks = random_model(BASE), some_masks(BASE, Sizes(4, 16, 8))
    config, slimmed = slim(BASE, variables, masks)
    before = to_module(BASE, {"params": masked(variables["params"], masks)})
    after = to_module(config, slimmed)
    log_mel = torch.from_numpy(random_log_mel(BASE)).transpose(1, 2)
    with torch.no_grad():
        np.testing.assert_allclose(after(log_mel), before(log_mel), rtol=0, atol=CROSS_FRAMEWORK)
    assert thop_macs(before) == 932_224, "a mask makes nothing smaller"
    counted = cost.macs_per_clip(config)
    assert flop_counter_macs(after) == counted.total - counted.context
    assert thop_macs(after) < 932_224 / 6
    assert num_parameters(after) == cost.num_parameters(config) == weight_bytes(after) / 4


def test_impossible_requests_are_errors():
    variables, masks = random_model(TOY), full_masks(TOY)
    with pytest.raises(UserError, match=r"GRU layers have kept \[4, 5\] units"):
        slim(TOY, variables, masks._replace(gru=masks.gru.at[0, 2].set(0)))
    with pytest.raises(UserError, match="every size must be 1 or more"):
        slim(TOY, variables, masks._replace(conv=jnp.zeros(3)))
