"""Gradients and second derivatives for factors in JAX against 60-digit arithmetic."""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings

import deepbures.metric as dbm

from . import oracle, pairs
from .derivatives import (
    COMPILED,
    CURVATURE_OF_FACTORS,
    EAGER,
    FIELDS,
    ILL_POSED,
    OF_FACTORS,
    SQUARE,
    assert_close,
    evaluated,
    factor_gradients,
    inner,
    map_numbers,
    norm,
    slope,
    squared_distance_of_factors,
    true_gradients,
)

FEW = settings(max_examples=20, deadline=None, derandomize=True)


def assert_gradients(function, name, n, is_complex, dtype, relative, absolute):
    f, g, _ = pairs.pair(name, n, is_complex, dtype)
    room = ILL_POSED.get(name, 1)
    for given_, gradient, expected in zip(
        (f, g), evaluated(function, f, g), true_gradients(name, n, is_complex, dtype), strict=True
    ):
        assert gradient.shape == given_.shape and gradient.dtype == given_.dtype
        assert np.isfinite(gradient).all()
        error = norm(gradient - expected)
        assert error <= max(relative * norm(expected), absolute * norm(f, g)) * room


@pytest.mark.parametrize("name, n, is_complex", COMPILED)
def test_factors(name, n, is_complex):
    dtype = complex if is_complex else float
    assert_gradients(OF_FACTORS, name, n, is_complex, dtype, 1e-13, 2e-14)


@pytest.mark.parametrize("name", SQUARE)
def test_factors_without_jit(name):
    assert_gradients(EAGER, name, 6, False, float, 1e-13, 2e-14)


@pytest.mark.parametrize("name", SQUARE)
def test_factors_in_single_precision(name):
    assert_gradients(OF_FACTORS, name, 6, False, np.float32, 1e-5, 5e-6)


@FIELDS
def test_columns_of_zeros(is_complex):
    rng = np.random.default_rng(1)
    f, g = pairs.normal(rng, (6, 6), is_complex), pairs.normal(rng, (6, 6), is_complex)
    f[:, 2] = 0
    g[:, [1, 4]] = 0
    expected = factor_gradients(oracle.matrix(f), oracle.matrix(g), 4)
    for gradient, true in zip(evaluated(OF_FACTORS, f, g), map(oracle.numbers, expected), strict=True):
        np.testing.assert_allclose(gradient, true, atol=1e-14 * norm(f, g))
    gradient, _ = evaluated(OF_FACTORS, f, g)
    np.testing.assert_allclose(gradient[:, 2], 0, atol=1e-15 * norm(f, g))  # nothing pulls at a zero column


def test_gradient_exists_where_only_one_factor_is_deficient():
    # F has rank 2 and G is full: B² is smooth in G, and its gradient there is no matter of convention.
    rng = np.random.default_rng(2)
    f, g, d = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 6)), rng.normal(size=(6, 6)), rng.normal(size=(6, 6))
    exact = oracle.matrix(f[:, :2]) * oracle.matrix(np.linalg.lstsq(f[:, :2], f, rcond=None)[0])  # rank 2 in all digits
    slope_in_g = slope(lambda y: squared_distance_of_factors(exact, y), oracle.matrix(g), oracle.matrix(d))
    _, gradient = evaluated(OF_FACTORS, oracle.numbers(exact).real, g)
    assert inner(gradient, d) == pytest.approx(float(slope_in_g), rel=1e-13)


def test_batches():
    rng = np.random.default_rng(3)
    f, g = jnp.asarray(rng.normal(size=(4, 6, 6))), jnp.asarray(rng.normal(size=(4, 6, 6)))
    f = f.at[1].set(g[1]).at[2].set(0)
    stacked = jax.jit(jax.vmap(EAGER))(f, g)
    for i in range(4):
        for gradients, gradient in zip(stacked, OF_FACTORS(f[i], g[i]), strict=True):
            np.testing.assert_allclose(gradients[i], gradient, rtol=0, atol=1e-13)
    # One factor against many, by broadcasting: its gradients add up.
    total = jax.jit(jax.grad(lambda f, g: dbm.squared_bures_wasserstein_factors(f, g).sum()))(f[0], g)
    np.testing.assert_allclose(total, sum(OF_FACTORS(f[0], y)[0] for y in g), rtol=0, atol=1e-13)


# -------------------------------------------------------------------------------------------------- drawn factors

DRAWN = ((5, 3, 2), (4, 4, 4), (2, 3, 4))


@st.composite
def factors(draw, deficient):
    """Two factors of a few shapes; where `deficient`, of any rank, some ill-conditioned, some zero."""
    rng, is_complex = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.booleans())
    n, *columns = draw(st.sampled_from(DRAWN))
    drawn = []
    for k in columns:
        f = pairs.normal(rng, (n, k), is_complex) * draw(st.sampled_from([1.0, 1e-3, 1e3]))
        if deficient:
            rank = draw(st.integers(0, min(n, k)))
            f = f * np.logspace(0, -draw(st.sampled_from([0, 3, 6])), k) @ pairs.unitary(rng, k, is_complex)
            f = f @ np.diag(np.arange(k) < rank) @ pairs.unitary(rng, k, is_complex)
        drawn.append(f)
    return drawn, is_complex, rng


@FEW
@given(factors(deficient=False))
def test_gradient_is_the_slope(drawn):
    (f, g), is_complex, rng = drawn
    values = np.linalg.svd(f.conj().T @ g, compute_uv=False)[: f.shape[0]]
    if values[-1] < 1e-4 * values[0]:
        return  # close to a kink
    df, dg = norm(f) * pairs.normal(rng, f.shape, is_complex), norm(g) * pairs.normal(rng, g.shape, is_complex)
    expected = float(slope(squared_distance_of_factors, *map(oracle.matrix, (f, g, df, dg))))
    gf, gg = evaluated(OF_FACTORS, f, g)
    assert abs(inner(gf, df) + inner(gg, dg) - expected) <= 1e-11 * norm(f, g) ** 2


