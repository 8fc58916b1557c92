"""Sums of singular values by the cheapest decomposition that has the digits."""

import numpy as np
from array_api_compat import array_namespace

from deepbures._types import Array, Bool, Float, Inexact
from deepbures.linalg import adjoint
from deepbures.metric._refine import refine

# Below this size the two decompositions cost the same.
_LARGE = 12

# From this size on it is worth a Cholesky factorization to know whether eigenvalues will do.
_VERY_LARGE = 512
_SMALL_PIVOT = 1e-9

# The error of Σ√λ_i for computed eigenvalues, in units of eps, that is allowed relative to what it is subtracted into.
_ALLOWED = 100


def root_sum(
    m: Inexact[Array, "... n n"], total: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    """Total − 2 Σ_i √λ_i for the eigenvalues of a Hermitian M, and where that can be trusted.

    Eigenvalues come with an error of a few eps λ_1 each, which the root turns into eps λ_1 / (2 √λ_i): too much for a
    small λ_i, and then the sum of these errors says so. Where it does not, M is positive definite.
    """
    return root_difference(array_namespace(m).linalg.eigvalsh(m), total)


def root_difference(
    eigenvalues: Float[Array, "... n"], total: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    """The same, for the eigenvalues, ascending."""
    xp = array_namespace(eigenvalues)
    positive = eigenvalues > 0
    roots = xp.sqrt(xp.where(positive, eigenvalues, xp.ones_like(eigenvalues)))
    value = total - 2 * xp.sum(roots, axis=-1)
    error = eigenvalues[..., -1] * xp.sum(1 / roots, axis=-1)
    return value, xp.all(positive, axis=-1) & (error <= _ALLOWED * value)


def trace_form(x: Inexact[Array, "... n m"], total: Float[Array, "..."], *, gram: bool = True) -> Float[Array, "..."]:
    """Value of total − 2‖X‖_* for a stack of matrices that are not traced.

    The eigenvalues of the smaller one of Xᴴ X and X Xᴴ cost a third of the singular values of X. `gram` says whether it
    is worth trying.
    """
    xp = array_namespace(x)
    rows, columns = x.shape[-2:]
    if not gram or min(rows, columns) < _LARGE:
        return _singular(x, total)
    m = adjoint(x) @ x if columns <= rows else x @ adjoint(x)
    if min(rows, columns) >= _VERY_LARGE and not _is_well_conditioned(m):
        return _singular(x, total)
    value, trusted = root_sum(m, total)
    batched = xp.broadcast_to(total, value.shape)[..., None, None]
    (value,) = refine((value,), trusted, lambda x, total: (_singular(x, total[..., 0, 0]),), x, batched)
    return value


def _is_well_conditioned(m: Inexact[Array, "... n n"]) -> bool:
    """A guess: a small pivot of a Cholesky factorization means a small eigenvalue, at a fraction of the cost.

    Pivots are larger than the smallest eigenvalue, for random matrices by some n.
    """
    xp = array_namespace(m)
    try:
        factor = xp.linalg.cholesky(m)
    except (np.linalg.LinAlgError, RuntimeError):
        return False
    pivots = xp.real(xp.linalg.diagonal(factor)) ** 2
    return bool(xp.all(xp.min(pivots, axis=-1) > _SMALL_PIVOT * m.shape[-1] * xp.max(pivots, axis=-1)))


def _singular(x: Inexact[Array, "... n m"], total: Float[Array, "..."]) -> Float[Array, "..."]:
    xp = array_namespace(x)
    return total - 2 * xp.sum(xp.linalg.svdvals(x), axis=-1)
