"""Pictures of a study: what the homework's metric costs in work and in memory, and how training went."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter
from numpy.typing import ArrayLike

from experiments.labels import Label, place_labels
from experiments.report.looks import (
    COLOURS,
    DPI,
    METHODS,
    frontier,
    log_ticks,
    marker,
    method,
    method_handles,
    numbered_handles,
    scientific,
    side_by_side,
)
from experiments.report.summary import FAIR_BASE_NAME, TOLERATED_RATIO, Cost, Row, Study, thop_macs, weight_bytes
from experiments.study.records import Record

__all__ = ["combined", "draw", "metric_against", "picture_names", "training_curves"]

MARKER_RADIUS, LARGEST_BUBBLE = 4.5, 26.0  # points
Line = tuple[float, float, float, float]  # both ends in data units
BALANCED = 0.25  # au_fa_fr at equal shares over 1 - AUROC: p (1 - p) with p = 1/2
METRIC = "au_fa_fr at equal shares, test speakers\n(lower is better)"
MACS = "multiply-accumulates per 1 s clip (thop)"
BYTES = "weights with their scales (bytes)"
BESIDE = "; nearly equal ones stand side by side"


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
    """Metric over a cost, with intervals, the lines of tolerated errors, and the frontier; numbers stand for names."""
    figure, axes = _frame(study, cost, label + BESIDE)
    places = side_by_side([row.mean(cost) for row in study.rows], axes.get_xlim())
    best = frontier(study, cost)
    points = {row.name: (x, _metric(row, axes)[0]) for x, row in zip(places, study.rows, strict=True)}
    (line,) = axes.plot(*zip(*(points[row.name] for row in best), strict=True), color="0.6", linewidth=1.2, zorder=1)
    bars: list[Line] = []
    for x, row in zip(places, study.rows, strict=True):
        (y, low, high), look = _metric(row, axes), marker(study, row)
        axes.errorbar(x, y, [[y - low], [high - y]], color=look["color"], capsize=2, elinewidth=0.8, alpha=0.5)
        axes.plot(x, y, **look)
        bars.append((x, low, x, high))
        if len(row.runs) > 1:
            values = [_shown(run.testing.auroc_error, axes) for run in row.runs]
            axes.plot([x] * len(values), values, ".", color=look["color"], alpha=0.4, markersize=3)
    handles = [*method_handles(study), Line2D([], [], color=line.get_color(), label="frontier")]
    if len(study.runs) > len(study.rows):
        handles.append(Line2D([], [], linestyle="none", marker=".", markersize=3, color="0.3", label="single runs"))
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    _name(figure, study, best)
    _number(figure, axes, study, points, dict.fromkeys(points, MARKER_RADIUS), best, bars)
    return figure


def combined(study: Study) -> Figure:
    """Metric over work, with bubbles whose area is the weights' bytes, and the frontier."""
    figure, axes = _frame(study, thop_macs, MACS)
    low, high = _limits([row.error().estimate for row in study.rows], study)
    room = (high / low) ** 0.08  # of the height: what the largest bubble needs on each side
    axes.set_ylim(low / room, high * room)
    best = frontier(study, thop_macs)
    points = {row.name: (row.mean(thop_macs), _metric(row, axes)[0]) for row in study.rows}
    radii = {row.name: _bubble_radius(study, row.mean(weight_bytes)) for row in study.rows}
    axes.plot(*zip(*(points[row.name] for row in best), strict=True), color="0.6", linewidth=1.2, zorder=1)
    for row in sorted(study.rows, key=lambda row: -radii[row.name]):
        style: dict[str, Any] = {"marker": "o", "markersize": 2 * radii[row.name]}
        style["color"] = METHODS[method(study, row)]
        for extra in ({"alpha": 0.2, "markeredgewidth": 0}, {"markerfacecolor": "none"}):
            axes.plot(*points[row.name], **style, **extra)
    _legends(figure, study)
    _name(figure, study, best)
    _number(figure, axes, study, points, radii, best, [])
    return figure


