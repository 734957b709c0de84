"""A model over hours of audio, three ways: carried state, state reset periodically, and sliding one-second windows."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit
from tqdm import tqdm

from kws_jax import streaming
from kws_jax.array_types import Params
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.data.audio import to_float
from kws_jax.data.corpus import CLIP_LENGTH
from kws_jax.model import predict

WINDOW = CLIP_LENGTH  # samples of the sliding window: what models are trained on
BLOCKS_AT_ONCE = 375  # 30 s of the base, so that memory stays small
WINDOWS_AT_ONCE = 256


def stream(
    params: Params, config: CrnnConfig, waveforms: np.ndarray, reset_every: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Streams with the state carried from the first sample to the last.

    Args:
        params: Parameters.
        config: Model.
        waveforms: (streams, samples), int16; samples beyond the last whole block are left out.
        reset_every: Set the GRU's state to zero after so many blocks; None never does.

    Returns:
        Times of the steps in seconds, and (streams, steps) keyword probabilities.
    """
    state = streaming.init_state(config, waveforms.shape[0])
    blocks = waveforms.shape[1] // config.block_size
    logits = []
    for first in tqdm(range(0, blocks, BLOCKS_AT_ONCE), desc="streaming", unit="part", leave=False):
        span = slice(first * config.block_size, min(first + BLOCKS_AT_ONCE, blocks) * config.block_size)
        state, part = _stream_part(params, config, state, to_float(waveforms[:, span]), reset_every)
        logits.append(np.asarray(part))
    steps = np.concatenate(logits, axis=1)[:, config.warmup_blocks :]
    return _times(config, np.arange(steps.shape[1])), _probability(steps)


@partial(jax.jit, static_argnames=("config", "reset_every"))
def _stream_part(
    params: Params, config: CrnnConfig, state: streaming.StreamState, samples: jax.Array, reset_every: int | None
) -> tuple[streaming.StreamState, jax.Array]:
    if reset_every is None:
        return streaming.scan(params, config, state, samples)

    def body(state: streaming.StreamState, block: jax.Array) -> tuple[streaming.StreamState, jax.Array]:
        is_reset = (state.frontend.blocks % reset_every == 0)[:, None, None]
        return streaming.step(params, config, state._replace(hidden=jnp.where(is_reset, 0.0, state.hidden)), block)

    blocks = jnp.moveaxis(samples.reshape(samples.shape[0], -1, config.block_size), 1, 0)
    state, logits = jax.lax.scan(body, state, blocks)
    return state, jnp.moveaxis(logits, 0, 1)


def slide(variables: dict[str, Any], config: CrnnConfig, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The offline model on the second before each of the stream's step times, from a zero state every time.

    Args:
        variables: Of the model.
        config: Model.
        waveforms: (streams, samples), int16.

    Returns:
        Times in seconds, and (streams, windows) keyword probabilities.
    """
    first = -(-max(0, WINDOW - config.step_end(0)) // config.block_size)
    last = waveforms.shape[1] // config.block_size - config.warmup_blocks
    ends = config.step_end(np.arange(first, last))
    run = jax.jit(lambda clips: predict(variables, config, clips))
    views = np.lib.stride_tricks.sliding_window_view(waveforms, WINDOW, axis=1)
    starts = ends - WINDOW
    probabilities = np.empty((waveforms.shape[0], ends.shape[0]))
    for row in tqdm(range(waveforms.shape[0]), desc="sliding", unit="stream", leave=False):
        for at in range(0, starts.shape[0], WINDOWS_AT_ONCE):
            chosen = starts[at : at + WINDOWS_AT_ONCE]
            clips = np.zeros((WINDOWS_AT_ONCE, WINDOW), np.float32)
            clips[: chosen.shape[0]] = to_float(views[row, chosen])
            probabilities[row, at : at + chosen.shape[0]] = _probability(np.asarray(run(clips)))[: chosen.shape[0]]
    return ends / SAMPLE_RATE, probabilities


def _times(config: CrnnConfig, steps: np.ndarray) -> np.ndarray:
    return config.step_end(steps) / SAMPLE_RATE


def _probability(logits: np.ndarray) -> np.ndarray:
    return expit((logits[..., 1] - logits[..., 0]).astype(np.float64))
