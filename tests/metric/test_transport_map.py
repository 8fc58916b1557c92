"""The optimal map: the formula, what it does, and what it does where matrices are singular."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures.metric as dbm

from . import oracle, pairs

FIELDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])


def gram(f):
    a = f @ f.conj().T
    return (a + a.conj().T) / 2


@FIELDS
@pytest.mark.parametrize("condition, tolerance", [(1e2, 1e-13), (1e6, 1e-9), (1e10, 1e-5)])
def test_formula(is_complex, condition, tolerance):
    rng = np.random.default_rng(0)
    a = gram(pairs.conditioned(rng, 6, is_complex, condition))
    b = gram(pairs.normal(rng, (6, 6), is_complex))
    expected = oracle.numbers(oracle.transport_map(oracle.matrix(a), oracle.matrix(b)))
    for xp, function in ((np, dbm.transport_map), (jnp, dbm.transport_map), (jnp, jax.jit(dbm.transport_map))):
        t = function(xp.asarray(a), xp.asarray(b))
        assert t.dtype == a.dtype
        np.testing.assert_allclose(t, expected, atol=tolerance * np.abs(expected).max())
        np.testing.assert_array_equal(t, t.conj().T)


@FIELDS
def test_to_itself_is_the_identity(is_complex):
    rng = np.random.default_rng(0)
    a = gram(pairs.normal(rng, (6, 6), is_complex))
    np.testing.assert_allclose(dbm.transport_map(a, a), np.eye(6), atol=1e-12)


@FIELDS
def test_singular_target(is_complex):
    rng = np.random.default_rng(0)
    a, b = gram(pairs.normal(rng, (6, 6), is_complex)), gram(pairs.normal(rng, (6, 2), is_complex))
    t = dbm.transport_map(a, b)
    np.testing.assert_allclose(t @ a @ t, b, atol=1e-13)
    assert np.linalg.matrix_rank(t, tol=1e-10) == 2


@FIELDS
def test_range_of_b_within_that_of_a(is_complex):
    rng = np.random.default_rng(0)
    f = pairs.normal(rng, (6, 3), is_complex)
    a, b = gram(f), gram(f @ pairs.normal(rng, (3, 3), is_complex))
    t = dbm.transport_map(a, b)
    np.testing.assert_allclose(t @ a @ t, b, atol=1e-12)
    # The formula with pseudo-inverses; it agrees where range(b) is within range(a).
    expected = oracle.numbers(oracle.transport_map(oracle.covariance(f), oracle.matrix(b)))
    np.testing.assert_allclose(t, expected, atol=1e-12)


@FIELDS
def test_ranges_of_equal_rank_that_are_not_the_same(is_complex):
    # No vector of range(b) is orthogonal to range(a): there is a map, and a^{-½} (…)^½ a^{-½} would miss it.
    rng = np.random.default_rng(0)
    a, b = gram(pairs.normal(rng, (6, 3), is_complex)), gram(pairs.normal(rng, (6, 3), is_complex))
    t = dbm.transport_map(a, b)
    np.testing.assert_allclose(t @ a @ t, b, atol=1e-10)
    assert np.linalg.eigvalsh(t).min() > -1e-12 * np.abs(t).max()


def test_what_cannot_be_reached_is_left_out():
    a = np.diag([4.0, 0.0, 1.0])
    b = np.diag([9.0, 1.0, 0.0])
    np.testing.assert_allclose(dbm.transport_map(a, b), np.diag([1.5, 0.0, 0.0]), atol=1e-15)
    np.testing.assert_array_equal(dbm.transport_map(np.zeros((3, 3)), b), np.zeros((3, 3)))
    np.testing.assert_array_equal(dbm.transport_map(a, np.zeros((3, 3))), np.zeros((3, 3)))


def test_units_and_scales():
    variances = np.geomspace(1e-16, 1e16, 5)
    np.testing.assert_allclose(dbm.transport_map(np.diag(variances), np.diag(variances)), np.eye(5), atol=1e-14)
    a, b = np.diag([1.0, 2.0]), np.array([[2.0, 1.0], [1.0, 3.0]])
    np.testing.assert_allclose(dbm.transport_map(1e-200 * a, 1e200 * b), 1e200 * dbm.transport_map(a, b), rtol=1e-14)


def test_optimal_cost():
    # E ‖x − T x‖² over N(0, a) is the squared distance.
    rng = np.random.default_rng(0)
    a, b = gram(rng.normal(size=(5, 5))), gram(rng.normal(size=(5, 5)))
    move = np.eye(5) - dbm.transport_map(a, b)
    assert np.trace(move @ a @ move.T) == pytest.approx(dbm.squared_bures_wasserstein(a, b), rel=1e-11)


def test_single_precision_and_stacks():
    rng = np.random.default_rng(0)
    a = np.stack([gram(rng.normal(size=(4, 4))) for _ in range(3)]).astype(np.float32)
    b = gram(rng.normal(size=(4, 4))).astype(np.float32)
    t = dbm.transport_map(a, b)
    assert t.dtype == np.float32 and t.shape == (3, 4, 4)
    np.testing.assert_allclose(t @ a @ t, np.broadcast_to(b, (3, 4, 4)), atol=2e-4)
