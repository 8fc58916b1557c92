"""Gradients and second derivatives for covariances and samples in JAX against 60-digit arithmetic."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import deepbures.metric as dbm

from . import oracle, pairs
from .derivatives import (
    CURVATURE_OF_COVARIANCES,
    FIELDS,
    OF_COVARIANCES,
    OF_FACTORS,
    assert_close,
    both,
    covariance_gradients,
    evaluated,
    gram,
    hermitian,
    inner,
    map_numbers,
    second_slope,
    slope,
)

# ----------------------------------------------------------------------------------------------------- two covariances


@FIELDS
@pytest.mark.parametrize("condition, tolerance", [(1e2, 1e-13), (1e6, 1e-9)])
def test_covariances(is_complex, condition, tolerance):
    rng = np.random.default_rng(8)
    a, b = gram(pairs.conditioned(rng, 4, is_complex, condition)), gram(pairs.normal(rng, (4, 4), is_complex))
    expected = map_numbers(covariance_gradients(oracle.matrix(a), oracle.matrix(b)))
    assert_close(evaluated(OF_COVARIANCES, a, b), expected, tolerance)


@FIELDS
def test_a_singular_covariance(is_complex):
    # With A = F Fᴴ of rank 2, B² is smooth in B, with the gradient I − T. In A its slope out of the range is infinite;
    # the gradient there is that within the range, where A^½ is that of a smaller matrix: a pseudo-inverse.
    rng = np.random.default_rng(9)
    f, b = pairs.normal(rng, (4, 2), is_complex), gram(pairs.normal(rng, (4, 4), is_complex))
    a, half = oracle.covariance(f), mpmath.mpf(1) / 2
    with mpmath.workdps(oracle.DIGITS):
        root = oracle.function_of(oracle.matrix(b), half)
        inner_ = root * a * root
        inverse = oracle.function_of(oracle.matrix(b), -half)
        expected = [
            mpmath.eye(4) - root * oracle.function_of(inner_, -half) * root,
            mpmath.eye(4) - inverse * oracle.function_of(inner_, half) * inverse,
        ]
    assert_close(evaluated(OF_COVARIANCES, gram(f), b), map_numbers(expected), 1e-12)


@pytest.mark.parametrize("name", pairs.NAMES)
def test_covariances_have_finite_gradients(name):
    f, g, _ = pairs.pair(name, 6, False)
    for gradient in evaluated(OF_COVARIANCES, gram(f), gram(g)):
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient, gradient.T, atol=1e-15 * np.abs(gradient).max())


@FIELDS
def test_second_derivative_of_covariances(is_complex):
    rng = np.random.default_rng(10)
    a, b = (gram(pairs.conditioned(rng, 4, is_complex, 1e2)) for _ in range(2))
    da, db = hermitian(rng, 4, is_complex), hermitian(rng, 4, is_complex)
    expected = map_numbers(slope(covariance_gradients, *map(oracle.matrix, (a, b, da, db))))
    assert_close(evaluated(CURVATURE_OF_COVARIANCES, a, b, da, db), expected, 1e-11)


@FIELDS
@pytest.mark.parametrize("eigenvalues", [(1, 1, 1, 1), (4, 4, 1, 1), (9, 4, 2, 1), (3, 1, 1, 1)], ids=str)
def test_second_derivative_at_equal_covariances(is_complex, eigenvalues):
    # Differentiating T A T = B at T = I: dT A + A dT = dB − dA.
    rng = np.random.default_rng(11)
    basis = pairs.unitary(rng, 4, is_complex)
    a, da, db = gram(basis * np.sqrt(eigenvalues)), hermitian(rng, 4, is_complex), hermitian(rng, 4, is_complex)
    sums = np.add.outer(eigenvalues, eigenvalues)
    moved = basis @ (basis.conj().T @ (db - da) @ basis / sums) @ basis.conj().T
    assert_close(evaluated(CURVATURE_OF_COVARIANCES, a, a, da, db), [-moved, moved], 1e-13)
    for gradient in evaluated(OF_COVARIANCES, a, a):
        np.testing.assert_allclose(gradient, 0 * a, atol=1e-14)


def test_hessian_at_equal_covariances():
    # At the identity, B²(I + H, I) = ‖H‖² / 4 + …: the Hessian is half the projection to symmetric matrices.
    hessian = np.asarray(jax.jit(jax.hessian(dbm.squared_bures_wasserstein))(jnp.eye(4), jnp.eye(4)))
    eye = np.eye(4)
    swap = np.einsum("il,jk->ijkl", eye, eye)
    np.testing.assert_allclose(hessian, (np.einsum("ik,jl->ijkl", eye, eye) + swap) / 4, atol=1e-15)


@FIELDS
def test_derivative_of_the_transport_map(is_complex):
    rng = np.random.default_rng(12)
    a, b = (gram(pairs.conditioned(rng, 4, is_complex, 1e2)) for _ in range(2))
    da, db = hermitian(rng, 4, is_complex), hermitian(rng, 4, is_complex)
    expected = oracle.numbers(slope(oracle.transport_map, *map(oracle.matrix, (a, b, da, db))))
    derivative = jax.jit(lambda a, b, da, db: jax.jvp(dbm.transport_map, (a, b), (da, db))[1])(a, b, da, db)
    assert_close([derivative], [expected], 1e-11)
    if not is_complex:
        jacobian = jax.jit(jax.jacfwd(dbm.transport_map, argnums=(0, 1)))(a, b)
        assert_close([sum(np.tensordot(j, d) for j, d in zip(jacobian, (da, db), strict=True))], [expected], 1e-11)
        backwards = jax.jit(jax.jacrev(dbm.transport_map, argnums=(0, 1)))(a, b)
        for back, forth in zip(backwards, jacobian, strict=True):
            np.testing.assert_allclose(back, forth, atol=1e-11 * np.abs(forth).max())


# ------------------------------------------------------------------------------------------------------------- samples


@oracle.precisely
def frechet(x, y):
    """‖x̄ − ȳ‖² + B² of the covariances of samples in rows."""
    means, covariances = [], []
    for samples in (x, y):
        mean = mpmath.ones(1, samples.rows) * samples / samples.rows
        centered = samples - mpmath.ones(samples.rows, 1) * mean
        means.append(mean)
        covariances.append(centered.T * centered / samples.rows)
    difference = means[0] - means[1]
    return mpmath.re((difference * difference.T)[0, 0]) + oracle.squared_distance(*covariances)


@jax.jit
def derivatives_of_frechet(x, y, dx, dy):
    gradients, curvatures = jax.jvp(both(dbm.squared_frechet_distance), (x, y), (dx, dy))
    return *gradients, *curvatures


@pytest.mark.parametrize("count, n, same", [(7, 3, False), (7, 3, True), (3, 5, True)])
def test_frechet_distance_of_samples(count, n, same):
    # At equal samples the distance itself is zero without any arithmetic, but its derivatives are those of the formula.
    rng = np.random.default_rng(13)
    x, dx, dy = rng.normal(size=(3, count, n))
    y = x if same else rng.normal(size=(count, n))
    exact = [oracle.matrix(z) for z in (x, y, dx, dy)]
    of_x, of_y, *curvatures = evaluated(derivatives_of_frechet, x, y, dx, dy)
    first = inner(of_x, dx) + inner(of_y, dy)
    second = inner(curvatures[0], dx) + inner(curvatures[1], dy)
    assert first == pytest.approx(float(slope(frechet, *exact)), rel=1e-12, abs=1e-14)
    assert second == pytest.approx(float(second_slope(frechet, *exact)), rel=1e-11)
    if same:
        assert dbm.squared_frechet_distance(jnp.asarray(x), jnp.asarray(y)) == 0
        near = evaluated(derivatives_of_frechet, x, x * (1 + 1e-10), dx, dy)[2:]
        assert_close(curvatures, near, 1e-8)


def test_frechet_distance_from_moments():
    rng = np.random.default_rng(14)
    mean_x, mean_y = rng.normal(size=(2, 4))
    a, b = (gram(pairs.conditioned(rng, 4, False, 1e2)) for _ in range(2))
    gradients = jax.jit(jax.grad(dbm.squared_frechet_distance_from_moments, argnums=(0, 1, 2, 3)))(mean_x, a, mean_y, b)
    of_a, of_b = map_numbers(covariance_gradients(oracle.matrix(a), oracle.matrix(b)))
    difference = 2 * (mean_x - mean_y)
    for gradient, expected in zip(gradients, (difference, of_a, -difference, of_b), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-12)


# ----------------------------------------------------------------------------------------------- the distance itself


@pytest.mark.parametrize(
    "distance, squared",
    [
        (dbm.bures_wasserstein_distance_factors, OF_FACTORS),
        (dbm.bures_wasserstein_distance, OF_COVARIANCES),
    ],
    ids=["factors", "covariances"],
)
def test_distance(distance, squared):
    # d√D = dD / 2√D; at zero there is a kink, and zero is one of its subgradients.
    rng = np.random.default_rng(15)
    a, b = (jnp.asarray(gram(pairs.conditioned(rng, 4, False, 1e2))) for _ in range(2))
    gradient, value = jax.jit(both(distance)), distance(np.asarray(a), np.asarray(b))
    for result, of_square in zip(gradient(a, b), squared(a, b), strict=True):
        np.testing.assert_allclose(result, of_square / (2 * value), rtol=1e-12, atol=1e-14)
    for result in gradient(a, a):
        np.testing.assert_array_equal(result, np.zeros((4, 4)))
    hessian = jax.jit(jax.hessian(distance))
    assert np.isfinite(hessian(a, a)).all()
    assert np.isfinite(hessian(a, b)).all()


@pytest.mark.parametrize(
    "function",
    [dbm.squared_bures_wasserstein_factors, dbm.squared_bures_wasserstein, dbm.squared_bures_wasserstein_mixed],
)
def test_third_derivative_is_refused(function):
    third = jax.jacfwd(jax.hessian(lambda x: function(x, jnp.eye(3))))
    with pytest.raises(NotImplementedError, match=r"first and second derivatives; a third one was asked for.* at most"):
        jax.eval_shape(third, jnp.eye(3))
    backwards = jax.grad(lambda t: jax.hessian(lambda x: function(x, jnp.eye(3)))(t * jnp.eye(3)).sum())
    with pytest.raises(NotImplementedError, match="first and second derivatives"):
        jax.eval_shape(backwards, 2.0)
