"""Mel spectrogram: of a whole waveform, and of a stream of blocks with the samples carried over as state.

Frames are centred: frame t covers samples [t * hop_length - padding, t * hop_length + padding) of a waveform that is
mirrored at both ends, as in torch.stft(center=True, pad_mode="reflect").
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from kws_jax.array_types import LogMel, MelPower, Waveform
from kws_jax.config import POWER_RANGE, SAMPLE_RATE, FrontendConfig


def mel_corners(config: FrontendConfig) -> np.ndarray:
    """Frequencies in Hz at which the triangles of `mel_filterbank` begin, peak and end: (mels + 2), ascending."""
    bottom, top = (2595.0 * np.log10(1.0 + f / 700.0) for f in (config.f_min, config.top_frequency))
    corners: np.ndarray = 700.0 * (10.0 ** (np.linspace(bottom, top, config.num_mels + 2) / 2595.0) - 1.0)
    return corners


@lru_cache
def mel_filterbank(config: FrontendConfig) -> np.ndarray:
    """Triangular filters on the HTK mel scale, not normalised: (bins, mels), float32.

    mel = 2595 log10(1 + f / 700), f in Hz; the corners are equally spaced in mel.

    References:
        Young et al.: The HTK Book, 2006, section 5.4.
    """
    corners = mel_corners(config)
    bins = np.linspace(0.0, SAMPLE_RATE / 2, config.num_bins)[:, None]
    rising = (bins - corners[:-2]) / np.diff(corners)[:-1]
    falling = (corners[2:] - bins) / np.diff(corners)[1:]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _frames_to_power(
    config: FrontendConfig, samples: Float[Array, "batch padded"], num_frames: int
) -> Float[Array, "batch frames mels"]:
    starts = jnp.arange(num_frames) * config.hop_length
    # Each frame copied whole: a gather of single samples takes a tenth of a stream's time more.
    frames = jax.vmap(lambda start: lax.dynamic_slice_in_dim(samples, start, config.window_length, 1), out_axes=1)(
        starts
    )
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.window_length) / config.window_length)
    spectrum = jnp.fft.rfft(frames * window.astype(np.float32))
    power = spectrum.real**2 + spectrum.imag**2
    return power @ mel_filterbank(config)


def mel_power(config: FrontendConfig, waveform: Waveform) -> MelPower:
    """Mel power of whole waveforms, 1 + samples // hop_length frames.

    Raises:
        ValueError: If the waveform is too short to be mirrored (padding + 1 samples are needed), or no batch.
    """
    if waveform.ndim != 2:
        raise ValueError(f"waveforms are a batch by samples, found shape {waveform.shape}")
    num_samples = waveform.shape[1]
    if num_samples <= config.padding:
        raise ValueError(f"a waveform of {num_samples} samples is too short: {config.padding + 1} are needed")
    padded = jnp.pad(waveform, ((0, 0), (config.padding, config.padding)), mode="reflect")
    return _frames_to_power(config, padded, config.num_frames(num_samples))


def log_compress(power: MelPower) -> LogMel:
    """Natural logarithm of mel power clamped to `POWER_RANGE`."""
    return jnp.log(jnp.clip(power, *POWER_RANGE))


def log_mel(config: FrontendConfig, waveform: Waveform) -> LogMel:
    """Log-mel spectrogram of whole waveforms."""
    return log_compress(mel_power(config, waveform))


class FrontendState(NamedTuple):
    """What a stream's next frames need of the past.

    Attributes:
        samples: The last `context_length` samples.
        blocks: Blocks taken in so far.
    """

    samples: Float[Array, "batch context"]
    blocks: Int[Array, " batch"]


def context_length(config: FrontendConfig) -> int:
    """Samples before a block that coming frames, or the mirrored right edge, reach back to (360 by default)."""
    return config.padding + max(1, (config.right_frames - 1) * config.hop_length)


def init_state(config: FrontendConfig, batch_size: int) -> FrontendState:
    """State of streams that have heard nothing."""
    return FrontendState(jnp.zeros((batch_size, context_length(config)), jnp.float32), jnp.zeros(batch_size, jnp.int32))


def step(config: FrontendConfig, state: FrontendState, samples: Waveform) -> tuple[FrontendState, MelPower]:
    """Takes in one block and yields the mel power of its block / hop_length newest complete frames.

    With s = block / hop_length and r = config.right_frames, block k yields frames s k - r + 1 up to s (k + 1) - r. The
    first block's frames of negative index are undefined; its other frames see the mirrored left edge.

    Args:
        config: Front end.
        state: From `init_state` or the step before.
        samples: One block, a whole number of hops and longer than config.padding.
    """
    num_frames = samples.shape[1] // config.hop_length
    known = jnp.concatenate([_left_context(config, state, samples), samples], axis=1)
    frames = _frames_to_power(config, known[:, _unframed(config) :], num_frames)
    return FrontendState(known[:, known.shape[1] - state.samples.shape[1] :], state.blocks + 1), frames


def flush(
    config: FrontendConfig, state: FrontendState, tail: Waveform, tail_length: Int[Array, ""]
) -> tuple[MelPower, Int[Array, " batch"]]:
    """Mel power of a stream's end, whose frames see the mirrored right edge.

    Args:
        config: Front end.
        state: State after the last whole block.
        tail: The samples after it in a block of the full size; what lies beyond `tail_length` is ignored.
        tail_length: Samples of the tail that exist, in [0, block).

    Returns:
        The block / hop_length - 1 + right_frames frames that follow the last step's, and how many of them exist; the
        others are undefined. A stream too short to be mirrored (padding + 1 samples are needed) has none.
    """
    block_size = tail.shape[1]
    known = jnp.concatenate([_left_context(config, state, tail), tail], axis=1)
    end = state.samples.shape[1] + tail_length
    position = jnp.arange(known.shape[1] + config.padding)
    mirrored = jnp.where(position < end, position, 2 * (end - 1) - position)
    num_frames = block_size // config.hop_length - 1 + config.right_frames
    edged = known[:, jnp.maximum(mirrored, 0)[_unframed(config) :]]
    frames = _frames_to_power(config, edged, num_frames)
    # Counted from the last step on, as samples from the start of the stream overflow 32 bits after 37 hours.
    is_heard = (state.blocks > 0) | (tail_length > config.padding)
    return frames, jnp.where(is_heard, config.right_frames + tail_length // config.hop_length, 0)


def _unframed(config: FrontendConfig) -> int:
    """Samples of the context before the next frame's left edge: one where the mirrored right edge alone needs it."""
    return context_length(config) - config.padding - (config.right_frames - 1) * config.hop_length


def _left_context(config: FrontendConfig, state: FrontendState, block: Waveform) -> Float[Array, "batch context"]:
    mirror = block[:, config.padding : 0 : -1]
    edge = jnp.pad(mirror, ((0, 0), (state.samples.shape[1] - config.padding, 0)))
    is_first: Bool[Array, "batch 1"] = (state.blocks == 0)[:, None]
    return jnp.where(is_first, edge, state.samples)
