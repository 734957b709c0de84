"""Microphones: any rate that one opens with, any name it is called by, and times that follow the clock."""

import sys
from contextlib import suppress

import numpy as np
import pytest
from scipy.signal import resample_poly

from kws_jax.data import microphone
from kws_jax.data.microphone import microphone_chunks, microphones
from kws_jax.errors import UserError
from tests.helpers.listening import FakeMicrophone
from tests.tolerances import SAME_FRAMEWORK

NOISE = np.random.default_rng(0).normal(0, 0.1, (30_000, 2))


def plug_in(monkeypatch: pytest.MonkeyPatch, device: FakeMicrophone) -> FakeMicrophone:
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    monkeypatch.setattr(microphone.time, "monotonic", lambda: device.clock)
    return device


def heard(device: str | None = None) -> np.ndarray:
    chunks = []
    with suppress(KeyboardInterrupt):
        for chunk in microphone_chunks(device):
            chunks.append(chunk)
    return np.concatenate(chunks)


@pytest.mark.parametrize(
    ("rate", "opens", "channels"),
    [(44_100, {(16_000, 1)}, 1), (44_100, {(44_100, 1), (44_100, 2)}, 1), (48_000, {(48_000, 2)}, 2)],
)
def test_what_does_not_open_at_16_khz_is_resampled(
    rate: int, opens: set, channels: int, monkeypatch: pytest.MonkeyPatch
):
    samples = NOISE[:, :channels]
    device = plug_in(monkeypatch, FakeMicrophone(samples, rate, opens))
    found, opened = heard(), min(opens)[0]
    assert device.asked[-1] == (None, opened, channels)
    mixed = samples.astype(np.float32).astype(float).mean(axis=1)
    expected = mixed if opened == 16_000 else resample_poly(mixed, 16_000 // 100, opened // 100)
    np.testing.assert_allclose(found, expected[: len(found)], rtol=0, atol=SAME_FRAMEWORK)
    assert len(expected) - len(found) < 0.05 * 16_000, "what the filter waits for"


def test_lost_time_is_silence_so_that_times_follow_the_clock(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    plug_in(monkeypatch, FakeMicrophone(NOISE[:, :1], 16_000, {(16_000, 1)}, lost={3: 0.5, 7: 25.0}))
    found = heard()
    assert len(found) == len(NOISE) + round(25.5 * 16_000)
    np.testing.assert_array_equal(found[: 3 * 640], NOISE[: 3 * 640, 0].astype(np.float32))
    assert not found[3 * 640 :][:8_000].any()
    np.testing.assert_array_equal(found[3 * 640 + 8_000 :][: 4 * 640], NOISE[3 * 640 : 7 * 640, 0].astype(np.float32))
    np.testing.assert_array_equal(found[7 * 640 + 408_000 :], NOISE[7 * 640 :, 0].astype(np.float32))
    assert caplog.messages == [f"{lost} s were lost: this machine is too busy" for lost in ("0.50", "25.00")]


@pytest.mark.parametrize(("named", "asked"), [("1", 1), ("micro", "micro"), (None, None)])
def test_a_microphone_is_chosen_by_number_or_name(
    named: str | None, asked: int | str | None, monkeypatch: pytest.MonkeyPatch
):
    device = plug_in(monkeypatch, FakeMicrophone(NOISE[:, :1], 48_000, {(16_000, 1)}))
    heard(named)
    assert device.asked == [(asked, 16_000, 1)]
    assert microphones() == ["1: A microphone, 48000 Hz"], "not what only plays, nor a terminal's codes"


def test_what_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch):
    plug_in(monkeypatch, FakeMicrophone(NOISE, 48_000, set()))
    for device, message in (("9", "No input device matching 9; --list-devices"), (None, "Invalid sample rate")):
        with pytest.raises(UserError, match=f"no microphone: {message}"):
            next(microphone_chunks(device))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    for use in (microphones, lambda: next(microphone_chunks())):
        with pytest.raises(UserError, match=r"pip install -e '\.\[microphone\]'"):
            use()
