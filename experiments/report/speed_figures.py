"""The picture of the clock: how a cost grows, and where the time goes."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import NullLocator

from experiments.plots import COLOURS
from experiments.report.speed import Measured, curve, exponents

PANELS = {"seconds of audio": "one push", "streams": "one step of all", "hidden units": "a push; a training step"}
DASHES = {"C": ":", "JAX": "-", "training step": "--"}


def clock_figure(measured: Measured) -> Figure:
    """Growth above, parts below."""
    figure = Figure(figsize=(10.8, 6.4))
    halves: Any = figure.subfigures(2, 1, height_ratios=(3, 2))
    _draw_growth(halves[0], measured)
    _draw_parts(halves[1], measured)
    return figure


def _draw_growth(figure: SubFigure, measured: Measured) -> None:
    """Cost over size, both logarithmic, with the exponent of each line in its legend."""
    found = exponents(measured)
    panels = [of for of in PANELS if any(of == one for one, *_ in found)]
    models = list(dict.fromkeys(model for _, model, *_ in found))
    for axes, of in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for _, model, what, exponent in (one for one in found if one[0] == of):
            sizes, milliseconds = curve(measured, of, model, what)
            style: dict[str, Any] = {"color": COLOURS[models.index(model)], "linestyle": DASHES[what], "marker": "."}
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=7)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.plot(sizes, milliseconds, label=f"{model}, {what}: size^{exponent:.2f}", **style)
        axes.set(yscale="log", xlabel=of, title=PANELS[of])
        axes.legend(loc="upper left", fontsize=7)
        axes.set_ylim(top=axes.get_ylim()[1] * 30)
    figure.axes[0].set_ylabel("milliseconds of a call")


def _draw_parts(figure: SubFigure, measured: Measured) -> None:
    """A bar for each part of a push and of a training step."""
    kinds = list(dict.fromkeys(row["of"] for row in measured["parts"]))
    models = list(dict.fromkeys(row["model"] for row in measured["parts"]))
    for axes, of in zip(figure.subplots(1, len(kinds)), kinds, strict=True):
        parts = list(dict.fromkeys(row["part"] for row in measured["parts"] if row["of"] == of))
        for number, model in enumerate(models):
            took = {r["part"]: r["microseconds"] for r in measured["parts"] if (r["of"], r["model"]) == (of, model)}
            places = np.arange(len(parts)) + (number - (len(models) - 1) / 2) * 0.38
            bars = axes.barh(places, [took[part] for part in parts], 0.36, color=COLOURS[number], label=model)
            axes.bar_label(bars, [f"{took[part]:,.0f}" for part in parts], padding=2, fontsize=7)
        axes.set_yticks(range(len(parts)), parts)
        axes.invert_yaxis()
        axes.set(xlabel="microseconds", title=of)
        axes.margins(x=0.18)
    figure.axes[-1].legend(loc="lower right")
