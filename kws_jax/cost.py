"""What a model costs by arithmetic: multiply-accumulates, parameters, bytes of weights and of streaming state."""

import math
from dataclasses import dataclass

import jax

from kws_jax.config import SAMPLE_RATE, CrnnConfig
from kws_jax.frontend import mel_filterbank
from kws_jax.streaming import init_state

PCEN_MULTIPLICATIONS = 6  # a frame and band
ROUNDING = 1e-6  # the highest bin lies on a corner, where its weight is zero but for rounding


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of the model, part by part; elementwise work is not counted.

    Attributes:
        conv: Convolution.
        gru: Both matrices of every GRU layer.
        attention: The energy network.
        context: The attention's weighted mean over time, which counters of layers leave out.
        classifier: Head.
    """

    conv: int
    gru: int
    attention: int
    context: int
    classifier: int

    @property
    def total(self) -> int:
        """All parts."""
        return self.conv + self.gru + self.attention + self.context + self.classifier


def _conv_macs_per_step(config: CrnnConfig) -> int:
    return config.features * math.prod(config.kernel_size)


def _gru_macs_per_step(config: CrnnConfig) -> int:
    inputs = [config.features] + [config.gru_hidden] * (config.gru_layers - 1)
    return sum(3 * config.gru_hidden * (size + config.gru_hidden) for size in inputs)


def _energy_macs_per_step(config: CrnnConfig) -> int:
    return config.attention_width * (config.gru_hidden + 1)


def macs_per_clip(config: CrnnConfig, num_samples: int = 16_000) -> MacCount:
    """Work of the model on one clip, from its frames on.

    Raises:
        ValueError: If the clip has no samples.
    """
    if num_samples < 1:
        raise ValueError(f"a clip of {num_samples} samples is no work")
    steps = config.num_steps(config.frontend.num_frames(num_samples))
    return MacCount(
        conv=steps * _conv_macs_per_step(config),
        gru=steps * _gru_macs_per_step(config),
        attention=steps * _energy_macs_per_step(config),
        context=steps * config.gru_hidden,
        classifier=config.num_classes * config.gru_hidden,
    )


def macs_per_streamed_second(config: CrnnConfig) -> float:
    """Work of the model on a second of a stream: every step is computed once, and attends over its window."""
    per_step = (
        _conv_macs_per_step(config)
        + _gru_macs_per_step(config)
        + _energy_macs_per_step(config)
        + config.max_window_length * config.gru_hidden
        + config.num_classes * config.gru_hidden
    )
    return per_step * SAMPLE_RATE / config.block_size


def frontend_macs_per_second(config: CrnnConfig) -> float:
    """Work of the front end on a second: window, real Fourier transform, power, the non-zero filter taps, and PCEN.

    A real transform of n points is counted as (n / 2) log2(n) complex butterflies halved, of 4 products each: n log2 n.
    PCEN multiplies by its scale, twice in the running mean, by the mean's inverse, by the root (a factor of a
    logarithm), and by its gain; divisions, logarithms and exponentials are not counted.
    """
    frontend = config.frontend
    taps = int((mel_filterbank(frontend) > ROUNDING).sum())
    transform = frontend.window_length * math.log2(frontend.window_length)
    per_frame = frontend.window_length + transform + 2 * frontend.num_bins + taps
    if config.has_pcen:
        per_frame += PCEN_MULTIPLICATIONS * frontend.num_mels
    return per_frame * SAMPLE_RATE / frontend.hop_length


def num_parameters(config: CrnnConfig) -> int:
    """Parameters of the deployed model, batch normalisation folded away (70,443 for the base)."""
    pcen = 3 * config.frontend.num_mels if config.has_pcen else 0
    conv = config.conv_channels * (math.prod(config.kernel_size) + 1)
    inputs = [config.features] + [config.gru_hidden] * (config.gru_layers - 1)
    gru = sum(3 * config.gru_hidden * (size + config.gru_hidden + 2) for size in inputs)
    attention = config.attention_width * (config.gru_hidden + 2) + 1
    return pcen + conv + gru + attention + config.num_classes * (config.gru_hidden + 1)


def state_bytes(config: CrnnConfig) -> int:
    """Bytes that one stream keeps between blocks."""
    state = jax.eval_shape(lambda: init_state(config, 1))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
