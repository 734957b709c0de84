"""The recurrent layers and the attention of the model, shared by whole clips and single steps of a stream."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from kws_jax.array_types import AttentionWeights, Frames, MelPower, Sequence, Smoother
from kws_jax.config import POWER_RANGE

StepMask = Bool[Array, "batch steps"]
PCEN_SCALE = 1e3  # of mel power, so that speech at a usual level is well above PCEN_FLOOR and the bias
PCEN_FLOOR = 1e-6
PCEN_GAIN = 3.0  # brings what comes out to the size of a log-mel's variations


def gru_cell(
    hidden: Float[Array, "batch hidden"],
    projected: Float[Array, "batch gates"],
    hidden_kernel: Float[Array, "hidden gates"],
    hidden_bias: Float[Array, " gates"],
) -> Float[Array, "batch hidden"]:
    """One step of a gated recurrent unit with a bias on each side, gates packed in torch's order r, z, n.

    r = sigmoid(i_r + W_hr h + b_hr);  z = sigmoid(i_z + W_hz h + b_hz);  n = tanh(i_n + r (W_hn h + b_hn));
    h' = (1 - z) n + z h, where i = W_i x + b_i is `projected`. The reset gate acts after the product, as in cuDNN.

    References:
        Cho et al.: Learning Phrase Representations using RNN Encoder-Decoder, 2014.
    """
    input_reset, input_update, input_new = jnp.split(projected, 3, axis=-1)
    hidden_reset, hidden_update, hidden_new = jnp.split(hidden @ hidden_kernel + hidden_bias, 3, axis=-1)
    reset = nn.sigmoid(input_reset + hidden_reset)
    update = nn.sigmoid(input_update + hidden_update)
    new = jnp.tanh(input_new + reset * hidden_new)
    return (1.0 - update) * new + update * hidden


def _uniform(bound: float) -> Callable[..., Array]:
    return lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Pcen(nn.Module):
    """Per-channel energy normalization: mel power over its own running mean, compressed by a root.

    M_t = (1 - s) M_{t-1} + s E_t, M_0 = E_0;  F_t = (E_t / (floor + M_t) + d)^r - d^r, with s and r in (0, 1) and d
    above 0, trained, each one number a band: s and r are sigmoids of the parameters, and d is an exponential. The paper
    raises the mean to an exponent of its own; left at 1, a gain changes nothing.

    References:
        Wang, Getreuer, Hughes, Lyon, Saurous: Trainable Frontend For Robust and Far-Field Keyword Spotting, 2017.
    """

    @nn.compact
    def __call__(
        self, power: MelPower, smoother: Smoother | None = None, first: Int[Array, " batch"] | None = None
    ) -> tuple[Frames, Smoother]:
        """Normalizes frames that follow those the smoother has heard, and returns it after the last of them.

        Args:
            power: Mel power.
            smoother: M before the first of these frames; none at the start of a clip.
            first: Index of the frame that a stream begins with, among these; what lies before it is no frame. Negative
                where the stream has begun before; 0 by default.
        """
        batch, frames, mels = power.shape
        initial = {"smoothing": 0.047, "root": 0.5}
        logits = {
            name: self.param(name, _constant(math.log(value / (1 - value))), (mels,)) for name, value in initial.items()
        }
        smoothing, root = (nn.sigmoid(logits[name]) for name in initial)
        log_bias = self.param("bias", _constant(math.log(2.0)), (mels,))
        bias = jnp.exp(log_bias)
        energy = jnp.minimum(power, POWER_RANGE[1]) * PCEN_SCALE
        since = jnp.arange(frames) - (jnp.zeros(batch, int) if first is None else first)[:, None]

        def body(mean: Array, frame: tuple[Array, Array]) -> tuple[Array, Array]:
            now, age = frame[0], frame[1][:, None]
            mean = jnp.where(age > 0, (1.0 - smoothing) * mean + smoothing * now, jnp.where(age == 0, now, mean))
            return mean, mean

        start = jnp.zeros((batch, mels), power.dtype) if smoother is None else smoother
        last, means = jax.lax.scan(body, start, (jnp.moveaxis(energy, 1, 0), since.T))
        normalized = energy / (PCEN_FLOOR + jnp.moveaxis(means, 0, 1))
        # The root as an exponential of a logarithm: XLA's own power takes twice as long to train through.
        return PCEN_GAIN * (jnp.exp(root * jnp.log(normalized + bias)) - jnp.exp(root * log_bias)), last


def _constant(value: float) -> Callable[..., Array]:
    return lambda key, shape: jnp.full(shape, value, jnp.float32)


class Convolution(nn.Module):
    """Convolution of one map without padding, as patches times a matrix.

    Parameters are those of flax.linen.Conv. Its own convolution is up to three times slower on a CPU when it is trained
    inside lax.scan.
    """

    channels: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int]

    @nn.compact
    def __call__(self, maps: Float[Array, "batch frames mels"]) -> Float[Array, "batch steps rows channels"]:
        """All channels; kernel_size and stride are in frames and mels."""
        shape = (*self.kernel_size, 1, self.channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        frames, mels = (
            jnp.arange(0, length - size + 1, stride)[:, None] + jnp.arange(size)
            for length, size, stride in zip(maps.shape[1:], self.kernel_size, self.stride, strict=True)
        )
        return jnp.einsum("bsfrm,fmc->bsrc", maps[:, frames][..., mels], kernel[:, :, 0]) + bias


class GruLayer(nn.Module):
    """One GRU layer; all parameters start uniform in +-1 / sqrt(hidden), as torch's do."""

    hidden: int

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch steps features"],
        initial: Float[Array, "batch hidden"],
        is_step: StepMask | None = None,
    ) -> tuple[Sequence, Float[Array, "batch hidden"]]:
        """Runs over the steps from the hidden state `initial`; returns every hidden state and the last one.

        Where `is_step` is given and false, the hidden state stays as it is.
        """
        start, gates = _uniform(self.hidden**-0.5), 3 * self.hidden
        input_kernel = self.param("input_kernel", start, (inputs.shape[-1], gates))
        input_bias = self.param("input_bias", start, (gates,))
        hidden_kernel = self.param("hidden_kernel", start, (self.hidden, gates))
        hidden_bias = self.param("hidden_bias", start, (gates,))
        projected = jnp.moveaxis(inputs @ input_kernel + input_bias, 1, 0)

        def body(hidden: Array, step: tuple[Array, Array | None]) -> tuple[Array, Array]:
            moved = gru_cell(hidden, step[0], hidden_kernel, hidden_bias)
            hidden = moved if step[1] is None else jnp.where(step[1][:, None], moved, hidden)
            return hidden, hidden

        last, outputs = jax.lax.scan(body, initial, (projected, None if is_step is None else is_step.T))
        return jnp.moveaxis(outputs, 0, 1), last


