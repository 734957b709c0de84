"""The model against PyTorch, which `tests/torch_ref` holds against loops: outputs, gradients."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

from conversion.configs import to_task_config
from conversion.files import from_module, to_module
from conversion.parity import compare
from kws_jax.config import BASE, CrnnConfig, FrontendConfig
from kws_jax.layers import Convolution
from kws_jax.model import Crnn, fold_batch_norm
from kws_jax.training.losses import cross_entropy
from tests.helpers.models import CONFIGS, DEPLOYED_STUDENT, STUDENT, TOY, noise, random_model, random_variables
from tests.tolerances import CROSS_FRAMEWORK, GRADIENT, SAME_FRAMEWORK
from torch_ref.model import CRNN


@pytest.mark.parametrize(("kernel_size", "stride"), [((4, 3), (2, 3)), ((3, 7), (1, 1))])
def test_the_convolution_is_flax_own_with_its_parameters(kernel_size: tuple[int, int], stride: tuple[int, int]):
    maps = jax.random.normal(jax.random.key(0), (2, 12, 7))
    ours, flax = Convolution(5, kernel_size, stride), nn.Conv(5, kernel_size, stride, padding="VALID")
    variables = ours.init(jax.random.key(1), maps)
    jax.tree.map(np.testing.assert_array_equal, variables, flax.init(jax.random.key(1), maps[..., None]))
    variables["params"]["bias"] = jnp.arange(5.0)
    np.testing.assert_allclose(ours.apply(variables, maps), flax.apply(variables, maps[..., None]), atol=SAME_FRAMEWORK)
    assert ours.apply(variables, maps[:, : kernel_size[0] - 1]).shape[1] == 0, "too short for a step"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_both_sides_agree(config: CrnnConfig):
    variables = random_variables(config)
    report = compare(to_module(config, variables), variables, config, noise(0, 4, 16_000))
    assert report.agrees, report


def test_gradients_agree():
    torch.manual_seed(0)
    config = replace(STUDENT, gru_layers=2)
    model = CRNN(to_task_config(config)).train()
    variables = from_module(model, config)
    log_mel = np.random.default_rng(2).normal(-5, 3, (8, 101, 40)).astype(np.float32)
    labels = np.arange(8, dtype=np.int32) % 2
    torch.nn.functional.cross_entropy(
        model(torch.from_numpy(log_mel).transpose(1, 2)), torch.from_numpy(labels).long()
    ).backward()

    def loss(params: dict) -> jax.Array:
        rest = {name: value for name, value in variables.items() if name != "params"}
        (logits, _), _ = Crnn(config).apply(
            {"params": params, **rest}, jnp.asarray(log_mel), training=True, mutable=["batch_stats"]
        )
        return cross_entropy(logits, jnp.asarray(labels))

    ours = jax.jit(jax.grad(loss))(variables["params"])
    for name, tensor in model.named_parameters():
        tensor.data = tensor.grad
        # A constant added to every energy cancels in the softmax; every other gradient must be there to compare.
        assert tensor.grad.abs().max() > 0 or name == "attention.energy.2.bias", name
    theirs = from_module(model, config)["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=GRADIENT), ours, theirs)


def test_folding_batch_norm_changes_nothing():
    config = STUDENT
    variables = dict(random_model(config))
    rng = np.random.default_rng(4)
    draw = {"scale": rng.normal(1, 0.3, 8), "bias": rng.normal(0, 1, 8)}
    variables["params"] = {**variables["params"], "batch_norm": {k: jnp.float32(v) for k, v in draw.items()}}
    variables["batch_stats"] = {
        "batch_norm": {"mean": jnp.float32(rng.normal(0, 1, 8)), "var": jnp.float32(rng.uniform(0.1, 3, 8))}
    }
    log_mel = jnp.asarray(rng.normal(-5, 3, (4, 101, 40)), jnp.float32)
    before, _ = jax.jit(Crnn(config).apply)(variables, log_mel)
    folded_config, folded = fold_batch_norm(config, variables)
    after, _ = jax.jit(Crnn(folded_config).apply)(folded, log_mel)
    assert folded_config == DEPLOYED_STUDENT
    np.testing.assert_allclose(after, before, atol=CROSS_FRAMEWORK)


def test_dropout_acts_in_training_only():
    variables = random_variables(BASE)
    log_mel = jnp.asarray(np.random.default_rng(5).normal(-5, 3, (2, 101, 40)), jnp.float32)
    noisy = jax.jit(lambda key: Crnn(BASE).apply(variables, log_mel, training=True, rngs={"dropout": key})[0])
    calm, _ = jax.jit(Crnn(BASE).apply)(variables, log_mel)
    first, second = noisy(jax.random.key(0)), noisy(jax.random.key(1))
    assert np.abs(first - calm).max() > 0
    assert np.abs(first - second).max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": (41, 20)}, "taller than 40 mels"),
        ({"stride": (2, 21)}, "would skip frames"),
        ({"stride": (2, 1)}, "too short for the left edge"),
    ],
)
def test_impossible_configurations_are_errors(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(BASE, **change)


@pytest.mark.parametrize("change", [{"window_length": 401}, {"window_length": 0}, {"hop_length": 0}, {"num_mels": 0}])
def test_impossible_front_ends_are_errors(change: dict):
    with pytest.raises(ValueError, match=r"must be even, and it, hop_length .* must be 1 or more"):
        FrontendConfig(**change)


@pytest.mark.parametrize("change", [{"f_min": -1.0}, {"f_min": 5000.0, "f_max": 4000.0}, {"f_max": 8001.0}])
def test_mel_bands_beyond_what_is_sampled_are_errors(change: dict):
    with pytest.raises(ValueError, match="f_min and f_max must ascend from 0 to at most 8000"):
        FrontendConfig(**change)


def test_timing_of_the_base():
    assert (BASE.block_size, BASE.receptive_field, BASE.num_steps(101)) == (1280, 3440, 11)
    assert (BASE.step_end(0), BASE.warmup_blocks, BASE.algorithmic_latency) == (3240, 2, 600)
    assert TOY.features == 3 * 2
