"""The picture of a stream: the keyword's probability over time, above what was heard."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Float32
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from kws_jax.config import SAMPLE_RATE
from kws_jax.errors import UserError
from kws_jax.files import check_writable, written

if TYPE_CHECKING:
    from kws_jax.detector import Detection

DPI = 150
AS_WRITTEN: Any = {"text.parse_math": False}  # for words from outside, whose $ is none of mathematics
MOST_ROWS = 8  # of recordings in a picture
OUTLINE = 4_000  # stretches of a recording that a picture tells apart
# Okabe and Ito's palette, which the colour-blind can tell apart, without its yellow.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
RED, BLUE, ORANGE, GREY = COLOURS[0], COLOURS[1], COLOURS[4], "0.7"


@dataclass(frozen=True)
class StreamResult:
    """What a stream gave; all times in seconds from its start.

    Attributes:
        keyword: The word to spot.
        threshold: Probability from which on it is heard.
        start: Of the keyword's clip.
        end: Of the keyword's clip.
        warm_up: When the attention's window has filled for the first time.
        times: Ends of the steps' receptive fields.
        probabilities: Of the keyword at each step.
        detections: Times and smoothed probabilities of the detector's triggers.
        false_alarms_per_hour: What the threshold stands for; None where nobody knows.
    """

    keyword: str
    threshold: float
    start: float
    end: float
    warm_up: float
    times: Float[np.ndarray, "steps"]
    probabilities: Float[np.ndarray, "steps"]
    detections: tuple["Detection", ...]
    false_alarms_per_hour: float | None = None

    def to_json(self) -> dict[str, Any]:
        """With lists in place of arrays."""
        lists = {"times": self.times.tolist(), "probabilities": self.probabilities.tolist()}
        return asdict(self) | lists | {"detections": [found._asdict() for found in self.detections]}

    def describe(self) -> str:
        """One line: where the probability is highest, and how often it is over the threshold elsewhere."""
        if not self.times.size:
            return "the recording is too short for a single step"
        peak = int(self.probabilities.argmax())
        # A step still hears the keyword until its attention's window has passed it.
        near = (self.times > self.start) & (self.times < self.end + self.warm_up)
        heard = self.probabilities >= self.threshold
        return (
            f"{self.keyword!r} is said at {self.start:.2f} to {self.end:.2f} s; highest probability "
            f"{self.probabilities[peak]:.3f} at {self.times[peak]:.2f} s; over {self.threshold:g} in "
            f"{(heard & near).sum()} steps there and {(heard & ~near).sum()} elsewhere"
        )


@dataclass(frozen=True)
class Heard:
    """What one model gave while it listened; its steps are (2, steps): times in seconds, and probabilities."""

    keyword: str
    threshold: float
    steps: Float[np.ndarray, "2 steps"]
    detections: tuple["Detection", ...]


def check_picture(path: Path) -> None:
    """Refuses a picture's file before there is a picture.

    Raises:
        UserError: If its name says no format that there is, or it cannot be written.
    """
    check_writable(path)
    if (suffix := path.suffix[1:].lower()) not in (formats := FigureCanvasBase.get_supported_filetypes()):
        raise UserError(
            f"{path} is no picture, by its {suffix!r}: its name ends in one of {', '.join(sorted(formats))}"
        )


def save(figure: Figure, path: Path) -> None:
    """Writes a picture in the format that its name says; a PNG does not tell matplotlib's version.

    Raises:
        UserError: As `check_picture`.
    """
    check_picture(path)
    suffix = path.suffix[1:].lower()
    with written(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a word in other letters, which the file's name says
        figure.savefig(part, format=suffix, metadata={"Software": None} if suffix == "png" else None)


@mpl.rc_context(AS_WRITTEN)
def plot_heard(heard: Sequence[Heard]) -> Figure:
    """Draws probabilities over time, a row for each keyword."""
    figure = Figure(figsize=(9, 1 + 2.2 * len(heard)), dpi=DPI, layout="constrained")
    rows = figure.subplots(len(heard), 1, sharex=True, squeeze=False)[:, 0]
    for axes, one in zip(rows, heard, strict=True):
        label = f"threshold {one.threshold:.3g}"
        axes.axhline(one.threshold, color="0.3", linestyle="--", linewidth=1, label=label)
        _draw_probabilities(axes, one.keyword, one.steps[0], one.steps[1], one.detections)
        axes.legend(loc="upper left", fontsize=8, frameon=False)
    rows[-1].set_xlabel("time (s)")
    return figure


def _draw_probabilities(
    axes: Axes, keyword: str, times: np.ndarray, probabilities: np.ndarray, detections: Sequence["Detection"]
) -> None:
    axes.plot(times, probabilities, color=BLUE, linewidth=1.5, marker=".", markersize=3)
    axes.set(ylim=(-0.02, 1.02), ylabel=f"probability of “{keyword}”")
    if detections:
        triangle: dict[str, Any] = {
            "color": RED,
            "markersize": 9,
            "markeredgecolor": "white",
            "zorder": 3,
            "clip_on": False,
        }
        axes.plot(*zip(*detections, strict=True), "v", label="detection", **triangle)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


@mpl.rc_context(AS_WRITTEN)
def plot_stream(result: StreamResult, frames: Float32[np.ndarray, "frames mels"], unit: str, seconds: float) -> Figure:
    """Draws a stream.

    Args:
        result: What came out.
        frames: What went in, as the model hears it.
        unit: Of the frames.
        seconds: Its length.
    """
    figure = Figure(figsize=(9, 4.6), dpi=DPI, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    top.axvspan(0, result.warm_up, color=GREY, label="warm-up", hatch="///", fill=False, linewidth=0)
    top.axvspan(result.start, result.end, color=ORANGE, alpha=0.35, linewidth=0, label=f"“{result.keyword}” is said")
    rate = result.false_alarms_per_hour
    stands = "" if rate is None else f", for {rate:g} false alarms an hour"
    top.axhline(
        result.threshold, color="0.3", linestyle="--", linewidth=1, label=f"threshold {result.threshold:.3g}{stands}"
    )
    _draw_probabilities(top, result.keyword, result.times, result.probabilities, result.detections)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    extent = (0, seconds, 0, frames.shape[1])
    picture = bottom.imshow(frames.T, origin="lower", aspect="auto", extent=extent, cmap="viridis")
    for edge in (result.start, result.end):
        bottom.axvline(edge, color=ORANGE, linewidth=1)
    bottom.set(xlim=(0, seconds), xlabel="time (s)", ylabel="mel band")
    figure.colorbar(picture, ax=[top, bottom], label=unit, pad=0.01, fraction=0.03)
    return figure


@mpl.rc_context(AS_WRITTEN)
def plot_takes(recordings: Sequence[Any], word: str) -> Figure:
    """Draws where a word was found in a person's recordings: the MOST_ROWS with most takes.

    Args:
        recordings: Cut at their pauses: of `experiments.streams.recordings`, which this room does not know.
        word: The word.
    """
    shown = sorted(recordings, key=lambda recording: -len(recording.found))[:MOST_ROWS]
    figure = Figure(figsize=(9, 0.6 + 0.9 * len(shown)), dpi=DPI, layout="constrained")
    for axes, recording in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        axes.plot(*_outline(recording.samples), color="0.4", linewidth=0.4, rasterized=True)
        for (start, end), fits in zip(recording.found / SAMPLE_RATE, recording.fits, strict=True):
            axes.axvspan(start, end, color=BLUE if fits else RED, alpha=0.35, linewidth=0, hatch=None if fits else "//")
        axes.set(xlim=(0, recording.samples.size / SAMPLE_RATE), yticks=[])
        axes.set_title(recording.describe(), fontsize=7, loc="left", pad=2)
        axes.tick_params(labelsize=7)
    axes.set_xlabel("time (s)", fontsize=8)
    figure.suptitle(f"Takes of “{word}”: blue is taken, hatched is too long for a clip", fontsize=9)
    return figure


def _outline(samples: Float32[np.ndarray, " samples"]) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and amplitudes that look the same from afar: lowest and highest of OUTLINE stretches."""
    starts = np.linspace(0, samples.size, min(samples.size, OUTLINE), endpoint=False).astype(int)
    ends = np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)], axis=1)
    return np.repeat(starts / SAMPLE_RATE, 2), ends.ravel()
