"""Pictures of a study as SVG: errors against work and bytes, training, and misses in a stream."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

from experiments.plots import COLOURS
from experiments.report.comparison import Comparison, Entry
from experiments.report.goals import RUNTIME
from experiments.report.pages import DETECTORS, NAMED, Study
from experiments.report.speed import exponents
from experiments.report.speed_figures import clock_figure
from experiments.report.streams import StreamComparison, lowest, mean_rate
from experiments.study.records import BASE_NAME, TUNED_NAME
from experiments.study.scores import read_log

__all__ = ["draw", "is_same"]

MAX_NAMED, MOST_POINTS = 10, 100  # in a picture of errors; of a training curve
BALANCED = 0.25  # au_fa_fr at equal shares over 1 - AUROC: p (1 - p) with p = 1/2
BARS = {BASE_NAME: ("--", "homework's bar"), TUNED_NAME: (":", "strict bar")}
LABELS = {"thop_macs": "MACs for a clip of 1 s (thop)", "weight_bytes": "bytes of the weights with their scales"}
IN_C = "microseconds for a second of audio, in C"
FAMILIES = {"base": "0.25", "pruned": COLOURS[3], "assistant": COLOURS[4], "student_12x": COLOURS[5]}
FAMILIES |= {
    "student_27x": COLOURS[2],
    "student_21x": COLOURS[1],
    "student_157x": COLOURS[0],
    "student_185x": "#8C510A",
    "student_314x": "#882255",
}
MARKERS = {"fp32": "o", "fp16": "s", "qint8": "^", "int8": "v", "int5": "D", "int4": "P"}
LINES = (*COLOURS, "0.2", "0.6", "#882255", "#8C510A")
HALO = [withStroke(linewidth=2, foreground="white")]  # a line may run behind a name
BESIDE: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "path_effects": HALO}
SAME = 0.05  # of a point
MOST_ALARMS = 60.0  # an hour; what is noisier is of no use to anybody
STYLE: dict[Any, Any] = {"svg.hashsalt": "kws", "svg.fonttype": "path", "figure.constrained_layout.use": True}
STYLE |= {"font.size": 8, "axes.titlesize": 8, "figure.titlesize": 9, "figure.labelsize": 8, "legend.frameon": False}
STYLE |= {"axes.grid": True, "axes.axisbelow": True, "grid.color": "0.92"}


def draw(study: Study) -> dict[str, bytes]:
    """All pictures, by their names in figures/; equal records give equal bytes."""
    entries = study.first.entries
    named = [entry for entry in entries if entry.name in NAMED or len(entries) <= MAX_NAMED] or entries[:MAX_NAMED]
    with mpl.rc_context(STYLE):
        figures = {
            "metric_flops.svg": _against(study.first, named, "thop_macs"),
            "metric_memory.svg": _against(study.first, named, "weight_bytes"),
            "training_curves.svg": _training_curves(study, named),
        }
        if len(study.crowd.entries) > len(named):
            figures["all_settings.svg"] = _crowd(study.crowd)
        figures |= {"stream_misses.svg": _stream_misses(study.streams[0])} if study.streams else {}
        if heard := [name for name in DETECTORS if study.crowd.find(name) and any(c.find(name) for c in study.streams)]:
            figures["stream_costs.svg"] = _stream_costs(study, heard)
        if exponents(study.benchmark) and study.benchmark["parts"]:
            figures["clock.svg"] = clock_figure(study.benchmark)
        return {name: _svg(figure) for name, figure in figures.items()}


def is_same(one: str, other: str) -> bool:
    """Whether two pictures show the same, whatever the last digits of another processor's sums are."""
    parts = [re.split(r"(-?\d+\.\d+)", re.sub(r"\b[a-z]?[0-9a-f]{10}\b", "", svg)) for svg in (one, other)]
    (texts, numbers), (others, other_numbers) = [(part[::2], np.array(part[1::2], float)) for part in parts]
    return texts == others and bool(np.all(np.abs(numbers - other_numbers) < SAME))


def _plain(text: str) -> str:
    """Text of anybody's, in which a dollar begins no formula."""
    return text.replace("$", r"\$")


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _against(comparison: Comparison, entries: Sequence[Entry], cost: str) -> Figure:
    """Errors with their intervals over a cost, every point with its name; equal costs stand side by side."""
    figure, axes = _frame(comparison, entries, cost)
    ordered = sorted(entries, key=lambda entry: (entry.cost(cost), entry.name))
    places = _side_by_side({entry.name: entry.cost(cost) for entry in entries})
    for number, entry in enumerate(ordered):
        x = places[entry.name]
        low, high = _draw_interval(axes, x, entry)
        y, up, side = (high, 5, "bottom") if number % 2 else (low, -5, "top")
        axes.annotate(entry.name, (x, y), (0, up), va=side, color=_colour(entry.name), **BESIDE)
    return figure


