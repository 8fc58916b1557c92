"""Derivatives of arguments of very different, very large and very small size, where squares leave the range of numbers.

The distance is homogeneous, so what is expected at any size follows from 60-digit arithmetic at the size 1: with
F = s F', G = t G' the polar factor of Fᴴ G is that of F'ᴴ G'; with A = s A', B = t B' the optimal map is √(t/s) times
that from A' to B'.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import deepbures.metric as dbm

from . import derivatives, oracle, pairs

# PyTorch compiles something of its own on the first use of forward mode, by means it has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is:DeprecationWarning")
each = pytest.mark.parametrize
RNG = np.random.default_rng(5)
# Entries with few digits, which single precision and powers of two hold exactly.
F, G = (np.round(16 * RNG.normal(size=(4, k))) / 16 for k in (3, 2))
A, B = (x @ x.T for x in (np.round(8 * RNG.normal(size=(4, 4))) / 8 for _ in range(2)))
EXPONENTS = {np.float32: (60, 100), np.float64: (520, 900)}
SIZES = [
    (dtype, sign * first * exponent, sign * second * exponent)
    for dtype, exponents in EXPONENTS.items()
    for exponent in exponents
    for sign in (1, -1)
    for first, second in ((1, 0), (0, 1), (1, 1))
]
sizes = each("dtype, first, second", SIZES, ids=lambda x: x.__name__ if isinstance(x, type) else str(x))


@functools.cache
def jitted(function):
    return jax.jit(jax.grad(function, argnums=(0, 1)))


def every_gradient(function, x, y):
    yield jax.grad(function, argnums=(0, 1))(jnp.asarray(x), jnp.asarray(y))
    yield jitted(function)(x, y)
    tensors = [torch.tensor(z, requires_grad=True) for z in (x, y)]
    yield [z.numpy() for z in torch.autograd.grad(function(*tensors), tensors)]


def assert_gradients(function, x, y, expected, factor=1.0):
    tolerance = 1e-5 if x.dtype == np.float32 else 1e-13
    for gradients in every_gradient(function, x, y):
        for gradient, wanted in zip(gradients, expected, strict=True):
            assert gradient.dtype == x.dtype
            # Largest entries are compared: squares of these numbers are what is not there.
            error = np.abs(np.asarray(gradient, np.float64) * factor - wanted).max()
            assert error <= tolerance * np.abs(wanted).max()


@functools.cache
def polar():
    return oracle.numbers(oracle.polar_factor(oracle.matrix(F.T @ G))).real


@functools.cache
def maps():
    a, b = oracle.matrix(A), oracle.matrix(B)
    return [oracle.numbers(oracle.transport_map(*pair)).real for pair in ((a, b), (b, a))]


@sizes
def test_gradients_of_factors(dtype, first, second):
    f, g = (F * 2.0**first).astype(dtype), (G * 2.0**second).astype(dtype)
    expected = 2 * (f - np.float64(g) @ polar().T), 2 * (g - np.float64(f) @ polar())
    assert_gradients(dbm.squared_bures_wasserstein_factors, f, g, expected)


@sizes
def test_gradients_of_covariances(dtype, first, second):
    a, b = (A * 2.0**first).astype(dtype), (B * 2.0**second).astype(dtype)
    forward, backward = maps()
    ratio = 2.0 ** ((second - first) / 2)
    assert_gradients(dbm.squared_bures_wasserstein, a, b, (np.eye(4) - ratio * forward, np.eye(4) - backward / ratio))


@sizes
def test_gradients_of_one_of_each(dtype, first, second):
    # G = L is a factor of B; ∂B²/∂G = 2 (G − T G), with T the map from N(0, B) to N(0, A).
    first = 2 * (first // 2)
    factor = np.linalg.cholesky(B)
    a, g = (A * 2.0**first).astype(dtype), (factor * 2.0 ** (second // 2)).astype(dtype)
    forward, backward = maps()
    ratio = 2.0 ** (second // 2 - first // 2)
    expected = np.eye(4) - ratio * forward, 2 * (np.eye(4) - backward / ratio) @ np.float64(g)
    assert_gradients(dbm.squared_bures_wasserstein_mixed, a, g, expected)


@sizes
def test_distances_and_maps(dtype, first, second):
    # B = √(s² ‖F'‖² + t² ‖G'‖² − 2 s t ‖F'ᴴ G'‖_*), all divided by the larger of s and t.
    f, g = (F * 2.0**first).astype(dtype), (G * 2.0**second).astype(dtype)
    nuclear, largest = np.trace(polar().T @ F.T @ G), max(first, second)
    s, t = 2.0 ** (first - largest), 2.0 ** (second - largest)
    expected = math.sqrt(s**2 * np.sum(F**2) + t**2 * np.sum(G**2) - 2 * s * t * nuclear) * 2.0**largest
    for function in (dbm.bures_wasserstein_distance_factors, jax.jit(dbm.bures_wasserstein_distance_factors)):
        np.testing.assert_allclose(np.float64(function(f, g)), expected, rtol=1e-5 if dtype == np.float32 else 1e-13)
    first, second = 2 * (first // 2), 2 * (second // 2)
    a, b = (A * 2.0**first).astype(dtype), (B * 2.0**second).astype(dtype)
    transport = maps()[0] * 2.0 ** (second // 2 - first // 2)
    for function in (dbm.transport_map, jax.jit(dbm.transport_map)):
        error = np.abs(np.float64(function(a, b)) - transport).max()
        assert error <= (1e-5 if dtype == np.float32 else 1e-12) * np.abs(transport).max()


SECOND = {
    # Degrees of the arguments, of which B² is the second one altogether.
    dbm.squared_bures_wasserstein_factors: ((1, 1), (F, G)),
    dbm.squared_bures_wasserstein: ((2, 2), (A, B)),
    dbm.squared_bures_wasserstein_mixed: ((2, 1), (A, G)),
}


@each("function", SECOND, ids=lambda function: function.__name__)
@each("exponent", [60, 300, -60, -300])
def test_second_derivatives(function, exponent):
    # B²(s^d x, s^e y) = s² B²(x, y): the derivative by x and y goes with s^(2−d−e), others likewise.
    degrees, given = SECOND[function]
    moved = [x * 2.0 ** (degree * exponent) for x, degree in zip(given, degrees, strict=True)]
    ways = {
        "jax": lambda x, y: jax.jit(jax.hessian(function, argnums=(0, 1)))(x, y),
        "torch": lambda x, y: torch.func.hessian(function, argnums=(0, 1))(torch.tensor(x), torch.tensor(y)),
    }
    for hessian in ways.values():
        here, there = hessian(*given), hessian(*moved)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            power = 2 - degrees[i] - degrees[j]
            block, expected = np.asarray(there[i][j]) * 2.0 ** (-power * exponent), np.asarray(here[i][j])
            np.testing.assert_allclose(block, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@each("ways", ["eager", "jit"])
def test_stacks_of_many_sizes(ways):
    powers = 2.0 ** np.array([0, -300, 300, -510, 0])[:, None, None]
    f, g = F * powers, G * powers[::-1]
    gradient = jax.grad(lambda f, g: dbm.squared_bures_wasserstein_factors(f, g).sum(), argnums=(0, 1))
    gradients = (jax.jit(gradient) if ways == "jit" else gradient)(jnp.asarray(f), jnp.asarray(g))
    expected = 2 * (f - g @ polar().T), 2 * (g - f @ polar())
    for got, wanted in zip(gradients, expected, strict=True):
        for i in range(len(powers)):
            np.testing.assert_allclose(got[i], wanted[i], rtol=0, atol=1e-13 * np.abs(wanted[i]).max())


@each("condition", [1e8, 1e16, 1e24])
@each("kind", ["against a well-conditioned one", "strong where the other is weak", "both drawn"])
def test_gradients_of_ill_conditioned_factors(kind, condition):
    # Rounding of the entries of F moves the polar factor of Fᴴ G by up to eps times the root of the condition number.
    n, rng = 6, np.random.default_rng(0)
    basis, scales = pairs.unitary(rng, n, False), np.geomspace(1, condition**-0.5, n)
    ill = pairs.conditioned(rng, n, False, condition)
    f, g = {
        "against a well-conditioned one": (ill, pairs.normal(rng, (n, n), False)),
        "strong where the other is weak": (basis * scales, basis * scales[::-1]),
        "both drawn": (ill, pairs.conditioned(rng, n, False, condition)),
    }[kind]
    truth = derivatives.factor_gradients(oracle.matrix(f), oracle.matrix(g))
    tolerance = 1e-13 if kind == "both drawn" else max(1e-13, np.finfo(float).eps * math.sqrt(condition))
    for gradients in every_gradient(dbm.squared_bures_wasserstein_factors, f, g):
        for gradient, true in zip(gradients, truth, strict=True):
            true = oracle.numbers(true).real
            assert np.linalg.norm(gradient - true) <= tolerance * np.linalg.norm(true)
