"""The distance of a covariance that is given as a matrix and one that is given by a thin factor."""

import functools
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from deepbures._arrays import refuse_other_order
from deepbures._types import Array, ArrayLike, Float, Inexact
from deepbures.linalg import adjoint, rank_size, squared_norm, squared_procrustes_distance
from deepbures.metric._covariances import graded_factor
from deepbures.metric._factors import NO_CANCELLATION
from deepbures.metric._libraries import detached, device_of, in_full_precision, is_differentiated, is_traced, values_of
from deepbures.metric._nearest import checked_covariances
from deepbures.metric._scaled import rooted_at_any_scale, squared_at_any_scale
from deepbures.metric._transport import Decomposition, TransportKernel
from deepbures.metric._validation import (
    align,
    asymmetry,
    check_finite,
    check_matrices,
    check_same_dimension,
    check_square,
    floating_arrays,
    not_hermitian,
    rounding,
)

Square = Inexact[Array, "... n n"]
Factor = Inexact[Array, "... n k"]


def squared_bures_wasserstein_mixed(a: ArrayLike, g: ArrayLike, *, rtol: float | None = None) -> Float[Array, "..."]:
    """Squared Bures-Wasserstein distance of a covariance A and the covariance G Gᴴ of a factor.

        B²(A, G Gᴴ) = tr A + ‖G‖² − 2 tr (Gᴴ A G)^½,

    the squared 2-Wasserstein distance of the Gaussians N(0, A) and N(0, G Gᴴ). A is multiplied by k vectors, O(n² k),
    and never factored: for k much less than n this costs hundreds of times less than the distance of two matrices.

    Parameters
    ----------
    a : array of shape (..., n, n)
        A, symmetric positive semidefinite (Hermitian if complex), singular or not.
    g : array of shape (..., n, k)
        G, a factor; the leading dimensions broadcast against those of `a`.
    rtol : float, optional
        Asymmetry and negative eigenvalues of A up to rtol times its largest entry are put down to rounding, and taken
        away first: the result is that of `nearest_covariance`. A is factored for that, O(n³). Default: 100 n eps of the
        dtype, and no factorization.

    Returns
    -------
    array of shape (...)
        Real, never negative, in the precision of the input (integers are promoted to the default float).

    Raises
    ------
    TypeError
        If the arrays are not numeric, or of two libraries, dtypes or devices, or rtol is no number.
    ValueError
        If the shapes do not fit, rtol is negative, an entry is not finite, or A is not Hermitian or has a negative
        eigenvalue. Since without an `rtol` A is not factored, the latter two are then seen through products: symmetry
        by A v = Aᴴ v for a fixed v, a negative eigenvalue in the span of G only. (Inside a transformation of JAX or
        `torch.func.vmap` only shapes are checked, and with an `rtol` whatever is negative is taken away.)

    Notes
    -----
    With an orthonormal basis Y of the columns of G = Y R, the distance is that of YᴴAY and R Rᴴ, k×k, plus the trace of
    A outside of the span. Its error is that of rounding A: about eps · tr A in the square.
    Derivatives to second order are those of the formula, in both arguments; where Gᴴ A G is singular, zero singular
    values contribute zero.

    References
    ----------
    Bhatia, Jain, Lim (2019), Expo. Math. 37. The reduction to the span of G is this project's own.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> float(dbm.squared_bures_wasserstein_mixed(np.diag([9.0, 1.0]), np.array([[2.0], [0.0]])))  # (3 - 2)² + (1 - 0)²
    2.0
    """
    return squared_at_any_scale(MIXED, *_checked(a, g, rtol))


