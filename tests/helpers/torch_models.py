"""PyTorch models and clips that several test files share."""

from dataclasses import replace

import numpy as np
import torch
from torch.ao.nn.quantized import dynamic

from torch_ref.config import TaskConfig
from torch_ref.model import CRNN

POOLED = TaskConfig(
    pool=(2, 2),
    kernel_size=(4, 10),
    stride=(4, 4),
    batch_norm=True,
    relu=True,
    hidden_size=24,
    gru_num_layers=1,
    attention_hidden_size=8,
)
UNEVEN = TaskConfig(n_mels=21, pool=(2, 3), kernel_size=(3, 4), stride=(3, 2), hidden_size=5)
PCEN = replace(UNEVEN, compression="pcen")
QUANTIZED = (dynamic.GRU, dynamic.Linear)
TASK_CONFIGS = {"base": TaskConfig(), "pooled": POOLED, "uneven": UNEVEN, "pcen": PCEN}


def random_module(config: TaskConfig, seed: int = 0) -> CRNN:
    """Random model in evaluation mode, its batch norm away from the identity, its PCEN another in each band."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CRNN(config).eval()
        for parameter in model.pcen.parameters() if model.pcen else ():
            parameter.data += torch.randn_like(parameter) / 2
        if config.batch_norm:
            norm = model.conv[1]
            for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
                tensor.uniform_(0.5, 1.5)
    return model


def tone_batches(epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of an epoch; the keyword is a tone of 1 kHz, anything else one of 3 kHz."""
    rng = np.random.default_rng(epoch)
    labels = np.arange(16) % 2
    tones = np.sin(2 * np.pi * np.outer(np.where(labels, 1000, 3000), np.arange(16_000) / 16_000))
    return [((tones * rng.uniform(0.1, 0.5, (16, 1))).astype(np.float32), labels) for _ in range(3)]


def numbers_of(model: CRNN) -> dict[str, np.ndarray]:
    """The float32 numbers that a model of any number format computes with, asked from its modules, by their keys."""
    numbers = dict(model.state_dict())
    if any(isinstance(module, QUANTIZED) for module in model.modules()):
        numbers = {name: tensor for name, tensor in numbers.items() if name.startswith(("pcen.", "conv."))}
    for prefix, module in model.named_modules():
        if isinstance(module, dynamic.Linear):
            numbers |= {f"{prefix}.weight": module.weight().dequantize(), f"{prefix}.bias": module.bias()}
        elif isinstance(module, dynamic.GRU):
            weights = {name: tensor.dequantize() for name, tensor in module.get_weight().items()}
            numbers |= {f"{prefix}.{name}": tensor for name, tensor in (weights | module.get_bias()).items()}
    return {name: tensor.detach().float().numpy() for name, tensor in numbers.items()}
