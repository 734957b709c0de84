"""An hour of audio through every class: memory, drift, times."""

import copy
import ctypes
import gc
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from torch.nn import functional

from kws_jax.compiled import stream as compiled
from tests.helpers import models
from tests.helpers.models import CONFIGS
from tests.helpers.streams import SIDES, Stream, both_sides, stream_of, trailing_probabilities
from tests.tolerances import CROSS_FRAMEWORK, EXACT
from torch_ref.frontend import MelPower, log_mel
from torch_ref.threads import single_thread

CONFIG = CONFIGS["student"]
MINUTES, MINUTE = 60, 60 * 16_000  # samples; 750 blocks exactly
WARM = 10  # minutes after which allocators have settled
GROWTH = 4 * 2**20  # bytes of resident memory in the 50 minutes after: a leak of 100 bytes a step would be 3.75 MB
CHUNK = 16_000 + 77  # samples, no divisor of anything

pytestmark = pytest.mark.slow


def speech_like(minute: int) -> np.ndarray:
    """With pauses of digital silence and bursts near clipping."""
    return models.speech_like(minute, 60, (0.0, 0.003, 0.03, 0.3))


def resident_bytes() -> int:
    """Without what the C library keeps of freed arrays, which is this test's own sound as often as not."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def state_bytes(stream: Stream) -> int:
    if isinstance(stream, compiled.StreamingKws):
        return stream._state.nbytes
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tuple(stream._state))) + stream._pending.nbytes


def continued(side: str, stream: Stream) -> Stream:
    """A fresh stream with a copy of another's state and nothing else of it; the other ends on a whole block."""
    fresh = stream_of(side, "student")
    if isinstance(stream, compiled.StreamingKws):
        fresh._state[:] = stream._state
        return fresh
    assert len(stream._pending) == 0
    fresh._state, fresh._blocks = copy.deepcopy(stream._state), stream._blocks
    return fresh


@single_thread()
@torch.inference_mode()
def offline_hour() -> np.ndarray:
    """Probabilities of one pass of GRU and attention over the whole hour, its log-mel joined from overlapping parts."""
    model = both_sides("student")[1]
    config, mel_power = model.config, MelPower(model.config, center=False)
    hour = torch.from_numpy(np.concatenate([speech_like(minute) for minute in range(MINUTES)]))
    padded = functional.pad(hour[None, None], (config.padding, config.padding), mode="reflect")[0]
    starts = range(0, config.num_frames(len(hour)) * config.hop_length, MINUTE)
    parts = [padded[:, start : start + MINUTE + config.n_fft - config.hop_length] for start in starts]
    frames = torch.cat([log_mel(mel_power(part)) for part in parts], dim=2)
    outputs = model.gru(model.features(frames))[0]
    return trailing_probabilities(model, outputs, model.attention.energy(outputs))


@pytest.mark.parametrize("side", SIDES)
def test_an_hour(side: str):
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc to read resident memory")
    stream, times, probabilities, memory = stream_of(side, "student"), [], [], []
    for minute in range(MINUTES):
        pieces = [stream.push(chunk) for chunk in np.split(speech_like(minute), range(CHUNK, MINUTE, CHUNK))]
        times.append(np.concatenate([piece[0] for piece in pieces]))
        probabilities.append(np.concatenate([piece[1] for piece in pieces]))
        kept = sum(array.nbytes for array in times + probabilities)
        memory.append((resident_bytes() - kept, state_bytes(stream), len(jax.live_arrays())))
    resident, state, arrays = np.subtract(memory[-1], memory[WARM])
    assert resident < GROWTH
    assert state == arrays == 0

    steps = MINUTES * MINUTE // CONFIG.block_size - CONFIG.warmup_blocks
    ends = np.round(np.concatenate(times) * 16_000).astype(np.int64)
    np.testing.assert_array_equal(ends, CONFIG.step_end(np.arange(steps)))
    np.testing.assert_allclose(
        np.concatenate(probabilities), offline_hour()[:steps], rtol=0, atol=CROSS_FRAMEWORK, err_msg="drift"
    )

    fresh, coda = continued(side, stream), speech_like(MINUTES)
    for ours, theirs in zip(stream.push(coda), fresh.push(coda), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=EXACT)
