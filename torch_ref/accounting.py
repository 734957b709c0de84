"""What a model costs: multiply-accumulates, parameters, bytes, time."""

import copy
import io
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from torch_ref.formats import FORMATS, format_of
from torch_ref.model import CRNN
from torch_ref.packing import PackedCrnn
from torch_ref.qint8 import is_quantized
from torch_ref.threads import single_thread

__all__ = [
    "Timer",
    "float_twin",
    "flop_counter_macs",
    "homework_megabytes",
    "measure",
    "num_parameters",
    "serialized_bytes",
    "thop_macs",
    "weight_bytes",
]

MEBIBYTE = 2**20  # bytes
ONE_SECOND = 16_000  # samples


def float_twin(model: CRNN) -> CRNN:
    """Returns a float32 model of the same architecture, in evaluation mode; a copy, or new where it is quantized.

    Counters see nothing in quantized modules: thop returns 0 for them and the flop counter leaves them out.
    """
    if not is_quantized(model):
        return copy.deepcopy(model).float().eval()
    with torch.random.fork_rng(devices=[]):
        return CRNN(model.config).eval()


def thop_macs(model: CRNN, num_samples: int = ONE_SECOND) -> int:
    """Returns thop's count of multiply-accumulates for one clip's frames (932,224 for the base).

    thop adds some elementwise operations of the GRU and one operation per pooled cell, counts batch normalisation as
    four operations per value, and leaves out biases, softmax and the attention's weighted sum.
    """
    twin = float_twin(model)
    with warnings.catch_warnings():
        # thop compares versions with distutils, whose deprecation no one but thop can mend.
        warnings.filterwarnings("ignore", "distutils Version classes are deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "The distutils package is deprecated", DeprecationWarning)
        import thop

        macs, _ = thop.profile(twin, (_example(twin, num_samples),), verbose=False)
    return int(macs)


def flop_counter_macs(model: CRNN, num_samples: int = ONE_SECOND) -> int:
    """Returns the multiply-accumulates of convolution and matrix products alone (913,920 for the base).

    It is half of what torch's own counter finds for one clip's frames.
    """
    twin = float_twin(model)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        twin(_example(twin, num_samples))
    return counter.get_total_flops() // 2


def _example(model: CRNN, num_samples: int) -> Tensor:
    return torch.zeros(1, model.config.n_mels, model.config.num_frames(num_samples))


def num_parameters(model: CRNN) -> int:
    """Returns the number of trained parameters, quantized ones included (70,443 for the base)."""
    return sum(parameter.numel() for parameter in float_twin(model).parameters())


def _weights(model: CRNN) -> dict[str, Tensor]:
    """Everything inference needs; the batches that a normalisation has seen are not among it."""
    tensors = FORMATS[format_of(model)].tensors(model)
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def weight_bytes(model: CRNN) -> int:
    """Returns the bytes of all weights, with the scales (4) and zero points (1) of qint8 matrices.

    Of packed weights it is all that is stored: integers, scales (2 each) and padding. Running means and variances of a
    batch normalisation count as weights.
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in _weights(model).values())


def serialized_bytes(model: CRNN) -> int:
    """Returns the size of the file that torch.save makes of the state_dict, container included.

    The state_dict of qint8 is a pickle that only unsafe loading reads, so this is for comparison with published sizes;
    what is shipped is a safetensors file of plain tensors. Of packed weights, the one array of bytes is saved.
    """
    buffer = io.BytesIO()
    torch.save(_weights(model) if isinstance(model, PackedCrnn) else model.state_dict(), buffer)
    return len(buffer.getvalue())


def homework_megabytes(model: CRNN) -> float:
    """Returns the homework's memory: parameters x element size, in MiB, without scales, zero points and padding."""
    if isinstance(model, PackedCrnn):
        return model.integer_bits / 8 / MEBIBYTE
    trained = {name for name, _ in float_twin(model).named_parameters()}
    tensors = {name: tensor for name, tensor in _weights(model).items() if name in trained}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / MEBIBYTE


class Timer:
    """Context manager around a clock: `seconds` is the time spent inside, set on leaving."""

    seconds: float

    def __enter__(self) -> "Timer":
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start


def measure(*functions: Callable[[], Any], warmup: int = 10, repeats: int = 100) -> list[float]:
    """Returns the median time of a call of each function, in seconds, on one thread.

    The functions are called in turn, so that what else the machine does meets all of them alike. The first `warmup`
    rounds do not count.
    """
    seconds: list[list[float]] = [[] for _ in functions]
    with single_thread():
        for round_number in range(warmup + repeats):
            for function, times in zip(functions, seconds, strict=True):
                with Timer() as timer:
                    function()
                if round_number >= warmup:
                    times.append(timer.seconds)
    return [statistics.median(times) for times in seconds]
