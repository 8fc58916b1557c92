"""Adjoints and norms of stacks of matrices."""

from array_api_compat import array_namespace

from deepbures._types import Array, Float, Inexact


def adjoint(x: Inexact[Array, "... n m"]) -> Inexact[Array, "... m n"]:
    """Conjugate transpose of the last two axes."""
    xp = array_namespace(x)
    transposed = x.mT
    return xp.conj(transposed) if xp.isdtype(x.dtype, "complex floating") else transposed


def squared_norm(x: Inexact[Array, "... n m"]) -> Float[Array, "..."]:
    """Squared Frobenius norm over the last two axes, real."""
    xp = array_namespace(x)
    if xp.isdtype(x.dtype, "complex floating"):
        return xp.sum(xp.real(x) ** 2 + xp.imag(x) ** 2, axis=(-2, -1))
    return xp.sum(x * x, axis=(-2, -1))
