"""Gradients and second derivatives in JAX, and what they are held against: formulas and differences in 60 digits."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import deepbures.metric as dbm

from . import oracle, pairs

FIELDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])


def both(function):
    """The two gradients of a function of two arrays, as JAX gives them (of complex arguments, conjugates)."""
    return jax.grad(function, argnums=(0, 1))


def curvature(function):
    """The derivative of both gradients in a direction."""
    return jax.jit(lambda x, y, dx, dy: jax.jvp(both(function), (x, y), (dx, dy))[1])


EAGER = both(dbm.squared_bures_wasserstein_factors)
OF_FACTORS, OF_COVARIANCES = jax.jit(EAGER), jax.jit(both(dbm.squared_bures_wasserstein))
CURVATURE_OF_FACTORS = curvature(dbm.squared_bures_wasserstein_factors)
CURVATURE_OF_COVARIANCES = curvature(dbm.squared_bures_wasserstein)


def evaluated(function, *arrays):
    """Results in NumPy, as gradients for the inner product Re tr(AᴴB), which are the conjugates of JAX's."""
    return [np.conj(np.asarray(result)) for result in function(*map(jnp.asarray, arrays))]


def norm(*arrays):
    return np.sqrt(sum(np.linalg.norm(x.astype(complex)) ** 2 for x in arrays))


def inner(x, y):
    return float(np.sum(x.conj() * y).real)


def gram(f):
    a = f @ f.conj().T
    return (a + a.conj().T) / 2


def hermitian(rng, n, is_complex):
    x = pairs.normal(rng, (n, n), is_complex)
    return (x + x.conj().T) / 2


@oracle.precisely
def slope(function, *arguments):
    """The derivative of a function of matrices (first half of the arguments) in a direction (second half).

    A central difference: its error is (1e-15)², as there are 60 digits.
    """
    step, half = mpmath.mpf(10) ** -15, len(arguments) // 2
    moved = list(zip(arguments[:half], arguments[half:], strict=True))
    ahead, behind = function(*(x + step * d for x, d in moved)), function(*(x - step * d for x, d in moved))
    if not isinstance(ahead, tuple):
        return (ahead - behind) / (2 * step)
    return tuple((p - m) / (2 * step) for p, m in zip(ahead, behind, strict=True))


@oracle.precisely
def second_slope(function, *arguments):
    step, half = mpmath.mpf(10) ** -12, len(arguments) // 2
    moved = list(zip(arguments[:half], arguments[half:], strict=True))
    ahead, behind = function(*(x + step * d for x, d in moved)), function(*(x - step * d for x, d in moved))
    return (ahead - 2 * function(*arguments[:half]) + behind) / step**2


@oracle.precisely
def factor_gradients(f, g, rank=None):
    """2 (F − G Qᴴ) and 2 (G − F Q), with Q = U Vᴴ over the leading `rank` singular values of Fᴴ G."""
    x = f.H * g
    rank = min(f.rows, f.cols, g.cols) if rank is None else rank
    q = mpmath.zeros(f.cols, g.cols)
    if rank:
        u, _, vh = mpmath.svd(x)
        q = u[:, :rank] * vh[:rank, :]
    return 2 * (f - g * q.H), 2 * (g - f * q)


@oracle.precisely
def covariance_gradients(a, b):
    """I − T from a to b, and I − T from b to a."""
    eye = mpmath.eye(a.rows)
    return eye - oracle.transport_map(a, b), eye - oracle.transport_map(b, a)


@oracle.precisely
def squared_distance_of_factors(f, g):
    return oracle.squared_distance(f * f.H, g * g.H)


def assert_close(results, expected, tolerance):
    size = max(np.abs(x).max() for x in expected)
    for result, true in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, true, rtol=0, atol=tolerance * size)


def map_numbers(matrices):
    return [oracle.numbers(x) for x in matrices]


# The rank of Fᴴ G is min(r, k, n) but for these. There it can grow, B² has a kink, and the gradient is to be the one of
# least norm: a zero singular value contributes zero to Q. (Only where the other factor lacks the direction is it unique
# nevertheless.) The ranks are those of the construction; rounding of the entries makes singular values of 1e-16.
RANKS = {
    "identical, rank 3": 3,
    "rank 0, full": 0,
    "no columns, full": 0,
    "zero, zero": 0,
    "rank 3, rank 2": 2,
    "orthogonal ranges": 0,
}
# All singular values of Fᴴ G are 1e-6, where ‖F‖ ‖G‖ = 1: an error eps in an entry of F turns Q by eps √cond.
ILL_POSED = {"condition 1e12, commuting": 1e6}
SQUARE = [name for name in pairs.NAMES if pairs.pair(name, 6, False)[0].shape == pairs.pair(name, 6, False)[1].shape]
TABLE = [(name, 6, is_complex) for is_complex in (False, True) for name in pairs.NAMES]
TABLE += [(name, 20, False) for name in ("generic", "condition 1e12, another factor")]
# Compiling for each shape is what takes the time.
COMPILED = [case for case in TABLE if not case[2] or case[0] in ("tall", "wide", *SQUARE)]


@functools.cache
def true_gradients(name, n, is_complex, dtype=None):
    f, g, _ = pairs.pair(name, n, is_complex, dtype)
    gradients = factor_gradients(oracle.matrix(f), oracle.matrix(g), RANKS.get(name))
    return [oracle.numbers(x)[:, : y.shape[1]] for x, y in zip(gradients, (f, g), strict=True)]
