"""Numbers and tables as the report writes them."""

import math
from collections.abc import Iterable, Sequence

from kws_jax.bootstrap import Interval

__all__ = ["NONE", "count", "error", "interval", "milliseconds", "ratio", "ratio_interval", "table", "times"]

NONE = "-"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is set left and whose others are set right."""
    lines = [columns, [":--", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def count(value: float) -> str:
    """A whole number with separators."""
    return f"{value:,.0f}"


def error(value: float) -> str:
    """Such as 1.23e-3; a dash where there is none."""
    if math.isnan(value):
        return NONE
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def interval(value: Interval) -> str:
    """An error with the ends of its interval."""
    return (
        NONE if math.isnan(value.estimate) else f"{error(value.estimate)} ({error(value.low)} to {error(value.high)})"
    )


def milliseconds(seconds: float) -> str:
    """Such as 0.123 ms; a dash where nothing was measured."""
    return NONE if math.isnan(seconds) else f"{1e3 * seconds:.3f} ms"


def ratio(value: float) -> str:
    """Two digits after the point, fewer where there are many before it."""
    if not math.isfinite(value):
        return "infinite" if value > 0 else NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else count(value)


def ratio_interval(value: Interval) -> str:
    """A ratio with the ends of its interval; a dash where there is none."""
    if math.isnan(value.estimate):
        return NONE
    return f"{ratio(value.estimate)} ({ratio(value.low)} to {ratio(value.high)})"


def times(value: float) -> str:
    """How many times less; a dash where nothing was measured."""
    return NONE if math.isnan(value) else f"{ratio(value)}x"
