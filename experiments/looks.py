"""What the pictures of a study share: palette, markers, numbers, ticks, and places side by side."""

from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.ticker import Formatter, LogLocator, NullLocator

from experiments.setting import BASE_NAME
from experiments.summary import Cost, Row, Study

__all__ = [
    "COLOURS",
    "DPI",
    "METHODS",
    "frontier",
    "log_ticks",
    "marker",
    "method",
    "method_handles",
    "numbered_handles",
    "scientific",
    "side_by_side",
]

DPI = 150
# Okabe and Ito's palette, which the colour-blind can tell apart, without its yellow.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
METHODS = {
    "seminar's recipe": "black",
    "base, our recipe": COLOURS[0],
    "hard labels": COLOURS[1],
    "taught": COLOURS[2],
    "pruned": COLOURS[3],
    "rounded in training": COLOURS[4],
}
# Shape and size in points by number format: open and of different sizes, so that equal points show each other.
MARKERS = {"fp32": ("o", 8), "fp16": ("s", 7), "qint8": ("^", 7), "int8": ("v", 7), "int5": ("p", 7), "int4": ("D", 6)}
SIDE_STEP = 0.008  # of the axis, between points of nearly the same cost


def log_ticks(axis: Axis, formatter: Formatter) -> None:
    """Ticks at 1, 2 and 5 times the powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(formatter)
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(labelsize=8)


def scientific(value: float, _: int) -> str:
    """Such as 5e-4, for ticks."""
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def method(study: Study, row: Row) -> str:
    """How a row's weights were made; where they are another setting's, how that one's were."""
    setting = row.runs[0].setting
    source = next((other for other in study.rows if other.name == setting["source"]), None)
    if not setting["recipe"] and source:
        return method(study, source)
    recipe = setting["recipe"] or {}
    if row.name == BASE_NAME:
        return "seminar's recipe"
    if recipe.get("scheme"):
        return "rounded in training"
    if recipe.get("pruning"):
        return "pruned"
    if setting["model"] == study.base.runs[0].setting["model"]:
        return "base, our recipe"
    return "taught" if setting["teacher"] else "hard labels"


def marker(study: Study, row: Row) -> dict[str, Any]:
    """Shape by how the weights are stored, colour by how they were made."""
    shape, size = MARKERS.get(row.number_format, ("*", 8))
    return {"marker": shape, "markersize": size, "color": METHODS[method(study, row)]} | OPEN


OPEN: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 1.5, "linestyle": "none"}


def method_handles(study: Study) -> list[Line2D]:
    """For a legend of the colours and shapes that a study has."""
    found = {method(study, row) for row in study.rows}
    colours = [Line2D([], [], color=METHODS[name], linewidth=5, label=name) for name in METHODS if name in found]
    formats = {row.number_format: MARKERS.get(row.number_format, ("*", 8)) for row in study.rows}
    shapes = [
        Line2D([], [], color="0.3", marker=shape, markersize=size, label=name, **OPEN)
        for name, (shape, size) in formats.items()
    ]
    return colours + shapes


def numbered_handles(study: Study) -> list[Line2D]:
    """For a legend that names the rows by their numbers, from 1 in the order of the table."""
    return [
        Line2D([], [], label=f"{number} {row.name}", **marker(study, row)) for number, row in enumerate(study.rows, 1)
    ]


def frontier(study: Study, cost: Cost) -> list[Row]:
    """Rows that no other beats in both error and cost, the cheapest first."""
    best: list[Row] = []
    for row in sorted(study.rows, key=lambda row: (row.mean(cost), row.error().estimate)):
        if not best or row.error().estimate < best[-1].error().estimate:
            best.append(row)
    return best


def side_by_side(costs: list[float], limits: tuple[float, float]) -> list[float]:
    """Costs moved apart where they are nearly the same, so that points and intervals do not hide each other.

    Args:
        costs: Of the points, on a logarithmic axis.
        limits: Of that axis.

    Returns:
        Where to draw them, in the order given.
    """
    step = SIDE_STEP * np.log(limits[1] / limits[0])
    places = np.log(costs)

    def spread(group: list[int]) -> np.ndarray:
        return places[group].mean() + step * (np.arange(len(group)) - (len(group) - 1) / 2)

    groups: list[list[int]] = []
    for index in np.argsort(places, kind="stable").tolist():
        groups.append([index])
        while len(groups) > 1 and spread(groups[-1])[0] - spread(groups[-2])[-1] < step:
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = np.concatenate([spread(group) for group in groups])
    order = np.concatenate(groups)
    return np.exp(moved[np.argsort(order)]).tolist()