def _side_by_side(costs: Mapping[str, float]) -> dict[str, float]:
    """Where names stand on a logarithmic axis: at their cost, equal costs beside each other in the names' order."""
    same = {name: sorted(n for n, other in costs.items() if math.isclose(cost, other)) for name, cost in costs.items()}
    return {n: cost * 1.12 ** (same[n].index(n) - (len(same[n]) - 1) / 2) for n, cost in costs.items()}


def _crowd(comparison: Comparison) -> Figure:
    """The same of many settings, without names: colours are families, markers number formats."""
    figure, axes = _frame(comparison, comparison.entries, "weight_bytes")
    for entry in comparison.entries:
        _draw_interval(axes, entry.cost("weight_bytes"), entry, alpha=0.35)
    there = {look for entry in comparison.entries for look in (_colour(entry.name), entry.number_format)}
    looks = [("o", colour, family) for family, colour in FAMILIES.items() if colour in there]
    looks += [(marker, "0.5", name) for name, marker in MARKERS.items() if name in there]
    handles = [Line2D([], [], linestyle="none", marker=m, color=c, label=name) for m, c, name in looks]
    figure.legend(handles=handles, loc="outside lower center", ncols=7)
    return figure


def _colour(name: str) -> str:
    return next((colour for family, colour in FAMILIES.items() if name.startswith(family)), "0.5")


def _draw_interval(axes: Axes, x: float, entry: Entry, alpha: float = 0.8) -> tuple[float, float]:
    """A point with its interval; what is 0 stands on the lower edge. Returns the interval's ends as drawn."""
    y, low, high = (max(value, axes.get_ylim()[0]) for value in entry.error())
    axes.plot([x, x], [low, high], color=_colour(entry.name), linewidth=1.2, alpha=alpha)
    axes.plot(x, y, MARKERS[entry.number_format], color=_colour(entry.name), markersize=6, markeredgecolor="white")
    return low, high


