"""The stream against the offline model."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models import CONFIGS, TOY, noise, random_variables
from scipy.special import softmax
from tolerances import CROSS_FRAMEWORK, SAME_FRAMEWORK

from kws_jax import streaming
from kws_jax.config import POOLED_13X, CrnnConfig
from kws_jax.frontend import log_mel
from kws_jax.model import Crnn, predict, zero_hidden


@partial(jax.jit, static_argnums=1)
def _sequence(variables: dict, config: CrnnConfig, waveform: jax.Array) -> tuple[jax.Array, jax.Array]:
    model = Crnn(config)
    features = model.apply(variables, log_mel(config.frontend, waveform), method="convolve")
    hidden = zero_hidden(config, waveform.shape[0])
    return model.apply(variables, features, hidden, method="recur")[:2]


def offline(variables: dict, config: CrnnConfig, waveform: np.ndarray) -> np.ndarray:
    """Logits of every step of whole waveforms, each attending over the trailing window: (batch, steps, classes).

    Attention and head are NumPy, so that no masking trick of the stream is shared.
    """
    outputs, energies = map(np.asarray, _sequence(variables, config, jnp.asarray(waveform)))
    head, steps = variables["params"]["classifier"], []
    for end in range(1, outputs.shape[1] + 1):
        part = slice(max(0, end - config.max_window_length), end)
        context = np.einsum("bs,bsh->bh", softmax(energies[:, part], axis=1), outputs[:, part])
        steps.append(context @ np.asarray(head["kernel"]) + np.asarray(head["bias"]))
    return np.stack(steps, axis=1)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("extra", [0, 1, 137])
def test_scan_then_flush_is_offline(config: CrnnConfig, extra: int):
    variables, blocks = random_variables(config), 14
    waveform = noise(0, 2, blocks * config.block_size + extra)
    whole, tail = np.split(waveform, [blocks * config.block_size], axis=1)
    tail = np.pad(tail, ((0, 0), (0, max(0, config.block_size - extra))), constant_values=9.0)
    state, logits = jax.jit(streaming.scan, static_argnums=1)(
        variables["params"], config, streaming.init_state(config, 2), jnp.asarray(whole)
    )
    last = jax.jit(streaming.flush, static_argnums=1)(variables["params"], config, state, jnp.asarray(tail), extra)
    streamed = np.concatenate([logits, last], axis=1)
    assert np.isnan(streamed[:, : config.warmup_blocks]).all()
    valid = streamed[:, ~np.isnan(streamed).any(axis=(0, 2))]
    expected = offline(variables, config, waveform)
    assert valid.shape == expected.shape
    np.testing.assert_allclose(valid, expected, atol=CROSS_FRAMEWORK)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("chunk", [7, 160, 1999, 100_000])
def test_the_class_takes_chunks_of_any_length(config: CrnnConfig, chunk: int):
    variables = random_variables(config)
    waveform = noise(1, 1, 5 * config.block_size + 333)[0]
    stream = streaming.StreamingKws(variables["params"], config)
    pieces = [stream.push(waveform[start : start + chunk]) for start in range(0, waveform.shape[0], chunk)]
    pieces.append(stream.flush())
    times, probabilities = (np.concatenate(part) for part in zip(*pieces, strict=True))
    expected = softmax(offline(variables, config, waveform[None])[0], axis=1)[:, 1]
    np.testing.assert_allclose(probabilities, expected, atol=CROSS_FRAMEWORK)
    np.testing.assert_allclose(np.diff(times), config.block_size / 16_000, atol=SAME_FRAMEWORK)


def test_a_clip_that_fits_the_window_ends_on_the_plain_model():
    config = CONFIGS["base"]
    variables = random_variables(config)
    waveform = noise(2, 1, 16_000)
    stream = streaming.StreamingKws(variables["params"], config)
    _, first = stream.push(waveform[0])
    _, last = stream.flush()
    plain = softmax(predict(variables, config, jnp.asarray(waveform)), axis=1)[0, 1]
    assert abs(np.concatenate([first, last])[-1] - plain) < CROSS_FRAMEWORK


def test_a_single_row_is_reset_alone():
    variables = random_variables(TOY)
    waveform = jnp.asarray(noise(3, 2, 10 * TOY.block_size))
    fresh = streaming.init_state(TOY, 2)
    heard, _ = jax.jit(streaming.scan, static_argnums=1)(variables["params"], TOY, fresh, waveform)
    mixed = streaming.reset(TOY, heard, jnp.array([True, False]))
    jax.tree.map(lambda a, b, c: np.testing.assert_array_equal(a, np.stack([b[0], c[1]])), mixed, fresh, heard)


def test_misuse_is_named():
    variables = random_variables(TOY)
    with pytest.raises(ValueError, match="fold_batch_norm"):
        streaming.init_state(POOLED_13X, 1)
    with pytest.raises(ValueError, match="not a whole number of blocks"):
        streaming.scan(variables["params"], TOY, streaming.init_state(TOY, 1), jnp.zeros((1, TOY.block_size + 1)))
