"""The reference model in torch: keys, shapes, and its arithmetic against plain NumPy."""

import numpy as np
import pytest
import torch

from tests.helpers.torch_models import POOLED, TASK_CONFIGS, random_module
from tests.tolerances import CLOSED_FORM, LOG_MEL_DEFINITION, SAME_FRAMEWORK
from torch_ref.config import TaskConfig
from torch_ref.frontend import MelPower, log_mel
from torch_ref.model import CRNN

BASE_SHAPES = {
    "conv.0.weight": (8, 1, 5, 20),
    "conv.0.bias": (8,),
    "gru.weight_ih_l0": (192, 144),
    "gru.weight_hh_l0": (192, 64),
    "gru.bias_ih_l0": (192,),
    "gru.bias_hh_l0": (192,),
    "gru.weight_ih_l1": (192, 64),
    "gru.weight_hh_l1": (192, 64),
    "gru.bias_ih_l1": (192,),
    "gru.bias_hh_l1": (192,),
    "attention.energy.0.weight": (64, 64),
    "attention.energy.0.bias": (64,),
    "attention.energy.2.weight": (1, 64),
    "attention.energy.2.bias": (1,),
    "classifier.weight": (2, 64),
    "classifier.bias": (2,),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_convolution(config: TaskConfig, weights: dict, image: np.ndarray) -> np.ndarray:
    """One log-mel (mels, frames) to features (steps, channels * conv_mels), by the definition."""
    (pool_m, pool_t), (kernel_m, kernel_t), (stride_m, stride_t) = config.pool, config.kernel_size, config.stride
    rows, columns = image.shape[0] // pool_m, image.shape[1] // pool_t
    image = image[: rows * pool_m, : columns * pool_t].reshape(rows, pool_m, columns, pool_t).mean((1, 3))
    kernels, biases = weights["conv.0.weight"][:, 0], weights["conv.0.bias"]
    steps = []
    for t in range(0, columns - kernel_t + 1, stride_t):
        patches = [image[m : m + kernel_m, t : t + kernel_t] for m in range(0, rows - kernel_m + 1, stride_m)]
        out = np.array([[(p * k).sum() + b for p in patches] for k, b in zip(kernels, biases, strict=True)])
        if config.batch_norm:
            mean, var, scale, shift = (
                weights[f"conv.1.{name}"][:, None] for name in ("running_mean", "running_var", "weight", "bias")
            )
            out = (out - mean) / np.sqrt(var + 1e-5) * scale + shift
        steps.append((np.maximum(out, 0) if config.relu else out).ravel())
    return np.array(steps)


def numpy_gru(weights: dict, layer: int, inputs: np.ndarray) -> np.ndarray:
    w_ih, w_hh, b_ih, b_hh = (weights[f"gru.{n}_l{layer}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    hidden, outputs = np.zeros(w_hh.shape[1]), []
    for x in inputs:
        i_r, i_z, i_n = np.split(w_ih @ x + b_ih, 3)
        h_r, h_z, h_n = np.split(w_hh @ hidden + b_hh, 3)
        update = sigmoid(i_z + h_z)
        hidden = (1 - update) * np.tanh(i_n + sigmoid(i_r + h_r) * h_n) + update * hidden
        outputs.append(hidden)
    return np.array(outputs)


def numpy_model(config: TaskConfig, weights: dict, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sequence = numpy_convolution(config, weights, image)
    for layer in range(config.gru_num_layers):
        sequence = numpy_gru(weights, layer, sequence)
    w0, b0, w2, b2 = (weights[f"attention.energy.{n}"] for n in ("0.weight", "0.bias", "2.weight", "2.bias"))
    energy = np.exp(np.tanh(sequence @ w0.T + b0) @ w2[0] + b2)
    attention = energy / energy.sum()
    return weights["classifier.weight"] @ (attention @ sequence) + weights["classifier.bias"], attention


def test_base_has_the_keys_and_shapes_of_public_checkpoints() -> None:
    model = CRNN(TaskConfig())
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == BASE_SHAPES
    assert sum(tensor.numel() for tensor in model.parameters()) == 70_443


@pytest.mark.parametrize("config", TASK_CONFIGS.values(), ids=TASK_CONFIGS)
def test_forward_equals_the_definition(config: TaskConfig) -> None:
    model = random_module(config).double()
    inputs = torch.randn(2, config.n_mels, 101, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, attention = model.forward_with_attention(inputs)
        assert torch.equal(model(inputs), logits)
    assert attention.shape == (2, config.num_steps(101))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for row, image in enumerate(inputs.numpy()):
        expected_logits, expected_attention = numpy_model(config, weights, image)
        np.testing.assert_allclose(logits[row], expected_logits, rtol=0, atol=CLOSED_FORM)
        np.testing.assert_allclose(attention[row], expected_attention, rtol=0, atol=CLOSED_FORM)


def test_student_keys() -> None:
    keys = set(CRNN(POOLED).state_dict())
    norm = {f"conv.1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    assert keys == {key for key in BASE_SHAPES if "_l1" not in key} | norm


def test_a_kernel_taller_than_the_mels_is_an_error() -> None:
    with pytest.raises(ValueError, match="taller than 8 mels"):
        TaskConfig(n_mels=8, pool=(2, 2))


def test_an_unknown_compression_is_an_error() -> None:
    with pytest.raises(ValueError, match="compression 'root' must be one of log, pcen"):
        TaskConfig(compression="root")


def numpy_mel_power(waveform: np.ndarray, config: TaskConfig) -> np.ndarray:
    """Mel power (mels, frames) in float64, from the textbook definition."""
    half = config.n_fft // 2
    padded = np.pad(waveform, half, mode="reflect")
    starts = range(0, len(padded) - config.n_fft + 1, config.hop_length)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.n_fft) / config.n_fft)
    power = np.abs(np.fft.rfft([padded[s : s + config.n_fft] * window for s in starts])) ** 2
    top = config.sample_rate / 2 if config.f_max is None else config.f_max
    bottom_mel, top_mel = 2595 * np.log10(1 + np.array([config.f_min, top]) / 700)
    edges = 700 * (10 ** (np.linspace(bottom_mel, top_mel, config.n_mels + 2) / 2595) - 1)
    bins = np.linspace(0, config.sample_rate / 2, half + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) @ power.T


@pytest.mark.parametrize(
    "config",
    [
        TaskConfig(),
        TaskConfig(n_mels=20, f_min=100.0, f_max=5500.0),
        *(TaskConfig(n_fft=n, hop_length=320, n_mels=20) for n in (512, 256)),
    ],
)
def test_front_end_equals_the_definition(config: TaskConfig) -> None:
    waveform = torch.rand(2, 16_000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    power = MelPower(config)(waveform)
    assert power.shape == (2, config.n_mels, 1 + 16_000 // config.hop_length)
    expected = np.stack([numpy_mel_power(row, config) for row in waveform.double().numpy()])
    np.testing.assert_allclose(log_mel(power), np.log(expected), rtol=0, atol=LOG_MEL_DEFINITION)


def test_log_mel_clamps() -> None:
    values = log_mel(torch.tensor([[[0.0, 1.0, 1e12]]]))
    np.testing.assert_allclose(values[0, 0], np.log([1e-9, 1.0, 1e9]), rtol=SAME_FRAMEWORK)
