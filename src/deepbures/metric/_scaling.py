"""Arithmetic at an ordinary scale: everything is divided by one power of two first, which is exact.

So no square overflows or vanishes on the way. The power of two is a constant under differentiation: the distance of
scaled arguments is the scaled distance, whatever the scale.
"""

import functools

from array_api_compat import array_namespace

from deepbures._types import Array, Bool, Float, Inexact
from deepbures.metric._libraries import detached, is_traced


def common_scale(*arrays: Inexact[Array, "... _ _"]) -> Float[Array, "... 1 1"]:
    """The power of two just below the largest entry of the arrays, per matrix: shape (..., 1, 1), real."""
    xp = array_namespace(*arrays)
    largest = [xp.max(xp.abs(detached(array)), axis=(-2, -1), keepdims=True) for array in arrays]
    return power_of_two(functools.reduce(xp.maximum, largest), 1)


def covariance_scale(*covariances: Inexact[Array, "... n n"]) -> Float[Array, "... 1 1"]:
    """The power of two just below the largest standard deviation, per matrix: shape (..., 1, 1).

    No entry of a covariance is larger than the largest of its diagonal.
    """
    xp = array_namespace(*covariances)
    largest = [xp.max(xp.real(xp.linalg.diagonal(detached(a))), axis=-1) for a in covariances]
    return power_of_two(functools.reduce(xp.maximum, largest), 2)[..., None, None]


def power_of_two(size: Float[Array, "*shape"], root: int) -> Float[Array, "*shape"]:
    """The power of two just below size^(1/root); 1 for zero and for ordinary sizes.

    Ordinary is what leaves fourth powers far from the ends of the range: the distance looks at eigenvalues of Gram
    matrices of products of factors.
    """
    xp = array_namespace(size)
    one = xp.ones_like(size)
    exponent = xp.floor(xp.log2(xp.where(size > 0, size, one)) / root)
    ordinary = xp.abs(exponent) <= (100 if size.dtype == xp.float64 else 6)
    return xp.pow(2 * one, xp.where(ordinary, xp.zeros_like(exponent), exponent))


def is_one(scale: Float[Array, "... 1 1"]) -> bool:
    """Whether a scale is known to change nothing, so that a pass over large arrays can be saved."""
    return not is_traced(scale) and bool(array_namespace(scale).all(scale == 1))


def squared(value: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """scale² · value; a scalar where there is no batch."""
    return plain(times_squared(value, scale))


def times_squared(value: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """scale² · value, without a scale² that overflows on the way."""
    return scale * (scale * value)


def divide(a: Inexact[Array, "... m n"], scale: Float[Array, "... 1 1"]) -> Inexact[Array, "... m n"]:
    """A / scale², likewise."""
    return a if is_one(scale) else a / scale / scale


def rooted(value: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """Scale · √value; a scalar where there is no batch. At zero, where the root has a kink, its derivative is zero."""
    xp = array_namespace(value)
    positive = value > 0
    root = xp.sqrt(xp.where(positive, value, xp.ones_like(value)))
    return plain(scale * xp.where(positive, root, xp.zeros_like(root)))


def plain(value: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """NumPy's scalars in place of its arrays without axes."""
    return value if value.ndim else value[()]


def equal(a: Inexact[Array, "... _ _"], b: Inexact[Array, "... _ _"]) -> Bool[Array, "..."]:
    """Where two stacks hold the same matrix, entry for entry: there a distance is zero without any arithmetic."""
    xp = array_namespace(a, b)
    if a.shape[-2:] == b.shape[-2:]:
        return xp.all(a == b, axis=(-2, -1))
    return xp.zeros_like(a[..., 0, 0] == b[..., 0, 0])
