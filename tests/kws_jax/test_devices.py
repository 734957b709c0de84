"""Several devices, and several processes, against one; and tiles of streams against all at once."""

import json
import socket
from inspect import unwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from kws_jax import devices, streaming
from kws_jax.streaming import many
from kws_jax.training.train import train
from tests.helpers.many_devices import STREAMS, in_processes, streamed, trained
from tests.helpers.models import PCEN, noise, random_variables
from tests.helpers.toy_training import CONFIG, RECIPE, TONES, draw
from tests.tolerances import CROSS_FRAMEWORK, SAME_FRAMEWORK


def losses(log: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in log.read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Losses of one device's training."""
    folder = tmp_path_factory.mktemp("alone")
    trained(folder, None)
    return losses(folder / "log.jsonl")


@pytest.mark.slow
def test_eight_devices_train_and_stream_as_one(alone: list[float], tmp_path: Path):
    in_processes(tmp_path, devices=8)
    # Not the weights: Adam makes steps of a bias's rounding where batch normalisation takes its gradient away.
    np.testing.assert_allclose(losses(tmp_path / "0" / "log.jsonl"), alone, rtol=0, atol=CROSS_FRAMEWORK)
    with np.load(tmp_path / "0.streamed.npz") as logits:
        np.testing.assert_allclose([*logits.values()], streamed(None), rtol=0, atol=SAME_FRAMEWORK)


@pytest.mark.slow
def test_two_processes_train_as_one(alone: list[float], tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "port").write_text(str(server.getsockname()[1]))
    in_processes(tmp_path, devices=2, processes=2)
    np.testing.assert_allclose(losses(tmp_path / "0" / "log.jsonl"), alone, rtol=0, atol=CROSS_FRAMEWORK)
    assert not (tmp_path / "1" / "log.jsonl").exists(), "the first process writes the log"
    with np.load(tmp_path / "0.trained.npz") as first, np.load(tmp_path / "1.trained.npz") as second:
        assert all((first[name] == second[name]).all() for name in first.files)


def test_tiles_are_all_streams_at_once():
    params, state = random_variables(PCEN)["params"], streaming.init_state(PCEN, STREAMS)
    step, rng = jax.jit(streaming.step, static_argnums=1), np.random.default_rng(0)
    for number, logits in enumerate(streamed(None)):
        state = streaming.reset(PCEN, state, jnp.asarray(rng.random(STREAMS) < 0.2))
        state, expected = step(params, PCEN, state, noise(number, STREAMS, PCEN.block_size))
        np.testing.assert_allclose(logits, expected, rtol=0, atol=SAME_FRAMEWORK)
        assert np.isfinite(logits).any() == (number >= PCEN.warmup_blocks)


@pytest.mark.parametrize(
    "num_streams",
    [1, pytest.param(many.TILE, marks=pytest.mark.slow), pytest.param(many.TILE + 1, marks=pytest.mark.slow)],
)
def test_any_number_of_streams(num_streams: int):
    params, state = random_variables(PCEN)["params"], many.init_state(PCEN, num_streams)
    samples = noise(0, num_streams, PCEN.block_size)
    stepped = many.compiled_step(PCEN)(params, state, samples, np.zeros(num_streams, bool))
    expected = jax.jit(streaming.step, static_argnums=1)(params, PCEN, streaming.init_state(PCEN, num_streams), samples)
    assert jax.tree.map(np.shape, stepped) == jax.tree.map(np.shape, expected)


@pytest.mark.parametrize(
    ("rows", "dtype", "is_new", "error", "message"),
    [
        (2, np.float32, np.zeros(3, bool), ValueError, "a state of 3 streams, samples of 2"),
        (3, np.float32, np.zeros(2, bool), ValueError, r"is_new of shape \(2,\)"),
        (3, np.float32, np.zeros((3, 1), bool), ValueError, r"is_new of shape \(3, 1\)"),
        (3, np.int16, np.zeros(3, bool), TypeError, "samples are int16"),
        (3, np.float32, np.zeros(3, np.int32), TypeError, "is_new is int32"),
    ],
)
def test_what_does_not_fit_is_named(rows: int, dtype: type, is_new: np.ndarray, error: type, message: str):
    params, state = random_variables(PCEN)["params"], many.init_state(PCEN, 3)
    with pytest.raises(error, match=message):
        unwrap(many.step_tiles)(params, PCEN, state, np.zeros((rows, PCEN.block_size), dtype), is_new)


def test_devices_that_do_not_divide_are_named():
    mesh = Mesh(np.array(jax.devices() * 3), ("rows",))
    with pytest.raises(ValueError, match="3 devices do not divide 16 rows"):
        train(CONFIG, RECIPE, TONES, draw, seed=0, mesh=mesh)
    with pytest.raises(ValueError, match="3 devices do not divide 4 rows"):
        many.init_state(PCEN, 4, mesh)
    assert devices.all_that_divide(16) is None, "a single device needs no mesh"