def bures_wasserstein_distance_mixed(a: ArrayLike, g: ArrayLike, *, rtol: float | None = None) -> Float[Array, "..."]:
    """Bures-Wasserstein distance of A and G Gᴴ, the square root of `squared_bures_wasserstein_mixed`.

    Parameters
    ----------
    a : array of shape (..., n, n)
        A, a covariance.
    g : array of shape (..., n, k)
        G, a factor.
    rtol : float, optional
        Asymmetry and negative eigenvalues of A up to rtol times its largest entry are put down to rounding, and taken
        away first: the result is that of `nearest_covariance`. A is factored for that, O(n³). Default: 100 n eps of the
        dtype, and no factorization.

    Returns
    -------
    array of shape (...)
        Real, never negative.

    Raises
    ------
    TypeError, ValueError
        As `squared_bures_wasserstein_mixed`.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> float(dbm.bures_wasserstein_distance_mixed(np.diag([16.0, 9.0]), np.array([[0.0], [0.0]])))
    5.0
    """
    return rooted_at_any_scale(MIXED, *_checked(a, g, rtol))


def _checked(a: ArrayLike, g: ArrayLike, rtol: float | None) -> tuple[Square, Factor]:
    refuse_other_order(covariances={"a": a}, factors={"g": g})
    a, g = floating_arrays(a=a, g=g)
    check_square(a=a)
    check_matrices("(..., n, columns)", g=g)
    check_same_dimension(-2, a=a, g=g)
    check_finite(g=g)
    if rtol is None:
        _check_products(a)
    else:
        (a,) = checked_covariances(rtol, a=a)
    a, g = align(a=a, g=g)
    if g.shape[-1] == 0:
        g = array_namespace(g).sum(g, axis=-1, keepdims=True)
    return (a / 2 + adjoint(a) / 2 if is_differentiated(a) else a), g


def _check_products(a: Square) -> None:
    """Refuse a matrix with entries that are not finite, or that is not Hermitian, by two products with a vector.

    A pass over the entries for each check would take longer than what they are checked for.
    """
    with values_of(a) as can_look, in_full_precision(a):
        if can_look:
            _compare_products(detached(a))


def _compare_products(a: Square) -> None:
    xp, size = array_namespace(a), a.shape[-1]
    probe = xp.astype(xp.asarray(_probe(size), device=device_of(a)), a.dtype)
    with np.errstate(all="ignore"):
        forward, backward = a @ probe, adjoint(adjoint(probe) @ a)
    if not bool(xp.all(xp.isfinite(forward))):
        check_finite(a=a)  # says which; products of finite entries may overflow all the same
    # Rounding of a sum of n entries, and the part of an allowed asymmetry that a random vector sees.
    tolerance = rounding(a, size)
    largest = xp.max(xp.abs(xp.linalg.diagonal(a)), axis=-1)
    doubtful = xp.max(xp.abs(forward - backward), axis=(-2, -1)) > 0.1 * tolerance * largest
    if bool(xp.any(doubtful)):
        check_finite(a=a)
        gap, largest = asymmetry(a), xp.max(xp.abs(a), axis=(-2, -1))
        if bool(xp.any(gap > tolerance * largest)):
            raise ValueError(not_hermitian("a", a, tolerance))


@functools.lru_cache(maxsize=8)
def _probe(size: int) -> np.ndarray[Any, Any]:
    """A fixed vector without small entries."""
    rng = np.random.default_rng(0)
    return rng.uniform(0.5, 1.0, (size, 1)) * rng.choice([-1.0, 1.0], (size, 1))


