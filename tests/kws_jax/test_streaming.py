"""Every stateful part of the stream, and the whole, against offline."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kws_jax import frontend, streaming
from kws_jax.config import SAMPLE_RATE, CrnnConfig, FrontendConfig
from kws_jax.layers import attend
from kws_jax.model import Crnn, frames_of, zero_hidden
from tests.helpers.models import CONFIGS, LIGHT, PCEN, STUDENT, TOY, noise, random_variables
from tests.helpers.odd_configs import ODD_CONFIGS
from tests.helpers.verify import Part, Verifier
from tests.tolerances import CROSS_FRAMEWORK, SAME_FRAMEWORK

BLOCKS = 10
RIGHT_EDGE_ALONE = ODD_CONFIGS["right edge alone"].frontend
each_compression = pytest.mark.parametrize(
    "config", [pytest.param(TOY, marks=pytest.mark.slow), PCEN], ids=["toy", "pcen"]
)


def front_end(config: FrontendConfig, block: int) -> Part:
    def flush(params: None, state: Any, tail: jax.Array, length: jax.Array) -> jax.Array:
        power, count = frontend.flush(config, state, tail, jnp.asarray(length))
        return jnp.where((jnp.arange(power.shape[1]) < count[:, None])[..., None], power, jnp.nan)

    def span(row: int) -> tuple[int, int]:
        # The Hann window's first weight is zero; the first frame's mirrored half reaches one sample further.
        middle = row * config.hop_length
        return middle - config.padding + 1, max(middle, 1) + config.padding

    return Part(
        init=lambda batch: frontend.init_state(config, batch),
        step=lambda params, state, samples: frontend.step(config, state, samples),
        offline=lambda params, samples: frontend.mel_power(config, samples),
        params={},
        block=block,
        skip=config.right_frames - 1,
        span=span,
        flush=flush,
    )


def trailing_attention(params: dict, config: CrnnConfig, outputs: jax.Array, energies: jax.Array) -> jax.Array:
    """Logits of every step over slices of the sequence, so that no mask of the stream is shared."""
    classifier, rows = params["classifier"], []
    for end in range(1, outputs.shape[1] + 1):
        window = slice(max(0, end - config.max_window_length), end)
        context, _ = attend(outputs[:, window], energies[:, window])
        rows.append(context @ classifier["kernel"] + classifier["bias"])
    return jnp.stack(rows, axis=1)


def whole(params: dict, config: CrnnConfig, has_memory: bool = True) -> Part:
    model = Crnn(config)

    def step(params: dict, state: Any, samples: jax.Array) -> tuple[Any, jax.Array]:
        state, logits = streaming.step(params, config, state, samples)
        return state, logits[:, None]

    def offline(params: dict, samples: jax.Array) -> jax.Array:
        frames = frames_of({"params": params}, config, samples)
        features = model.apply({"params": params}, frames, method="convolve")
        hidden = zero_hidden(config, samples.shape[0])
        outputs, energies, _ = model.apply({"params": params}, features, hidden, method="recur")
        return trailing_attention(params, config, outputs, energies)

    def span(row: int) -> tuple[int | None, int]:
        end = config.step_end(row)
        return (None if has_memory or config.has_pcen else end - config.receptive_field + 1), end

    def is_heard(positions: np.ndarray) -> np.ndarray:
        # Within the frame that starts before it, the Hann window's first weight is zero.
        window, hop = config.frontend.window_length, config.frontend.hop_length
        offset = (positions + config.frontend.padding) % hop
        return (window > hop) | ((offset > 0) & (offset < window))

    return Part(
        init=lambda batch: streaming.init_state(config, batch),
        step=step,
        offline=offline,
        params=params,
        block=config.block_size,
        skip=config.warmup_blocks,
        span=span,
        flush=lambda params, state, tail, length: streaming.flush(params, config, state, tail, length),
        is_heard=is_heard,
        tolerance=CROSS_FRAMEWORK,
    )


@pytest.mark.parametrize(
    "config", [FrontendConfig(), *(pytest.param(c, marks=pytest.mark.slow) for c in (RIGHT_EDGE_ALONE, LIGHT.frontend))]
)
def test_the_front_end(config: FrontendConfig):
    block = 4 * config.hop_length
    Verifier(front_end(config, block), noise(1, 2, BLOCKS * block + config.hop_length + 3, level=0.01)).verify()


@pytest.mark.slow
@pytest.mark.parametrize("config", (CONFIGS | ODD_CONFIGS).values(), ids=CONFIGS | ODD_CONFIGS)
def test_the_whole(config: CrnnConfig):
    waveform = noise(5, 2, (BLOCKS + config.max_window_length // 2) * config.block_size + config.block_size - 1)
    Verifier(whole(random_variables(config)["params"], config), waveform).verify()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["light", "toy", "base"])
def test_a_step_sees_the_declared_receptive_field(name: str):
    """A GRU whose update gate is shut forgets, so that the whole stream shows what one step sees."""
    config = replace(CONFIGS[name], max_window_length=1)
    params = random_variables(config)["params"]
    for layer in params["gru"].values():
        layer["input_bias"] = layer["input_bias"].at[config.gru_hidden : 2 * config.gru_hidden].set(-1000.0)
        layer["hidden_kernel"] *= 0
    Verifier(whole(params, config, has_memory=False), noise(6, 2, BLOCKS * config.block_size)).check_receptive_field()


@each_compression
def test_scan_is_a_loop_of_steps(config: CrnnConfig):
    """Outputs and state, from any state on, with whole groups of blocks and without."""
    params = random_variables(config)["params"]
    step, scan = jax.jit(streaming.step, static_argnums=1), jax.jit(streaming.scan, static_argnums=1)
    looped = scanned = streaming.init_state(config, 2)
    for seed, num_blocks in enumerate((1, 2 * streaming.GROUP, streaming.GROUP + 3)):
        waveform, expected = noise(seed, 2, num_blocks * config.block_size), []
        for block in np.split(waveform, num_blocks, axis=1):
            looped, logits = step(params, config, looped, block)
            expected.append(logits)
        scanned, logits = scan(params, config, scanned, jnp.asarray(waveform))
        np.testing.assert_allclose(logits, np.stack(expected, axis=1), rtol=0, atol=CROSS_FRAMEWORK)
        np.testing.assert_array_equal(scanned.frontend.blocks, looped.frontend.blocks)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=CROSS_FRAMEWORK), scanned, looped)


@each_compression
def test_the_class_is_the_functions_bit_for_bit(config: CrnnConfig):
    """Block by block, and of a long chunk the whole calls by `scan`; from either on, the other goes on."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        def take(state: Any, samples: jax.Array) -> Any:
            state, logits = function(random_variables(config)["params"], config, state, samples[None])
            return state, jax.nn.softmax(logits.reshape(-1, config.num_classes))[:, 1]

        return jax.jit(take)  # like the class: what else is in a compiled function moves its rounding

    rest, expected = config.warmup_blocks + 3, []
    lengths = [*[1] * rest, streaming.LONG, *[1] * rest]
    cuts = np.cumsum(lengths)[:-1] * config.block_size
    pieces = np.split(noise(8, 1, sum(lengths) * config.block_size)[0], cuts)
    step, scan, state = compiled(streaming.step), compiled(streaming.scan), streaming.init_state(config, 1)
    for length, piece in zip(lengths, pieces, strict=True):
        state, found = (scan if length > 1 else step)(state, piece)
        expected.append(found)
    stream = streaming.StreamingKws(random_variables(config)["params"], config)
    pushed = [stream.push(chunk) for chunk in (*pieces[:rest], np.concatenate(pieces[rest:]))]
    times, probabilities = (np.concatenate(parts) for parts in zip(*pushed, strict=True))
    np.testing.assert_array_equal(probabilities, np.concatenate(expected)[config.warmup_blocks :])
    np.testing.assert_array_equal(times, config.step_end(np.arange(len(times))) / SAMPLE_RATE)


