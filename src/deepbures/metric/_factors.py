"""The distance of two covariances that are given by factors.

Three things decide how many digits come out.

*Which formula.* tr A + tr C − 2‖Fᴴ G‖_* needs singular values only, and is accurate to rounding as long as little
cancels. Otherwise the sum of squares of `squared_procrustes_distance` takes over, which cannot cancel.

*Which factor.* Forming Fᴴ G squares the condition number of F: the rotation Q that it yields is off by eps · s_1 / s_i
in the directions of a small singular value s_i, so the distance by eps · scale · √cond — where the distance itself
moves by no more than ‖F − F'‖ when F moves. But any F V with V unitary is a factor of the same covariance. With
F = U S Vᴴ, take F V = U S: its columns are orthogonal and sorted by size. Then (U S)ᴴ (U' S') has entries that carry an
error relative to s_i s'_j, not to s_1 s'_1, and the SVD of such a matrix, graded downwards along rows and columns,
keeps that: the distance is right to about eps · scale at any condition number.

*Which scale.* Everything is divided by one power of two first, so that no square overflows or vanishes.
"""

import dataclasses

from array_api_compat import array_namespace

from deepbures._arrays import refuse_other_order
from deepbures._types import Array, ArrayLike, Bool, Float, Inexact
from deepbures.linalg import adjoint, nonzero, polar_derivative, squared_norm, squared_procrustes_distance
from deepbures.metric._libraries import is_traced
from deepbures.metric._nuclear import trace_form
from deepbures.metric._refine import refine
from deepbures.metric._scaled import rooted_at_any_scale, squared_at_any_scale
from deepbures.metric._scaling import equal
from deepbures.metric._transport import Decomposition, TransportKernel
from deepbures.metric._validation import (
    align,
    check_finite,
    check_matrices,
    check_same_dimension,
    floating_arrays,
)

Left = Inexact[Array, "... n r"]
Right = Inexact[Array, "... n k"]

# The trace formula loses a factor (tr A + tr C) / B² of its relative accuracy to cancellation: at most ten.
NO_CANCELLATION = 0.1

# How much the SVD of Fᴴ G as it stands may amplify its rounding, eps, before the factors are graded first.
_AMPLIFICATION = 500


def squared_bures_wasserstein_factors(f: ArrayLike, g: ArrayLike) -> Float[Array, "..."]:
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
    return squared_at_any_scale(FACTORS, *checked_factors(f, g))


def bures_wasserstein_distance_factors(f: ArrayLike, g: ArrayLike) -> Float[Array, "..."]:
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
    return rooted_at_any_scale(FACTORS, *checked_factors(f, g))


def checked_factors(f: ArrayLike, g: ArrayLike) -> tuple[Left, Right]:
    """Two factors as arrays of one library and dtype, with as many leading axes and at least a column each."""
    refuse_other_order(factors={"f": f, "g": g})
    f, g = floating_arrays(f=f, g=g)
    check_matrices("(..., n, columns)", f=f, g=g)
    check_same_dimension(-2, f=f, g=g)
    if f.shape[-2] == 0:
        raise ValueError(f"f and g must have at least one row, but have shapes {f.shape} and {g.shape}.")
    check_finite(f=f, g=g)
    f, g = align(f=f, g=g)
    return _at_least_one_column(f), _at_least_one_column(g)


def squared_distance_of_graded(f: Left, g: Right) -> Float[Array, "..."]:
    """B²(F Fᴴ, G Gᴴ) for checked arguments, where F has orthogonal columns sorted by size."""
    return squared_at_any_scale(FactorKernel(first_is_graded=True), f, _at_least_one_column(g))


