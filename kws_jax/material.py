"""Training material: clips on the device, their mel power computed once, and a batch of it augmented."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kws_jax.array_types import Key, LogMel
from kws_jax.augment import augment_power, augment_waveform, mask_log_mel
from kws_jax.config import CrnnConfig, FrontendConfig
from kws_jax.data import FULL_SCALE
from kws_jax.frontend import log_compress, mel_power
from kws_jax.recipe import Recipe


class Corpus(NamedTuple):
    """Training material on the device, ready for augmentation of mel power."""

    power: Float[Array, "clips frames mels"]
    labels: Int[Array, " clips"]
    noise: Float[Array, "noise_frames mels"]


class WaveformCorpus(NamedTuple):
    """The same as samples, augmented before the front end, which then runs in every step."""

    waveforms: Int[Array, "clips samples"]
    labels: Int[Array, " clips"]
    noise: Float[Array, " noise_samples"]


def cached_mel_power(config: FrontendConfig, waveforms: np.ndarray, batch_size: int = 512) -> np.ndarray:
    """Mel power of all clips, computed once.

    Args:
        config: Front end.
        waveforms: (clips, samples), int16.
        batch_size: Clips transformed at a time.

    Returns:
        (clips, frames, mels), float32.
    """
    transform = jax.jit(lambda clips: mel_power(config, clips.astype(jnp.float32) / 32768))
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


def phase_offsets(hop_length: int, phases: int) -> list[int]:
    """Offsets in samples, the nearest to 0 first and none beyond half a hop, of equally spaced positions in a hop."""
    offsets = [
        (hop_length * phase // phases + hop_length // 2) % hop_length - hop_length // 2 for phase in range(phases)
    ]
    return sorted(offsets, key=abs)


def augmented(
    power_key: Key,
    mask_key: Key,
    corpus: Corpus | WaveformCorpus,
    indices: Int[Array, " batch"],
    config: CrnnConfig,
    recipe: Recipe,
) -> LogMel:
    """Log-mels of a batch's clips, augmented as the recipe says."""
    ranges, frontend = recipe.augmentation, config.frontend
    if isinstance(corpus, WaveformCorpus):
        waveform = corpus.waveforms[indices] / jnp.float32(FULL_SCALE)
        if ranges is not None:
            waveform = augment_waveform(power_key, waveform, corpus.noise, ranges, frontend)
        power = mel_power(frontend, waveform)
    else:
        power = corpus.power[indices]
        if ranges is not None:
            power = augment_power(power_key, power, corpus.noise, ranges)
    log_mel = log_compress(frontend, power)
    return log_mel if ranges is None else mask_log_mel(mask_key, log_mel, ranges)
