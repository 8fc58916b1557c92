"""Every form of the distance against 60-digit arithmetic, over the table of awkward pairs."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import deepbures.metric as dbm

from . import oracle, pairs

SIZES = [(6, False), (6, True)]
LARGE = ["generic", "another factor", "near 1e-6, rotated", "rank 3, rank 2", "condition 1e12, another factor"]
CASES = [(name, *size) for size in SIZES for name in pairs.NAMES] + [(name, 20, False) for name in LARGE]
EVERY = pytest.mark.parametrize("name, n, is_complex", CASES)


@functools.cache
def truth(name, n, is_complex, dtype=None):
    """Distance, and the scale √(tr A + tr B) that its error is measured by."""
    f, g, _ = pairs.pair(name, n, is_complex, dtype)
    a, b = oracle.covariance(f), oracle.covariance(g)
    return oracle.distance(a, b), mpmath.sqrt(oracle.trace(a) + oracle.trace(b))


def assert_accurate(squared, distance, expected, scale, relative, absolute):
    """The relative error of the square is small, or else the absolute error of the distance."""
    assert np.isfinite(squared) and squared >= 0
    assert np.isfinite(distance) and distance >= 0
    assert abs(float(distance) ** 2 - float(squared)) <= 4 * np.finfo(squared.dtype).eps * float(squared)
    error = abs(mpmath.mpf(float(squared)) - expected**2)
    assert error <= relative * expected**2 or abs(mpmath.mpf(float(distance)) - expected) <= absolute * scale


@EVERY
def test_factors(name, n, is_complex):
    f, g, is_far = pairs.pair(name, n, is_complex)
    squared = dbm.squared_bures_wasserstein_factors(f, g)
    distance = dbm.bures_wasserstein_distance_factors(f, g)
    assert squared.dtype == distance.dtype == np.float64
    assert_accurate(squared, distance, *truth(name, n, is_complex), 1e-13, 0 if is_far else 1e-14)


@EVERY
def test_factors_in_single_precision(name, n, is_complex):
    dtype = np.complex64 if is_complex else np.float32
    f, g, is_far = pairs.pair(name, n, is_complex, dtype)
    squared = dbm.squared_bures_wasserstein_factors(f, g)
    distance = dbm.bures_wasserstein_distance_factors(f, g)
    assert squared.dtype == distance.dtype == np.float32
    assert_accurate(squared, distance, *truth(name, n, is_complex, dtype), 1e-5, 0 if is_far else 5e-6)


def both(squared, distance):
    """The two functions as one, since compiling each is what takes the time."""
    return lambda x, y: (squared(x, y), distance(x, y))


FACTORS_IN_JAX = both(dbm.squared_bures_wasserstein_factors, dbm.bures_wasserstein_distance_factors)
COVARIANCES_IN_JAX = both(dbm.squared_bures_wasserstein, dbm.bures_wasserstein_distance)
IN_JAX = [(name, 6, False, True) for name in pairs.NAMES]
IN_JAX += [(name, 6, True, True) for name in pairs.NAMES if "condition" in name or "near" in name]
IN_JAX += [(name, 6, False, False) for name in LARGE]
JITTED = {function: jax.jit(function) for function in (FACTORS_IN_JAX, COVARIANCES_IN_JAX)}


@pytest.mark.parametrize("name, n, is_complex, jit", IN_JAX)
def test_factors_in_jax(name, n, is_complex, jit):
    f, g, is_far = pairs.pair(name, n, is_complex)
    function = JITTED[FACTORS_IN_JAX] if jit else FACTORS_IN_JAX
    squared, distance = function(jnp.asarray(f), jnp.asarray(g))
    assert isinstance(squared, jax.Array)
    assert squared.dtype == jnp.float64
    assert_accurate(squared, distance, *truth(name, n, is_complex), 1e-13, 0 if is_far else 1e-14)


# What the rounding of a dense covariance does to the distance depends on the pair. Between bounded and singular
# matrices it is eps; where the commuting pair of condition 1e12 has entries 1e-12 beside 1, eps √cond; the distance of
# two roundings of one matrix that is singular to working precision, √eps at worst.
DENSE_TOLERANCE = {
    "condition 1e12, commuting": (1e-10, 0),
    "condition 1e12, another factor": (0, 1e-10),
    "condition 1e12, near": (0, 1e-10),
    "condition 1e20, another factor": (0, 1e-8),
    "rows 1e-8 to 1e8": (1e-11, 0),
}


def dense(f, g):
    return tuple((a + a.conj().T) / 2 for a in (f @ f.conj().T, g @ g.conj().T))


def assert_dense_accurate(squared, distance, name, n, is_complex):
    is_far = pairs.pair(name, n, is_complex)[2]
    tolerance = DENSE_TOLERANCE.get(name, (1e-13, 0) if is_far else (1e-13, 1e-14))
    assert_accurate(squared, distance, *truth(name, n, is_complex), *tolerance)


@EVERY
def test_covariances(name, n, is_complex):
    a, b = dense(*pairs.pair(name, n, is_complex)[:2])
    squared, distance = dbm.squared_bures_wasserstein(a, b), dbm.bures_wasserstein_distance(a, b)
    assert_dense_accurate(squared, distance, name, n, is_complex)


@pytest.mark.parametrize("name, n, is_complex, jit", IN_JAX)
def test_covariances_in_jax(name, n, is_complex, jit):
    a, b = map(jnp.asarray, dense(*pairs.pair(name, n, is_complex)[:2]))
    function = JITTED[COVARIANCES_IN_JAX] if jit else COVARIANCES_IN_JAX
    assert_dense_accurate(*function(a, b), name, n, is_complex)


@pytest.mark.parametrize("name", [name for name in pairs.NAMES if "condition" not in name and "rows" not in name])
def test_covariances_in_single_precision(name):
    f, g, is_far = pairs.pair(name, 6, False)
    a, b = (x.astype(np.float32) for x in dense(f, g))
    squared, distance = dbm.squared_bures_wasserstein(a, b), dbm.bures_wasserstein_distance(a, b)
    assert squared.dtype == distance.dtype == np.float32
    # Rounding the entries of a dense pair to 6e-8 moves even a well-conditioned distance by some 1e-6 of the scale.
    assert_accurate(squared, distance, *truth(name, 6, False), 2e-5, 0 if is_far else 2e-5)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["generic", "identical, rank 3", "condition 1e12", "condition 1e20, another factor"])
def test_distance_to_itself_is_zero(name, is_complex, dtype):
    f, _, _ = pairs.pair(name, 6, is_complex)
    f = f.astype(np.result_type(dtype, np.complex64) if is_complex else dtype)
    a = f @ f.conj().T
    a = (a + a.conj().T) / 2
    zeros = [
        dbm.bures_wasserstein_distance(a, a.copy()),
        dbm.bures_wasserstein_distance_factors(f, f.copy()),
        dbm.squared_frechet_distance(f, f.copy()),
        dbm.squared_frechet_distance_from_moments(f[0], a, f[0], a),
        jax.jit(dbm.bures_wasserstein_distance)(jnp.asarray(a), jnp.asarray(a)),
    ]
    assert [float(zero) for zero in zeros] == [0.0] * len(zeros)


def test_wide_factors_are_reduced():
    # Fᴴ G would hold 4e10 numbers.
    f = np.ones((2, 200_000)) * [[1.0], [2.0]]
    f[0, ::2] *= -1
    assert dbm.squared_bures_wasserstein_factors(f, 2 * f[:, ::-1]) == pytest.approx(1e6, rel=1e-13)


def test_two_computations_of_one_covariance():
    # Not equal bit for bit, so nothing recognizes them: the distance is that of the rounding.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 20))
    a, b = x.T @ x, x[::-1].T @ x[::-1]
    assert not np.array_equal(a, b)
    assert 0 < dbm.bures_wasserstein_distance(a, b) < 1e-14 * np.sqrt(np.trace(a))


@pytest.mark.parametrize("scale", [1e-150, 1e-100, 1e100, 1e150])
def test_squares_of_factors_do_not_overflow_on_the_way(scale):
    rng = np.random.default_rng(0)
    f, g = rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    expected = dbm.bures_wasserstein_distance_factors(f, g)
    assert dbm.bures_wasserstein_distance_factors(scale * f, scale * g) == pytest.approx(scale * expected, rel=1e-14)
    assert dbm.squared_bures_wasserstein_factors(scale * f, scale * g) == pytest.approx(
        (scale * expected) ** 2, rel=1e-13
    )
    a, b = (scale * (x @ x.T) for x in (f, g))
    assert dbm.squared_bures_wasserstein(a, b) == pytest.approx(scale * expected**2, rel=1e-13)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_distance_exists_where_its_square_does_not(scale):
    f = np.array([[3.0, 0.0], [0.0, 4.0]])
    zero = np.zeros((2, 1))
    assert dbm.bures_wasserstein_distance_factors(scale * f, zero) == pytest.approx(5 * scale, rel=1e-15)


def test_mixed_scales_within_a_stack():
    f = np.array([1e-8, 1.0, 1e8])[:, None, None] * np.eye(3)
    expected = np.sqrt(3) * np.array([1e-8, 1.0, 1e8])
    np.testing.assert_allclose(dbm.bures_wasserstein_distance_factors(f, 2 * f), expected, rtol=1e-14)
    np.testing.assert_allclose(dbm.squared_bures_wasserstein(f * f, 4 * f * f), expected**2, rtol=1e-14)


def test_features_of_different_units():
    # Standard deviations from 1e-8 to 1e8, correlated: Cholesky factors do not see the units.
    rng = np.random.default_rng(0)
    units = np.geomspace(1e-8, 1e8, 6)
    w = rng.normal(size=(6, 12))
    correlation = w @ w.T
    a = correlation * units[:, None] * units
    smallest = np.zeros((6, 6))
    smallest[0, 0] = a[0, 0]
    others = a.copy()
    others[0], others[:, 0] = 0, 0
    assert dbm.bures_wasserstein_distance(np.diag(units**2), 4 * np.diag(units**2)) == pytest.approx(
        np.sqrt(np.sum(units**2)), rel=1e-14
    )
    assert dbm.squared_bures_wasserstein(smallest, others) == pytest.approx(np.trace(a), rel=1e-14)


def test_tall_factors_never_form_a_square_matrix():
    # The n×n matrix would hold 8e10 numbers.
    f = np.ones((100_000, 2)) * [1.0, 2.0]
    assert dbm.squared_bures_wasserstein_factors(f, 2 * f) == pytest.approx(500_000, rel=1e-13)
    assert dbm.bures_wasserstein_distance_factors(f, f * (1 + 1e-6)) == pytest.approx(1e-6 * np.sqrt(500_000), rel=1e-8)
