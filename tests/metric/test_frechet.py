"""The Fréchet distance: from samples and from moments, few samples and many, means included."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures.metric as dbm

from . import oracle, pairs

FIELDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
COUNTS = pytest.mark.parametrize("counts", [(30, 40), (3, 4), (2, 40), (40, 2), (1, 3)], ids=str)


def moments(x, unbiased=False):
    return x.mean(axis=0), np.cov(x.T, bias=not unbiased)


@COUNTS
@FIELDS
def test_against_the_formula(counts, is_complex):
    rng = np.random.default_rng(0)
    x, y = (pairs.normal(rng, (count, 6), is_complex) + mean for count, mean in zip(counts, (0.5, 0.0), strict=True))
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    factors = [(z - z.mean(axis=0)).T / np.sqrt(len(z)) for z in (x, y)]
    expected = float(oracle.squared_distance(*map(oracle.covariance, factors)))
    expected += np.sum(np.abs(mean_x - mean_y) ** 2)
    for xp, function in ((np, dbm.squared_frechet_distance), (jnp, jax.jit(dbm.squared_frechet_distance))):
        value = function(xp.asarray(x), xp.asarray(y))
        assert value.dtype == np.float64
        assert float(value) == pytest.approx(expected, rel=1e-13)


@FIELDS
@pytest.mark.parametrize("unbiased", [False, True])
def test_from_samples_and_from_moments_agree(is_complex, unbiased):
    rng = np.random.default_rng(0)
    x, y = pairs.normal(rng, (30, 6), is_complex), pairs.normal(rng, (40, 6), is_complex) + 1
    expected = dbm.squared_frechet_distance_from_moments(*moments(x, unbiased), *moments(y, unbiased))
    assert dbm.squared_frechet_distance(x, y, unbiased=unbiased) == pytest.approx(expected, rel=1e-12)


def test_from_moments_adds_the_means():
    rng = np.random.default_rng(0)
    a, b = (w @ w.T for w in rng.normal(size=(2, 4, 4)))
    mean = rng.normal(size=4)
    value = dbm.squared_frechet_distance_from_moments(mean, a, -mean, b)
    assert value == pytest.approx(4 * np.sum(mean**2) + dbm.squared_bures_wasserstein(a, b), rel=1e-14)


def test_one_sample_has_covariance_zero():
    x, y = np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]])
    assert dbm.squared_frechet_distance(x, y) == pytest.approx(25.0, rel=1e-15)


def test_order_of_samples_does_not_matter():
    rng = np.random.default_rng(0)
    for count in (5, 500):
        x = rng.normal(size=(count, 20)) + 3
        value = dbm.squared_frechet_distance(x, x[::-1])
        assert 0 <= value < 1e-28 * np.sum(x**2) / count


def test_shift_only():
    # Covariances are equal up to the rounding of x + 100: the distance is the shift.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4))
    assert dbm.squared_frechet_distance(x, x + 100) == pytest.approx(4 * 100**2, rel=1e-14)


def test_means_of_many_samples_in_single_precision():
    # Summed in one go, 200,000 rows of float32 lose four digits of a mean of 1000.
    rng = np.random.default_rng(0)
    x = (1000 + rng.normal(size=(200_000, 2))).astype(np.float32)
    y = (1003 + 2 * rng.normal(size=(200_000, 2))).astype(np.float32)
    expected = dbm.squared_frechet_distance(x.astype(np.float64), y.astype(np.float64))
    value = dbm.squared_frechet_distance(x, y)
    assert value.dtype == np.float32
    assert value == pytest.approx(expected, rel=1e-5)


def test_few_samples_of_many_features_form_no_square_matrix():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 20_000)), rng.normal(size=(30, 20_000))
    tracemalloc.start()
    dbm.squared_frechet_distance(x, y)
    dbm.squared_frechet_distance(x, x * (1 + 1e-6))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * y.nbytes  # a 20,000 × 20,000 matrix is 666 times y


def test_scales():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 4)), rng.normal(size=(12, 4)) + 1
    value = dbm.squared_frechet_distance(x, y)
    for scale in (1e-150, 1e150):
        assert dbm.squared_frechet_distance(scale * x, scale * y) == pytest.approx(scale**2 * value, rel=1e-13)
        scaled = [part for z in (x, y) for part in (scale * moments(z)[0], scale**2 * moments(z)[1])]
        assert dbm.squared_frechet_distance_from_moments(*scaled) == pytest.approx(scale**2 * value, rel=1e-12)


def test_stacks_broadcast():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1, 9, 4)), rng.normal(size=(3, 5, 4))
    values = dbm.squared_frechet_distance(x, y)
    assert values.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        assert values[i, j] == pytest.approx(dbm.squared_frechet_distance(x[i, 0], y[j]), rel=1e-13)
    means, covariances = x.mean(axis=-2), np.stack([[np.cov(z.T, bias=True) for z in row] for row in x])
    from_moments = dbm.squared_frechet_distance_from_moments(means, covariances, *moments(y[0]))
    assert from_moments.shape == (2, 1)
    np.testing.assert_allclose(from_moments[:, 0], values[:, 0], rtol=1e-12)
