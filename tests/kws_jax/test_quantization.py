"""Fake-quantization: its grid against float32 arithmetic by hand and against torch, bit for bit; its gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conversion.files import to_module
from kws_jax.state_dict import from_variables
from kws_jax.training.quantization import Grid, fake_quantize, fake_quantize_params, quantize_weights
from tests.helpers.models import PCEN, STUDENT, random_model, random_variables
from torch_ref.formats import FORMATS
from torch_ref.qint8 import integer_weights

SHAPE = (4, 6)
GRIDS = [Grid(bits, groups, half) for bits in (8, 4) for groups, half in ((1, False), (3, True), (6, False))]
COMPILED = jax.jit(quantize_weights, static_argnums=1)
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=str)
every_scheme = pytest.mark.parametrize("scheme", ["qint8", "int8", "int5", "int4"])


def by_hand(weights: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """The grid in NumPy's float32, group by group."""
    integers, scales = [], []
    for block in np.split(weights, grid.groups, axis=-1):
        scale = np.abs(block).max() / np.float32((2**grid.bits - 1) / 2)
        scale = max(scale, np.float32(2**-14 if grid.half_scales else 2**-23))
        scale = np.float32(np.float16(scale)) if grid.half_scales else scale
        limit = 2 ** (grid.bits - 1)
        integers.append(np.clip(np.rint(block * (np.float32(1) / scale)), -limit, limit - 1))
        scales.append(scale)
    return np.concatenate(integers, axis=-1).astype(np.int8), np.array(scales)


def assert_same(found: tuple, expected: tuple) -> None:
    for array, other in zip(found, expected, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)


@every_grid
@settings(max_examples=50, deadline=None)
@given(weights=arrays(np.float32, SHAPE, elements=st.floats(-1e4, 1e4, width=32)), exponent=st.integers(-30, 0))
def test_integers_and_scales_are_those_by_hand(grid: Grid, weights: np.ndarray, exponent: int):
    weights = weights * np.float32(2.0**exponent)
    assert_same(COMPILED(weights, grid), by_hand(weights, grid))


@pytest.mark.parametrize("bits", [8, 4])
def test_edges(bits: int):
    limit = 2 ** (bits - 1)
    zeros, scales = COMPILED(np.zeros(SHAPE, np.float32), Grid(bits))
    assert not zeros.any()
    assert scales == 2**-23
    weights = np.full(SHAPE, 1e-3, np.float32)
    weights[2, 3] = -1e6
    integers, _ = COMPILED(weights, Grid(bits))
    assert -limit <= integers[2, 3] <= -limit + 1
    assert jnp.count_nonzero(integers) == 1, "one huge weight leaves nothing of the others"
    # A scale of 1/4 makes multiples of 1/8 ties: they go to the even neighbour, the last one past the range.
    ties = np.array([limit - 0.5, -limit + 0.5, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 6.5], np.float32) / 4
    integers, scales = COMPILED(ties, Grid(bits))
    assert scales == 0.25
    np.testing.assert_array_equal(integers, [limit - 1, -limit, 0, 2, 2, 0, -2, -2, 6])


def test_torch_makes_the_same_integers_and_scale():
    rng = np.random.default_rng(1)
    for _ in range(60):
        weights = (rng.standard_t(3, size=(30, 7)) * 10 ** rng.uniform(-3, 1)).astype(np.float32)
        tensor = torch.from_numpy(weights)
        observer = torch.ao.quantization.MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
        observer(tensor)
        scale, zero_point = (value.item() for value in observer.calculate_qparams())
        integers, scales = COMPILED(weights, Grid())
        assert (zero_point, scale) == (0, scales.item())
        theirs = torch.fake_quantize_per_tensor_affine(tensor, scale, 0, -128, 127)
        np.testing.assert_array_equal(fake_quantize(jnp.asarray(weights), Grid()), theirs)
        np.testing.assert_array_equal(integers, np.rint(theirs.numpy() / np.float32(scale)))


@every_scheme
def test_training_sees_the_model_that_is_deployed(scheme: str):
    variables = random_variables(PCEN, seed=1)
    params = jax.jit(partial(fake_quantize_params, scheme=scheme))(variables["params"])
    model = FORMATS[scheme].convert(to_module(PCEN, variables))
    if scheme == "qint8":
        stored = integer_weights(model)
        state = {key: tensor for key, tensor in stored.items() if not key.endswith((".scale", ".zero_point"))}
        state |= {k: t.float() * stored[f"{k}.scale"] for k, t in state.items() if t.dtype == torch.int8}
    else:
        state = model.state_dict()
    for key, array in from_variables({"params": params}, PCEN).items():
        np.testing.assert_array_equal(array, state[key])


@every_grid
def test_gradients_pass_straight_through(grid: Grid):
    rng = np.random.default_rng(2)
    weights, slopes = (jnp.asarray(rng.normal(size=SHAPE), jnp.float32) for _ in range(2))
    gradient = jax.jit(jax.grad(lambda w: (slopes * fake_quantize(w, grid) ** 2).sum()))(weights)
    np.testing.assert_array_equal(gradient, 2 * slopes * fake_quantize(weights, grid))
    value, tangent = jax.jvp(lambda w: fake_quantize(w, grid), (weights,), (slopes,))
    np.testing.assert_array_equal(value, fake_quantize(weights, grid))
    np.testing.assert_array_equal(tangent, slopes)
    assert (jnp.abs(value - weights) <= 0.51 * quantize_weights(weights, grid)[1].max()).all()


@every_scheme
def test_batch_normalisation_comes_first(scheme: str):
    params = random_model(STUDENT)["params"]
    with pytest.raises(ValueError, match="fold batch normalisation"):
        fake_quantize_params(params, scheme)


@pytest.mark.parametrize("shape", [(), (3, 5)])
def test_groups_divide_the_outputs(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="do not divide into 2 groups"):
        quantize_weights(jnp.ones(shape), Grid(bits=8, groups=2, half_scales=False))
