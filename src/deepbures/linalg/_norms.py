"""Adjoints and norms of stacks of matrices."""

from typing import Any

from array_api_compat import array_namespace

Array = Any


def adjoint(x: Array) -> Array:
    """Conjugate transpose of the last two axes."""
    xp = array_namespace(x)
    transposed = x.mT
    return xp.conj(transposed) if xp.isdtype(x.dtype, "complex floating") else transposed


def squared_norm(x: Array) -> Array:
    """Squared Frobenius norm over the last two axes, real."""
    xp = array_namespace(x)
    if xp.isdtype(x.dtype, "complex floating"):
        return xp.sum(xp.real(x) ** 2 + xp.imag(x) ** 2, axis=(-2, -1))
    return xp.sum(x * x, axis=(-2, -1))
