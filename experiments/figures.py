"""Pictures of a study: what the homework's metric costs in work and in memory, and how training went."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter
from numpy.typing import ArrayLike

from experiments.labels import Label, place_labels
from experiments.looks import COLOURS, DPI, colour, families, line_style, log_ticks, marker, scientific
from experiments.records import Record
from experiments.summary import TOLERATED_RATIO, Cost, Row, Study, thop_macs, weight_bytes

__all__ = ["combined", "draw", "metric_against", "picture_names", "training_curves"]

MARKER_RADIUS, RING_RADIUS, LARGEST_BUBBLE = 5.5, 9.0, 26.0  # points
Line = tuple[float, float, float, float]  # both ends in data units
BALANCED = 0.25  # au_fa_fr at equal shares over 1 - AUROC: p (1 - p) with p = 1/2
METRIC = "au_fa_fr at equal shares, test speakers\n(lower is better)"
MACS = "multiply-accumulates per 1 s clip (thop)"
BYTES = "weights with their scales (bytes)"


def picture_names(suffix: str = "") -> list[str]:
    """File names of the pictures that `draw` makes."""
    return [f"{name}{suffix}.png" for name in ("metric_flops", "metric_memory", "metric_combined", "training_curves")]


def draw(study: Study, results: Path, folder: Path, suffix: str = "") -> list[Path]:
    """Draws all pictures of a study.

    Args:
        study: What to show.
        results: Folder that the paths in records are relative to.
        folder: Where to put the pictures.
        suffix: Of the file names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = (
        metric_against(study, thop_macs, MACS),
        metric_against(study, weight_bytes, BYTES),
        combined(study),
        training_curves(study, results),
    )
    paths = [folder / name for name in picture_names(suffix)]
    for path, figure in zip(paths, figures, strict=True):
        figure.savefig(path, metadata={"Software": None})
    return paths


def metric_against(study: Study, cost: Cost, label: str) -> Figure:
    """Metric over a cost, with intervals; the base is ringed, and the line of tolerated errors drawn."""
    figure, axes = _frame(study, cost, label)
    bars: list[Line] = []
    for row in study.rows:
        x, (y, low, high) = row.mean(cost), _metric(row, axes)
        axes.errorbar(x, y, [[y - low], [high - y]], color=colour(study, row), capsize=3, elinewidth=1, alpha=0.6)
        axes.plot(x, y, **marker(row), color=colour(study, row))
        bars.append((x, low, x, high))
        if len(row.runs) > 1:
            values = [_shown(run.testing.auroc_error, axes) for run in row.runs]
            axes.plot([x] * len(values), values, ".", color=colour(study, row), alpha=0.4, markersize=4)
        if row is study.base:
            axes.plot(x, y, "o", markersize=2 * RING_RADIUS, markerfacecolor="none", markeredgecolor="black")
    _legend(figure, study)
    radii = [RING_RADIUS if row is study.base else MARKER_RADIUS for row in study.rows]
    _label(figure, axes, study, cost, radii, bars)
    return figure


def combined(study: Study) -> Figure:
    """Metric over work, with bubbles whose area is the weights' bytes."""
    figure, axes = _frame(study, thop_macs, MACS)
    radii = [_bubble_radius(study, row.mean(weight_bytes)) for row in study.rows]
    for row, radius in sorted(zip(study.rows, radii, strict=True), key=lambda pair: -pair[1]):
        style: dict[str, Any] = {"marker": "o", "markersize": 2 * radius, "color": colour(study, row)}
        for extra in ({"alpha": 0.2, "markeredgewidth": 0}, {"markerfacecolor": "none"}):
            axes.plot(row.mean(thop_macs), _metric(row, axes)[0], **style, **extra)
    _size_legend(figure, study)
    _label(figure, axes, study, thop_macs, radii, [])
    return figure


