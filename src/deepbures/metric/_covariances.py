"""The distance of two covariances that are given as matrices, and the optimal map from one to the other."""

import dataclasses

from array_api_compat import array_namespace

from deepbures._arrays import refuse_other_order
from deepbures._types import Array, ArrayLike, Float, Inexact
from deepbures.linalg import adjoint, nonzero, squared_procrustes_distance
from deepbures.metric._cholesky import cholesky_factor
from deepbures.metric._factors import NO_CANCELLATION, column_lengths, graded
from deepbures.metric._libraries import is_traced
from deepbures.metric._nearest import checked_covariances
from deepbures.metric._nuclear import root_difference, root_sum, trace_form
from deepbures.metric._refine import refine
from deepbures.metric._rules import gradient
from deepbures.metric._scaled import rooted_at_any_scale, squared_at_any_scale
from deepbures.metric._scaling import covariance_scale, divide, equal
from deepbures.metric._transport import Decomposition, Maps, TransportKernel
from deepbures.metric._validation import (
    align,
    check_eigenvalues,
    check_same_dimension,
    floating_arrays,
    largest_entry,
    rounding,
)

Square = Inexact[Array, "... n n"]
Factor = Inexact[Array, "... n r"]

# The least ratio of eigenvalues of Lᴴ B L, or of singular values of Fᴴ G, for their vectors to be used: with these they
# lose three digits, or no more than by rounding the covariances. Below it the factors are graded.
_WELL_CONDITIONED = 1e-6

# Below this ratio of squared pivots, Lᴴ B L has eigenvalues too small for their roots to be accurate.
_WORTH_TRYING = 1e-10

# Congruences of matrices up to this size are formed by two products.
_BLOCK = 128


def squared_bures_wasserstein(a: ArrayLike, b: ArrayLike, *, rtol: float | None = None) -> Float[Array, "..."]:
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
    rtol : float, optional
        Asymmetry and negative eigenvalues up to rtol times the largest entry of a matrix are put down to rounding, and
        taken away first: the result is that of `nearest_covariance`. Default: 100 n eps of the dtype.

    Returns
    -------
    array of shape (...)
        Real, never negative, in the precision of the input (integers are promoted to the default float).

    Raises
    ------
    TypeError
        If the arrays are not numeric, or of two libraries or two dtypes, or rtol is no number.
    ValueError
        If the shapes do not fit, rtol is negative, an entry is not finite, or a matrix is not Hermitian or has a
        negative eigenvalue beyond rounding. The message says which `rtol` would do. (Inside a JAX transformation only
        shapes are checked, and with an `rtol` whatever is negative is taken away.)

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
    return squared_at_any_scale(_KERNEL, *checked_pair(a, b, rtol))


