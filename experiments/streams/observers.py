"""What watches a stream while it is listened to: lines, clips of what triggered, a picture, a bar on a terminal."""

import json
import math
import shutil
import sys
import time
from collections import deque
from datetime import datetime
from pathlib import Path

import numpy as np

from kws_jax.config import SAMPLE_RATE
from kws_jax.data.audio import to_pcm, write_wav
from kws_jax.detector import Detection
from kws_jax.errors import printable
from kws_jax.files import check_writable

SAVED = 2 * SAMPLE_RATE  # samples up to the end of what triggered
LATE = SAMPLE_RATE  # samples that a step may lie behind what was heard
DRAWN = 600.0  # seconds up to the end
REDRAWN = 0.1  # seconds between two pictures of the bar
FLOOR = -60  # dB of full scale where the bar is empty
BAR = 20  # letters


class Observer:
    """One who is told everything, in this order; does nothing."""

    def hear(self, chunk: np.ndarray) -> None:
        """Takes in samples before any model has heard them."""

    def see(self, keyword: str, times: np.ndarray, probabilities: np.ndarray) -> None:
        """Takes in the steps that the samples have completed."""

    def find(self, keyword: str, detection: Detection) -> None:
        """Takes in a detection among the steps."""

    def end(self) -> None:
        """Nothing comes any more, whatever the reason."""


class Lines(Observer):
    """A line of JSON on standard output for each detection."""

    def find(self, keyword: str, detection: Detection) -> None:
        """Writes it at once."""
        time, probability = round(detection.time, 4), round(detection.probability, 6)
        print(json.dumps({"time": time, "keyword": keyword, "probability": probability}), flush=True)


class Clips(Observer):
    """A WAV of the two seconds up to each detection; names tell when listening began, and how long after it.

    Args:
        folder: Where they lie.

    Raises:
        UserError: If nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._began = folder, f"{datetime.now():%Y%m%d-%H%M%S-%f}"
        self._heard, self._end = np.zeros(0, np.float32), 0
        check_writable(folder, folder=True)

    def hear(self, chunk: np.ndarray) -> None:
        """Keeps what may be saved."""
        self._heard = np.concatenate([self._heard[-SAVED - LATE :], chunk])
        self._end += len(chunk)

    def find(self, keyword: str, detection: Detection) -> None:
        """Writes the clip, whole or not at all."""
        stop = max(0, len(self._heard) - self._end + round(detection.time * SAMPLE_RATE))
        word = "".join(letter if letter.isalnum() else "_" for letter in keyword)[:40]
        path = self._folder / f"{self._began}-{detection.time:010.3f}-{word}.wav"
        write_wav(path, to_pcm(self._heard[max(0, stop - SAVED) : stop]))


class Picture(Observer):
    """The probabilities of the last ten minutes, drawn at the end.

    Args:
        path: Of the picture.
        thresholds: Of each keyword.

    Raises:
        UserError: If there can be no such picture.
    """

    def __init__(self, path: Path, thresholds: dict[str, float]) -> None:
        from experiments.plots import check_picture  # matplotlib takes a second to import

        self._path, self._thresholds = path, thresholds
        self._steps: dict[str, deque] = {keyword: deque() for keyword in thresholds}
        self._found: dict[str, deque] = {keyword: deque() for keyword in thresholds}
        check_picture(path)

    def see(self, keyword: str, times: np.ndarray, probabilities: np.ndarray) -> None:
        """Keeps them, and forgets what is too long ago."""
        self._steps[keyword].extend(zip(times.tolist(), probabilities.tolist(), strict=True))
        for kept in (self._steps[keyword], self._found[keyword]):
            while kept and kept[0][0] < self._steps[keyword][-1][0] - DRAWN:
                kept.popleft()

    def find(self, keyword: str, detection: Detection) -> None:
        """Keeps it."""
        self._found[keyword].append(detection)

    def end(self) -> None:
        """Draws and writes."""
        from experiments.plots import Heard, plot_heard, save

        heard = [
            Heard(keyword, self._thresholds[keyword], np.array(steps).reshape(-1, 2).T, tuple(self._found[keyword]))
            for keyword, steps in self._steps.items()
        ]
        save(plot_heard(heard), self._path)


class Bar(Observer):
    """Level and probabilities on one line of a terminal that is drawn again and again."""

    def __init__(self) -> None:
        self._drawn, self._probabilities, self._is_there = -math.inf, dict[str, float](), False

    def hear(self, chunk: np.ndarray) -> None:
        """Draws the level of what is heard now, and the probabilities of what was heard last."""
        if time.monotonic() < self._drawn + REDRAWN or not len(chunk):
            return
        self._drawn, self._is_there = time.monotonic(), True
        rms = float(np.sqrt(np.square(chunk[-SAMPLE_RATE // 10 :], dtype=np.float64).mean()))
        level = max(FLOOR, 20 * math.log10(max(rms, 1e-9)))
        bar = "#" * min(BAR, round(BAR * (1 - level / FLOOR)))
        words = "  ".join(f"{keyword} {probability:.2f}" for keyword, probability in self._probabilities.items())
        self._write(f"{bar:<{BAR}} {level:4.0f} dB  {words}")

    def see(self, keyword: str, times: np.ndarray, probabilities: np.ndarray) -> None:
        """Keeps the last one."""
        if len(probabilities):
            self._probabilities[keyword] = float(probabilities[-1])

    def find(self, keyword: str, detection: Detection) -> None:
        """Makes room for others' lines."""
        self.clear()

    def clear(self) -> None:
        """Wipes the line."""
        if self._is_there:
            self._write("")
            self._is_there = False

    def end(self) -> None:
        """Wipes the line."""
        self.clear()

    @staticmethod
    def _write(words: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{printable(words, width):<{width}}\r", end="", file=sys.stderr, flush=True)
