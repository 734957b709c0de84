"""A model over hours of audio, two ways: carried state, and sliding one-second windows."""

from typing import Any

import jax
import numpy as np
from scipy.special import expit
from tqdm import tqdm

from kws_jax import streaming
from kws_jax.array_types import Params
from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.data.audio import as_float, to_float
from kws_jax.data.corpus import CLIP_LENGTH
from kws_jax.model import predict

WINDOW = CLIP_LENGTH  # samples of the sliding window: what models are trained on
BLOCKS_AT_ONCE = 375  # 30 s of the base, so that memory stays small
STREAMS_AT_ONCE = 3  # so that they fit into a cache; one program for any number of streams
WINDOWS_AT_ONCE = 256


def stream(params: Params, config: CrnnConfig, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Streams with the state carried from the first sample to the last.

    Args:
        params: Parameters.
        config: Model.
        waveforms: (streams, samples), int16 or float32; samples beyond the last whole block are left out.

    Returns:
        Times of the steps in seconds, and (streams, steps) keyword probabilities.
    """
    rows = range(0, waveforms.shape[0], STREAMS_AT_ONCE)
    parts = [
        _stream_few(params, config, waveforms[first : first + STREAMS_AT_ONCE])
        for first in tqdm(rows, desc="streaming", unit="part", leave=False, disable=None)
    ]
    steps = np.concatenate(parts)[:, config.warmup_blocks :]
    return _times(config, np.arange(steps.shape[1])), _probability(steps)


def _stream_few(params: Params, config: CrnnConfig, waveforms: np.ndarray) -> np.ndarray:
    """Logits of all blocks of STREAMS_AT_ONCE streams at most."""
    state, logits = streaming.init_state(config, STREAMS_AT_ONCE), []
    blocks, missing = waveforms.shape[1] // config.block_size, STREAMS_AT_ONCE - waveforms.shape[0]
    for first in range(0, blocks, BLOCKS_AT_ONCE):
        span = slice(first * config.block_size, min(first + BLOCKS_AT_ONCE, blocks) * config.block_size)
        samples = np.pad(as_float(waveforms[:, span]), ((0, missing), (0, 0)))
        state, part = _scan(params, config, state, samples)
        logits.append(np.asarray(part)[: waveforms.shape[0]])
    return np.concatenate(logits, axis=1)


_scan = jax.jit(streaming.scan, static_argnames="config")


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
    for row in tqdm(range(waveforms.shape[0]), desc="sliding", unit="stream", leave=False, disable=None):
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
