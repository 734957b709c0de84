"""Streams on both sides, and the offline model in PyTorch that they are held against."""

from functools import lru_cache
from typing import Any

import jax
import numpy as np
import torch
from scipy.special import softmax

from conversion.files import to_module
from kws_jax import streaming
from kws_jax.compiled import stream as compiled
from kws_jax.config import CrnnConfig
from tests.helpers.models import CONFIGS, random_variables
from tests.helpers.odd_configs import ODD_CONFIGS
from torch_ref.config import TaskConfig
from torch_ref.frontend import MelPower
from torch_ref.model import CRNN
from torch_ref.streaming import StreamingKws
from torch_ref.threads import single_thread

EVERY_CONFIG = CONFIGS | ODD_CONFIGS
FRAMEWORKS = ("jax", "torch")
SIDES = (*FRAMEWORKS, "c")  # c: compiled on this machine
Stream = streaming.StreamingKws | StreamingKws | compiled.StreamingKws


@lru_cache
def both_sides(name: str) -> tuple[dict[str, Any], CRNN]:
    """A model on both sides, its weights enlarged so that probabilities move and faults show."""
    variables = jax.tree.map(lambda x: 2 * x, random_variables(EVERY_CONFIG[name]))
    return variables, to_module(EVERY_CONFIG[name], variables)


def stream_of(side: str, name: str) -> Stream:
    return make_stream(side, EVERY_CONFIG[name], both_sides(name)[0])


def make_stream(side: str, config: CrnnConfig, variables: dict[str, Any]) -> Stream:
    if side == "torch":
        return StreamingKws(to_module(config, variables))
    return (compiled if side == "c" else streaming).StreamingKws(variables["params"], config)


def heard(stream: Stream, chunks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Times and probabilities of all chunks and the flush."""
    pieces = [*map(stream.push, chunks), stream.flush()]
    times, probabilities = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return times, probabilities


@lru_cache
def _mel_power(config: TaskConfig) -> MelPower:
    return MelPower(config)


def trailing_probabilities(model: CRNN, outputs: torch.Tensor, energies: torch.Tensor) -> np.ndarray:
    """The keyword's probability at every step, from slices of the GRU outputs (1, steps, hidden)."""
    rows = []
    for end in range(1, outputs.shape[1] + 1):
        part = slice(max(0, end - model.config.max_window_length), end)
        weights = torch.softmax(energies[:, part], dim=1)
        rows.append(model.classifier((outputs[:, part] * weights).sum(dim=1)))
    return softmax(torch.cat(rows).float().numpy(), axis=1)[:, 1]


@single_thread()
@torch.inference_mode()
def offline(model: CRNN, samples: np.ndarray) -> np.ndarray:
    """Probabilities of all steps from one pass over all samples."""
    config = model.config
    if not config.num_steps(config.num_frames(len(samples))):
        return np.zeros(0)
    frames = model.compress(_mel_power(config)(torch.from_numpy(samples)[None]))
    outputs = model.gru(model.features(frames.to(model.get_parameter("conv.0.weight").dtype)))[0]
    return trailing_probabilities(model, outputs, model.attention.energy(outputs))


@single_thread()
@torch.inference_mode()
def offline_by_steps(model: CRNN, samples: np.ndarray) -> np.ndarray:
    """The same over all frames at once, but each layer called once a step, so that int8 ranges are a step's own."""
    config = model.config
    frames = model.compress(_mel_power(config)(torch.from_numpy(samples)[None]))
    hidden, outputs, energies = torch.zeros(config.gru_num_layers, 1, config.hidden_size), [], []
    for first in range(0, frames.shape[2] - config.kernel_frames + 1, config.stride_frames):
        output, hidden = model.gru(model.features(frames[..., first : first + config.kernel_frames]), hidden)
        outputs.append(output)
        energies.append(model.attention.energy(output))
    return trailing_probabilities(model, torch.cat(outputs, dim=1), torch.cat(energies, dim=1))
