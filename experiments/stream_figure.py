"""The picture of detectors on continuous audio: misses against false alarms per hour."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from experiments.looks import DPI, log_ticks
from experiments.stream_judging import ALARM_RATES, MODES
from experiments.stream_records import StreamRow, StreamStudy, lowest_miss_rates
from experiments.stream_section import way

__all__ = ["stream_det", "stream_picture_names"]

LOOKS: dict[str, dict[str, Any]] = {
    "carried": {"color": "#0072B2", "linestyle": "-"},
    "reset": {"color": "#009E73", "linestyle": "--"},
    "sliding": {"color": "#D55E00", "linestyle": (0, (5, 1, 1, 1))},
}
PEER: dict[str, Any] = {"color": "black", "linestyle": ":"}
MOST_ALARMS = 60.0  # per hour; what is noisier is of no use to anybody
COLUMNS = 2


def stream_picture_names(studies: int) -> list[str]:
    """File names, one a study."""
    return [f"stream_det{f'-{number}' if number else ''}.png" for number in range(studies)]


def stream_det(study: StreamStudy) -> Figure:
    """A panel for each setting with a step line for each mode; single runs are thin, their mean is thick.

    Both axes are logarithmic; where nothing is missed, the line runs along the lower edge.
    """
    rows = math.ceil(len(study.rows) / COLUMNS)
    figure = Figure(figsize=(9, 1.2 + 3.2 * rows), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, min(COLUMNS, len(study.rows)), sharex=True, sharey=True, squeeze=False).ravel()
    left = 0.75 / study.about["scenes"]["testing"]["hours"]
    lowest = min(_draw(axes, study, row, left) for axes, row in zip(panels, study.rows, strict=False))
    for axes in panels[len(study.rows) :]:
        axes.set_axis_off()
    panels[0].set(xscale="log", yscale="log", xlim=(left, MOST_ALARMS), ylim=(lowest / 1.25, 1.05))
    for axes in panels:
        log_ticks(axes.xaxis, FuncFormatter(lambda value, _: f"{value:g}"))
        log_ticks(axes.yaxis, FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    figure.supxlabel("false alarms per hour, test speakers", fontsize=10)
    figure.supylabel(f"misses of “{study.about['keyword']}”", fontsize=10)
    figure.legend(handles=_handles(study), loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    return figure


def _draw(axes: Axes, study: StreamStudy, row: StreamRow, left: float) -> float:
    """Draws a panel; returns the lowest miss rate above 0 in it."""
    lowest = 1.0
    for mode in MODES:
        curves = [run["modes"][mode]["curve"] for run in row.runs]
        alarm_rates = _alarm_rates(curves, left)
        lines = np.stack([lowest_miss_rates(curve, alarm_rates) for curve in curves])
        if len(lines) > 1:
            axes.plot(alarm_rates, lines.T, **LOOKS[mode], drawstyle="steps-post", linewidth=0.6, alpha=0.45)
        axes.plot(alarm_rates, lines.mean(axis=0), **LOOKS[mode], drawstyle="steps-post", linewidth=1.8)
        lowest = min(lowest, lines[lines > 0].min(initial=1.0))
    if study.peer:
        alarm_rates = _alarm_rates([study.peer["mode"]["curve"]], left)
        misses = lowest_miss_rates(study.peer["mode"]["curve"], alarm_rates)
        axes.plot(alarm_rates, misses, **PEER, drawstyle="steps-post", linewidth=1.6)
    for alarm_rate in ALARM_RATES:
        axes.axvline(alarm_rate, color="0.55", linewidth=0.9, zorder=0)
    axes.set_title(row.setting, fontsize=10)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    return lowest


def _alarm_rates(curves: list[dict[str, list[float]]], left: float) -> np.ndarray:
    """Where the curves have steps, and both ends of the axis."""
    steps = np.unique(np.concatenate([curve["false_alarms_per_hour"] for curve in curves]))
    return np.concatenate([[left], steps[(steps > left) & (steps < MOST_ALARMS)], [MOST_ALARMS]])


def _handles(study: StreamStudy) -> list[Line2D]:
    handles = [Line2D([], [], **LOOKS[mode], label=way(study, mode)) for mode in MODES]
    if study.peer:
        handles.append(Line2D([], [], **PEER, label=study.peer["engine"]))
    if any(len(row.runs) > 1 for row in study.rows):
        handles.append(Line2D([], [], color="0.4", linewidth=0.6, label="single runs; thick: mean"))
    return handles
