"""Eigenpairs of a covariance from what it is made of: samples, a factor, a matrix.

Samples and factors are reduced by orthogonal transformations only, so that nothing is squared on the way. Whatever
can be looked at is computed in float64: float32 numbers are exact there, and only the results are rounded. Inside
JAX transformations everything stays in the precision that is traced.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from deepbures._arrays import refuse_rounded
from deepbures._precision import is_tracer
from deepbures._types import Array, Floats
from deepbures.linalg import namespace, transpose

_ROWS_PER_BLOCK = 16_384

# Rows that are summed one after the other: the rounding of long sums grows with the square root of their length.
_ROWS_PER_SUM = 128


def eigenpairs_of_matrix(s: Array) -> tuple[Array, Array]:
    """Eigenvalues of symmetric matrices (..., n, n), descending, and their eigenvectors in columns."""
    xp, matrix = _in_double(s)
    values, vectors = xp.linalg.eigh(matrix / 2 + transpose(matrix) / 2)
    return values[..., ::-1], vectors[..., :, ::-1]


def eigenpairs_of_factor(f: Array) -> tuple[Array, Array]:
    """The min(n, r) eigenvalues of F Fᵀ, descending, and their eigenvectors, for a factor F (..., n, r)."""
    xp, factor = _in_double(f)
    n, r = f.shape[-2:]
    if r > n and not is_tracer(f):
        factor = transpose(_triangle(_blocks(transpose(factor))))
    u, s, _ = xp.linalg.svd(factor, full_matrices=False)
    return _squares(s, (n, r), 1, f.dtype), u


def moments_of_samples(x: Array, dtype: Any) -> tuple[Array, Array, Array]:
    """Mean (n,), and the min(N, n) eigenvalues, descending, and eigenvectors of the covariance of samples (N, n).

    Entries must be finite where they can be looked at: otherwise a ValueError names the first that is not. `dtype` is
    what the results are rounded to in the end.
    """
    num, n = x.shape
    if is_tracer(x):
        xp = namespace(x)
        mean = x.mean(0)
        centered = x - mean[None, :]
        # The mean of what is left is the rounding error of the mean.
        centered = centered - centered.mean(0)[None, :]
        reduced = xp.linalg.qr(centered, mode="r") if num > n else centered
    else:
        xp = np
        with np.errstate(over="ignore", invalid="ignore"):
            mean, reduced = _reduced_rows(np.asarray(x))
        if not np.isfinite(reduced).all():
            raise _out_of_range(dtype)
    _, s, vh = xp.linalg.svd(reduced, full_matrices=False)
    return mean, _squares(s, (num, n), num, dtype), transpose(vh)


def without_noise(values: Array, level: float) -> Array:
    """Eigenvalues up to a level relative to the largest, the rounding error of what gave them, as exact zeros."""
    xp = namespace(values)
    return xp.where(values > level * values[..., :1], values, xp.zeros_like(values))


def in_range(eigenvalues: Array) -> Array:
    """The eigenvalues, after a check that their sum has not overflowed."""
    if not is_tracer(eigenvalues):
        with np.errstate(over="ignore"):
            total = np.asarray(eigenvalues).sum(-1)
        if not np.isfinite(total).all():
            raise _out_of_range(total.dtype)
    return eigenvalues


def _out_of_range(dtype: Any) -> ValueError:
    return ValueError(f"The variance of the target is beyond the range of {np.dtype(dtype)}: scale the data down.")


def _squares(s: Array, shape: tuple[int, int], divisor: int, dtype: Any) -> Array:
    """λ = s²/divisor for the singular values s of a matrix of a given shape, those that are rounding as exact zeros.

    Each of the min(shape) reflections that an SVD takes adds a rounding error of about eps · s_1, and the sums of
    max(shape) terms in them one of the square root of their number. (Measured on rank-deficient matrices of up to
    10⁶ rows: at most half of that.) In λ, a square, it is the square of that level.
    """
    level = (min(shape) + math.sqrt(max(shape))) * float(np.finfo(s.dtype).eps)
    with np.errstate(over="ignore", under="ignore"):
        values = ((without_noise(s, level) / math.sqrt(divisor)) ** 2).astype(dtype)
    if not is_tracer(s) and np.any((values[..., 0] < np.finfo(dtype).tiny) & (s[..., 0] > 0)):
        raise ValueError(
            f"The variance of the target is below the range of {np.dtype(dtype)}, with standard deviations of at most "
            f"{float(np.max(s)) / math.sqrt(divisor):.1e}: scale the data up."
        )
    return in_range(values)


def _in_double(x: Array) -> tuple[Any, Array]:
    """The namespace to compute in, and the array in it."""
    return (namespace(x), x) if is_tracer(x) else (np, _double(x))


def _double(x: Array) -> Floats:
    return np.asarray(x, np.float64)


def _blocks(rows: Array) -> Iterable[Array]:
    """Consecutive blocks of rows."""
    return (rows[..., i : i + _ROWS_PER_BLOCK, :] for i in range(0, rows.shape[-2], _ROWS_PER_BLOCK))


def _reduced_rows(rows: Array) -> tuple[Floats, Floats]:
    """The mean of rows, and a matrix R of at most n rows with RᵀR = XᵀX for the centered rows X, block by block."""
    # Where sums are small: near the mean, and exactly equal to every row of constant data.
    origin = _double(rows[0])
    origin = origin + _offset(rows[:_ROWS_PER_BLOCK], origin)
    rest = _offset(rows, origin)
    if rows.shape[0] > rows.shape[1]:
        return origin + rest, _triangle((_double(block) - origin) - rest for block in _blocks(rows))
    centered = np.array(rows, np.float64)
    centered -= origin
    centered -= rest
    return origin + rest, centered


def _triangle(blocks: Iterable[Floats]) -> Floats:
    """R with RᵀR = XᵀX for the matrix X of all rows."""
    reduced: Any = None
    for block in blocks:
        stacked = block if reduced is None else np.concatenate([reduced, block], axis=-2)
        reduced = np.linalg.qr(stacked, mode="r")
    return np.asarray(reduced)


def _offset(rows: Array, origin: Floats) -> Floats:
    """The mean of the rows less `origin`, right to a few eps of what is summed whatever the number of rows."""
    total, lost = np.zeros_like(origin), np.zeros_like(origin)
    for index, block in enumerate(_blocks(rows)):
        refuse_rounded(np.asarray(block), "samples", index * _ROWS_PER_BLOCK)
        part = _double(block) - origin
        if not np.isfinite(part).all():
            _check_finite(block, index * _ROWS_PER_BLOCK)
        part = _sum(part)
        # Neumaier's sum: what the addition of the smaller one to the larger one loses is kept.
        new = total + part
        lost += np.where(np.abs(total) >= np.abs(part), (total - new) + part, (part - new) + total)
        total = new
    return (total + lost) / rows.shape[0]


def _sum(rows: Floats) -> Floats:
    """The sum of rows, of sums of a few."""
    whole = len(rows) - len(rows) % _ROWS_PER_SUM
    sums = rows[:whole].reshape(-1, _ROWS_PER_SUM, rows.shape[1]).sum(1).sum(0)
    return np.asarray(sums + rows[whole:].sum(0))


def _check_finite(block: Array, start: int) -> None:
    finite = np.isfinite(block)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"samples have entries that are not finite (NaN or infinite), the first at index ({start + row}, "
            f"{column}). Remove or impute them first."
        )
