"""What metrics take, at their door: numbers that are there, finite and in order, or a ValueError of one line."""

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

__all__ = ["number", "numbers"]


def numbers(values: Any, what: str, shape: tuple[int | None, ...] = (None,)) -> Float64[np.ndarray, "..."]:
    """Finite real numbers in float64.

    Args:
        values: Anything.
        what: They are, for the error.
        shape: Of the array; None where an axis may have any length.

    Raises:
        ValueError: If they are something else, a part is masked, or they have another shape.
    """
    array: Shaped[np.ndarray, ...] = np.asarray(values)
    if array.dtype.kind not in "biuf" or np.ma.is_masked(values):
        raise ValueError(f"{what} must be real numbers, found {array.dtype}{' with a mask' * np.ma.is_masked(values)}")
    if array.ndim != len(shape) or any(b not in (None, a) for a, b in zip(array.shape, shape, strict=True)):
        wanted = " x ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{what} must have shape {wanted}, found {' x '.join(map(str, array.shape)) or 'one number'}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite numbers, found NaN or infinity")
    return array.astype(np.float64)


def number(value: Any, what: str, least: int | float, most: int | float = math.inf, whole: bool = False) -> float:
    """A number from `least` to `most`, perhaps a whole one.

    Raises:
        ValueError: If it is something else.
    """
    kind: Any = Integral if whole else Real
    if not isinstance(value, kind) or not least <= value <= most:
        raise ValueError(f"{what} must be {'whole and ' * whole}from {least:g} to {most:g}, found {value!r:.40}")
    return float(value)
