"""The arithmetic of costs against torch's counter, against real arrays, and against counts by hand."""

import math
from dataclasses import replace

import jax
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from conversion.configs import to_task_config
from kws_jax import cost
from kws_jax.config import BASE, SAMPLE_RATE, CrnnConfig
from kws_jax.model import init_variables
from kws_jax.streaming import init_state
from tests.helpers.models import CONFIGS, DEPLOYED_STUDENT, PCEN, STUDENT, TOY
from tests.tolerances import CLOSED_FORM
from torch_ref.accounting import flop_counter_macs
from torch_ref.accounting import num_parameters as torch_parameters
from torch_ref.model import CRNN

VARIED = CONFIGS | {"one layer": replace(TOY, gru_layers=1), "three classes": replace(TOY, num_classes=3)}
every_config = pytest.mark.parametrize("config", VARIED.values(), ids=VARIED)


@every_config
@pytest.mark.parametrize("num_samples", [16_000, 24_321])
def test_macs_are_those_of_torchs_counter(config: CrnnConfig, num_samples: int):
    count = cost.macs_per_clip(config, num_samples)
    counted = flop_counter_macs(CRNN(to_task_config(config)), num_samples)
    assert count.total - count.context == counted


def test_the_base():
    count = cost.macs_per_clip(BASE)
    assert (count.total, count.context) == (913_920 + 704, 704)
    assert count.conv == 11 * 144 * 100
    assert count.gru == 11 * 3 * 64 * (144 + 64 + 64 + 64)
    assert count.attention == 11 * (64 * 64 + 64)
    assert count.classifier == 2 * 64
    assert cost.num_parameters(BASE) == 70_443


@every_config
def test_parameters_are_the_arrays(config: CrnnConfig):
    variables = jax.eval_shape(lambda: init_variables(jax.random.key(0), config))
    assert cost.num_parameters(config) == sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert cost.num_parameters(config) == torch_parameters(CRNN(to_task_config(config)))


def test_batch_normalisation_is_folded_away():
    assert cost.num_parameters(STUDENT) == cost.num_parameters(DEPLOYED_STUDENT)
    assert cost.macs_per_clip(STUDENT) == cost.macs_per_clip(DEPLOYED_STUDENT)


@every_config
def test_state_bytes_are_the_states(config: CrnnConfig):
    assert cost.state_bytes(config) == sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(init_state(config, 1)))


def test_macs_of_a_streamed_second_by_hand():
    step = 14_400 + 3 * 64 * (144 + 64 + 64 + 64) + 64 * 65 + 11 * 64 + 2 * 64
    assert cost.macs_per_streamed_second(BASE) == 12.5 * step
    # A block of TOY is 64 x 2 x 2 samples; a step sees 3 x 4 cells of the pooled log-mel in 3 channels x 2 rows.
    step = 6 * 12 + 3 * 5 * (6 + 5 + 5 + 5) + 4 * (5 + 1) + 6 * 5 + 2 * 5
    assert cost.macs_per_streamed_second(TOY) == 16_000 / 256 * step


class Multiplications(TorchDispatchMode):
    """Counts what torch multiplies, divides and raises to a power."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        self.count += result.numel() if func.overloadpacket.__name__ in ("mul", "div", "pow") else 0
        return result


def multiplications_of_compression(config: CrnnConfig, frames: int) -> int:
    model = CRNN(to_task_config(config))
    with torch.no_grad(), Multiplications() as counter:
        model.compress(torch.ones(1, config.frontend.num_mels, frames))
    return counter.count


@pytest.mark.parametrize("config", [BASE, TOY, PCEN], ids=["base", "toy", "pcen"])
def test_macs_of_the_front_end_by_a_loop(config: CrnnConfig):
    frontend = config.frontend
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = [700 * (10 ** (top * i / (frontend.num_mels + 1) / 2595) - 1) for i in range(frontend.num_mels + 2)]
    taps = 0
    for frequency in (bin * SAMPLE_RATE / frontend.window_length for bin in range(1, frontend.num_bins - 1)):
        taps += sum(low < frequency < high for low, high in zip(corners, corners[2:], strict=False))
    n = frontend.window_length
    compression = multiplications_of_compression(config, 9) - multiplications_of_compression(config, 8)
    assert (compression > 0) == config.has_pcen
    frame = n + n * math.log2(n) + 2 * frontend.num_bins + taps + compression
    expected = frame * SAMPLE_RATE / frontend.hop_length
    assert cost.frontend_macs_per_second(config) == pytest.approx(expected, rel=CLOSED_FORM)
