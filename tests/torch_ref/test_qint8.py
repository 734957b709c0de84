"""Half-precision and integer forms of the model, their files, and reading files safely."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_torch_model import CONFIGS, POOLED, build
from tests.tolerances import FLOAT16_LOGITS, QINT8_LOGITS
from torch_ref.config import TaskConfig
from torch_ref.files import load_tensors, read_state_dict, save_tensors
from torch_ref.qint8 import integer_weights, is_quantized, load_qint8, to_fp16, to_qint8

each_config = pytest.mark.parametrize("config", CONFIGS, ids=["base", "pooled", "uneven"])


def log_mels(config: TaskConfig) -> torch.Tensor:
    return torch.randn(8, config.n_mels, 101, generator=torch.Generator().manual_seed(0)) * 3 - 5


@each_config
def test_quantized_forms_are_close_and_leave_the_model_alone(config: TaskConfig) -> None:
    model, inputs = build(config), log_mels(config)
    before = copy.deepcopy(model.state_dict())
    with torch.inference_mode():
        reference, half, integer = model(inputs), to_fp16(model)(inputs.half()), to_qint8(model)(inputs)
    assert half.dtype == torch.float16
    np.testing.assert_allclose(half.float(), reference, rtol=0, atol=FLOAT16_LOGITS)
    np.testing.assert_allclose(integer, reference, rtol=0, atol=QINT8_LOGITS)
    assert not torch.equal(integer, reference)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_grid_is_symmetric_with_half_the_range_as_the_largest_weight() -> None:
    model = build(TaskConfig())
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


@each_config
def test_integer_weights_rebuild_the_model_bit_for_bit(config: TaskConfig, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    model, inputs, path = to_qint8(build(config)), log_mels(config), tmp_path / "model.safetensors"
    save_tensors(path, integer_weights(model))
    rebuilt = load_qint8(config, load_tensors(path))
    assert torch.equal(torch.get_rng_state(), state)
    with torch.inference_mode():
        outputs, copies = model.forward_with_attention(inputs), rebuilt.forward_with_attention(inputs)
    assert all(torch.equal(output, same) for output, same in zip(outputs, copies, strict=True))
    save_tensors(tmp_path / "again.safetensors", integer_weights(rebuilt))
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_wrong_tensors_are_named() -> None:
    tensors = integer_weights(to_qint8(build(TaskConfig())))
    del tensors["gru.bias_ih_l1"]
    tensors["head.weight"] = torch.zeros(2)
    tensors["classifier.weight"] = tensors["classifier.weight"].float()
    with pytest.raises(ValueError, match=r"classifier\.weight is .*float32.*missing gru\.bias_ih_l1; unexpected head"):
        load_qint8(TaskConfig(), tensors)


def test_a_float_model_has_no_integers() -> None:
    model = build(POOLED)
    assert not is_quantized(model)
    assert is_quantized(to_qint8(model))
    with pytest.raises(ValueError, match="not quantized"):
        integer_weights(model)


def test_state_dicts_are_read_by_content(tmp_path: Path) -> None:
    weights = build(POOLED).state_dict()
    torch.save(weights, tmp_path / "new.pth")
    torch.save({"state_dict": weights}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_tensors(tmp_path / "safe.pt", weights)
    nested = read_state_dict(tmp_path / "old.pt")["state_dict"]
    for state in (read_state_dict(tmp_path / "new.pth"), nested, read_state_dict(tmp_path / "safe.pt")):
        assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())


class Malicious:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return Path.touch, (self.victim,)


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    path, victim = tmp_path / "evil.pt", tmp_path / "victim"
    for write in (
        lambda: torch.save({"a": Malicious(victim)}, path),
        lambda: path.write_bytes(pickle.dumps(Malicious(victim))),
    ):
        write()
        with pytest.raises(ValueError, match=r"evil\.pt: neither .* without executing code") as error:
            read_state_dict(path)
        assert "\n" not in str(error.value)
        assert not victim.exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    good, path = tmp_path / "good", tmp_path / "bad.bin"
    torch.save(build(POOLED).state_dict(), good)
    contents = [good.read_bytes()]
    save_tensors(good, build(POOLED).state_dict())
    contents.append(good.read_bytes())
    torch.save([1, 2], good)
    damaged = [b"", b"RIFF", good.read_bytes()]
    damaged += [
        content[:length] for content in contents for length in (1, 8, 9, 30, len(content) // 2, len(content) - 1)
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.bin: ") as error:
            read_state_dict(path)
        assert "\n" not in str(error.value)