def training_curves(study: Study, results: Path) -> Figure:
    """Training loss and speed over epochs, one line a run; runs without a log are left out."""
    figure = Figure(figsize=(9, 4), dpi=DPI, layout="constrained")
    loss_axes, speed_axes = figure.subplots(1, 2)
    handles = {}
    for row in study.rows:
        for run in row.runs:
            if (log := _read_log(results, run)) and run.training:
                epochs = [line["step"] / log[-1]["step"] * run.training.epochs for line in log]
                style = {"color": colour(study, row), "linestyle": line_style(study, row), "linewidth": 1.2}
                (handles[row.name],) = loss_axes.plot(epochs, [line["loss"] for line in log], **style)
                speed_axes.plot(epochs, [line["clips_per_second"] for line in log], **style)
    for axes, label in ((loss_axes, "training loss (each setting's own)"), (speed_axes, "training speed (clips/s)")):
        axes.set(xlabel="epoch", ylabel=label, yscale="log")
        log_ticks(axes.yaxis, EngFormatter(sep="") if axes is speed_axes else FuncFormatter(scientific))
        axes.grid(color="0.9")
    figure.suptitle(f"Training: {study.title}", fontsize=10)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _read_log(results: Path, run: Record) -> list[dict[str, float]]:
    path = results / run.paths.get("log", "")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _frame(study: Study, cost: Cost, label: str) -> tuple[Figure, Axes]:
    """Log axes with room around the points, the tolerated error, and the cost relative to the base on top."""
    figure = Figure(figsize=(8, 5.4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    costs = [row.mean(cost) for row in study.rows]
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel=METRIC)
    axes.set(xlim=(min(costs) / 2, 2 * max(costs)), ylim=_error_limits(study))

    def relative(cost: ArrayLike) -> np.ndarray:
        return costs[0] / np.maximum(cost, 1e-9)  # matplotlib tries 0

    top = axes.secondary_xaxis("top", functions=(relative, relative))
    top.set_xlabel("times less than the base", fontsize=8)
    log_ticks(axes.xaxis, EngFormatter(sep=""))
    log_ticks(axes.yaxis, FuncFormatter(scientific))
    log_ticks(top.xaxis, FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    tolerated = _shown(study.tolerated_error, axes)
    axes.axhline(tolerated, color="0.35", linestyle="--", linewidth=1)
    text, place = f"{TOLERATED_RATIO} x\nbase", (1.01, tolerated)
    axes.annotate(text, place, xycoords=("axes fraction", "data"), va="center", fontsize=8)
    figure.suptitle(study.title, fontsize=10)
    return figure, axes


def _error_limits(study: Study) -> tuple[float, float]:
    single = [run.testing.auroc_error for run in study.runs]
    low = min((error for error in single if error > 0), default=1e-6)
    high = max([*single, *(row.error().high for row in study.rows), study.tolerated_error, low])
    return BALANCED * low / 2.5, BALANCED * high * 1.6


def _shown(error: float, axes: Axes) -> float:
    """The metric of an error; what is 0 stands a little above the lower end of the axis."""
    return max(BALANCED * error, 1.2 * axes.get_ylim()[0])


def _metric(row: Row, axes: Axes) -> tuple[float, float, float]:
    """The metric and the ends of its interval, as shown."""
    y, low, high = (_shown(error, axes) for error in row.error())
    return y, low, high


def _legend(figure: Figure, study: Study) -> None:
    formats = {row.number_format: row for row in study.rows}
    handles = [Line2D([], [], color="0.3", **marker(row), label=name) for name, row in formats.items()]
    if len(study.runs) > len(study.rows):
        handles.append(Line2D([], [], linestyle="none", marker=".", markersize=4, color="0.3", label="single runs"))
    if len(families(study)) <= len(COLOURS) + 1:
        handles.append(Line2D([], [], linestyle="none", label="one colour: the same trained weights"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8)


def _bubble_radius(study: Study, size: float) -> float:
    return LARGEST_BUBBLE * (size / study.base.mean(weight_bytes)) ** 0.5


def _size_legend(figure: Figure, study: Study) -> None:
    largest = 10 ** np.floor(np.log10(study.base.mean(weight_bytes)))
    handles = []
    for size in (largest, largest / 10, largest / 100):
        look: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": "0.4", "markerfacecolor": "0.9"}
        label = EngFormatter(unit="B")(size)
        handles.append(Line2D([], [], **look, markersize=2 * _bubble_radius(study, size), label=label))
    style = {"labelspacing": 2.2, "handletextpad": 2, "borderpad": 1.2, "fontsize": 8, "title_fontsize": 8}
    figure.legend(handles=handles, title="area: weight bytes", loc="outside right center", frameon=False, **style)


def _label(figure: Figure, axes: Axes, study: Study, cost: Cost, radii: list[float], lines: list[Line]) -> None:
    """Names the points, now that limits and layout are known; `lines` are what the names should not cover."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    labels = []
    for row, radius in zip(study.rows, radii, strict=True):
        name = f"{row.name} (0)" if row.error().estimate == 0 else row.name
        labels.append(Label(row.mean(cost), _metric(row, axes)[0], name, radius, bold=row is study.base))
    tolerated, (left, right) = _shown(study.tolerated_error, axes), axes.get_xlim()
    lines = [*lines, (left, tolerated, right, tolerated)]
    ends = axes.transData.transform(np.reshape(lines, (-1, 2))).reshape(-1, 4)
    place_labels(axes, labels, ends + np.array([-3, -3, 3, 3]))
