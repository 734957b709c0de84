"""The report's pictures, as SVG that is the same for the same records."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, LogLocator, NullLocator

from experiments.plots import COLOURS
from experiments.report.comparison import TOLERATED_RATIO, Comparison, Entry
from experiments.report.streams import StreamEntry, lowest_miss_rates
from experiments.study.records import BASE_NAME, TUNED_NAME
from experiments.study.stream_records import PeerRecord

__all__ = ["crowd", "is_same_picture", "metric_against", "stream_curves", "to_svg", "training_curves"]

BALANCED = 0.25  # au_fa_fr at equal shares over 1 - AUROC: p (1 - p) with p = 1/2
METRIC = "au_fa_fr at equal shares, test speakers (lower is better)"
COSTS = {
    "thop_macs": "multiply-accumulates per 1 s clip (thop)",
    "weight_bytes": "weights with their scales (bytes)",
}
MOST_ALARMS = 60.0  # per hour; what is noisier is of no use to anybody
FORMATS = {"fp32": "o", "fp16": "s", "qint8": "^", "int8": "v", "int5": "p", "int4": "D"}
NUMBER = re.compile(r"-?\d+\.\d+")
DRAWN_ID = re.compile(r"\b[a-z]?[0-9a-f]{10}\b")


def to_svg(figure: Figure) -> str:
    """The picture as text, without a date."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "kws", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def is_same_picture(one: str, other: str) -> bool:
    """Whether two pictures show the same, whatever the last digits of another processor's sums are."""

    def plain(svg: str) -> str:
        return NUMBER.sub(lambda found: f"{float(found[0]):.0f}", DRAWN_ID.sub("id", svg))

    return plain(one) == plain(other)


def metric_against(comparison: Comparison, names: Sequence[str], cost: str) -> Figure:
    """The homework's metric over a cost: named points with intervals, and the errors that both bars tolerate."""
    entries = [entry for name in names if (entry := comparison.find(name))]
    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    axes = figure.subplots()
    costs = [entry.cost(cost) for entry in entries]
    axes.set(xscale="log", yscale="log", xlabel=COSTS[cost], xlim=(min(costs) / 8, max(costs) * 8))
    axes.set_ylabel(METRIC, fontsize=9)
    _bars(axes, comparison)
    places = [_side_by_side(entry, entries, cost) for entry in entries]
    heights = [BALANCED * entry.error().estimate for entry in entries]
    for number, entry in enumerate(entries):
        _point(axes, entry, places[number], _has_room_left(places, heights, number, axes.get_xlim()))
    _ticks(axes.xaxis, EngFormatter(sep=""))
    _ticks(axes.yaxis, FuncFormatter(_scientific))
    axes.set_title(f"{', '.join(comparison.keywords)}: mean over keywords and seeds, 95 % intervals", fontsize=9)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    return figure


def _side_by_side(entry: Entry, entries: Sequence[Entry], cost: str) -> float:
    """An entry's cost, moved a little where others have nearly the same."""
    alike = [other for other in entries if abs(np.log(other.cost(cost) / entry.cost(cost))) < 0.05]
    return entry.cost(cost) * 1.07 ** (2 * alike.index(entry) - len(alike) + 1)


def _has_room_left(x: Sequence[float], y: Sequence[float], number: int, limits: tuple[float, float]) -> bool:
    """Whether a point's name has more room to its left, where others stand at nearly its height."""
    beside = [np.log(x[i] / x[number]) for i in range(len(x)) if i != number and abs(np.log(y[i] / y[number])) < 0.35]
    left = min((-distance for distance in beside if distance < 0), default=np.inf)
    right = min((distance for distance in beside if distance > 0), default=np.inf)
    return bool(x[number] ** 2 > limits[0] * limits[1] if left == right else left > right)


def _point(axes: Axes, entry: Entry, x: float, is_left: bool) -> None:
    """A marker with its interval and name."""
    known = {BASE_NAME: "black", TUNED_NAME: COLOURS[0]}
    colour = known.get(entry.name, COLOURS[1 if entry.number_format == "fp32" else 2])
    y, low, high = (BALANCED * value for value in entry.error())
    axes.errorbar(x, y, [[y - low], [high - y]], color=colour, capsize=2, elinewidth=1, alpha=0.7)
    axes.plot(x, y, FORMATS.get(entry.number_format, "*"), color=colour, markersize=7)
    where: dict[str, Any] = {"xytext": (-8 if is_left else 8, 0), "ha": "right" if is_left else "left", "va": "center"}
    clear = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
    axes.annotate(entry.name, (x, y), textcoords="offset points", fontsize=8, color=colour, bbox=clear, **where)


