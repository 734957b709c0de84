"""Microphones: which there are, and their sound at 16 kHz, timed by the clock."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.decoding import said
from kws_jax.data.resampling import at_16_khz
from kws_jax.errors import UserError

__all__ = ["microphone_chunks", "microphones"]

BLOCKS_PER_SECOND = 25  # 40 ms each, half a step of the base
MOST_LOST = 10  # seconds of silence at a time that stand for what was lost

logger = logging.getLogger(__name__)


def microphones() -> list[str]:
    """A line for each: its number, its name, and the rate it prefers.

    Raises:
        UserError: If sounddevice or its PortAudio library is missing.
    """
    devices = enumerate(_sounddevice().query_devices())
    return [
        f"{number}: {said(ValueError(device['name']))}, {device['default_samplerate']:g} Hz"
        for number, device in devices
        if device["max_input_channels"] > 0
    ]


def microphone_chunks(device: str | None = None) -> Iterator[Float32[np.ndarray, "_"]]:
    """Samples of a microphone, without end; what is lost while nobody reads is silence of the same length.

    Args:
        device: Its number, or part of its name; None for the system's default.

    Raises:
        UserError: If sounddevice, its PortAudio library or such a microphone is missing.
    """
    sounddevice = _sounddevice()
    try:
        microphone = _opened(sounddevice, int(device) if device and device.isdecimal() else device)
        if (sample_rate := round(microphone.samplerate)) != SAMPLE_RATE:
            import scipy.signal  # noqa: F401  half a second, in which sound would be lost
        with microphone:
            yield from at_16_khz(_blocks(microphone), sample_rate)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise UserError(f"no microphone: {said(error)}; --list-devices says which there are") from error


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        remedy = "pip install -e '.[microphone]' in the checkout, and PortAudio where the wheel has none"
        raise UserError(f"no microphone without sounddevice ({said(error)}): {remedy}") from error
    return sounddevice


def _opened(sounddevice: Any, device: int | str | None) -> Any:
    """A stream of one channel at 16 kHz; of a device that has none, at its own rate, else with its own channels too."""
    about = sounddevice.query_devices(device, "input")
    own_rate, own_channels = round(about["default_samplerate"]), about["max_input_channels"]
    for sample_rate, channels in ((SAMPLE_RATE, 1), (own_rate, 1), (own_rate, own_channels)):
        try:
            return sounddevice.InputStream(
                sample_rate, sample_rate // BLOCKS_PER_SECOND, device=device, channels=channels, dtype="float32"
            )
        except sounddevice.PortAudioError as error:
            refused = error
    raise refused


def _blocks(microphone: Any) -> Iterator[Float64[np.ndarray, "_ channels"]]:
    """What is read, with silence where the clock says that samples were lost."""
    sample_rate, start, heard, behind = microphone.samplerate, time.monotonic(), 0, None
    while True:
        samples, has_lost = microphone.read(round(sample_rate / BLOCKS_PER_SECOND))
        heard += len(samples)
        ahead = (time.monotonic() - start) * sample_rate - heard - microphone.read_available
        behind = ahead if behind is None else behind
        if has_lost:
            lost = max(0, round(ahead - behind))
            logger.warning("%.2f s were lost: this machine is too busy", lost / sample_rate)
            heard += lost
            while lost > 0:
                silence = min(lost, round(MOST_LOST * sample_rate))
                yield np.zeros((silence, samples.shape[1]))
                lost -= silence
        yield samples.astype(np.float64)
