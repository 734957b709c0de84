"""The CRNN with attention as a Flax module: mel power to frames, and frames to logits."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from kws_jax.array_types import (
    AttentionWeights,
    Frames,
    Key,
    Logits,
    MelPower,
    Params,
    Sequence,
    Smoother,
    Waveform,
)
from kws_jax.config import CrnnConfig
from kws_jax.frontend import log_compress, mel_power
from kws_jax.layers import AttentionEnergy, Convolution, Gru, Pcen, StepMask, attend, attend_trailing

BATCH_NORM_EPSILON = 1e-5


class Outputs(NamedTuple):
    """What a model says of a clip, and what a student can learn from besides.

    Attributes:
        logits: Of the classes.
        attention: Weights of the steps.
        context: The GRU's outputs, averaged under the attention.
    """

    logits: Logits
    attention: AttentionWeights
    context: Float[Array, "batch hidden"]


class Crnn(nn.Module):
    """Convolution, GRU, attention over time, linear head.

    References:
        Shan, Zhang, Wang, Xie: Attention-based End-to-End Models for Small-Footprint Keyword Spotting, 2018.
    """

    config: CrnnConfig

    def setup(self) -> None:
        """Names the parts; they are the top level of the parameters."""
        config = self.config
        (kernel_mels, kernel_time), (stride_mels, stride_time) = config.kernel_size, config.stride
        if config.has_pcen:
            self.pcen = Pcen()
        self.conv = Convolution(config.conv_channels, (kernel_time, kernel_mels), (stride_time, stride_mels))
        if config.batch_norm:
            self.batch_norm = nn.BatchNorm(momentum=0.9, epsilon=BATCH_NORM_EPSILON)
        self.gru = Gru(config.gru_hidden, config.gru_layers, config.gru_dropout)
        self.attention = AttentionEnergy(config.attention_width)
        self.classifier = nn.Dense(config.num_classes)

    def compress(
        self, power: MelPower, smoother: Smoother | None = None, first: Int[Array, " batch"] | None = None
    ) -> tuple[Frames, Smoother]:
        """Mel power as the model hears it, and what PCEN's smoother then is; see `kws_jax.layers.Pcen`."""
        if self.config.has_pcen:
            return self.pcen(power, smoother, first)
        return log_compress(power), jnp.zeros((power.shape[0], 0), power.dtype) if smoother is None else smoother

    def convolve(self, frames: Frames, training: bool = False) -> Float[Array, "batch steps features"]:
        """Pooling, convolution and what follows it, flattened channel-major (as torch's are).

        Raises:
            ValueError: If the frames have other mel bands than the model's, or are too few for a step.
        """
        pool_mels, pool_time = self.config.pool
        batch, length, mels = frames.shape
        if mels != self.config.frontend.num_mels or length < self.config.kernel_frames:
            wanted = f"{self.config.frontend.num_mels} mel bands, and a step needs {self.config.kernel_frames} frames"
            raise ValueError(f"{length} frames of {mels} mel bands: the model hears {wanted}")
        pooled = frames[:, : length // pool_time * pool_time, : mels // pool_mels * pool_mels]
        pooled = pooled.reshape(batch, length // pool_time, pool_time, mels // pool_mels, pool_mels).mean((2, 4))
        maps = self.conv(pooled)
        if self.config.batch_norm:
            maps = self.batch_norm(maps, use_running_average=not training)
        if self.config.relu:
            maps = nn.relu(maps)
        return jnp.moveaxis(maps, 3, 2).reshape(batch, maps.shape[1], self.config.features)

    def recur(
        self,
        features: Float[Array, "batch steps features"],
        hidden: Float[Array, "batch layers hidden"],
        training: bool = False,
        is_step: StepMask | None = None,
    ) -> tuple[Sequence, AttentionWeights, Float[Array, "batch layers hidden"]]:
        """GRU outputs, their attention energies, and the hidden state to carry on with.

        Where `is_step` is given and false, there is no step: the hidden state stays.
        """
        outputs, hidden = self.gru(features, hidden, training, is_step)
        return outputs, self.attention(outputs), hidden

    def classify(self, outputs: Sequence, energies: AttentionWeights) -> Outputs:
        """The attention's weighted mean, and its logits."""
        context, weights = attend(outputs, energies)
        return Outputs(self.classifier(context), weights, context)

    def every_step(self, frames: Frames, training: bool = False) -> Float[Array, "batch steps classes"]:
        """Logits of every step of whole tracks, attending over the trailing window, from a hidden state of zero."""
        return self.steps_and_energies(frames, training)[0]

    def steps_and_energies(
        self, frames: Frames, training: bool = False
    ) -> tuple[Float[Array, "batch steps classes"], AttentionWeights]:
        """What `every_step` yields, and the energies of the attention that made it."""
        features = self.convolve(frames, training)
        outputs, energies, _ = self.recur(features, zero_hidden(self.config, frames.shape[0], frames.dtype), training)
        return attend_trailing(self.classifier(outputs), energies, self.config.max_window_length), energies

    def outputs(self, frames: Frames, training: bool = False) -> Outputs:
        """All outputs of whole clips, from a hidden state of zero."""
        features = self.convolve(frames, training)
        outputs, energies, _ = self.recur(features, zero_hidden(self.config, frames.shape[0], frames.dtype), training)
        return self.classify(outputs, energies)

    def __call__(self, frames: Frames, training: bool = False) -> tuple[Logits, AttentionWeights]:
        """Logits and attention weights of whole clips, from a hidden state of zero."""
        outputs = self.outputs(frames, training)
        return outputs.logits, outputs.attention


def zero_hidden(
    config: CrnnConfig, batch_size: int, dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "batch layers hidden"]:
    """The hidden state that a clip or a stream starts from."""
    return jnp.zeros((batch_size, config.gru_layers, config.gru_hidden), dtype)


@partial(jax.jit, static_argnames="config")
def init_variables(key: Key, config: CrnnConfig) -> dict[str, Params]:
    """Fresh variables: "params", and "batch_stats" where the model has batch normalisation."""
    shortest = jnp.zeros((1, config.kernel_frames, config.frontend.num_mels))
    variables: Any = Crnn(config).init(key, shortest, method=lambda model, power: model(model.compress(power)[0]))
    return variables


def frames_of(variables: dict[str, Params], config: CrnnConfig, waveform: Waveform) -> Frames:
    """Whole waveforms as the model hears them: their log-mel, or what PCEN makes of their mel power."""
    frames: Any = Crnn(config).apply(variables, mel_power(config.frontend, waveform), method="compress")
    return frames[0]


def predict(variables: dict[str, Params], config: CrnnConfig, waveform: Waveform) -> Logits:
    """Logits of whole waveforms: front end and model."""
    return Crnn(config).apply(variables, frames_of(variables, config, waveform))[0]


def fold_batch_norm(config: CrnnConfig, variables: dict[str, Params]) -> tuple[CrnnConfig, dict[str, Params]]:
    """An equal model without batch normalisation: its scale and shift move into the convolution.

    W' = W g / sqrt(v + eps);  b' = (b - m) g / sqrt(v + eps) + beta. A model without it is returned as it is.
    """
    if not config.batch_norm:
        return config, {"params": variables["params"]}
    params = dict(variables["params"])
    norm, stats = params.pop("batch_norm"), variables["batch_stats"]["batch_norm"]
    scale = norm["scale"] / jnp.sqrt(stats["var"] + BATCH_NORM_EPSILON)
    conv = params["conv"]
    params["conv"] = {"kernel": conv["kernel"] * scale, "bias": (conv["bias"] - stats["mean"]) * scale + norm["bias"]}
    return replace(config, batch_norm=False), {"params": params}
