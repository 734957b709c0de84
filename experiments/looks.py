"""What the pictures of a study share: palette, markers and ticks."""

from typing import Any

from matplotlib.axis import Axis
from matplotlib.ticker import Formatter, LogLocator, NullLocator

from experiments.summary import Row, Study

__all__ = ["COLOURS", "DPI", "colour", "families", "line_style", "log_ticks", "marker", "scientific"]

DPI = 150
# Okabe and Ito's palette, which the colour-blind can tell apart, without its yellow; black is the base's alone.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES = ("-", "--", ":")
# Shape and size in points by number format: open and of different sizes, so that equal points show each other.
MARKERS = {"fp32": ("o", 11), "fp16": ("s", 7), "qint8": ("^", 5), "int4": ("x", 4)}


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


def families(study: Study) -> list[str]:
    """The settings whose trained weights the rows use, the base first."""
    return list(dict.fromkeys(row.weights_of for row in study.rows))


def colour(study: Study, row: Row) -> str:
    """By whose weights they are."""
    family = families(study).index(row.weights_of)
    return COLOURS[(family - 1) % len(COLOURS)] if family else "black"


def line_style(study: Study, row: Row) -> str:
    """Sets apart those whose colour is the same."""
    return LINE_STYLES[families(study).index(row.weights_of) // (len(COLOURS) + 1) % len(LINE_STYLES)]


def marker(row: Row) -> dict[str, Any]:
    """By how the weights are stored."""
    shape, size = MARKERS.get(row.number_format, ("*", 6))
    return {"marker": shape, "markersize": size, "markerfacecolor": "none", "markeredgewidth": 1.5, "linestyle": "none"}
