"""Sums of singular values by the cheapest decomposition that has the digits."""

from typing import Any

from array_api_compat import array_namespace

from deepbures.metric._procrustes import adjoint
from deepbures.metric._refine import refine

Array = Any

# Below this size the two decompositions cost the same.
_LARGE = 12

# The error of Σ√λ_i for computed eigenvalues, in units of eps, that is allowed relative to what it is subtracted into.
_ALLOWED = 100


def root_sum(m: Array, total: Array) -> tuple[Array, Array]:
    """Total − 2 Σ_i √λ_i for the eigenvalues of a Hermitian M, and where that can be trusted.

    Eigenvalues come with an error of a few eps λ_1 each, which the root turns into eps λ_1 / (2 √λ_i): too much for a
    small λ_i, and then the sum of these errors says so. Where it does not, M is positive definite.
    """
    return root_difference(array_namespace(m).linalg.eigvalsh(m), total)


def root_difference(eigenvalues: Array, total: Array) -> tuple[Array, Array]:
    """The same, for the eigenvalues, ascending."""
    xp = array_namespace(eigenvalues)
    positive = eigenvalues > 0
    roots = xp.sqrt(xp.where(positive, eigenvalues, xp.ones_like(eigenvalues)))
    value = total - 2 * xp.sum(roots, axis=-1)
    error = eigenvalues[..., -1] * xp.sum(1 / roots, axis=-1)
    return value, xp.all(positive, axis=-1) & (error <= _ALLOWED * value)


def trace_form(x: Array, total: Array) -> tuple[Array, Array]:
    """Total − 2‖X‖_* for a stack of matrices that are not traced, and where the cheap way gave it.

    The eigenvalues of the smaller one of Xᴴ X and X Xᴴ cost a third of the singular values of X.
    """
    rows, columns = x.shape[-2:]
    if min(rows, columns) < _LARGE:
        value = _singular(x, total)
        return value, value == value
    value, trusted = root_sum(adjoint(x) @ x if columns <= rows else x @ adjoint(x), total)
    batched = total[..., None, None]
    (value,) = refine((value,), trusted, lambda x, total: (_singular(x, total[..., 0, 0]),), x, batched)
    return value, trusted


def _singular(x: Array, total: Array) -> Array:
    xp = array_namespace(x)
    return total - 2 * xp.sum(xp.linalg.svdvals(x), axis=-1)
