"""Half-precision and integer forms of the model, and the tensors of the latter."""

import copy

import numpy as np
import pytest
import torch

from tests.helpers.torch_models import POOLED, TASK_CONFIGS, random_module
from tests.tolerances import FLOAT16_LOGITS, QINT8_LOGITS
from torch_ref.config import TaskConfig
from torch_ref.qint8 import integer_weights, is_quantized, load_qint8, to_fp16, to_qint8

each_config = pytest.mark.parametrize("config", TASK_CONFIGS.values(), ids=TASK_CONFIGS)


def log_mels(config: TaskConfig) -> torch.Tensor:
    return torch.randn(8, config.n_mels, 101, generator=torch.Generator().manual_seed(0)) * 3 - 5


@each_config
def test_quantized_forms_are_close_and_leave_the_model_alone(config: TaskConfig) -> None:
    model, inputs = random_module(config), log_mels(config)
    before = copy.deepcopy(model.state_dict())
    with torch.inference_mode():
        reference, half, integer = model(inputs), to_fp16(model)(inputs.half()), to_qint8(model)(inputs)
    assert half.dtype == torch.float16
    np.testing.assert_allclose(half.float(), reference, rtol=0, atol=FLOAT16_LOGITS)
    np.testing.assert_allclose(integer, reference, rtol=0, atol=QINT8_LOGITS)
    assert not torch.equal(integer, reference)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_grid_is_symmetric_with_half_the_range_as_the_largest_weight() -> None:
    model = random_module(TaskConfig())
    model.classifier.weight.data.zero_()
    state, tensors = model.state_dict(), integer_weights(to_qint8(model))
    keys = [name.removesuffix(".scale") for name in tensors if name.endswith(".scale")]
    assert len(keys) == 7, "four GRU matrices and three linear layers"
    for key in keys:
        scale = tensors[f"{key}.scale"]
        assert scale == max(state[key].abs().max() / 127.5, 2**-23)
        assert tensors[f"{key}.zero_point"] == 0
        assert torch.equal(tensors[key], (state[key] * (1 / scale)).round().clamp(-128, 127).to(torch.int8))
    assert set(tensors) == set(state) | {f"{key}.{name}" for key in keys for name in ("scale", "zero_point")}
    assert all(torch.equal(tensors[name], state[name]) for name in set(state) - set(keys))


def test_wrong_tensors_are_named() -> None:
    tensors = integer_weights(to_qint8(random_module(TaskConfig())))
    del tensors["gru.bias_ih_l1"]
    tensors["head.weight"] = torch.zeros(2)
    tensors["classifier.weight"] = tensors["classifier.weight"].float()
    with pytest.raises(ValueError, match=r"classifier\.weight is .*float32.*missing gru\.bias_ih_l1; unexpected head"):
        load_qint8(TaskConfig(), tensors)


def test_a_float_model_has_no_integers() -> None:
    model = random_module(POOLED)
    assert not is_quantized(model)
    assert is_quantized(to_qint8(model))
    with pytest.raises(ValueError, match="not quantized"):
        integer_weights(model)
