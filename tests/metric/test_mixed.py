"""A covariance against a factor: to the accuracy that is documented, in every library, with both gradients."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import torch

import deepbures.metric as dbm

from . import derivatives, oracle, pairs, test_accuracy

FIELDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
each = pytest.mark.parametrize
squared_mixed, distance_mixed = dbm.squared_bures_wasserstein_mixed, dbm.bures_wasserstein_distance_mixed

IN_JAX = jax.jit(lambda a, g: (squared_mixed(a, g), distance_mixed(a, g)))
GRADIENTS = jax.jit(jax.grad(squared_mixed, argnums=(0, 1)))
CURVATURE = derivatives.curvature(squared_mixed)


def gram(f):
    a = f @ f.conj().T
    return (a + a.conj().T) / 2


def in_numpy(a, g):
    return squared_mixed(a, g), distance_mixed(a, g)


def in_jax(a, g):
    return [np.asarray(value) for value in IN_JAX(a, g)]


def in_torch(a, g):
    return [value.numpy() for value in in_numpy(torch.tensor(a), torch.tensor(g))]


# --------------------------------------------------------------------------------------------------------------- values


def truth(name, n, is_complex):
    """B², and the sum of traces that its error is measured by."""
    distance, scale = test_accuracy.truth(name, n, is_complex)
    return distance**2, scale**2


# What rounding A does to the distance: between bounded and singular ones eps · tr A; where the commuting pair of
# condition 1e12 has eigenvalues 1e-12 beside 1, eps √cond.
SENSITIVE = {"condition 1e12, commuting": 1e-10}


def assert_accurate(results, name, n, is_complex):
    squared, distance = results
    expected, traces = truth(name, n, is_complex)
    assert squared.dtype == distance.dtype == np.float64
    assert squared >= 0 and abs(float(distance) ** 2 - float(squared)) <= 1e-15 * squared
    error = abs(mpmath.mpf(float(squared)) - expected)
    assert error <= max(1e-13 * expected, SENSITIVE.get(name, 1e-15) * traces)


CASES = [(name, 6, is_complex) for is_complex in (False, True) for name in pairs.NAMES]
CASES += [(name, 20, False) for name in ("generic", "another factor", "rank 3, rank 2")]


@each("function", [in_numpy, in_torch])
@each("name, n, is_complex", CASES)
def test_values(function, name, n, is_complex):
    f, g, _ = pairs.pair(name, n, is_complex)
    assert_accurate(function(gram(f), g), name, n, is_complex)
    assert_accurate(function(gram(g), f), name, n, is_complex)


@each("name", derivatives.SQUARE)
def test_values_in_jax(name):
    f, g, _ = pairs.pair(name, 6, False)
    assert_accurate(in_jax(gram(f), g), name, 6, False)


@each("function", [in_numpy, in_jax, in_torch])
@each("name", ["generic", "another factor", "rank 3, rank 2", "near 1e-6"])
def test_values_in_single_precision(function, name):
    f, g, _ = pairs.pair(name, 6, False)
    squared, distance = function(gram(f).astype(np.float32), g.astype(np.float32))
    assert squared.dtype == distance.dtype == np.float32
    expected, traces = truth(name, 6, False)
    assert abs(float(squared) - float(expected)) <= 2e-6 * float(traces)


@FIELDS
@each("columns", [0, 1, 3, 5, 8])
def test_any_number_of_columns(columns, is_complex):
    rng = np.random.default_rng(1)
    f, g = pairs.normal(rng, (5, 5), is_complex), pairs.normal(rng, (5, columns), is_complex)
    expected = float(oracle.squared_distance(oracle.covariance(f), oracle.covariance(g)))
    for function in (in_numpy, in_jax, in_torch) if columns in (0, 8) else (in_numpy, in_torch):
        assert function(gram(f), g)[0] == pytest.approx(expected, rel=1e-14)


@each("xp", [np, jnp, torch], ids=["numpy", "jax", "torch"])
def test_zeros(xp):
    a, zero = np.diag([4.0, 0.0, 1.0]), np.zeros((3, 2))
    orthogonal = np.array([[0.0, 0.0], [3.0, 1.0], [0.0, 0.0]])
    function = jax.jit(squared_mixed) if xp is jnp else squared_mixed
    for x, g, expected in ((a, zero, 5), (0 * a, zero + 2, 24), (0 * a, zero, 0), (a, orthogonal, 15)):
        assert float(function(xp.asarray(x), xp.asarray(g))) == pytest.approx(expected, rel=1e-15, abs=0)


def test_columns_that_depend_on_each_other():
    # (1, 1) is twice in G, or three times as long once: √3 · (1, 1) either way. B² = (3 - √6)² + …, all in one line.
    g = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    a = np.full((2, 2), 4.5)
    assert squared_mixed(a, g) == pytest.approx((3 - np.sqrt(6)) ** 2, rel=1e-14)


@each("function", [squared_mixed, distance_mixed])
@each("scale", [1e-150, 1e150])
def test_nothing_overflows(function, scale):
    a, g = np.diag([9.0, 1.0]), np.array([[2.0], [0.0]])
    power = 1 if function is distance_mixed else 2
    assert function(scale * (scale * a), scale * g) == pytest.approx(scale**power * function(a, g), rel=1e-14)


def test_large_and_thin():
    # diag(1 … n) against c · (e_1 … e_k): (√i − c)² summed, and the rest of the trace.
    n, k, c = 400, 3, 2.0
    expected = sum((np.sqrt(i) - c) ** 2 for i in range(1, k + 1)) + sum(range(k + 1, n + 1))
    assert squared_mixed(np.diag(np.arange(1.0, n + 1)), c * np.eye(n)[:, :k]) == pytest.approx(expected, rel=1e-14)


# ------------------------------------------------------------------------------------------------------------ gradients


def gradients_in_jax(a, g):
    return derivatives.evaluated(GRADIENTS, a, g)


def gradients_in_torch(a, g):
    given = [torch.tensor(x, requires_grad=True) for x in (a, g)]
    squared_mixed(*given).backward()
    return [x.grad.numpy() for x in given]


BACKWARD = each("gradients", [gradients_in_jax, gradients_in_torch])
# Compiling for each shape is what takes the time in JAX.
FINITE = [(gradients_in_torch, name) for name in pairs.NAMES]
FINITE += [(gradients_in_jax, name) for name in derivatives.SQUARE]


@oracle.precisely
def true_gradients(a, g):
    """I − T and 2 (G − A G P), P the inverse root of GᴴAG: for A positive definite and G of full rank."""
    half = mpmath.mpf(1) / 2
    if g.cols <= g.rows:
        p = oracle.function_of(g.H * a * g, -half)
        return mpmath.eye(a.rows) - g * p * g.H, 2 * (g - a * g * p)
    there, back = oracle.transport_map(a, g * g.H), oracle.transport_map(g * g.H, a)
    return mpmath.eye(a.rows) - there, 2 * (g - back * g)


@BACKWARD
@FIELDS
@each("columns", [2, 6])
def test_gradients(gradients, columns, is_complex):
    rng = np.random.default_rng(2)
    a, g = gram(pairs.conditioned(rng, 4, is_complex, 1e2)), pairs.normal(rng, (4, columns), is_complex)
    expected = true_gradients(oracle.matrix(a), oracle.matrix(g))
    for gradient, true in zip(gradients(a, g), map(oracle.numbers, expected), strict=True):
        np.testing.assert_allclose(gradient, true, rtol=0, atol=1e-13 * np.abs(true).max())


@FIELDS
def test_gradients_are_those_of_the_other_functions(is_complex):
    rng = np.random.default_rng(3)
    f, g = pairs.normal(rng, (4, 4), is_complex), pairs.normal(rng, (4, 4), is_complex)
    of_a, of_g = gradients_in_jax(gram(f), g)
    other_a, _ = derivatives.evaluated(derivatives.OF_COVARIANCES, gram(f), gram(g))
    _, other_g = derivatives.evaluated(derivatives.OF_FACTORS, f, g)
    np.testing.assert_allclose(of_a, other_a, atol=1e-11 * np.abs(other_a).max())
    np.testing.assert_allclose(of_g, other_g, atol=1e-11 * np.abs(other_g).max())


@each("gradients, name", FINITE)
def test_gradients_are_finite(gradients, name):
    f, g, _ = pairs.pair(name, 6, False)
    of_a, of_g = gradients(gram(f), g)
    assert np.isfinite(of_a).all() and np.isfinite(of_g).all()
    np.testing.assert_allclose(of_a, of_a.T, atol=1e-15 * np.abs(of_a).max())


@BACKWARD
def test_gradients_at_kinks(gradients):
    # A zero column is not pulled at, and a vector of G that A annihilates sees its own norm only.
    a = np.diag([4.0, 0.0, 9.0])
    g = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
    of_a, of_g = gradients(a, g)
    np.testing.assert_allclose(of_g, [[2 * (1 - 2), 0, 0], [0, 0, 10], [0, 0, 0]], atol=1e-14)
    np.testing.assert_allclose(of_a, np.diag([1 - 1 / 2, 1.0, 1.0]), atol=1e-14)
    of_a, of_g = gradients(a, 0 * g)
    np.testing.assert_array_equal(of_a, np.eye(3))
    np.testing.assert_array_equal(of_g, 0 * g)
    of_a, of_g = gradients(0 * a, g)
    np.testing.assert_array_equal(of_a, np.eye(3))
    np.testing.assert_array_equal(of_g, 2 * g)


@FIELDS
@each("columns", [2, 4])
def test_second_derivative(columns, is_complex):
    rng = np.random.default_rng(4)
    a, da = gram(pairs.conditioned(rng, 4, is_complex, 1e2)), derivatives.hermitian(rng, 4, is_complex)
    g, dg = pairs.normal(rng, (2, 4, columns), is_complex)
    expected = derivatives.slope(true_gradients, *map(oracle.matrix, (a, g, da, dg)))
    result = derivatives.evaluated(CURVATURE, a, g, da, dg)
    derivatives.assert_close(result, [oracle.numbers(x) for x in expected], 1e-11)


@FIELDS
def test_second_derivative_at_fixed_rank(is_complex):
    # G = L R keeps its rank along dL R + L dR, where P is a smooth pseudo-inverse.
    rng = np.random.default_rng(9)
    a, da = gram(pairs.conditioned(rng, 4, is_complex, 1e2)), derivatives.hermitian(rng, 4, is_complex)
    left, d_left = (oracle.matrix(x) for x in pairs.normal(rng, (2, 4, 2), is_complex))
    right, d_right = (oracle.matrix(x) for x in pairs.normal(rng, (2, 2, 4), is_complex))
    with mpmath.workdps(oracle.DIGITS):
        g, dg = left * right, d_left * right + left * d_right
    expected = derivatives.slope(true_gradients, oracle.matrix(a), g, oracle.matrix(da), dg)
    given = (x if is_complex else x.real for x in (a, oracle.numbers(g), da, oracle.numbers(dg)))
    result = derivatives.evaluated(CURVATURE, *given)
    derivatives.assert_close(result, [oracle.numbers(x) for x in expected], 1e-11)


def test_second_derivative_where_the_distance_is_zero():
    # B²(I, (I + t D)(I + t D)ᵀ) = t² ‖(D + Dᵀ) / 2‖² + …, and B²(I + t H, I) = t² ‖H‖² / 4 + ….
    d = np.random.default_rng(5).normal(size=(4, 4))
    _, of_g = derivatives.evaluated(CURVATURE, np.eye(4), np.eye(4), 0 * d, d)
    np.testing.assert_allclose(of_g, d + d.T, atol=1e-14)
    of_a, _ = derivatives.evaluated(CURVATURE, np.eye(4), np.eye(4), d + d.T, 0 * d)
    np.testing.assert_allclose(of_a, (d + d.T) / 2, atol=1e-14)


def test_distance_has_zero_gradient_at_zero():
    for gradient in jax.jit(jax.grad(distance_mixed, argnums=(0, 1)))(4 * jnp.eye(4), 2 * jnp.eye(4)):
        np.testing.assert_array_equal(gradient, np.zeros((4, 4)))


LIBRARIES = each("xp", [np, jnp, torch], ids=["numpy", "jax", "torch"])


# --------------------------------------------------------------------------------------------------------------- stacks


@LIBRARIES
def test_leading_dimensions(xp):
    rng = np.random.default_rng(7)
    a, g = np.stack([gram(x) for x in rng.normal(size=(4, 3, 3))]), rng.normal(size=(2, 1, 3, 2))
    g[1] = 0
    function = jax.jit(squared_mixed) if xp is jnp else squared_mixed
    values = np.asarray(function(xp.asarray(a), xp.asarray(g)))
    assert values.shape == (2, 4)
    for i, j in np.ndindex(2, 4):
        np.testing.assert_allclose(values[i, j], squared_mixed(a[j], g[i, 0]), rtol=1e-12)
    assert function(xp.asarray(a[:0]), xp.asarray(g[0, 0])).shape == (0,)


def test_vmap():
    rng = np.random.default_rng(8)
    a, g = jnp.asarray(np.stack([gram(x) for x in rng.normal(size=(3, 3, 3))])), jnp.asarray(rng.normal(size=(3, 3, 2)))
    np.testing.assert_allclose(
        jax.jit(jax.vmap(squared_mixed))(a, g), squared_mixed(np.asarray(a), np.asarray(g)), rtol=1e-12
    )


@LIBRARIES
def test_integers(xp):
    a, g = np.diag([9, 1]), np.array([[2], [0]])
    default = np.asarray(xp.asarray([0.5])).dtype if xp is not torch else np.dtype(np.float32)
    value = squared_mixed(xp.asarray(a), xp.asarray(g))
    assert np.asarray(value).dtype == default
    assert float(value) == pytest.approx(2, rel=1e-6)
