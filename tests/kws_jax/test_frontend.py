"""The log-mel against a NumPy loop, against torchaudio, and streamed against whole."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from conversion.configs import to_task_config
from kws_jax import frontend
from kws_jax.config import FrontendConfig
from tests.helpers.models import LIGHT, noise
from tests.tolerances import CROSS_FRAMEWORK, LOG_MEL_NOISE, SAME_FRAMEWORK
from torch_ref.config import TaskConfig
from torch_ref.frontend import MelPower, log_mel
from torch_ref.torchaudio_import import torchaudio

CONFIG = FrontendConfig()


def _loop_mel_power(config: FrontendConfig, waveform: np.ndarray) -> np.ndarray:
    """Mel power by the definition, in float64, one frame and one Fourier sum at a time."""
    n = np.arange(config.window_length)
    window = np.sin(np.pi * n / config.window_length) ** 2
    bins = np.arange(config.num_bins)
    fourier = np.exp(-2j * np.pi * np.outer(bins, n) / config.window_length)
    mirrored = np.pad(waveform.astype(np.float64), config.padding, mode="reflect")
    frames = []
    for t in range(config.num_frames(waveform.shape[0])):
        frame = mirrored[t * config.hop_length : t * config.hop_length + config.window_length]
        frames.append(np.abs(fourier @ (frame * window)) ** 2 @ frontend.mel_filterbank(config))
    return np.array(frames)


@pytest.mark.parametrize(("f_min", "f_max"), [(0.0, None), (0.0, 5000.0), (150.0, None), (150.0, 5000.0)])
def test_filterbank_is_torchaudios(f_min: float, f_max: float | None):
    ours = frontend.mel_filterbank(replace(CONFIG, f_min=f_min, f_max=f_max))
    top = f_max or 8000.0
    theirs = torchaudio.functional.melscale_fbanks(201, f_min, top, 40, 16000, norm=None, mel_scale="htk")
    np.testing.assert_allclose(ours, theirs.numpy(), atol=CROSS_FRAMEWORK)


@pytest.mark.parametrize(
    "config", [CONFIG, FrontendConfig(window_length=256, hop_length=128, num_mels=16), LIGHT.frontend]
)
def test_mel_power_is_the_definition(config: FrontendConfig):
    waveform = noise(0, 1, 3000)
    power = frontend.mel_power(config, jnp.asarray(waveform))[0]
    expected = _loop_mel_power(config, waveform[0])
    np.testing.assert_allclose(power / expected.max(), expected / expected.max(), atol=SAME_FRAMEWORK)


@pytest.mark.parametrize("num_samples", [201, 16_000, 16_159, 20_001])
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


@pytest.mark.parametrize("num_blocks", [1, 2, 5])
def test_streamed_frames_are_the_whole_waveforms(num_blocks: int):
    block, tail_length = 1280, 700
    waveform = noise(2, 2, num_blocks * block + tail_length)
    state = frontend.init_state(CONFIG, 2)
    step = jax.jit(frontend.step, static_argnums=0)
    frames = []
    for index in range(num_blocks):
        state, new = step(CONFIG, state, jnp.asarray(waveform[:, index * block : (index + 1) * block]))
        frames.append(new)
    tail = np.pad(waveform[:, num_blocks * block :], ((0, 0), (0, block - tail_length)), constant_values=np.nan)
    rest, num_rest = frontend.flush(CONFIG, state, jnp.asarray(tail), jnp.asarray(tail_length))
    whole = frontend.log_mel(CONFIG, jnp.asarray(waveform))
    assert num_rest.tolist() == [CONFIG.right_frames + tail_length // CONFIG.hop_length] * 2
    streamed = np.concatenate([*frames, rest[:, : num_rest[0]]], axis=1)[:, CONFIG.right_frames - 1 :]
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=SAME_FRAMEWORK)