@dataclasses.dataclass(frozen=True)
class FactorKernel(TransportKernel):
    """D(F, G) = B²(F Fᴴ, G Gᴴ).

    With Fᴴ G = U S Vᴴ and Q = U Vᴴ over the nonzero singular values, M_F = G Qᴴ and M_G = F Q. Only Q moves in a way
    that needs thought: dQ is the derivative of the polar factor of Fᴴ G (`polar_derivative`).
    """

    first_is_graded: bool = False  # F is known to have orthogonal columns sorted by size

    covariances = (False, False)

    def value_alone(self, x: Left, y: Right) -> Float[Array, "..."]:
        """The trace formula where little cancels, else the sum of squares of graded factors."""
        xp = array_namespace(x, y)
        same, f, g = equal(x, y), compact(x), compact(y)
        if is_traced(f, g):
            value = self._procrustes_form(f, g)
        else:
            total = squared_norm(f) + squared_norm(g)
            value = trace_form(adjoint(f) @ g, total)
            far = (value >= NO_CANCELLATION * total) | same
            (value,) = refine((value,), far, lambda f, g: (self._procrustes_form(f, g),), f, g)
        return xp.where(same, xp.zeros_like(value), value)

    def decompose(self, x: Left, y: Right) -> Decomposition:
        """U, S and Vᴴ of the thin SVD of Fᴴ G; singular values that do not count are exactly zero."""
        narrow = max(x.shape[-1], y.shape[-1]) <= x.shape[-2]
        if is_traced(x, y) or not narrow:
            return self._graded_svd(x, y)
        u, s, vh = array_namespace(x, y).linalg.svd(adjoint(x) @ y, full_matrices=False)
        return refine((u, s, vh), _is_accurate(x, y, u, s, vh), self._graded_svd, x, y)

    def value(self, x: Left, y: Right, pieces: Decomposition) -> Float[Array, "..."]:
        """‖G − F Q‖² + ‖F (I − U Uᴴ)‖², which holds for U and V cut to the nonzero singular values too."""
        xp = array_namespace(x, y)
        u, _, vh = _cut(pieces)
        fu = x @ u
        value = squared_norm(y - fu @ vh) + squared_norm(x - fu @ adjoint(u))
        return xp.where(equal(x, y), xp.zeros_like(value), value)

    def map(self, which: int, x: Left, y: Right, pieces: Decomposition) -> Inexact[Array, "... n _"]:
        """G Qᴴ or F Q."""
        u, _, vh = _cut(pieces)
        return (x @ u) @ vh if which else (y @ adjoint(vh)) @ adjoint(u)

    def map_derivatives(self, x: Left, y: Right, pieces: Decomposition, dx: Left, dy: Right) -> tuple[Left, Right]:
        """d(G Qᴴ) and d(F Q)."""
        u, s, vh = pieces
        dq = polar_derivative(u, s, vh, adjoint(dx) @ y + adjoint(x) @ dy, keep=s > 0)
        u, _, vh = _cut(pieces)
        return (
            (dy @ adjoint(vh)) @ adjoint(u) + y @ adjoint(dq),
            (dx @ u) @ vh + x @ dq,
        )

    def _procrustes_form(self, f: Left, g: Right) -> Float[Array, "..."]:
        f, g = f if self.first_is_graded else graded(f), graded(g)
        u, _, vh = array_namespace(f, g).linalg.svd(adjoint(f) @ g, full_matrices=False)
        return squared_procrustes_distance(f, g, u, vh)

    def _graded_svd(self, f: Left, g: Right) -> Decomposition:
        """The thin SVD of Fᴴ G by that of the graded factors, (F V)ᴴ (G V') = Vᴴ (Fᴴ G) V'.

        Singular values of F and G below the rank tolerance count as zero. In the graded product, s_i has an error
        relative to the product of the i-th ones of F and G, so that is what it is compared with.
        """
        xp = array_namespace(f, g)
        v = None
        if not self.first_is_graded:
            f, v = _with_rotation(f)
        g, w = _with_rotation(g)
        u, s, vh = xp.linalg.svd(adjoint(f) @ g, full_matrices=False)
        size = s.shape[-1]
        limit = column_lengths(f)[..., :size] * column_lengths(g)[..., :size]
        keep = (limit > 0) & (s > size * xp.finfo(s.dtype).eps * limit)
        return u if v is None else v @ u, xp.where(keep, s, xp.zeros_like(s)), vh @ adjoint(w)


FACTORS = FactorKernel()


def _cut(pieces: Decomposition) -> Decomposition:
    """U, S, Vᴴ with zeros for the vectors whose singular values do not count."""
    u, s, vh = pieces
    keep = array_namespace(s).astype(s > 0, u.dtype)
    return u * keep[..., None, :], s, vh * keep[..., :, None]


def _is_accurate(
    f: Left, g: Right, u: Inexact[Array, "... r s"], s: Float[Array, "... s"], vh: Inexact[Array, "... s k"]
) -> Bool[Array, "..."]:
    """Whether the gradients F − G Qᴴ and G − F Q have their digits without grading.

    An error eps · s_1 in Fᴴ G turns u_i and v_i by eps · s_1 / s_i, and moves G v_i u_iᴴ and F u_i v_iᴴ by that times
    the lengths of G v_i and F u_i. That is to be small against the gradients.
    """
    xp = array_namespace(f, g)
    fu, gv = f @ u, g @ adjoint(vh)
    lengths = xp.maximum(column_lengths(fu), column_lengths(gv))
    positive = s > 0
    ratio = xp.where(positive, lengths / xp.where(positive, s, xp.ones_like(s)), xp.inf * xp.ones_like(s))
    size = xp.sqrt(xp.minimum(squared_norm(f - gv @ adjoint(u)), squared_norm(g - fu @ vh)))
    return s[..., 0] * xp.max(ratio, axis=-1) <= _AMPLIFICATION * size


def _with_rotation(f: Left) -> tuple[Inexact[Array, "... n s"], Inexact[Array, "... r s"]]:
    """F V = U S and V, for the thin SVD F = U S Vᴴ, with zero columns below the rank tolerance."""
    xp = array_namespace(f)
    u, s, vh = xp.linalg.svd(f, full_matrices=False)
    s = xp.where(nonzero(s, *f.shape[-2:]), s, xp.zeros_like(s))
    return u * xp.astype(s, u.dtype)[..., None, :], adjoint(vh)


def graded(f: Left) -> Inexact[Array, "... n s"]:
    """F V = U S for the thin SVD F = U S Vᴴ: the factor of F Fᴴ with orthogonal columns sorted by size."""
    xp = array_namespace(f)
    u, s, _ = xp.linalg.svd(f, full_matrices=False)
    return u * xp.astype(s, u.dtype)[..., None, :]


def compact(f: Left) -> Inexact[Array, "... n s"]:
    """A factor of F Fᴴ with no more columns than rows: from Fᴴ = Q R, F Q = Rᴴ."""
    rows, columns = f.shape[-2:]
    return f if columns <= rows else adjoint(array_namespace(f).linalg.qr(adjoint(f), mode="reduced")[1])


def column_lengths(f: Left) -> Float[Array, "... r"]:
    """Norms of the columns, without squares that vanish: one factor may be smaller than the other by any ratio."""
    xp = array_namespace(f)
    sizes = xp.abs(f)
    largest = xp.max(sizes, axis=-2, keepdims=True)
    scale = xp.where(largest > 0, largest, xp.ones_like(largest))
    return scale[..., 0, :] * xp.sqrt(xp.sum((sizes / scale) ** 2, axis=-2))


def _at_least_one_column(f: Left) -> Inexact[Array, "... n _"]:
    """A factor without columns is one of the zero covariance; so is a column of zeros (the sum of no columns)."""
    return f if f.shape[-1] else array_namespace(f).sum(f, axis=-1, keepdims=True)
