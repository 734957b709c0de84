"""The number formats that a model's weights can be stored in: one table, read by whoever converts, ships or counts."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import Module

from torch_ref.config import TaskConfig
from torch_ref.files import check_like
from torch_ref.model import CRNN
from torch_ref.packing import PackedCrnn, load_packed, to_packed
from torch_ref.qint8 import integer_weights, is_quantized, load_qint8, to_fp16, to_qint8

__all__ = ["FORMATS", "Format", "format_of"]


@dataclass(frozen=True)
class Format:
    """One way to store a model.

    Attributes:
        convert: From a float32 model to a copy in this format, in evaluation mode, that runs.
        tensors: From such a copy to everything it needs, as plain tensors.
        load: From the configuration and those tensors back to the model; ValueError where they are not such tensors.
    """

    convert: Callable[[CRNN], CRNN]
    tensors: Callable[[CRNN], dict[str, Tensor]]
    load: Callable[[TaskConfig, Mapping[str, Tensor]], CRNN]


def _to_fp32(model: CRNN) -> CRNN:
    return copy.deepcopy(model).float().eval()


def _load_float(convert: Callable[[CRNN], CRNN], config: TaskConfig, tensors: Mapping[str, Tensor]) -> CRNN:
    with torch.random.fork_rng(devices=[]):
        model = convert(CRNN(config))
    check_like(model.state_dict(), tensors)
    model.load_state_dict(tensors)
    return model


def _packed(model: CRNN) -> dict[str, Tensor]:
    assert isinstance(model, PackedCrnn)
    return {model.number_format: model.packed}


def _float_format(convert: Callable[[CRNN], CRNN]) -> Format:
    return Format(convert, Module.state_dict, partial(_load_float, convert))


def _packed_format(name: str) -> Format:
    return Format(
        convert=lambda model: to_packed(model, name),
        tensors=_packed,
        load=lambda config, tensors: load_packed(config, name, tensors),
    )


FORMATS = {
    "fp32": _float_format(_to_fp32),
    "fp16": _float_format(to_fp16),
    "qint8": Format(to_qint8, integer_weights, load_qint8),
    "int8": _packed_format("int8"),
    "int5": _packed_format("int5"),
    "int4": _packed_format("int4"),
}


def format_of(model: CRNN) -> str:
    """The name of the format that a model is in."""
    if isinstance(model, PackedCrnn):
        return model.number_format
    if is_quantized(model):
        return "qint8"
    return "fp16" if next(model.parameters()).element_size() == 2 else "fp32"