def training_curves(study: Study, results: Path) -> Figure:
    """Training loss over epochs, a panel a setting, a line a run; runs without a log are left out."""
    logs = {row.name: [(run, log) for run in row.runs if (log := _read_log(results, run))] for row in study.rows}
    logs = {name: runs for name, runs in logs.items() if runs}
    columns = min(4, max(1, len(logs)))
    rows = max(1, math.ceil(len(logs) / columns))
    figure = Figure(figsize=(2.6 * columns + 0.6, 1.9 * rows + 0.9), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes in panels[len(logs) :]:
        axes.set_visible(False)
    for axes, (name, runs) in zip(panels, logs.items(), strict=False):
        for run, log in runs:
            epochs = run.training.epochs if run.training else len(log)
            style = {"color": COLOURS[study.keywords.index(run.keyword) % len(COLOURS)], "linewidth": 0.9}
            axes.plot(
                [line["step"] / log[-1]["step"] * epochs for line in log], [line["loss"] for line in log], **style
            )
        speed = np.median([line["clips_per_second"] for _, log in runs for line in log])
        axes.set_title(f"{name}\n{EngFormatter(places=1, sep='')(speed)} clips/s", fontsize=8)
        axes.set_yscale("log")
        log_ticks(axes.yaxis, FuncFormatter(scientific))
        axes.tick_params(labelsize=7)
        axes.grid(color="0.9")
    handles = [Line2D([], [], color=COLOURS[i % len(COLOURS)], label=word) for i, word in enumerate(study.keywords)]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.supylabel("training loss (each setting's own)", fontsize=9)
    figure.suptitle(f"Training over epochs\n{study.title}", fontsize=10)
    return figure


def _read_log(results: Path, run: Record) -> list[dict[str, float]]:
    path = results / run.paths.get("log", "")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _frame(study: Study, cost: Cost, label: str) -> tuple[Figure, Axes]:
    """Log axes with room around the points, the tolerated error, and the cost relative to the base on top."""
    height = max(6.2, 1.9 + 0.17 * len(study.rows))  # inches: what the list of names takes, and the sizes below it
    figure = Figure(figsize=(10, height), dpi=DPI, layout="constrained")
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
    for name, tolerated in study.tolerated_errors.items():
        axes.axhline(
            _shown(tolerated, axes), color="0.35", linestyle=":" if name == FAIR_BASE_NAME else "--", linewidth=1
        )
        text, place = f"{TOLERATED_RATIO} x {name}", (0.01, _shown(tolerated, axes))
        where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "bottom"}
        axes.annotate(text, place, (0, 1), **where, fontsize=8, color="0.25")
    figure.suptitle(study.title, fontsize=10)
    return figure, axes


def _error_limits(study: Study) -> tuple[float, float]:
    errors = [run.testing.auroc_error for run in study.runs]
    return _limits([*errors, *(row.error().high for row in study.rows)], study)


def _limits(errors: list[float], study: Study) -> tuple[float, float]:
    """Ends of the metric's axis, with room around these errors and the tolerated ones."""
    low = min((error for error in errors if error > 0), default=1e-6)
    high = max([*errors, *study.tolerated_errors.values(), low])
    return BALANCED * low / 2.5, BALANCED * high * 1.6


def _shown(error: float, axes: Axes) -> float:
    """The metric of an error; what is 0 stands a little above the lower end of the axis."""
    return max(BALANCED * error, 1.2 * axes.get_ylim()[0])


def _metric(row: Row, axes: Axes) -> tuple[float, float, float]:
    """The metric and the ends of its interval, as shown."""
    y, low, high = (_shown(error, axes) for error in row.error())
    return y, low, high


def _bubble_radius(study: Study, size: float) -> float:
    return LARGEST_BUBBLE * (size / study.base.mean(weight_bytes)) ** 0.5


def _legends(figure: Figure, study: Study) -> None:
    largest = 10 ** np.floor(np.log10(study.base.mean(weight_bytes)))
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": "0.4", "markerfacecolor": "0.9"}
    handles = [
        Line2D([], [], **look, markersize=2 * _bubble_radius(study, size), label=EngFormatter(unit="B")(size))
        for size in (largest, largest / 10, largest / 100, largest / 1000)
    ]
    style: dict[str, Any] = {"labelspacing": 1.6, "handletextpad": 2, "borderpad": 1.6, "frameon": False}
    title = "area: bytes of the weights"
    figure.legend(handles=handles, loc="outside right lower", title=title, fontsize=8, title_fontsize=8, **style)
    colours = [handle for handle in method_handles(study) if handle.get_linewidth() > 2]
    colours.append(Line2D([], [], color="0.6", label="frontier"))
    figure.legend(handles=colours, loc="outside lower center", ncols=7, fontsize=8, frameon=False)


def _name(figure: Figure, study: Study, best: list[Row]) -> None:
    """The list of names beside the picture, bold where a row is on the frontier."""
    legend = figure.legend(handles=numbered_handles(study), loc="outside right upper", fontsize=8, frameon=False)
    for text, row in zip(legend.get_texts(), study.rows, strict=True):
        text.set_fontweight("bold" if row in best else "normal")


def _number(
    figure: Figure,
    axes: Axes,
    study: Study,
    points: dict[str, tuple[float, float]],
    radii: dict[str, float],
    best: list[Row],
    lines: list[Line],
) -> None:
    """Numbers the points, now that limits and layout are known; `lines` are what numbers should not cover."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    labels = [
        Label(*points[row.name], str(number), radii[row.name], bold=row in best)
        for number, row in enumerate(study.rows, 1)
    ]
    ends = axes.transData.transform(np.reshape(lines, (-1, 2))).reshape(-1, 4)
    place_labels(axes, labels, ends + np.array([-1, -1, 1, 1]))