@pytest.mark.slow
def test_numbers_of_64_bits_elsewhere_change_nothing():
    """As with JAX_ENABLE_X64; by steps, by scan and by flush, against the pure functions without."""
    params, samples = random_variables(PCEN, 64)["params"], noise(4, 1, (streaming.LONG + 9) * PCEN.block_size)
    with jax.enable_x64(True):
        stream = streaming.StreamingKws(params, PCEN)
        chunks = np.split(samples[0], [9 * PCEN.block_size])
        found = np.concatenate([*(stream.push(chunk)[1] for chunk in chunks), stream.flush()[1]])
    state, logits = streaming.scan(params, PCEN, streaming.init_state(PCEN, 1), jnp.asarray(samples))
    logits = jnp.concatenate([logits, streaming.flush(params, PCEN, state)], axis=1)
    expected = np.asarray(jax.nn.softmax(logits)[0, :, 1])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[np.isfinite(expected)], rtol=0, atol=SAME_FRAMEWORK)


def test_a_stream_owns_its_parameters():
    """Given away before anything is compiled, they are still there, for it and for others of the same content."""
    params = jax.tree.map(jnp.array, random_variables(TOY, 77)["params"])
    kept, block = jax.tree.map(np.array, params), noise(0, 1, 4 * TOY.block_size)[0]
    stream = streaming.StreamingKws(params, TOY)
    jax.tree.map(lambda leaf: leaf.delete(), params)
    np.testing.assert_array_equal(stream.push(block)[1], streaming.StreamingKws(kept, TOY).push(block)[1])


@pytest.mark.parametrize("config", [TOY, PCEN], ids=["toy", "pcen"])
def test_a_single_row_is_reset_alone(config: CrnnConfig):
    step = partial(jax.jit(streaming.step, static_argnums=1), random_variables(config)["params"], config)
    waveform, fresh = jnp.asarray(noise(3, 2, config.block_size)), streaming.init_state(config, 2)
    heard, _ = step(fresh, waveform)
    states = streaming.reset(config, heard, jnp.array([True, False])), fresh, heard
    for mixed, fresh, heard in (states, [step(state, waveform)[0] for state in states]):
        jax.tree.map(lambda a, b, c: np.testing.assert_array_equal(a, np.stack([b[0], c[1]])), mixed, fresh, heard)


def test_misuse_is_named():
    variables = random_variables(TOY)
    with pytest.raises(ValueError, match="fold_batch_norm"):
        streaming.init_state(STUDENT, 1)
    for length in (TOY.block_size - 1, 2 * TOY.block_size):
        with pytest.raises(ValueError, match=f"a step takes a block of {TOY.block_size} samples, not {length}"):
            streaming.step(variables["params"], TOY, streaming.init_state(TOY, 1), jnp.zeros((1, length)))
    with pytest.raises(ValueError, match="not a whole number of blocks"):
        streaming.scan(variables["params"], TOY, streaming.init_state(TOY, 1), jnp.zeros((1, TOY.block_size + 1)))