class Gru(nn.Module):
    """A stack of GRU layers with dropout between them in training."""

    hidden: int
    layers: int
    dropout: float

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch steps features"],
        initial: Float[Array, "batch layers hidden"],
        training: bool = False,
        is_step: StepMask | None = None,
    ) -> tuple[Sequence, Float[Array, "batch layers hidden"]]:
        """Runs all layers; returns the top layer's outputs and each layer's last hidden state."""
        last = []
        for index in range(self.layers):
            if index:
                inputs = nn.Dropout(self.dropout)(inputs, deterministic=not training)
            inputs, hidden = GruLayer(self.hidden, name=f"layer_{index}")(inputs, initial[:, index], is_step)
            last.append(hidden)
        return inputs, jnp.stack(last, axis=1)


class AttentionEnergy(nn.Module):
    """Energy of each step: Linear - tanh - Linear to one number."""

    width: int

    @nn.compact
    def __call__(self, outputs: Sequence) -> AttentionWeights:
        """Unnormalised attention of each step."""
        return nn.Dense(1, name="score")(jnp.tanh(nn.Dense(self.width, name="project")(outputs)))[..., 0]


def attend(outputs: Sequence, energies: AttentionWeights) -> tuple[Float[Array, "batch hidden"], AttentionWeights]:
    """Softmax of the energies over the steps, and the outputs' mean under it. An energy of -inf leaves a step out."""
    weights = nn.softmax(energies, axis=1)
    return jnp.einsum("bs,bsh->bh", weights, outputs), weights


def attend_trailing(
    values: Sequence, energies: AttentionWeights, window_length: int, num_steps: int | None = None
) -> Float[Array, "batch last values"]:
    """`attend` at each of the last steps over those up to it, `window_length` at most: a stream's attention, at once.

    Costs num_steps x steps. An energy of -inf leaves a step out of all windows but its own.

    Args:
        values: Of the steps: the GRU's outputs, or anything linear in them.
        energies: Of the attention.
        window_length: Steps.
        num_steps: How many of the last steps attend; all by default.
    """
    steps = jnp.arange(values.shape[1])
    attending = steps[values.shape[1] - (num_steps or values.shape[1]) :]
    age = attending[:, None] - steps
    is_seen = jnp.isfinite(energies)
    in_window = (age >= 0) & (age < window_length) & (is_seen[:, None, :] | (age == 0))
    known = jnp.where(is_seen, energies, 0.0)
    weights = nn.softmax(jnp.where(in_window, known[:, None, :], -jnp.inf), axis=2)
    return jnp.einsum("bts,bsh->bth", weights, values)
