"""Torch's own eager quantization-aware training as a second opinion on ours, where torch has one: conv and linear."""

import warnings
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jaxtyping import Array
from torch import nn
from torch.ao import quantization
from torch.ao.nn import qat
from torch.nn import functional

from kws_jax.training.quantization import Grid, fake_quantize
from tests.tolerances import GRADIENT, TRAINING

STEPS, LEARNING_RATE = 20, 0.1
INPUTS = np.random.default_rng(0).normal(size=(32, 1, 8, 9)).astype(np.float32)
LABELS = (INPUTS[:, 0, 2, 3] > INPUTS[:, 0, 5, 1]).astype(np.int64)


@pytest.fixture(autouse=True)
def _deprecation_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        yield


def torch_net(bits: int) -> nn.Sequential:
    """A convolution and a linear layer of torch's QAT: symmetric, one scale a tensor."""
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    weight = quantization.FakeQuantize.with_args(
        observer=quantization.MinMaxObserver,
        quant_min=lowest,
        quant_max=highest,
        dtype=torch.qint8,
        qscheme=torch.per_tensor_symmetric,
    )
    qconfig = quantization.QConfig(activation=nn.Identity, weight=weight)
    torch.manual_seed(0)
    layers = (
        qat.Conv2d(1, 4, (3, 4), (2, 2), qconfig=qconfig),
        nn.Tanh(),
        nn.Flatten(),
        qat.Linear(36, 2, qconfig=qconfig),
    )
    for layer in (layers[0], layers[3]):
        # A largest weight that is positive rounds past the range, where torch cuts the gradient: one test of its own.
        layer.weight.data[0].view(-1)[0] = -2.5 * layer.weight.detach().abs().max()
    return nn.Sequential(*layers)


def params_of(net: nn.Sequential) -> dict[str, Array]:
    return {name: jnp.asarray(parameter.detach().numpy()) for name, parameter in net.named_parameters()}


def loss_of(params: dict[str, Array], bits: int) -> Array:
    grid = Grid(bits)
    maps = jax.lax.conv_general_dilated(jnp.asarray(INPUTS), fake_quantize(params["0.weight"], grid), (2, 2), "VALID")
    features = jnp.tanh(maps + params["0.bias"][:, None, None]).reshape(len(INPUTS), -1)
    logits = features @ fake_quantize(params["3.weight"], grid).T + params["3.bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(LABELS)[:, None], axis=1).mean()


def torch_loss(net: nn.Sequential) -> torch.Tensor:
    for layer in (net[0], net[3]):
        # torch's range only ever widens; ours is that of the weights as they are.
        layer.weight_fake_quant.activation_post_process.reset_min_max_vals()
    return functional.cross_entropy(net(torch.from_numpy(INPUTS)), torch.from_numpy(LABELS))


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_and_gradients_are_torchs(bits: int):
    net = torch_net(bits)
    params = params_of(net)
    theirs = torch_loss(net)
    theirs.backward()
    ours, gradients = jax.jit(jax.value_and_grad(loss_of), static_argnums=1)(params, bits)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=0, atol=GRADIENT)
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad, rtol=0, atol=GRADIENT)
    for index in (0, 3):
        quantized = net[index].weight_fake_quant(net[index].weight).detach()
        assert len(quantized.unique()) <= 2**bits
        np.testing.assert_array_equal(fake_quantize(params[f"{index}.weight"], Grid(bits)), quantized)


@pytest.mark.parametrize("bits", [8, 4])
def test_training_goes_torchs_way(bits: int):
    net = torch_net(bits)
    params, first = params_of(net), None
    optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE)
    step = jax.jit(jax.value_and_grad(loss_of), static_argnums=1)
    for _ in range(STEPS):
        loss, gradients = step(params, bits)
        theirs = torch_loss(net)
        np.testing.assert_allclose(loss, theirs.detach(), rtol=0, atol=TRAINING)
        first = first or float(loss)
        params = jax.tree.map(lambda value, slope: value - LEARNING_RATE * slope, params, gradients)
        optimizer.zero_grad()
        theirs.backward()
        optimizer.step()
    assert loss < 0.9 * first, "it learns"
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(params[name], parameter.detach(), rtol=0, atol=TRAINING)
        assert name.endswith("bias") or parameter.min() < -parameter.max(), "the largest stayed negative"


def test_only_a_largest_positive_weight_is_treated_otherwise():
    weights = np.random.default_rng(1).uniform(-1, 1, (5, 6)).astype(np.float32)
    weights[2, 3] = 1.875
    slopes = np.random.default_rng(2).normal(size=weights.shape).astype(np.float32)
    fake = torch_net(4)[0].weight_fake_quant
    leaf = torch.from_numpy(weights).requires_grad_()
    (torch.from_numpy(slopes) * fake(leaf)).sum().backward()
    ours = jax.grad(lambda w: (slopes * fake_quantize(w, Grid(4))).sum())(jnp.asarray(weights))
    assert np.argwhere(leaf.grad.numpy() != np.asarray(ours)).tolist() == [[2, 3]]
    assert leaf.grad[2, 3] == 0, "7.5 steps round to 8, and are clipped to 7"
    # The scale follows this weight, so by finite differences its slope is 7 / 7.5, and not 0.
    larger = weights.copy()
    larger[2, 3] = 1.89
    moved = fake_quantize(jnp.asarray(larger), Grid(4)) - fake_quantize(jnp.asarray(weights), Grid(4))
    np.testing.assert_allclose(moved[2, 3] / 0.015, 7 / 7.5, rtol=GRADIENT)