@FEW
@given(factors(deficient=True))
def test_euler_identity(drawn):
    # B² is homogeneous of degree two, at kinks too.
    (f, g), _, _ = drawn
    gf, gg = evaluated(OF_FACTORS, f, g)
    twice = 2 * dbm.squared_bures_wasserstein_factors(f, g)
    assert abs(inner(gf, f) + inner(gg, g) - twice) <= 1e-13 * norm(f, g) ** 2


@FEW
@given(factors(deficient=False))
def test_equivariance(drawn):
    # B²(P F U, P G V) = B²(F, G) for unitary P, U, V.
    (f, g), is_complex, rng = drawn
    p, u, v = (pairs.unitary(rng, size, is_complex) for size in (f.shape[0], f.shape[1], g.shape[1]))
    values = np.linalg.svd(f.conj().T @ g, compute_uv=False)[: f.shape[0]]
    gf, gg = evaluated(OF_FACTORS, f, g)
    turned = evaluated(OF_FACTORS, p @ f @ u, p @ g @ v)
    tolerance = 1e-14 * norm(f, g) * max(10, values[0] / values[-1])
    for gradient, expected in zip(turned, (p @ gf @ u, p @ gg @ v), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance)


# ------------------------------------------------------------------------------------ second derivatives, two factors


@pytest.mark.parametrize("shape, is_complex", [((5, 3, 2), False), ((2, 3, 4), False), ((2, 3, 4), True)], ids=str)
def test_second_derivative(shape, is_complex):
    rng = np.random.default_rng(4)
    n, r, k = shape
    f, df = pairs.normal(rng, (2, n, r), is_complex)
    g, dg = pairs.normal(rng, (2, n, k), is_complex)
    expected = slope(factor_gradients, *map(oracle.matrix, (f, g, df, dg)))
    assert_close(evaluated(CURVATURE_OF_FACTORS, f, g, df, dg), map_numbers(expected), 1e-12)


@FIELDS
def test_second_derivative_at_fixed_rank(is_complex):
    # F = L R keeps its rank along dL R + L dR, where the gradient of least norm is smooth. Null vectors of the square
    # Fᴴ G are arbitrary, and nothing may depend on them.
    rng = np.random.default_rng(16)
    left, d_left = (oracle.matrix(x) for x in pairs.normal(rng, (2, 4, 2), is_complex))
    right, d_right = (oracle.matrix(x) for x in pairs.normal(rng, (2, 2, 4), is_complex))
    g, dg = (oracle.matrix(x) for x in pairs.normal(rng, (2, 4, 4), is_complex))
    with mpmath.workdps(oracle.DIGITS):
        f, df = left * right, d_left * right + left * d_right
    expected = slope(lambda f, g: factor_gradients(f, g, 2), f, g, df, dg)
    given = [x if is_complex else x.real for x in map_numbers((f, g, df, dg))]
    assert_close(evaluated(CURVATURE_OF_FACTORS, *given), map_numbers(expected), 1e-12)


@FIELDS
@pytest.mark.parametrize("repeated", [False, True])
def test_second_derivative_at_equal_factors(is_complex, repeated):
    # There the gradient vanishes, and differentiating through singular vectors would divide by zero.
    rng = np.random.default_rng(5)
    f, df, dg = pairs.normal(rng, (3, 4, 4), is_complex)
    if repeated:
        f = pairs.unitary(rng, 4, is_complex) * [2.0, 2.0, 2.0, 1.0]
    expected = slope(factor_gradients, *map(oracle.matrix, (f, f, df, dg)))
    assert_close(evaluated(CURVATURE_OF_FACTORS, f, f, df, dg), map_numbers(expected), 1e-12)
    # Along F Ω with Ω skew, F Fᴴ does not move.
    skew = df - df.conj().T
    for result in evaluated(CURVATURE_OF_FACTORS, f, f, f @ skew, 0 * f):
        np.testing.assert_allclose(result, 0 * f, atol=1e-13 * norm(f @ skew))


def test_second_derivative_at_the_identity():
    # B²((I + t D)(I + t D)ᵀ, I) = t² ‖(D + Dᵀ) / 2‖² + …, and no other term of second order.
    d = np.random.default_rng(6).normal(size=(4, 4))
    of_first, of_second = evaluated(CURVATURE_OF_FACTORS, np.eye(4), np.eye(4), d, 0 * d)
    np.testing.assert_allclose(of_first, d + d.T, atol=1e-14)
    np.testing.assert_allclose(of_second, -(d + d.T), atol=1e-14)


def test_hessian():
    rng = np.random.default_rng(7)
    f, g, d = rng.normal(size=(3, 4, 4))
    for other in (g, f):
        hessian = jax.jit(jax.hessian(dbm.squared_bures_wasserstein_factors))(jnp.asarray(f), jnp.asarray(other))
        matrix = np.asarray(hessian).reshape(16, 16)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        expected, _ = slope(factor_gradients, *map(oracle.matrix, (f, other, d, 0 * d)))
        np.testing.assert_allclose(matrix @ d.ravel(), oracle.numbers(expected).real.ravel(), atol=1e-11)


@pytest.mark.parametrize("name", SQUARE)
def test_second_derivative_is_finite_at_kinks(name):
    f, g, _ = pairs.pair(name, 6, False)
    d = np.ones((6, 6))
    for result in evaluated(CURVATURE_OF_FACTORS, f, g, norm(f) * d, norm(g) * d):
        assert np.isfinite(result).all()
