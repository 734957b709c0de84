"""The log-mel against torchaudio, which `tests/torch_ref` holds against the definition."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from conversion.configs import to_task_config
from kws_jax import frontend
from kws_jax.config import FrontendConfig
from tests.helpers.models import LIGHT, noise
from tests.tolerances import LOG_MEL_NOISE
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