class MixedKernel(TransportKernel):
    """D(A, G) = B²(A, G Gᴴ), with G = Y R, YᴴAY = C Cᴴ and Cᴴ R = U S Vᴴ.

    Then GᴴAG = V S² Vᴴ. With its inverse root P = V S⁻¹ Vᴴ over the nonzero singular values, M_A = G P Gᴴ is the
    optimal map from N(0, A) to N(0, G Gᴴ), and M_G = A G P. Both move with G, with A, and with P, for which

        dP = V [E_ij d_ij] Vᴴ,  E = Vᴴ d(GᴴAG) V,  d_ij = −1 / (s_i s_j (s_i + s_j)),

    the divided differences of h ↦ h^{−½} at h = s². Between a nonzero s_i and a zero, d_ij = s_i⁻³ (the function is
    zero at zero, and stays zero as long as the rank does).
    """

    covariances = (True, False)

    def value_alone(self, x: Square, y: Factor) -> Float[Array, "..."]:
        """The value is little of the work."""
        return self.value(x, y, self.decompose(x, y))

    def decompose(self, x: Square, y: Factor) -> Decomposition:
        """S, V, A Y R V and the value."""
        xp = array_namespace(x, y)
        basis, triangle = xp.linalg.qr(y, mode="reduced")
        image = adjoint(adjoint(basis) @ x)  # A Y; in this order a third faster
        compressed = adjoint(basis) @ image
        c = graded_factor(compressed / 2 + adjoint(compressed) / 2, "a", x)
        # A wide G has columns that no singular value belongs to; they move with second derivatives all the same.
        rows, columns = triangle.shape[-2:]
        u, s, vh = xp.linalg.svd(adjoint(c) @ triangle, full_matrices=columns > rows)
        if columns > rows:
            s = xp.concat([s, xp.zeros_like(xp.real(vh[..., 0, rows:]))], axis=-1)
        total = _trace(x) + squared_norm(y)
        value = total - 2 * xp.sum(s, axis=-1)
        if is_traced(x, y) or not bool(xp.all(value >= NO_CANCELLATION * total)):
            outside = _trace(x) - squared_norm(c) if y.shape[-1] < y.shape[-2] else xp.zeros_like(value)
            outside = xp.where(outside > 0, outside, xp.zeros_like(outside))
            value = outside + squared_procrustes_distance(c, triangle, u, vh[..., : u.shape[-1], :])
        # An error eps in the compressed A has passed a root: what is below eps² of the largest s² is rounding.
        largest = s[..., :1]
        keep = s > rank_size(*y.shape[-2:]) * xp.finfo(s.dtype).eps * largest
        v = adjoint(vh)
        return xp.where(keep, s, xp.zeros_like(s)), v, image @ (triangle @ v), value[..., None]

    def value(self, x: Square, y: Factor, pieces: Decomposition) -> Float[Array, "..."]:
        """The value is one of the pieces."""
        return pieces[3][..., 0]

    def map(self, which: int, x: Square, y: Factor, pieces: Decomposition) -> Inexact[Array, "... n _"]:
        """G P Gᴴ or A G P."""
        s, v, image, _ = pieces
        inverse = array_namespace(x, y).astype(_inverse(s), v.dtype)[..., None, :]
        if which:
            return (image * inverse) @ adjoint(v)
        gv = y @ v
        return (gv * inverse) @ adjoint(gv)

    def map_derivatives(
        self, x: Square, y: Factor, pieces: Decomposition, dx: Square, dy: Factor
    ) -> tuple[Square, Factor]:
        """d(G P Gᴴ) and d(A G P)."""
        s, v, image, _ = pieces
        xp = array_namespace(x, y)
        inverse = xp.astype(_inverse(s), v.dtype)[..., None, :]
        gv, moved = y @ v, dy @ v
        cross = adjoint(moved) @ image
        e = cross + adjoint(cross) + adjoint(gv) @ dx @ gv
        k = e * xp.astype(_divided_differences(s), v.dtype)
        side = (moved * inverse) @ adjoint(gv)
        return (
            side + (gv * inverse) @ adjoint(moved) + gv @ k @ adjoint(gv),
            ((dx @ gv + x @ moved) * inverse + image @ k) @ adjoint(v),
        )


MIXED = MixedKernel()


def _inverse(s: Float[Array, "... k"]) -> Float[Array, "... k"]:
    xp = array_namespace(s)
    return xp.where(s > 0, 1 / xp.where(s > 0, s, xp.ones_like(s)), xp.zeros_like(s))


def _divided_differences(s: Float[Array, "... k"]) -> Float[Array, "... k k"]:
    xp = array_namespace(s)
    rows, columns = s[..., :, None], s[..., None, :]
    inverse = _inverse(s)
    both = (rows > 0) & (columns > 0)
    product = inverse[..., :, None] * inverse[..., None, :] / xp.where(both, rows + columns, xp.ones_like(both * rows))
    either = inverse[..., :, None] + inverse[..., None, :]  # one of them is zero
    return xp.where(both, -product, either**3)


def _trace(a: Square) -> Float[Array, "..."]:
    xp = array_namespace(a)
    return xp.sum(xp.real(xp.linalg.diagonal(a)), axis=-1)
