"""The log-mel against torchaudio, which `tests/torch_ref` holds against the definition, and PCEN against a loop."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.configs import to_task_config
from kws_jax import frontend
from kws_jax.config import FrontendConfig
from kws_jax.layers import Pcen
from tests.helpers.models import LIGHT, PCEN, noise, random_variables
from tests.helpers.streams import FRAMEWORKS
from tests.tolerances import LOG_MEL_NOISE, PCEN_DEFINITION
from torch_ref import model
from torch_ref.config import TaskConfig
from torch_ref.frontend import MelPower, log_mel

CONFIG = FrontendConfig()


@pytest.mark.parametrize("num_samples", [201, 16_159])
@pytest.mark.parametrize(("config", "task"), [(CONFIG, TaskConfig()), (LIGHT.frontend, to_task_config(LIGHT))])
def test_log_mel_is_torchaudios(config: FrontendConfig, task: TaskConfig, num_samples: int):
    waveform = noise(1, 2, num_samples)
    theirs = log_mel(MelPower(task)(torch.from_numpy(waveform))).transpose(1, 2).numpy()
    ours = frontend.log_mel(config, jnp.asarray(waveform))
    assert ours.shape == theirs.shape == (2, 1 + num_samples // config.hop_length, config.num_mels)
    np.testing.assert_allclose(ours, theirs, atol=LOG_MEL_NOISE)


def test_digital_silence_is_the_floor():
    ours = frontend.log_mel(CONFIG, jnp.zeros((1, 1600)))
    np.testing.assert_array_equal(ours, np.full((1, 11, 40), np.log(np.float32(1e-9))))


def test_a_waveform_too_short_to_mirror_is_an_error():
    with pytest.raises(ValueError, match="200 samples is too short: 201 are needed"):
        frontend.mel_power(CONFIG, jnp.zeros((1, 200)))


PARAMETERS = {name: np.asarray(value) for name, value in random_variables(PCEN)["params"]["pcen"].items()}

COMPILED = jax.jit(Pcen().apply)


def pcen(side: str, parameters: dict[str, np.ndarray], power: np.ndarray) -> np.ndarray:
    """Frames (batch, frames, mels) of mel power."""
    if side == "jax":
        return np.asarray(COMPILED({"params": parameters}, jnp.asarray(power))[0])
    module = model.CRNN(to_task_config(PCEN))
    module.pcen.load_state_dict({name: torch.tensor(value) for name, value in parameters.items()})
    return module.compress(torch.from_numpy(power).transpose(1, 2)).transpose(1, 2).detach().numpy()


@pytest.mark.parametrize("side", FRAMEWORKS)
def test_pcen_is_the_definition(side: str):
    """In float64, from silence to beyond the clamp."""
    power = 10 ** np.random.default_rng(3).uniform(-13, 11, (3, 50, 12)) * (np.arange(3) > 0)[:, None, None]
    doubles = {name: value.astype(float) for name, value in PARAMETERS.items()}
    smoothing, root = (1 / (1 + np.exp(-doubles[name])) for name in ("smoothing", "root"))
    bias, mean, expected = np.exp(doubles["bias"]), None, []
    for energy in 1000 * np.minimum(power, 1e9).swapaxes(0, 1):
        mean = energy if mean is None else mean + smoothing * (energy - mean)
        expected.append(3 * ((energy / (1e-6 + mean) + bias) ** root - bias**root))
    frames = pcen(side, PARAMETERS, power.astype(np.float32))
    np.testing.assert_allclose(frames, np.stack(expected, axis=1), rtol=PCEN_DEFINITION, atol=PCEN_DEFINITION)


@pytest.mark.parametrize("side", FRAMEWORKS)
@settings(max_examples=30, deadline=None)
@given(level=st.floats(-4, 4))
def test_pcen_does_not_hear_the_gain(side: str, level: float):
    """Where all is well above the floor."""
    power = np.random.default_rng(4).uniform(10, 100, (2, 30, 12)).astype(np.float32)
    hear = partial(pcen, side, PARAMETERS)
    np.testing.assert_allclose(hear(power * np.float32(10**level)), hear(power), rtol=0, atol=PCEN_DEFINITION)
