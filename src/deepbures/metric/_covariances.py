"""The distance of two covariances that are given as matrices, and the optimal map from one to the other."""

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from deepbures.metric._factors import (
    distance_of_factors,
    equal,
    graded,
    power_of_two,
    rooted,
    squared,
)
from deepbures.metric._procrustes import adjoint, nonzero
from deepbures.metric._validation import (
    align,
    check_covariances,
    check_eigenvalues,
    check_same_dimension,
    floating_arrays,
    is_traced,
    rounding,
)

Array = Any


def squared_bures_wasserstein(a: Array, b: Array) -> Array:
    """Squared Bures-Wasserstein distance of two covariances.

        B²(A, B) = tr A + tr B − 2 tr (A^½ B A^½)^½,

    the squared 2-Wasserstein distance of the Gaussians N(0, A) and N(0, B). No matrix square root is taken: both are
    factored (Cholesky, or eigenvalues where a matrix is singular or close to it), the rest is
    `squared_bures_wasserstein_factors`.

    Parameters
    ----------
    a : array of shape (..., n, n)
        A, symmetric positive semidefinite (Hermitian if complex), singular or not.
    b : array of shape (..., n, n)
        B; the leading dimensions broadcast against those of `a`.

    Returns
    -------
    array of shape (...)
        Real, never negative, in the precision of the input (integers are promoted to the default float).

    Raises
    ------
    TypeError
        If the arrays are not numeric, or of two libraries or two dtypes.
    ValueError
        If the shapes do not fit, an entry is not finite, or a matrix is not Hermitian or has a negative eigenvalue
        beyond rounding: 100 n eps of its largest entry. (Inside a JAX transformation only shapes are checked.)

    Notes
    -----
    Equal arguments give exactly zero. Otherwise the result is that of matrices within rounding, a few eps · ‖A‖, of the
    given ones. That is as much as the rounded entries determine; where a covariance is close to singular it can be as
    little as half the digits of the distance; with factors at hand, `squared_bures_wasserstein_factors` keeps them all.
    Eigenvalues of a singular matrix below n eps times the largest count as zero. Under `jax.jit` and `jax.vmap`, where
    no value can be looked at, eigenvalue factors are always used.

    References
    ----------
    Bures (1969), Trans. Amer. Math. Soc. 135; Dowson, Landau (1982), J. Multivariate Anal. 12; Bhatia, Jain, Lim
    (2019), Expo. Math. 37.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> float(dbm.squared_bures_wasserstein(np.diag([4.0, 0.0]), np.diag([9.0, 1.0])))     # (3 - 2)² + (1 - 0)²
    2.0
    """
    return squared(*_checked_distance(a, b))


def bures_wasserstein_distance(a: Array, b: Array) -> Array:
    """Bures-Wasserstein distance of two covariances, the square root of `squared_bures_wasserstein`.

    Parameters
    ----------
    a : array of shape (..., n, n)
        A, symmetric positive semidefinite (Hermitian if complex), singular or not.
    b : array of shape (..., n, n)
        B, likewise.

    Returns
    -------
    array of shape (...)
        Real, never negative; a metric on covariances. In the commuting case the distance of the standard deviations.

    Raises
    ------
    TypeError, ValueError
        As `squared_bures_wasserstein`.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> float(dbm.bures_wasserstein_distance(np.diag([16.0, 0.0]), np.diag([1.0, 16.0])))     # 3² + 4² = 5²
    5.0
    """
    return rooted(*_checked_distance(a, b))


def transport_map(a: Array, b: Array) -> Array:
    """Matrix T of the optimal transport map x ↦ T x from N(0, A) to N(0, B): symmetric, T A Tᴴ = B.

        T = A^{−½} (A^½ B A^½)^½ A^{−½}.

    It is computed, for A = F Fᴴ, B = G Gᴴ and Fᴴ G = U S Vᴴ, as T = Y Yᴴ with Y = G V S^{−½} over the nonzero
    singular values: Hermitian and positive semidefinite as it stands, with no inverse of A.

    Parameters
    ----------
    a : array of shape (..., n, n)
        A, the covariance to start from.
    b : array of shape (..., n, n)
        B, the covariance to arrive at; the leading dimensions broadcast.

    Returns
    -------
    array of shape (..., n, n)
        T, in the dtype of the input.

    Raises
    ------
    TypeError, ValueError
        As `squared_bures_wasserstein`.

    Notes
    -----
    For singular A the formula above is read as T = B^½ (B^½ A B^½)^{−½} B^½ with a pseudo-inverse, the same matrix
    where both exist. This T fulfils T A Tᴴ = B whenever a positive semidefinite matrix can, which is if no vector of
    range(B) is in the kernel of A. If there is one, the part of B that no linear map of N(0, A) can reach is left out.
    The i-th singular value of Fᴴ G counts as zero below n eps times those of F and G.

    References
    ----------
    Dowson, Landau (1982), J. Multivariate Anal. 12; Bhatia, Jain, Lim (2019), Expo. Math. 37, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> a, b = np.diag([4.0, 1.0]), np.diag([9.0, 4.0])
    >>> dbm.transport_map(a, b).round(12).tolist()                                  # ratios of standard deviations
    [[1.5, 0.0], [0.0, 2.0]]
    """
    a, b = _checked(a, b)
    a_scale, b_scale = _scale(a), _scale(b)
    f, g = _graded_factor(_divide(a, a_scale), "a"), _graded_factor(_divide(b, b_scale), "b")
    xp = array_namespace(f, g)
    _, s, vh = xp.linalg.svd(adjoint(f) @ g, full_matrices=False)
    # The entries of Fᴴ G have errors relative to the lengths of the two columns that they come from (see _factors).
    limit = _lengths(f) * _lengths(g)
    keep = (limit > 0) & (s > f.shape[-1] * xp.finfo(s.dtype).eps * limit)
    weight = xp.where(keep, 1 / xp.sqrt(xp.where(keep, s, xp.ones_like(s))), xp.zeros_like(s))
    y = (g @ adjoint(vh)) * xp.astype(weight, g.dtype)[..., None, :]
    return (b_scale / a_scale) * _hermitian(y @ adjoint(y))


