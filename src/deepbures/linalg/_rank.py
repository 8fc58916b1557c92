"""Which singular values count, and for how much."""

import math

from array_api_compat import array_namespace

from deepbures._types import Array, Bool, Float


def nonzero(s: Float[Array, "... k"], num_rows: int, num_columns: int) -> Bool[Array, "... k"]:
    """Which singular values count as nonzero: s > size · eps · s_max, the one rank tolerance.

    This is the size of the rounding error of an SVD, hence the level below which a computed singular value carries no
    information: with size = min(shape) + √max(shape) (`svd_noise`), or max(shape) if that is less. `s` is sorted in
    descending order.
    """
    xp = array_namespace(s)
    if s.shape[-1] == 0:
        return s > 0
    tolerance = rank_size(num_rows, num_columns) * xp.finfo(s.dtype).eps
    return s > tolerance * s[..., :1]


def rank_size(num_rows: int, num_columns: int) -> float:
    """The rank tolerance in units of eps."""
    return min(max(num_rows, num_columns), svd_noise(num_rows, num_columns))


def svd_noise(num_rows: int, num_columns: int) -> float:
    """The rounding error of the singular values of a matrix, in units of eps times the largest.

    Each of min(shape) reflections adds about one, and the sums of max(shape) terms in them the square root of their
    number. (Measured on rank-deficient matrices of up to 10⁶ rows: at most half of that.)
    """
    small, large = sorted((num_rows, num_columns))
    return small + math.sqrt(large)


def without_noise(values: Float[Array, "... r"], level: float) -> Float[Array, "... r"]:
    """Values (..., r), descending, with those up to a level relative to the largest, rounding, as exact zeros."""
    xp = array_namespace(values)
    return xp.where(values > level * values[..., :1], values, xp.zeros_like(values))


def effective_rank(s: Float[Array, "r"]) -> Float[Array, ""]:
    """exp(entropy of s / Σ s) of singular values (r,): k for k equal ones and zeros, 0 where all are zero."""
    xp = array_namespace(s)
    total = xp.sum(s)
    one = xp.ones_like(s)
    share = s / xp.where(total > 0, total, one[0])
    entropy = -xp.sum(share * xp.log(xp.where(share > 0, share, one)))
    return xp.where(total > 0, xp.exp(entropy), 0 * total)
