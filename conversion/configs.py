"""One model, two configurations: the names on both sides, and the architecture read off a checkpoint's shapes."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kws_jax.config import BASE, CrnnConfig, FrontendConfig
from kws_jax.errors import MisshapenTensor, MissingTensor, UnexpectedTensor, UserError
from torch_ref.config import TaskConfig

FRONTEND_FIELDS = {
    "window_length": "n_fft",
    "hop_length": "hop_length",
    "num_mels": "n_mels",
    "f_min": "f_min",
    "f_max": "f_max",
    "compression": "compression",
}
MODEL_FIELDS = {
    "pool": "pool",
    "conv_channels": "cnn_out_channels",
    "kernel_size": "kernel_size",
    "stride": "stride",
    "batch_norm": "batch_norm",
    "relu": "relu",
    "gru_hidden": "hidden_size",
    "gru_layers": "gru_num_layers",
    "gru_dropout": "gru_dropout",
    "attention_width": "attention_hidden_size",
    "num_classes": "num_classes",
    "max_window_length": "max_window_length",
}


def to_task_config(config: CrnnConfig) -> TaskConfig:
    """The PyTorch side's configuration of the same model."""
    values = {torch_name: getattr(config, name) for name, torch_name in MODEL_FIELDS.items()}
    values |= {torch_name: getattr(config.frontend, name) for name, torch_name in FRONTEND_FIELDS.items()}
    return TaskConfig(**values)


def to_crnn_config(task: TaskConfig) -> CrnnConfig:
    """The JAX side's configuration of the same model."""
    frontend = FrontendConfig(**{name: getattr(task, torch_name) for name, torch_name in FRONTEND_FIELDS.items()})
    values = {name: getattr(task, torch_name) for name, torch_name in MODEL_FIELDS.items()}
    return CrnnConfig(frontend=frontend, **values)


def infer_config(
    state: Mapping[str, np.ndarray], known: CrnnConfig = BASE, stride: tuple[int, int] | None = None
) -> CrnnConfig:
    """Reads sizes off a checkpoint's shapes; what leaves no trace in them is taken from `known`.

    Shapes tell channels, kernel, hidden size, layers, attention width, classes, batch normalisation, PCEN, and, given
    the pooling and the mels, the stride over mels. They do not tell the stride in time, pooling, rectifier, window or
    the rest of the front end. A kernel of another size than the known one most likely has another stride, too, so that
    it has to be given.

    Raises:
        MissingTensor: If a tensor that is needed for this is absent.
        UnexpectedTensor: If the GRU is bidirectional.
        MisshapenTensor: If no stride over mels, or neither the known nor a single one, explains the GRU's input size.
        UserError: If no model has such sizes, or a stride has to be given.
    """

    def shape(key: str, dimensions: int) -> tuple[int, ...]:
        if key not in state:
            raise MissingTensor(f"{key} is missing: this is no checkpoint of the reference model")
        if state[key].ndim != dimensions:
            raise MisshapenTensor(f"{key} has shape {state[key].shape}: {dimensions} axes are expected")
        return state[key].shape

    channels, _, *kernel = shape("conv.0.weight", 4)
    gates, gru_inputs = shape("gru.weight_ih_l0", 2)
    if backward := [key for key in state if key.startswith("gru.") and key.endswith("_reverse")]:
        raise UnexpectedTensor(f"{backward[0]}: the GRU is bidirectional, so it cannot stream and is not supported")
    layers = sum(re.fullmatch(r"gru\.weight_ih_l\d+", key) is not None for key in state)
    sized: dict[str, Any] = {
        "frontend": replace(known.frontend, compression="pcen" if "pcen.smoothing" in state else "log"),
        "conv_channels": channels,
        "kernel_size": (kernel[0], kernel[1]),
        "batch_norm": "conv.1.running_mean" in state,
        "gru_hidden": gates // 3,
        "gru_layers": layers,
        "attention_width": shape("attention.energy.0.weight", 2)[0],
        "num_classes": shape("classifier.weight", 2)[0],
    }
    if sized["num_classes"] < 2:
        raise MisshapenTensor("classifier.weight has one row: class 1 of two or more is the keyword")
    if stride is None and sized["kernel_size"] != known.kernel_size:
        raise UserError(
            f"the kernel is {sized['kernel_size']} (mels, time), not {known.kernel_size}, and shapes do not tell how "
            "far it moves: give --stride MELS TIME, and --pool and --relu if the model has them"
        )
    known = replace(known, **sized | {"stride": stride or known.stride})
    return replace(known, stride=(_stride_over_mels(known, gru_inputs), known.stride[1]))


def _stride_over_mels(config: CrnnConfig, gru_inputs: int) -> int:
    """The configuration's own stride, if it makes so many features, or the only other one that does."""
    channels, kernel = config.conv_channels, config.kernel_size[0]
    rows = config.frontend.num_mels // config.pool[0] - kernel
    strides = [s for s in (config.stride[0], *range(1, rows + 2)) if channels * (rows // s + 1) == gru_inputs]
    if strides and (strides[0] == config.stride[0] or len(strides) == 1):
        return strides[0]
    if strides:
        raise MisshapenTensor(
            f"gru.weight_ih_l0 takes {gru_inputs} features, which a stride over mels of {strides[0]} to {strides[-1]} "
            "makes: give --stride MELS TIME, and --pool if there is any"
        )
    raise MisshapenTensor(
        f"gru.weight_ih_l0 takes {gru_inputs} features, which {channels} channels and a kernel of {kernel} mels "
        f"over {config.frontend.num_mels} mels pooled by {config.pool[0]} never make: give --pool MELS TIME"
    )