def _checked_distance(a: Array, b: Array) -> tuple[Array, Array]:
    return distance_of_covariances(*_checked(a, b), ("a", "b"))


def _checked(a: Array, b: Array) -> tuple[Array, Array]:
    a, b = floating_arrays(a=a, b=b)
    check_covariances(a=a, b=b)
    check_same_dimension(-1, a=a, b=b)
    a, b = align(a=a, b=b)
    return a, b


def distance_of_covariances(a: Array, b: Array, names: tuple[str, str]) -> tuple[Array, Array]:
    """(value, scale) with B²(A, B) = scale² · value, for checked Hermitian matrices with as many axes each."""
    xp = array_namespace(a, b)
    same = equal(a, b)
    scale = xp.maximum(_scale(a), _scale(b))
    a, b = _divide(a, scale), _divide(b, scale)
    f, f_is_graded = _factor(a, names[0])
    g, g_is_graded = _factor(b, names[1])
    value = distance_of_factors(f, g, same, f_is_graded=f_is_graded, g_is_graded=g_is_graded)
    return value, scale[..., 0, 0]


def _scale(a: Array) -> Array:
    """The power of two just below the square root of the largest entry: the scale of a factor; (..., 1, 1)."""
    xp = array_namespace(a)
    return power_of_two(xp.max(xp.abs(a), axis=(-2, -1), keepdims=True), 2)


def _divide(a: Array, scale: Array) -> Array:
    """A / scale², made Hermitian to the last bit, in steps that do not overflow."""
    return _hermitian(a / scale / scale)


def _hermitian(a: Array) -> Array:
    """The Hermitian part, which takes rounding away: Hermitian to the last bit."""
    return a / 2 + adjoint(a) / 2


def _cholesky_factor(a: Array) -> Array | None:
    """Lower-triangular L with L Lᴴ = A, or None if a matrix of the stack is not safely positive definite.

    The squared pivot L_ii², relative to A_ii, is the fraction of the variance of feature i that the features before it
    do not explain; it has an error of about n eps. Safe is a fraction well above that, for each i. The test does not
    depend on the units of the features, and neither does the accuracy of L (entry for entry, relative to √(A_ii A_jj)).
    """
    if is_traced(a):
        return None
    xp = array_namespace(a)
    try:
        factor = xp.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return None
    pivots = xp.real(xp.linalg.diagonal(factor)) ** 2
    variances = xp.real(xp.linalg.diagonal(a))
    # Libraries that do not raise leave NaN, which compares false.
    return factor if bool(xp.all(pivots > rounding(a, a.shape[-1]) * variances)) else None


def _eigenvalue_factor(a: Array, name: str) -> Array:
    """Ω √λ for A = Ω diag(λ) Ωᴴ, λ descending: orthogonal columns sorted by size. Rounding counts as zero.

    Without that, an eigenvalue eps in the place of a zero would move the distance by √eps.
    """
    xp = array_namespace(a)
    eigenvalues, vectors = xp.linalg.eigh(a)
    eigenvalues, vectors = xp.flip(eigenvalues, axis=-1), xp.flip(vectors, axis=-1)
    size = a.shape[-1]
    check_eigenvalues(eigenvalues[..., -1], xp.max(xp.abs(a), axis=(-2, -1)), rounding(a, size), name)
    keep = (eigenvalues > 0) & nonzero(eigenvalues, size, size)
    root = xp.where(keep, xp.sqrt(xp.where(keep, eigenvalues, xp.ones_like(eigenvalues))), xp.zeros_like(eigenvalues))
    return vectors * xp.astype(root, vectors.dtype)[..., None, :]


def _factor(a: Array, name: str) -> tuple[Array, bool]:
    """A factor of A, and whether its columns are orthogonal and sorted by size."""
    factor = _cholesky_factor(a)
    return (_eigenvalue_factor(a, name), True) if factor is None else (factor, False)


def _graded_factor(a: Array, name: str) -> Array:
    factor, is_graded = _factor(a, name)
    return factor if is_graded else graded(factor)


def _lengths(f: Array) -> Array:
    """Norms of the columns."""
    xp = array_namespace(f)
    return xp.sqrt(xp.sum(xp.abs(f) ** 2, axis=-2))
