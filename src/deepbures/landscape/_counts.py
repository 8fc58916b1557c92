"""How many directions of each sort the Hessian at a critical point has: what index, nullity and kind are counted from.

With r modes in use, of n, there are r (n − r) exchanges, r scales and r (r − 1)/2 pairs. What else there is depends on
the space that the loss is looked at on: at depth 1 all n×m matrices for smooth losses, the matrices of rank r for the
loss that is smooth on those only; at depth N ≥ 2 the weights.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepbures.model import AbstractModes


class Directions(NamedTuple):
    """Directions at a critical point: all of them, and those that are neither exchange, scale nor pair."""

    dim: int
    # Columns in each of which a mode that is not used can be added: n − r directions a column.
    null_columns: int
    # Directions of zero curvature whatever the eigenvalues are.
    flat: int
    # The largest rank that the space allows.
    largest_rank: int


def directions_at(
    n: int, r: int, m: int, hidden: int | tuple[int, ...], depth: int, modes: AbstractModes
) -> Directions:
    """The directions at a point of rank r; `hidden` are the hidden widths, or the width of all of them."""
    null = 0
    if depth > 1:
        dim, largest = _num_weights(n, m, hidden, depth), min(m, n, *np.atleast_1d(hidden).tolist())
    elif modes.is_smooth:
        dim, largest, null = n * m, min(m, n), m - r
    else:
        dim, largest = r * (n + m - r), r
    flat = dim - (r * (n - r) + r + r * (r - 1) // 2) - null * (n - r)
    return Directions(dim, null, flat, largest)


def _num_weights(n: int, m: int, hidden: int | tuple[int, ...], depth: int) -> int:
    if isinstance(hidden, tuple):
        return sum(a * b for a, b in zip((m, *hidden), (*hidden, n), strict=True))
    # Equal layers are not listed: there may be very many.
    return hidden * (m + n) + (depth - 2) * hidden**2


def kinds_of(is_minimizer: Any, morse_index: Any, nullity: Any, dim: int) -> NDArray[np.str_]:
    """The kind of each critical point, from its counts and whether it is a minimizer."""
    index = np.asarray(morse_index)
    maximum = (index > 0) & (index + nullity == dim) & (np.asarray(nullity) == 0)
    return np.select([is_minimizer, maximum, index > 0], ["minimizer", "maximum", "strict saddle"], "degenerate saddle")