def bures_wasserstein_distance(a: ArrayLike, b: ArrayLike, *, rtol: float | None = None) -> Float[Array, "..."]:
    """Bures-Wasserstein distance of two covariances, the square root of `squared_bures_wasserstein`.

    Parameters
    ----------
    a : array of shape (..., n, n)
        A, symmetric positive semidefinite (Hermitian if complex), singular or not.
    b : array of shape (..., n, n)
        B, likewise.
    rtol : float, optional
        Asymmetry and negative eigenvalues up to rtol times the largest entry of a matrix are put down to rounding, and
        taken away first: the result is that of `nearest_covariance`. Default: 100 n eps of the dtype.

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
    return rooted_at_any_scale(_KERNEL, *checked_pair(a, b, rtol))


def transport_map(a: ArrayLike, b: ArrayLike, *, rtol: float | None = None) -> Inexact[Array, "... n n"]:
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
    rtol : float, optional
        Asymmetry and negative eigenvalues up to rtol times the largest entry of a matrix are put down to rounding, and
        taken away first: the result is that of `nearest_covariance`. Default: 100 n eps of the dtype.

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
    a, b = checked_pair(a, b, rtol)
    a_scale, b_scale = covariance_scale(a), covariance_scale(b)
    forward = gradient(Maps(_KERNEL), divide(a, a_scale), divide(b, b_scale))
    return (b_scale / a_scale) * hermitian(forward)


def checked_pair(a: ArrayLike, b: ArrayLike, rtol: float | None) -> tuple[Square, Square]:
    """Two covariances as Hermitian arrays of one library and dtype with as many leading axes."""
    refuse_other_order(covariances={"a": a, "b": b})
    a, b = floating_arrays(a=a, b=b)
    a, b = checked_covariances(rtol, a=a, b=b)
    check_same_dimension(-1, a=a, b=b)
    a, b = align(a=a, b=b)
    return a, b


@dataclasses.dataclass(frozen=True)
class CovarianceKernel(TransportKernel):
    """D(A, B) = B²(A, B), by factors A = F Fᴴ, B = G Gᴴ and Fᴴ G = U S Vᴴ.

    With Y = G V S^{−½} and Z = F U S^{−½} over the nonzero singular values, Zᴴ Y = I, and the optimal maps are

        T_AB = Y Yᴴ,    T_BA = Z Zᴴ.

    In this basis both covariances are diagonal, Yᴴ A Y = S = Zᴴ B Z. Differentiating T A T = B therefore gives, for
    dT_AB = Y K Yᴴ, the equation K S + S K = Zᴴ dB Z − Yᴴ dA Y, hence

        K_ij = [Zᴴ dB Z − Yᴴ dA Y]_ij / (s_i + s_j),    dT_AB = Y K Yᴴ,    dT_BA = −Z K Zᴴ.

    Where a covariance is singular, this is the derivative along directions that do not enlarge its range.
    """

    names: tuple[str, str]  # what messages call the arguments

    covariances = (True, True)

    def value_alone(self, x: Square, y: Square) -> Float[Array, "..."]:
        """From the eigenvalues of Lᴴ B L, A = L Lᴴ, where that has the digits; else from the two factors."""
        xp = array_namespace(x, y)
        same = equal(x, y)
        factor = None if is_traced(x, y) else cholesky_factor(x)
        if factor is None or not _has_large_pivots(factor):
            value = self._by_factors(x, y)
        else:
            total = _trace(x) + _trace(y)
            value, trusted = root_sum(congruence(y, factor), total)
            far = (trusted & (value >= NO_CANCELLATION * total)) | same
            (value,) = refine((value,), far, lambda x, y: (self._by_factors(x, y, gram=False),), x, y)
        return xp.where(same, xp.zeros_like(value), value)

    def decompose(self, x: Square, y: Square) -> Decomposition:
        """Y, Z and S, with zero columns for zero singular values, and the value.

        With A = L Lᴴ and Lᴴ B L = U S² Uᴴ, Z = L U S^{−½} and Y = B Z S⁻¹, where S is not too small for it.
        """
        xp = array_namespace(x, y)
        factor = None if is_traced(x, y) else cholesky_factor(x)
        if factor is None or not _has_large_pivots(factor):
            return self._pieces_by_factors(x, y)
        total = _trace(x) + _trace(y)
        eigenvalues, u = xp.linalg.eigh(congruence(y, factor))
        value, trusted = root_difference(eigenvalues, total)
        well_conditioned = eigenvalues[..., 0] > _WELL_CONDITIONED * eigenvalues[..., -1]
        trusted = trusted & well_conditioned & (value >= NO_CANCELLATION * total)
        s = xp.sqrt(xp.where(eigenvalues > 0, eigenvalues, xp.ones_like(eigenvalues)))
        second = (factor @ u) / xp.astype(xp.sqrt(s), u.dtype)[..., None, :]
        first = (y @ second) / xp.astype(s, u.dtype)[..., None, :]
        return refine((first, second, s, value[..., None]), trusted, self._pieces_by_factors, x, y)

    def value(self, x: Square, y: Square, pieces: Decomposition) -> Float[Array, "..."]:
        """The value is one of the pieces."""
        value = pieces[3][..., 0]
        xp = array_namespace(value)
        return xp.where(equal(x, y), xp.zeros_like(value), value)

    def map(self, which: int, x: Square, y: Square, pieces: Decomposition) -> Square:
        """T_AB or T_BA."""
        return pieces[which] @ adjoint(pieces[which])

    def map_derivatives(
        self, x: Square, y: Square, pieces: Decomposition, dx: Square, dy: Square
    ) -> tuple[Square, Square]:
        """Y K Yᴴ and −Z K Zᴴ."""
        xp = array_namespace(x, y)
        first, second, s, _ = pieces
        both = (s[..., :, None] > 0) & (s[..., None, :] > 0)
        sums = xp.where(both, s[..., :, None] + s[..., None, :], xp.ones_like(both, dtype=s.dtype))
        k = (adjoint(second) @ dy @ second - adjoint(first) @ dx @ first) / xp.astype(sums, x.dtype)
        return first @ k @ adjoint(first), -(second @ k @ adjoint(second))

    def _factors(self, x: Square, y: Square) -> tuple[tuple[Factor, bool], tuple[Factor, bool]]:
        return _factor(x, self.names[0]), _factor(y, self.names[1])

    def _pieces_by_factors(self, x: Square, y: Square) -> Decomposition:
        xp = array_namespace(x, y)
        (f, f_is_graded), (g, g_is_graded) = self._factors(x, y)
        if f_is_graded or g_is_graded:
            return _graded_pieces(f if f_is_graded else graded(f), g if g_is_graded else graded(g))
        u, s, vh = xp.linalg.svd(adjoint(f) @ g, full_matrices=False)
        total = _trace(x) + _trace(y)
        value = total - 2 * xp.sum(s, axis=-1)
        trusted = (value >= NO_CANCELLATION * total) & (s[..., -1] > _WELL_CONDITIONED * s[..., 0])
        weight = 1 / xp.sqrt(xp.where(s > 0, s, xp.ones_like(s)))
        pieces = (*_bases(f, g, u, vh, weight), s, value[..., None])
        return refine(pieces, trusted, lambda f, g: _graded_pieces(graded(f), graded(g)), f, g)

    def _by_factors(self, x: Square, y: Square, *, gram: bool = True) -> Float[Array, "..."]:
        (f, f_is_graded), (g, g_is_graded) = self._factors(x, y)

        def careful(f: Array, g: Array) -> tuple[Array]:
            f, g = f if f_is_graded else graded(f), g if g_is_graded else graded(g)
            u, _, vh = array_namespace(f, g).linalg.svd(adjoint(f) @ g, full_matrices=False)
            return (squared_procrustes_distance(f, g, u, vh),)

        if is_traced(x, y):
            (value,) = careful(f, g)
        else:
            total = _trace(x) + _trace(y)
            value = trace_form(adjoint(f) @ g, total, gram=gram)
            (value,) = refine((value,), value >= NO_CANCELLATION * total, careful, f, g)
        return value


_KERNEL = CovarianceKernel(("a", "b"))


def _graded_pieces(f: Factor, g: Factor) -> Decomposition:
    xp = array_namespace(f, g)
    u, s, vh = xp.linalg.svd(adjoint(f) @ g, full_matrices=False)
    # The entries of Fᴴ G have errors relative to the lengths of the two columns that they come from (see _factors).
    limit = column_lengths(f) * column_lengths(g)
    keep = (limit > 0) & (s > f.shape[-1] * xp.finfo(s.dtype).eps * limit)
    s_kept = xp.where(keep, s, xp.zeros_like(s))
    weight = xp.where(keep, 1 / xp.sqrt(xp.where(keep, s, xp.ones_like(s))), xp.zeros_like(s))
    return *_bases(f, g, u, vh, weight), s_kept, squared_procrustes_distance(f, g, u, vh)[..., None]


def _bases(
    f: Factor, g: Factor, u: Inexact[Array, "... r s"], vh: Inexact[Array, "... s r"], weight: Float[Array, "... s"]
) -> tuple[Inexact[Array, "... n s"], Inexact[Array, "... n s"]]:
    """Y and Z."""
    scaled = array_namespace(f).astype(weight, f.dtype)[..., None, :]
    return (g @ adjoint(vh)) * scaled, (f @ u) * scaled


def hermitian(a: Square) -> Square:
    """The Hermitian part, which takes rounding away: Hermitian to the last bit."""
    return a / 2 + adjoint(a) / 2


def congruence(b: Square, factor: Square) -> Square:
    """Lᴴ B L for Hermitian B and lower triangular L.

    By halves, with L and B in blocks: a third of the work of two products of full matrices.
    """
    xp = array_namespace(b, factor)
    size = b.shape[-1]
    if size <= _BLOCK:
        return adjoint(factor) @ (b @ factor)
    half = size // 2
    left, lower, right = factor[..., :half, :half], factor[..., half:, :half], factor[..., half:, half:]
    down = b[..., half:, half:] @ lower
    across = b[..., half:, :half] @ left + down / 2
    corner = adjoint(lower) @ across
    top = congruence(b[..., :half, :half], left) + corner + adjoint(corner)
    side = adjoint(right) @ (across + down / 2)
    bottom = congruence(b[..., half:, half:], right)
    top = xp.broadcast_to(top, (*side.shape[:-2], half, half))
    bottom = xp.broadcast_to(bottom, (*side.shape[:-2], size - half, size - half))
    return xp.concat([xp.concat([top, adjoint(side)], axis=-1), xp.concat([side, bottom], axis=-1)], axis=-2)


def _trace(a: Square) -> Float[Array, "..."]:
    xp = array_namespace(a)
    return xp.sum(xp.real(xp.linalg.diagonal(a)), axis=-1)


def _has_large_pivots(factor: Square) -> bool:
    xp = array_namespace(factor)
    pivots = xp.real(xp.linalg.diagonal(factor)) ** 2
    return bool(xp.all(xp.min(pivots, axis=-1) > _WORTH_TRYING * xp.max(pivots, axis=-1)))


def _eigenvalue_factor(a: Square, name: str, whole: Inexact[Array, "... m m"]) -> Square:
    """Ω √λ for A = Ω diag(λ) Ωᴴ, λ descending: orthogonal columns sorted by size. Rounding counts as zero.

    Without that, an eigenvalue eps in the place of a zero would move the distance by √eps. What is rounding is decided
    by the whole covariance that A is, or is a compression of.
    """
    xp = array_namespace(a)
    eigenvalues, vectors = xp.linalg.eigh(a)
    eigenvalues, vectors = xp.flip(eigenvalues, axis=-1), xp.flip(vectors, axis=-1)
    size = a.shape[-1]
    lowest, tolerance = eigenvalues[..., -1], rounding(whole, whole.shape[-1])
    if whole is not a and not is_traced(lowest, whole) and bool(xp.any(lowest < -tolerance * largest_entry(whole))):
        lowest = xp.linalg.eigvalsh(whole)[..., 0]  # a compression shows no more than a part of what is wrong
    check_eigenvalues(lowest, whole, tolerance, name)
    keep = (eigenvalues > 0) & nonzero(eigenvalues, size, size)
    root = xp.where(keep, xp.sqrt(xp.where(keep, eigenvalues, xp.ones_like(eigenvalues))), xp.zeros_like(eigenvalues))
    return vectors * xp.astype(root, vectors.dtype)[..., None, :]


def _factor(a: Square, name: str, whole: Inexact[Array, "... m m"] | None = None) -> tuple[Square, bool]:
    """A factor of A, and whether its columns are orthogonal and sorted by size."""
    factor = cholesky_factor(a)
    if factor is not None:
        return factor, False
    return _eigenvalue_factor(a, name, a if whole is None else whole), True


def graded_factor(a: Square, name: str, whole: Inexact[Array, "... m m"]) -> Square:
    """A factor of A, a compression of a whole covariance, with orthogonal columns sorted by size."""
    factor, is_graded = _factor(a, name, whole)
    return factor if is_graded else graded(factor)
