"""How close two matrices come to each other by a rotation of their columns: everything from one SVD of FᴴG.

For F (n, r) and G (n, k), let Fᴴ G = U S Vᴴ be a thin SVD and Q = U Vᴴ. Since ‖Fᴴ G‖_* = tr(Qᴴ Fᴴ G),

    min over partial isometries = ‖F‖² + ‖G‖² − 2‖Fᴴ G‖_* = ‖G − F Q‖² + ‖F − (F U) Uᴴ‖².

The right-hand side is a sum of squares: it neither cancels near zero nor can be negative, and it holds
for *any* choice of the singular vectors that belong to a zero singular value, so no rank decision is
needed for the value. The gradient with respect to G, 2 (G − F Q), does need one: there the zero
singular values contribute zero to Q (the gradient of least norm among the one-sided choices).

All functions take arrays of any library that follows the array API standard, with leading batch
dimensions. The caller brings the SVD, since which algorithm is best depends on the library.
"""

from array_api_compat import array_namespace

from deepbures._types import Array, Bool, Float, Inexact
from deepbures.linalg._norms import adjoint, squared_norm
from deepbures.linalg._rank import nonzero


def polar_factor(
    u: Inexact[Array, "... n k"], s: Float[Array, "... k"], vh: Inexact[Array, "... k m"]
) -> Inexact[Array, "... n m"]:
    """Q = U Vᴴ over the nonzero singular values: the partial isometry of the polar decomposition."""
    xp = array_namespace(u)
    keep = xp.astype(nonzero(s, u.shape[-2], vh.shape[-1]), u.dtype)
    return (u * keep[..., None, :]) @ vh


def squared_procrustes_distance(
    f: Inexact[Array, "... n r"],
    g: Inexact[Array, "... n m"],
    u: Inexact[Array, "... r k"],
    vh: Inexact[Array, "... k m"],
) -> Float[Array, "..."]:
    """‖F‖² + ‖G‖² − 2‖Fᴴ G‖_* as a sum of squares, from the thin singular vectors of Fᴴ G."""
    fu = f @ u
    distance = squared_norm(g - fu @ vh)
    if f.shape[-1] > u.shape[-1]:
        # F has more columns than G: the part of F that no column of G can be matched to. (With at most
        # as many columns U is square and unitary, and the projection is zero.)
        distance = distance + squared_norm(f - fu @ adjoint(u))
    return distance


def polar_derivative(
    u: Inexact[Array, "... n k"],
    s: Float[Array, "... k"],
    vh: Inexact[Array, "... k m"],
    direction: Inexact[Array, "... n m"],
    keep: Bool[Array, "... k"] | None = None,
) -> Inexact[Array, "... n m"]:
    """Derivative of the polar factor of X = U S Vᴴ (thin SVD) in a direction D.

    With E = Uᴴ D V, differentiating X = Q H (H = V S Vᴴ) gives, for nonzero s,

        dQ = U [(E_ij − conj(E_ji)) / (s_i + s_j)] Vᴴ + (I − U Uᴴ) D V S⁻¹ Vᴴ + U S⁻¹ Uᴴ D (I − V Vᴴ).

    Divided differences of sums s_i + s_j only: repeated singular values are no special case.

    With zero singular values, the polar factor being that over the nonzero ones, their vectors belong to the
    projections: entry (i, j) of the bracket is E_ij / s_j for s_i = 0 and E_ij / s_i for s_j = 0. That does not depend
    on which basis of the null spaces the SVD chose (as the difference E_ij − conj(E_ji) would). It is the derivative
    along directions that keep the rank; the remaining part of D, from null space to null space, contributes zero (the
    kink convention). `keep` says which singular values are nonzero where the one rank tolerance is not to decide.
    """
    xp = array_namespace(u)
    keep = nonzero(s, u.shape[-2], vh.shape[-1]) if keep is None else keep
    one = xp.ones_like(s)
    inverse = xp.where(keep, 1 / xp.where(keep, s, one), 0 * one)
    either = keep[..., :, None] | keep[..., None, :]
    both = keep[..., :, None] & keep[..., None, :]
    sums = s[..., :, None] + s[..., None, :]
    inverse_sums = xp.where(either, 1 / xp.where(either, sums, xp.ones_like(sums)), xp.zeros_like(sums))
    uh = adjoint(u)
    uh_d = uh @ direction
    e = uh_d @ adjoint(vh)
    result = u @ ((e - xp.where(both, adjoint(e), xp.zeros_like(e))) * xp.astype(inverse_sums, u.dtype))
    if u.shape[-2] > u.shape[-1]:
        d_v = direction @ adjoint(vh)
        result = result + (d_v - u @ e) * xp.astype(inverse, u.dtype)[..., None, :]
    result = result @ vh
    if vh.shape[-1] > vh.shape[-2]:
        result = result + (u * xp.astype(inverse, u.dtype)[..., None, :]) @ (uh_d - e @ vh)
    return result