def _frame(comparison: Comparison, entries: Sequence[Entry], cost: str) -> tuple[Figure, Axes]:
    """Log axes with both bars, the cost relative to the base on top, and the homework's metric on the right."""
    figure = Figure(figsize=(8.4, 5.2))
    axes = figure.subplots()
    costs = [entry.cost(cost) for entry in entries]
    ends = [end for entry in entries for end in entry.error() if end > 0] or [1e-6, 1]
    axes.set(xscale="log", yscale="log", xlabel=LABELS[cost], ylabel="1 - AUROC, test speakers")
    axes.set(xlim=(min(costs) / 2.2, 2.2 * max(costs)), ylim=(min(ends) / 1.8, 1.8 * max(ends)))
    for name, (style, meaning) in BARS.items():
        if bar := comparison.find(name):
            axes.axhline(bar.error().estimate, color="0.35", linestyle=style, linewidth=1, label=f"{name}: {meaning}")
    right = axes.secondary_yaxis(
        "right", functions=(lambda e: np.multiply(BALANCED, e), lambda a: np.divide(a, BALANCED))
    )
    right.set_ylabel("au_fa_fr at equal shares")
    most = costs[[entry.name for entry in entries].index(BASE_NAME)] if comparison.find(BASE_NAME) else max(costs)
    less = (lambda value: most / np.maximum(value, 1e-9),) * 2  # matplotlib tries 0
    top = axes.secondary_xaxis("top", functions=less)
    top.set_xlabel(f"times less than {BASE_NAME}")
    _log_ticks(top.xaxis, FuncFormatter(lambda value, _: f"{value:g}x"))
    _log_ticks(axes.xaxis, EngFormatter(sep=""))
    for axis in (axes.yaxis, right.yaxis):
        _log_ticks(axis, FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-")))
    axes.legend(loc="lower left")
    figure.suptitle(f"{_plain(comparison.title)}; lines are 95 % intervals over speakers")
    return figure, axes


def _log_ticks(axis: Axis, formatter: FuncFormatter | EngFormatter) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_major_formatter(formatter)
    axis.set_minor_formatter(NullFormatter())


def _training_curves(study: Study, entries: Sequence[Entry]) -> Figure:
    """Training loss over epochs, a panel a setting and a line a run; no log, no line."""
    columns = min(4, len(entries))
    rows = math.ceil(len(entries) / columns)
    figure = Figure(figsize=(2.3 * columns + 0.6, 1.9 * rows + 0.8))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    colours = dict(zip(study.first.keywords, COLOURS * len(study.first.keywords), strict=False))
    for axes, entry in zip(panels, entries, strict=False):
        for run in entry.runs:
            log = read_log(study.results, run.name)
            log = log[:: math.ceil(len(log) / MOST_POINTS) or 1]
            epochs = run.training.epochs if run.training else 0
            steps = [epochs * line["step"] / log[-1]["step"] for line in log]
            axes.plot(steps, [line["loss"] for line in log], color=colours[run.keyword], linewidth=0.8)
        axes.set(title=entry.name, yscale="log")
        _log_ticks(axes.yaxis, FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in panels[len(entries) :]:
        axes.set_axis_off()
    handles = [Line2D([], [], color=colour, label=_plain(word)) for word, colour in colours.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    figure.supylabel("training loss, each setting's own")
    figure.supxlabel("epoch; a line a keyword and seed")
    return figure


def _stream_misses(comparison: StreamComparison) -> Figure:
    """Misses over false alarms an hour with a carried state, and at one an hour with intervals; colours are names."""
    named = [entry for entry in comparison.entries if entry.name in DETECTORS] or comparison.entries[:MAX_NAMED]
    ours = [(entry.name, [run.modes["carried"] for run in entry.runs], "-") for entry in named]
    found = ours + [(peer.engine, [peer.quality], ":") for peer in comparison.peers]
    found.sort(key=lambda one: mean_rate(one[1], "test_miss_rate_at_1").estimate)
    figure = Figure(figsize=(9.6, 4.4))
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    fewest = 0.75 / comparison.heard.testing["hours"]
    steps = np.unique([rate for _, runs, _ in found for run in runs for rate in run.curve["false_alarms_per_hour"]])
    rates = np.array([fewest, *steps[(steps > fewest) & (steps < MOST_ALARMS)], MOST_ALARMS])
    for row, (_, runs, line) in enumerate(found):
        colour = LINES[row % len(LINES)]
        misses = 100 * np.mean([lowest(run.curve, rates) for run in runs], axis=0)
        left.plot(rates, misses, line, color=colour, drawstyle="steps-post")
        estimate, *ends = (100 * share for share in mean_rate(runs, "test_miss_rate_at_1"))
        right.plot(ends, [row, row], line, color=colour)
        right.plot(estimate, row, "o", color=colour)
    left.axvline(1, color="0.5", linewidth=0.8)
    left.set(xscale="log", xlim=(fewest, MOST_ALARMS), ylim=(0, 100), xlabel="false alarms an hour, test speakers")
    left.set(ylabel=f"misses of “{_plain(comparison.heard.keyword)}” (%)")
    _log_ticks(left.xaxis, FuncFormatter(lambda value, _: f"{value:g}"))
    right.set(xlim=(0, 100), ylim=(len(found) - 0.5, -0.5), xlabel="misses at 1 false alarm an hour (%), 95 % interval")
    right.set_yticks(range(len(found)), [_plain(name) for name, _, _ in found])
    for row, tick in enumerate(right.get_yticklabels()):
        tick.set_color(LINES[row % len(LINES)])
    return figure


def _stream_costs(study: Study, names: Sequence[str]) -> Figure:
    """Misses in a stream over MACs, bytes and time in C; marks are open where a detector learnt from clips."""
    entries = {entry.name: entry for entry in study.crowd.entries}
    costs = {label: {name: entries[name].cost(cost) for name in names} for cost, label in LABELS.items()}
    if all(RUNTIME in entries[name].clock for name in names):
        costs[IN_C] = {name: entries[name].clock[RUNTIME].microseconds for name in names}
    figure = Figure(figsize=(4.6 * len(costs), 4.4))
    for axes, (label, cost) in zip(figure.subplots(1, len(costs), sharey=True), costs.items(), strict=True):
        found, places = sorted(names, key=lambda name: (cost[name], name)), _side_by_side(cost)
        for number, name in enumerate(found):
            estimate, *ends = (100 * share for share in study.misses(name))
            x, colour, learnt = places[name], _colour(name), "_stream" in name
            axes.plot([x, x], ends, color=colour, linewidth=1)
            face = colour if learnt else "white"
            marker = MARKERS[entries[name].number_format]
            axes.plot(x, estimate, marker, color=colour, markerfacecolor=face, markersize=6)
            away = 4 + 9 * (sum(("_stream" in other) == learnt for other in found[:number]) % 2)
            at, offset, side = (ends[0], -away, "top") if learnt else (ends[1], away, "bottom")
            style = BESIDE | {"va": side, "color": colour, "fontsize": 7}
            axes.annotate(name.replace("student_", ""), (x, at), (0, offset), **style)
        axes.set(xscale="log", xlabel=label, ylim=(0, 100))
        axes.set_xlim(axes.get_xlim()[0] / 2.5, 2.5 * axes.get_xlim()[1])
        _log_ticks(axes.xaxis, EngFormatter(sep=""))
    figure.axes[0].set_ylabel("misses at 1 false alarm an hour (%), 95 % interval")
    keywords = _plain(", ".join(c.heard.keyword for c in study.streams))
    figure.suptitle(f"Mean of {keywords}; full marks learnt from scenes")
    return figure
