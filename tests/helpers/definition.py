"""The whole model by its definition, in NumPy's float64: samples to the keyword's probability at every step."""

import numpy as np

from kws_jax.config import POWER_RANGE, CrnnConfig
from kws_jax.frontend import mel_filterbank
from kws_jax.layers import PCEN_FLOOR, PCEN_GAIN, PCEN_SCALE


def probabilities(config: CrnnConfig, state: dict[str, np.ndarray], samples: np.ndarray) -> np.ndarray:
    weights = {key: tensor.astype(np.float64) for key, tensor in state.items()}
    pooled = _pooled(config, _frames(config, weights, samples.astype(np.float64)))
    hidden = [np.zeros(config.gru_hidden) for _ in range(config.gru_layers)]
    outputs, energies, found = [], [], []
    for first in range(0, len(pooled) - config.kernel_size[1] + 1, config.stride[1]):
        inputs = _convolved(config, weights, pooled[first : first + config.kernel_size[1]])
        for layer, before in enumerate(hidden):
            inputs = hidden[layer] = _gru(weights, layer, inputs, before)
        outputs.append(inputs)
        projected = np.tanh(weights["attention.energy.0.weight"] @ inputs + weights["attention.energy.0.bias"])
        energies.append((weights["attention.energy.2.weight"] @ projected + weights["attention.energy.2.bias"])[0])
        attention = np.exp(np.array(energies[-config.max_window_length :]) - max(energies[-config.max_window_length :]))
        context = attention @ np.array(outputs[-config.max_window_length :]) / attention.sum()
        logits = weights["classifier.weight"] @ context + weights["classifier.bias"]
        found.append(_sigmoid(logits[1] - logits[0]))
    return np.array(found)


def _frames(config: CrnnConfig, weights: dict[str, np.ndarray], samples: np.ndarray) -> np.ndarray:
    frontend = config.frontend
    padded = np.pad(samples, frontend.padding, mode="reflect")
    starts = np.arange(frontend.num_frames(len(samples)))[:, None] * frontend.hop_length
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frontend.window_length) / frontend.window_length)
    spectrum = np.fft.rfft(padded[starts + np.arange(frontend.window_length)] * window)
    power = np.abs(spectrum) ** 2 @ mel_filterbank(frontend).astype(np.float64)
    if not config.has_pcen:
        return np.log(np.clip(power, *POWER_RANGE))
    smoothing, root = (_sigmoid(weights[f"pcen.{name}"]) for name in ("smoothing", "root"))
    bias, energy = np.exp(weights["pcen.bias"]), np.minimum(power, POWER_RANGE[1]) * PCEN_SCALE
    means = [energy[0]]
    for now in energy[1:]:
        means.append((1 - smoothing) * means[-1] + smoothing * now)
    return PCEN_GAIN * ((energy / (PCEN_FLOOR + np.array(means)) + bias) ** root - bias**root)


def _pooled(config: CrnnConfig, frames: np.ndarray) -> np.ndarray:
    (pool_mels, pool_frames), (num_frames, mels) = config.pool, frames.shape
    whole = frames[: num_frames // pool_frames * pool_frames, : mels // pool_mels * pool_mels]
    return whole.reshape(num_frames // pool_frames, pool_frames, -1, pool_mels).mean((1, 3))


def _convolved(config: CrnnConfig, weights: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    kernel, bias, (mels, _), stride = (
        weights["conv.0.weight"],
        weights["conv.0.bias"],
        config.kernel_size,
        config.stride,
    )
    maps = [
        [(kernel[c, 0] * rows[:, i * stride[0] :][:, :mels].T).sum() for i in range(config.conv_mels)]
        for c in range(len(kernel))
    ]
    features = (np.array(maps) + bias[:, None]).ravel()
    return np.maximum(features, 0) if config.relu else features


def _gru(weights: dict[str, np.ndarray], layer: int, inputs: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    heard = weights[f"gru.weight_ih_l{layer}"] @ inputs + weights[f"gru.bias_ih_l{layer}"]
    kept = weights[f"gru.weight_hh_l{layer}"] @ hidden + weights[f"gru.bias_hh_l{layer}"]
    (reset, update, new), (kept_reset, kept_update, kept_new) = np.split(heard, 3), np.split(kept, 3)
    reset, update = _sigmoid(reset + kept_reset), _sigmoid(update + kept_update)
    return (1 - update) * np.tanh(new + reset * kept_new) + update * hidden


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
