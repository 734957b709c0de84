"""A toy model that listens, what it must find, and sounddevice as far as it is used."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from conversion.files import to_module, write_module
from experiments import listen
from kws_jax.checkpoint import About
from kws_jax.data.audio import to_float
from kws_jax.detector import DetectorConfig, detections
from tests.helpers.models import TOY, loud_and_quiet, random_variables
from torch_ref.packing import to_packed
from torch_ref.streaming import StreamingKws

MODEL = to_packed(to_module(TOY, random_variables(TOY)), "int5")
PCM = loud_and_quiet(40_001, 1_000)  # the probability crosses any threshold in its range often
SAMPLES = to_float(PCM)
KEYWORD = "sheila"


def judged(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times and probabilities of the packed model in PyTorch, as it was judged."""
    stream = StreamingKws(MODEL)
    times, probabilities = map(np.concatenate, zip(stream.push(samples), stream.flush(), strict=True))
    return times, probabilities


THRESHOLD = round(float(np.median(judged(SAMPLES)[1])), 4)


def write_model(path: Path, keyword: str | None = KEYWORD) -> str:
    """The toy as a checkpoint."""
    write_module(path, MODEL, TOY, About(keyword, "int5", threshold=THRESHOLD))
    return str(path)


def lines_of(samples: np.ndarray, keyword: str = KEYWORD, **fields: float) -> list[dict]:
    """What listening to these samples must write."""
    fields = {"threshold": THRESHOLD, "refractory": 0.05, "step_duration": TOY.step_duration} | fields
    found = zip(*detections(*judged(samples), DetectorConfig(**fields)), strict=True)
    lines = [{"time": round(float(t), 4), "keyword": keyword, "probability": round(float(p), 6)} for t, p in found]
    assert len(lines) > 3, "the test would show nothing"
    return lines


def heard(capsys: pytest.CaptureFixture, *arguments: str) -> list[dict]:
    """The lines that listening writes."""
    listen.main([*arguments, "--refractory", "0.05"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def approximately(lines: list[dict]) -> list:
    """Lines with probabilities that may be another framework's."""
    return [line | {"probability": pytest.approx(line["probability"], abs=2e-6)} for line in lines]


class Dribble(io.BytesIO):
    """A pipe that hands over a few bytes at a time, an odd number of them."""

    def read1(self, size: int | None = -1) -> bytes:
        return self.read(min(size or 0, 4_097))


class FakeMicrophone:
    """sounddevice as far as it is used: one device with blocks of sound in it, then Ctrl-C.

    Args:
        samples: (samples, channels) at the device's own rate.
        rate: The device's own, in Hz.
        opens: Rates and channels that it opens with.
        lost: Numbers of the blocks that come late; the clock stands in between.
    """

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(
        self, samples: np.ndarray, rate: int, opens: set[tuple[int, int]], lost: dict[int, float] | None = None
    ):
        self.samples, self.rate, self.opens, self.lost = samples, rate, opens, lost or {}
        self.clock, self.read_available, self.asked = 100.0, 0, []

    def query_devices(self, device: int | str | None = None, kind: str | None = None) -> dict | list[dict]:
        about = {"name": "A\tmicrophone", "default_samplerate": float(self.rate), "max_input_channels": 2}
        if kind is None:
            return [about | {"max_input_channels": 0}, about]
        if device not in (None, 1, "micro"):
            raise ValueError(f"No input device matching {device!r}")
        return about

    def InputStream(self, rate: int, block: int, *, device: object, channels: int, dtype: str) -> "FakeMicrophone":
        assert dtype == "float32"
        self.asked.append((device, rate, channels))
        if (rate, channels) not in self.opens:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        self.samplerate, self.blocks = (
            float(rate),
            enumerate(np.split(self.samples, range(block, len(self.samples), block))),
        )
        return self

    def __enter__(self) -> "FakeMicrophone":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def read(self, frames: int) -> tuple[np.ndarray, bool]:
        number, block = next(self.blocks, (-1, None))
        if block is None:
            raise KeyboardInterrupt
        late = self.lost.get(number, 0.0)
        self.clock += late + frames / self.samplerate
        return block.astype(np.float32), late > 0
