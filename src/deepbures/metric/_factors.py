"""The distance of two covariances that are given by factors.

Three things decide how many digits come out.

*Which formula.* tr A + tr C − 2‖Fᴴ G‖_* needs singular values only, and is accurate to rounding as long as little
cancels. Otherwise the sum of squares of `_procrustes` takes over, which cannot cancel.

*Which factor.* Forming Fᴴ G squares the condition number of F: the rotation Q that it yields is off by eps · s_1 / s_i
in the directions of a small singular value s_i, so the distance by eps · scale · √cond — where the distance itself
moves by no more than ‖F − F'‖ when F moves. But any F V with V unitary is a factor of the same covariance. With
F = U S Vᴴ, take F V = U S: its columns are orthogonal and sorted by size. Then (U S)ᴴ (U' S') has entries that carry an
error relative to s_i s'_j, not to s_1 s'_1, and the SVD of such a matrix, graded downwards along rows and columns,
keeps that: the distance is right to about eps · scale at any condition number.

*Which scale.* Everything is divided by one power of two first, so that no square overflows or vanishes.
"""

import functools
from typing import Any

from array_api_compat import array_namespace

from deepbures.metric._procrustes import adjoint, squared_distance, squared_norm
from deepbures.metric._validation import (
    align,
    check_finite,
    check_matrices,
    check_same_dimension,
    floating_arrays,
    is_traced,
)

Array = Any

# The trace formula loses a factor (tr A + tr C) / B² of its relative accuracy to cancellation: at most ten.
_NO_CANCELLATION = 0.1


def squared_bures_wasserstein_factors(f: Array, g: Array) -> Array:
    """Squared Bures-Wasserstein distance of the covariances F Fᴴ and G Gᴴ, from the factors.

        B²(F Fᴴ, G Gᴴ) = ‖F‖² + ‖G‖² − 2 ‖Fᴴ G‖_* = min over partial isometries Q of ‖G − F Q‖² + ‖F (I − Q Qᴴ)‖²,

    the squared 2-Wasserstein distance of the Gaussians N(0, F Fᴴ) and N(0, G Gᴴ). No n×n matrix is formed:
    factors with r, k ≤ n columns cost O(n r k), or O(n r² + n k²) where B² is less than a tenth of ‖F‖² + ‖G‖². Wider
    ones are reduced to n columns first.

    Parameters
    ----------
    f : array of shape (..., n, r)
        F, any factor of the first covariance: F Fᴴ = A. Its rank may be less than r; r may exceed n, or be zero.
    g : array of shape (..., n, k)
        G, a factor of the second; the leading dimensions broadcast against those of `f`.

    Returns
    -------
    array of shape (...)
        Real, never negative, in the precision of the input (integers are promoted to the default float).

    Raises
    ------
    TypeError
        If the arrays are not numeric, or of two libraries or two dtypes.
    ValueError
        If the shapes do not fit, or an entry is not finite (not checked inside a JAX transformation).

    Notes
    -----
    In float64 the relative error is below 1e-13, and where the distance B is tiny, the error of B is below
    1e-14 √(tr A + tr C), whatever the condition numbers. Equal arguments give exactly zero.
    Under `jax.jit` and `jax.vmap`, where no value can be looked at, the form for nearby factors is always used.

    References
    ----------
    Bures (1969), Trans. Amer. Math. Soc. 135; Bhatia, Jain, Lim (2019), Expo. Math. 37, section 3, for the minimum over
    Q. The sum of squares, and the choice of factor that keeps it accurate, are this project's own.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> f = np.array([[2.0], [0.0]])
    >>> g = np.array([[3.0, 0.0], [0.0, 1.0]])
    >>> float(dbm.squared_bures_wasserstein_factors(f, g))      # (3 - 2)² along the first axis, 1 along the second
    2.0
    """
    return squared(*_checked_distance(f, g))


def bures_wasserstein_distance_factors(f: Array, g: Array) -> Array:
    """Bures-Wasserstein distance of F Fᴴ and G Gᴴ, the square root of `squared_bures_wasserstein_factors`.

    Parameters
    ----------
    f : array of shape (..., n, r)
        F, any factor of the first covariance.
    g : array of shape (..., n, k)
        G, a factor of the second.

    Returns
    -------
    array of shape (...)
        Real, never negative. It is a metric on covariances, and does not overflow where its square would.

    Raises
    ------
    TypeError, ValueError
        As `squared_bures_wasserstein_factors`.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> w = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> swapped = w[:, ::-1]                                    # another factor of the same covariance
    >>> bool(dbm.bures_wasserstein_distance_factors(w, swapped) < 1e-14)
    True
    """
    return rooted(*_checked_distance(f, g))


