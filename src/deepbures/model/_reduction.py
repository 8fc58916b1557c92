"""Eigenpairs of a covariance from what it is made of: samples, a factor, a matrix.

Samples and factors are reduced by orthogonal transformations only, so that nothing is squared on the way. Whatever
can be looked at is computed in float64: float32 numbers are exact there, and only the results are rounded. Inside
JAX transformations everything stays in the precision that is traced.
"""

from typing import Any

import numpy as np

from deepbures._precision import is_tracer
from deepbures._types import Array, Float, Float64, Shaped
from deepbures.linalg import namespace, svd_noise, transpose, triangle, without_noise
from deepbures.metric import Moments, moments_of

_ROWS_PER_BLOCK = 16_384


def eigenpairs_of_matrix(s: Float[Array, "... n n"]) -> tuple[Float[Array, "... n"], Float[Array, "... n n"]]:
    """Eigenvalues of symmetric matrices (..., n, n), descending, and their eigenvectors in columns."""
    xp, matrix = _in_double(s)
    values, vectors = xp.linalg.eigh(matrix / 2 + transpose(matrix) / 2)
    return values[..., ::-1], vectors[..., :, ::-1]


def eigenpairs_of_factor(f: Float[Array, "... n r"]) -> tuple[Float[Array, "... k"], Float[Array, "... n k"]]:
    """The min(n, r) eigenvalues of F Fᵀ, descending, and their eigenvectors, for a factor F (..., n, r)."""
    xp, factor = _in_double(f)
    n, r = f.shape[-2:]
    if r > n and not is_tracer(f):
        factor = transpose(_triangle_of(transpose(factor)))
    u, s, _ = xp.linalg.svd(factor, full_matrices=False)
    return _squares(without_noise(s, svd_noise(n, r) * float(np.finfo(s.dtype).eps)), f.dtype), u


def eigenpairs_of_samples(
    x: Shaped[Array, "N n"], dtype: Any
) -> tuple[Float[Array, "n"], Float[Array, "k"], Float[Array, "n k"]]:
    """Mean (n,), and the at most min(N, n) eigenvalues, descending, and eigenvectors of the covariance of samples.

    `dtype` is what the results are rounded to in the end.
    """
    moments = moments_of(x) if is_tracer(x) else Moments().update(np.asarray(x))
    deviations, axes = moments.principal_axes()
    return moments.mean, _squares(deviations, dtype), axes


def in_range(eigenvalues: Float[Array, "... k"]) -> Float[Array, "... k"]:
    """The eigenvalues, after a check that their sum has not overflowed."""
    if not is_tracer(eigenvalues):
        with np.errstate(over="ignore"):
            total = np.asarray(eigenvalues).sum(-1)
        if not np.isfinite(total).all():
            raise _out_of_range(total.dtype)
    return eigenvalues


def _out_of_range(dtype: Any) -> ValueError:
    return ValueError(f"The variance of the target is beyond the range of {np.dtype(dtype)}: scale the data down.")


def _squares(deviations: Float[Array, "... k"], dtype: Any) -> Float[Array, "... k"]:
    """Eigenvalues λ from their roots, descending, in a dtype that may not hold all of them: then an error says so."""
    with np.errstate(over="ignore", under="ignore"):
        values = (deviations**2).astype(dtype)
    if not is_tracer(deviations) and np.any((values[..., 0] < np.finfo(dtype).tiny) & (deviations[..., 0] > 0)):
        raise ValueError(
            f"The variance of the target is below the range of {np.dtype(dtype)}, with standard deviations of at most "
            f"{float(np.max(deviations)):.1e}: scale the data up."
        )
    return in_range(values)


def _in_double(x: Float[Array, "... n m"]) -> tuple[Any, Float[Array, "... n m"]]:
    """The namespace to compute in, and the array in it."""
    return (namespace(x), x) if is_tracer(x) else (np, _double(x))


def _double(x: Float[Array, "... n m"]) -> Float64[Array, "... n m"]:
    return np.asarray(x, np.float64)


def _triangle_of(rows: Float64[Array, "... m n"]) -> Float64[Array, "... _ n"]:
    """R with RᵀR = XᵀX for a matrix X of many rows, a block of them at a time."""
    reduced = rows[..., :0, :]
    for start in range(0, rows.shape[-2], _ROWS_PER_BLOCK):
        reduced = triangle(np.concatenate([reduced, rows[..., start : start + _ROWS_PER_BLOCK, :]], axis=-2))
    return reduced
