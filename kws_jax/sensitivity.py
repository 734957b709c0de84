"""How much each part of a trained model suffers as it alone loses units: a table to draw, and to plan pruning by."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kws_jax.array_types import Params
from kws_jax.errors import UserError
from kws_jax.pruning import Masks, Sizes, masked, update


class Sensitivity(NamedTuple):
    """One row of the table.

    Attributes:
        part: "conv", "attention", or "gru layer" with its number from 0.
        removed: Units taken away from this part alone, the least important first.
        units: Units that the part has.
        error: What the callback returned for the masked parameters.
    """

    part: str
    removed: int
    units: int
    error: float


def sensitivity(
    params: Params, scores: Masks, shares: Sequence[float], error: Callable[[Params], float]
) -> list[Sensitivity]:
    """How an error grows as one part after the other loses units; nothing is trained again.

    Args:
        params: Parameters of a trained model.
        scores: Importance of its units.
        shares: Shares of a part's units to take away, in [0, 1]; a share is rounded to whole units.
        error: From masked parameters to an error.

    Returns:
        A row for each part, from the input on and the attention last, and each share in the order given.

    Raises:
        UserError: If a share is out of its range.

    References:
        Li, Kadav, Durdanovic, Samet, Graf: Pruning Filters for Efficient ConvNets, 2017, section 3.2.
    """
    if not all(0 <= share <= 1 for share in shares):
        raise UserError(f"shares of units to take away must be in [0, 1]: {list(shares)}")
    full = jax.tree.map(jnp.ones_like, scores)
    layers, hidden = scores.gru.shape
    parts = ["conv", *(f"gru layer {index}" for index in range(layers)), "attention"]
    units = np.array([scores.conv.shape[0], *[hidden] * layers, scores.attention.shape[0]])
    rows = []
    for index, part in enumerate(parts):
        for share in shares:
            left = units.copy()
            left[index] -= round(share * units[index])
            sizes = Sizes(int(left[0]), jnp.asarray(left[1:-1, None]), int(left[-1]))
            value = float(error(masked(params, update(full, scores, sizes))))
            rows.append(Sensitivity(part, int(units[index] - left[index]), int(units[index]), value))
    return rows
