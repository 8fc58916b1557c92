"""Covariances out of matrices that are so but for rounding: what is accepted, and what is taken away."""

from typing import NamedTuple

from array_api_compat import array_namespace

from deepbures._arrays import refuse_other_order
from deepbures._types import Array, ArrayLike, Float, Inexact
from deepbures.linalg import adjoint
from deepbures.metric._cholesky import cholesky_factor
from deepbures.metric._libraries import detached, in_full_precision, is_traced, values_of
from deepbures.metric._validation import (
    asymmetry,
    check_eigenvalues,
    floating_arrays,
    hermitian_parts,
    largest_entry,
    tolerance_of,
)


class NearestCovariance(NamedTuple):
    """A covariance, and how far from it the given matrix was: see `nearest_covariance`.

    Attributes
    ----------
    covariance : array of shape (..., n, n)
        P, Hermitian and positive semidefinite to rounding.
    asymmetry : array of shape (...)
        The largest difference of an entry of A and its mirror image, as a share of the largest entry of A.
    clipped : array of shape (...)
        Minus the lowest eigenvalue of the Hermitian part of A, as a share of the largest entry of A; zero where no
        eigenvalue is negative. The least `rtol` that accepts A is the larger one of `asymmetry` and `clipped`.
    distance : array of shape (...)
        ‖A − P‖ (Frobenius), in the units of A.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> nearest = dbm.nearest_covariance(np.array([[4.0, 1.0], [1.5, 4.0]]), rtol=0.2)
    >>> float(nearest.asymmetry), float(nearest.clipped), nearest.covariance.tolist()
    (0.125, 0.0, [[4.0, 1.25], [1.25, 4.0]])
    """

    covariance: Inexact[Array, "... n n"]
    asymmetry: Float[Array, "..."]
    clipped: Float[Array, "..."]
    distance: Float[Array, "..."]


def nearest_covariance(a: ArrayLike, *, rtol: float | None = None) -> NearestCovariance:
    """The covariance nearest to a matrix that is one but for rounding, and the size of what was taken away.

        P = (H + |H|) / 2,  H = (A + Aᴴ) / 2:

    the Hermitian part, with zeros in the place of its negative eigenvalues. In the Frobenius norm no positive
    semidefinite matrix is closer to A. This is what every function with an argument `rtol` makes of its covariances.

    Parameters
    ----------
    a : array of shape (..., n, n)
        A, a covariance up to rounding: as summed in float32, say, or stored in it.
    rtol : float, optional
        How much is put down to rounding: a difference of an entry and its mirror image, or minus an eigenvalue, of up
        to rtol times the largest entry of A. Default: 100 n eps of the dtype.

    Returns
    -------
    NearestCovariance
        The record `covariance`, `asymmetry`, `clipped`, `distance`, in the library and precision of the input.

    Raises
    ------
    TypeError
        If the array is not numeric, or rtol no number.
    ValueError
        If the shape is not square, an entry is not finite, rtol is negative, or A is no covariance up to rtol. The
        message says which rtol would do. (Where JAX or `torch.func.vmap` traces A, no value can be looked at, and
        whatever is negative is taken away, at the cost of an eigenvalue decomposition.)

    Notes
    -----
    The covariance (Σ x xᵀ − N m mᵀ) / (N − 1) of sums in a precision eps has errors of about eps (mean/deviation)² of
    its largest entry, 6e-4 for float32 at a ratio of 100: that is the size of rtol such moments need, and the digits of
    the result. Derivatives are those at P, with what is taken away as a constant.

    References
    ----------
    Higham (1988), Linear Algebra Appl. 103.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> nearest = dbm.nearest_covariance(np.diag([2.0, 1.0, -2e-6]), rtol=1e-5)
    >>> nearest.covariance.diagonal().tolist(), float(nearest.clipped), float(nearest.distance)
    ([2.0, 1.0, 0.0], 1e-06, 2e-06)
    """
    refuse_other_order(covariances={"a": a})
    (a,) = floating_arrays(a=a)
    covariance, lowest = _nearest(a, "a", rtol)
    given, largest = detached(a), largest_entry(detached(a))
    clipped = array_namespace(lowest).where(lowest < 0, -lowest, 0 * lowest)
    taken = (given - detached(covariance)) / largest[..., None, None]
    xp = array_namespace(taken)
    distance = largest * xp.sqrt(xp.sum(xp.abs(taken) ** 2, axis=(-2, -1)))
    return NearestCovariance(covariance, asymmetry(given) / largest, clipped / largest, distance)


def checked_covariances(rtol: float | None, **arrays: Inexact[Array, "..."]) -> tuple[Inexact[Array, "... _ _"], ...]:
    """The arrays as covariances: Hermitian parts, and with an rtol without their negative eigenvalues up to that.

    Without one, rounding is what the decompositions make of it: an eigenvalue below zero counts as zero.
    """
    if rtol is None:
        return hermitian_parts(rtol, **arrays)
    return tuple(_nearest(array, name, rtol)[0] for name, array in arrays.items())


def _nearest(
    a: Inexact[Array, "..."], name: str, rtol: float | None
) -> tuple[Inexact[Array, "... n n"], Float[Array, "..."]]:
    """The nearest covariance, and the lowest of the negative eigenvalues that it does without, or zero."""
    with values_of(a):
        (hermitian,) = hermitian_parts(rtol, **{name: a})
        return _clipped(hermitian, name, tolerance_of(a, rtol))


def _clipped(
    a: Inexact[Array, "... n n"], name: str, tolerance: float
) -> tuple[Inexact[Array, "... n n"], Float[Array, "..."]]:
    values = detached(a)
    if cholesky_factor(values) is not None:
        return a, 0 * _lowest_entry(values)
    xp = array_namespace(values)
    eigenvalues, vectors = xp.linalg.eigh(values)
    check_eigenvalues(eigenvalues[..., 0], values, tolerance, name)
    negative = xp.where(eigenvalues < 0, eigenvalues, xp.zeros_like(eigenvalues))
    # Taken from A, which keeps the digits of the rest, and as a constant: an eigenvector has no derivative where
    # eigenvalues meet.
    with in_full_precision(vectors):
        taken = (vectors * xp.astype(negative, vectors.dtype)[..., None, :]) @ adjoint(vectors)
    return (a if _is_zero(negative) else a - (taken + adjoint(taken)) / 2), negative[..., 0]


def _lowest_entry(a: Inexact[Array, "... n n"]) -> Float[Array, "..."]:
    xp = array_namespace(a)
    return xp.min(xp.real(xp.linalg.diagonal(a)), axis=-1)


def _is_zero(a: Float[Array, "..."]) -> bool:
    return not is_traced(a) and bool(array_namespace(a).all(a == 0))