def _checked_distance(f: Array, g: Array) -> tuple[Array, Array]:
    f, g = floating_arrays(f=f, g=g)
    check_matrices("(..., n, columns)", f=f, g=g)
    check_same_dimension(-2, f=f, g=g)
    if f.shape[-2] == 0:
        raise ValueError(f"f and g must have at least one row, but have shapes {f.shape} and {g.shape}.")
    check_finite(f=f, g=g)
    f, g = align(f=f, g=g)
    f, g = _at_least_one_column(f), _at_least_one_column(g)
    scale = common_scale(f, g)
    return distance_of_factors(compact(f / scale), compact(g / scale), equal(f, g)), scale[..., 0, 0]


def squared(value: Array, scale: Array) -> Array:
    """scale² · value, without a scale² that overflows on the way; a scalar where there is no batch."""
    return (scale * (scale * value))[()]


def rooted(value: Array, scale: Array) -> Array:
    """Scale · √value; a scalar where there is no batch."""
    xp = array_namespace(value)
    return (scale * xp.sqrt(value))[()]


def distance_of_factors(
    f: Array, g: Array, same: Array, *, f_is_graded: bool = False, g_is_graded: bool = False
) -> Array:
    """B²(F Fᴴ, G Gᴴ) for factors of ordinary scale, with as many leading axes each; zero where they are the `same`."""
    xp = array_namespace(f, g)
    if not is_traced(f, g):
        total = squared_norm(f) + squared_norm(g)
        value = total - 2 * xp.sum(xp.linalg.svdvals(adjoint(f) @ g), axis=-1)
        if bool(xp.all((value >= _NO_CANCELLATION * total) | same)):
            return xp.where(same, xp.zeros_like(value), value)
    f, g = f if f_is_graded else graded(f), g if g_is_graded else graded(g)
    u, _, vh = xp.linalg.svd(adjoint(f) @ g, full_matrices=False)
    value = squared_distance(f, g, u, vh)
    return xp.where(same, xp.zeros_like(value), value)


def graded(f: Array) -> Array:
    """F V = U S for the thin SVD F = U S Vᴴ: the factor of F Fᴴ with orthogonal columns sorted by size."""
    xp = array_namespace(f)
    u, s, _ = xp.linalg.svd(f, full_matrices=False)
    return u * xp.astype(s, u.dtype)[..., None, :]


def compact(f: Array) -> Array:
    """A factor of F Fᴴ with no more columns than rows: from Fᴴ = Q R, F Q = Rᴴ."""
    rows, columns = f.shape[-2:]
    return f if columns <= rows else adjoint(array_namespace(f).linalg.qr(adjoint(f), mode="reduced")[1])


def equal(a: Array, b: Array) -> Array:
    """Where two stacks hold the same matrix, entry for entry: there a distance is zero without any arithmetic."""
    xp = array_namespace(a, b)
    if a.shape[-2:] == b.shape[-2:]:
        return xp.all(a == b, axis=(-2, -1))
    return xp.zeros_like(a[..., 0, 0] == b[..., 0, 0])


def common_scale(*arrays: Array) -> Array:
    """The power of two just below the largest entry of the arrays, per matrix: shape (..., 1, 1), real."""
    xp = array_namespace(*arrays)
    largest = [xp.max(xp.abs(array), axis=(-2, -1), keepdims=True) for array in arrays]
    return power_of_two(functools.reduce(xp.maximum, largest), 1)


def power_of_two(size: Array, root: int) -> Array:
    """The power of two just below size^(1/root); 1 for zero."""
    xp = array_namespace(size)
    one = xp.ones_like(size)
    return xp.pow(2 * one, xp.floor(xp.log2(xp.where(size > 0, size, one)) / root))


def _at_least_one_column(f: Array) -> Array:
    """A factor without columns is one of the zero covariance; so is a column of zeros (the sum of no columns)."""
    return f if f.shape[-1] else array_namespace(f).sum(f, axis=-1, keepdims=True)