def _bars(axes: Axes, comparison: Comparison) -> None:
    for name, style in ((BASE_NAME, "--"), (TUNED_NAME, ":")):
        if bar := comparison.find(name):
            y = BALANCED * TOLERATED_RATIO * bar.error().estimate
            axes.axhline(y, color="0.35", linestyle=style, linewidth=1, zorder=0)
            text = f"{TOLERATED_RATIO} x {name}"
            axes.annotate(text, (0.005, y), (0, 2), ("axes fraction", "data"), "offset points", fontsize=8, color="0.3")


def crowd(comparison: Comparison, cost: str = "thop_macs") -> Figure:
    """Every setting of a comparison; the tables beside it name them."""
    figure = Figure(figsize=(8.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, shape) in enumerate(FORMATS.items()):
        chosen = [entry for entry in comparison.entries if entry.number_format == name]
        if chosen:
            x, y = [entry.cost(cost) for entry in chosen], [BALANCED * entry.error().estimate for entry in chosen]
            axes.plot(x, y, shape, color=COLOURS[number % 6], markersize=7, markerfacecolor="none", label=name)
    axes.set(xscale="log", yscale="log", xlabel=COSTS[cost])
    axes.margins(y=0.12)
    axes.set_ylabel(METRIC, fontsize=9)
    _bars(axes, comparison)
    _ticks(axes.xaxis, EngFormatter(sep=""))
    _ticks(axes.yaxis, FuncFormatter(_scientific))
    axes.legend(fontsize=8, title="weights", title_fontsize=8)
    axes.grid(color="0.93")
    axes.set_title(f"{', '.join(comparison.keywords)}: {len(comparison.entries)} settings", fontsize=9)
    return figure


def training_curves(logs: dict[str, list[tuple[str, list[dict[str, float]]]]]) -> Figure:
    """Training loss over the share of the steps done, a panel a setting, a line a run.

    Args:
        logs: By setting: the keyword and the log of each run.
    """
    columns = min(4, max(1, len(logs)))
    rows = max(1, -(-len(logs) // columns))
    figure = Figure(figsize=(2.3 * columns + 0.6, 1.8 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    keywords = sorted({keyword for runs in logs.values() for keyword, _ in runs})
    for axes in panels[len(logs) :]:
        axes.set_visible(False)
    for axes, (name, runs) in zip(panels, logs.items(), strict=False):
        for keyword, log in runs:
            thinned = log[:: max(1, len(log) // 60)]
            steps, losses = ([line[key] for line in thinned] for key in ("step", "loss"))
            shares = [step / log[-1]["step"] for step in steps]
            axes.plot(shares, losses, color=COLOURS[keywords.index(keyword) % 6], linewidth=0.8)
        axes.set_title(name, fontsize=8)
        axes.set_yscale("log")
        axes.tick_params(labelsize=7)
        _ticks(axes.yaxis, FuncFormatter(_scientific))
        axes.grid(color="0.93")
    handles = [Line2D([], [], color=COLOURS[number % 6], label=word) for number, word in enumerate(keywords)]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, fontsize=8, frameon=False)
    figure.supxlabel("share of the training's steps", fontsize=8)
    figure.supylabel("training loss (each setting's own)", fontsize=8)
    return figure


def stream_curves(entries: Sequence[StreamEntry], peers: Sequence[PeerRecord]) -> Figure:
    """Misses over false alarms per hour with a carried state, a step line a setting: the mean over its runs."""
    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    axes = figure.subplots()
    left = 0.75 / entries[0].runs[0].heard.testing["hours"]
    rates = np.geomspace(left, MOST_ALARMS, 200)
    looks = [("-", colour) for colour in COLOURS] + [("--", colour) for colour in COLOURS]
    lines = [
        (entry.name, np.mean([lowest_miss_rates(run.modes["carried"].curve, rates) for run in entry.runs], axis=0))
        for entry in entries
    ]
    lines += [(peer.engine, lowest_miss_rates(peer.quality.curve, rates)) for peer in peers]
    for (name, misses), (style, colour) in zip(lines, looks, strict=False):
        colour = "black" if name == BASE_NAME else "0.5" if name in {peer.engine for peer in peers} else colour
        axes.plot(rates, misses, color=colour, linestyle=style, drawstyle="steps-post", linewidth=1.5, label=name)
    axes.axvline(1, color="0.6", linewidth=0.8, zorder=0)
    axes.set(xscale="log", xlabel="false alarms per hour, test speakers", xlim=(left, MOST_ALARMS), ylim=(0, 1))
    axes.set_ylabel(f"misses of “{entries[0].runs[0].heard.keyword}”")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    _ticks(axes.xaxis, FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(color="0.93")
    axes.legend(fontsize=8, loc="upper right")
    return figure


def _ticks(axis: Axis, formatter: Formatter) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(formatter)
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(labelsize=8)


def _scientific(value: float, _: int) -> str:
    """Such as 5e-4."""
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
