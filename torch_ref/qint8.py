"""Half-precision and dynamically quantized forms of the model, and the latter as plain tensors."""

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.ao.nn.quantized import dynamic

from torch_ref.config import TaskConfig
from torch_ref.files import check_like
from torch_ref.model import CRNN

__all__ = ["integer_weights", "is_quantized", "load_qint8", "to_fp16", "to_qint8"]

SCALE, ZERO_POINT = ".scale", ".zero_point"


def to_fp16(model: CRNN) -> CRNN:
    """Returns a float16 copy in evaluation mode; it wants float16 input."""
    return copy.deepcopy(model).half().eval()


def to_qint8(model: CRNN) -> CRNN:
    """Returns a copy in evaluation mode whose GRU and linear layers are dynamically quantized to int8.

    The grid of a weight matrix W, in float32 (torch multiplies by the reciprocal; dividing rounds a few otherwise):

        scale = max(max|W| / 127.5, 2^-23),  int8 = clip(round_half_even(W * (1 / scale)), -128, 127),  zero_point = 0

    Activations are quantized as they come, over the whole batch; PCEN, the convolution and all biases stay float32.
    """
    # torch fills quantized layers with random numbers before it sets their weights.
    with _quantization_warnings_ignored(), torch.random.fork_rng(devices=[]):
        return torch.ao.quantization.quantize_dynamic(
            copy.deepcopy(model).eval(), {nn.GRU, nn.Linear}, dtype=torch.qint8, inplace=True
        )


def is_quantized(model: nn.Module) -> bool:
    """Whether a layer of the model is dynamically quantized."""
    return any(isinstance(module, dynamic.GRU | dynamic.Linear) for module in model.modules())


def integer_weights(model: CRNN) -> dict[str, Tensor]:
    """Returns everything a quantized model needs as plain tensors, under the float model's keys.

    A quantized weight W = (int8 - zero_point) * scale is three entries: `key` (int8), `key.scale` (float32, no axes)
    and `key.zero_point` (int8, no axes). All else is as in the float model.

    Raises:
        ValueError: The model is not quantized.
    """
    if not is_quantized(model):
        raise ValueError("the model is not quantized: its weights are its state_dict")
    tensors = {name: tensor.clone() for name, tensor in _float_tensors(model).items()}
    for prefix, module in _quantized_modules(model).items():
        weights, biases = _unpack(module)
        for name, weight in weights.items():
            key = f"{prefix}.{name}"
            tensors[key] = weight.int_repr()
            tensors[key + SCALE] = torch.tensor(weight.q_scale(), dtype=torch.float32)
            tensors[key + ZERO_POINT] = torch.tensor(weight.q_zero_point(), dtype=torch.int8)
        tensors |= {f"{prefix}.{name}": bias.detach().clone() for name, bias in biases.items()}
    return tensors


def load_qint8(config: TaskConfig, tensors: Mapping[str, Tensor]) -> CRNN:
    """Rebuilds the quantized model, in evaluation mode, from what `integer_weights` returned.

    Raises:
        ValueError: Tensors are missing, unexpected, or of another shape or type than the configuration's; it names all.
    """
    with torch.random.fork_rng(devices=[]):
        model = to_qint8(CRNN(config))
    check_like(integer_weights(model), tensors)
    for name, tensor in _float_tensors(model).items():
        tensor.copy_(tensors[name])
    for prefix, module in _quantized_modules(model).items():
        weights, biases = _unpack(module)
        new_weights = {name: _quantized(tensors, f"{prefix}.{name}") for name in weights}
        new_biases = {name: tensors[f"{prefix}.{name}"] for name in biases}
        if isinstance(module, dynamic.GRU):
            module.set_weight_bias(new_weights | new_biases)
        else:
            module.set_weight_bias(new_weights["weight"], new_biases["bias"])
    return model


def _float_tensors(model: CRNN) -> dict[str, Tensor]:
    """What stays as it is: PCEN, the convolution and its normalisation."""
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(("pcen.", "conv."))}


def _quantized_modules(model: CRNN) -> dict[str, dynamic.GRU | dynamic.Linear]:
    return {n: module for n, module in model.named_modules() if isinstance(module, dynamic.GRU | dynamic.Linear)}


def _unpack(module: dynamic.GRU | dynamic.Linear) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns quantized weights and float biases by their names in the float module."""
    if isinstance(module, dynamic.GRU):
        return module.get_weight(), module.get_bias()
    return {"weight": module.weight()}, {"bias": module.bias()}


def _quantized(tensors: Mapping[str, Tensor], key: str) -> Tensor:
    """Returns torch's quantized tensor of three entries; exact, as (q - z) * s / s + z rounds to q again."""
    scale, zero_point = tensors[key + SCALE], int(tensors[key + ZERO_POINT])
    values = (tensors[key].float() - zero_point) * scale
    with _quantization_warnings_ignored():
        return torch.quantize_per_tensor(values, float(scale), zero_point, torch.qint8)


@contextmanager
def _quantization_warnings_ignored() -> Iterator[None]:
    """Ignores that torch.ao and its int8 tensors will be removed: pyproject.toml keeps torch below that release."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor, torch.quantize_per_channel", UserWarning)
        yield
