"""Training material: clips on the device, their mel power computed once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kws_jax.config import FrontendConfig
from kws_jax.data.audio import FULL_SCALE
from kws_jax.frontend import mel_power


class TrainingSet(NamedTuple):
    """Training material on the device, ready for augmentation of mel power."""

    power: Float[Array, "clips frames mels"]
    labels: Int[Array, " clips"]
    noise: Float[Array, "noise_frames mels"]


def cached_mel_power(config: FrontendConfig, waveforms: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """Mel power of all clips, computed once.

    Args:
        config: Front end.
        waveforms: (clips, samples), int16.
        batch_size: Clips transformed at a time.

    Returns:
        (clips, frames, mels), float32.
    """
    transform = jax.jit(lambda clips: mel_power(config, clips.astype(jnp.float32) / FULL_SCALE))
    frames = config.num_frames(waveforms.shape[1])
    power = np.empty((waveforms.shape[0], frames, config.num_mels), np.float32)
    for start in range(0, waveforms.shape[0], batch_size):
        batch = np.asarray(waveforms[start : start + batch_size])
        padded = np.pad(batch, ((0, batch_size - batch.shape[0]), (0, 0)))
        power[start : start + batch_size] = transform(padded)[: batch.shape[0]]
    return power


def moved(waveforms: np.ndarray, offset: int) -> np.ndarray:
    """Clips moved later by `offset` samples, earlier if it is negative; a clip mirrored at its edge fills the gap.

    Args:
        waveforms: (clips, samples), longer than the offset.
        offset: Samples.
    """
    padded = np.pad(waveforms, ((0, 0), (abs(offset), abs(offset))), mode="reflect")
    return padded[:, abs(offset) - offset :][:, : waveforms.shape[1]]


def framing_offsets(hop_length: int, framings: int) -> list[int]:
    """Offsets in samples, the nearest to 0 first and none beyond half a hop, of equally spaced positions in a hop."""
    offsets = [
        (hop_length * framing // framings + hop_length // 2) % hop_length - hop_length // 2
        for framing in range(framings)
    ]
    return sorted(offsets, key=abs)
