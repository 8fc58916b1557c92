"""What a distance between covariances must do, for drawn sizes, ranks and conditions."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import deepbures.metric as dbm

from . import pairs

FEW = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def factors(draw, count):
    """`count` factors of one dimension, of any rank from 0 up, some of them ill-conditioned, and a generator."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, is_complex = draw(st.integers(1, 7)), draw(st.booleans())
    drawn = []
    for _ in range(count):
        columns, decades = draw(st.integers(1, n + 2)), draw(st.sampled_from([0, 0, 3, 6]))
        f = pairs.normal(rng, (n, columns), is_complex) * np.logspace(0, -decades, columns)
        drawn.append(f * draw(st.sampled_from([0.0, 1e-6, 1.0, 1.0, 1e3])))
    return drawn, is_complex, rng


def gram(f):
    a = f @ f.conj().T
    return (a + a.conj().T) / 2


def size(*drawn):
    return max(np.linalg.norm(f) for f in drawn)


@FEW
@given(factors(2))
def test_symmetry(drawn):
    (f, g), _, _ = drawn
    forth, back = dbm.bures_wasserstein_distance_factors(f, g), dbm.bures_wasserstein_distance_factors(g, f)
    assert abs(forth - back) <= 1e-14 * size(f, g)
    forth, back = dbm.bures_wasserstein_distance(gram(f), gram(g)), dbm.bures_wasserstein_distance(gram(g), gram(f))
    assert abs(forth - back) <= 1e-7 * size(f, g)


@FEW
@given(factors(3))
def test_triangle_inequality(drawn):
    (f, g, h), _, _ = drawn
    distance = dbm.bures_wasserstein_distance_factors
    assert distance(f, h) <= distance(f, g) + distance(g, h) + 1e-14 * size(f, g, h)


@FEW
@given(factors(2))
def test_unitary_invariance(drawn):
    (f, g), is_complex, rng = drawn
    q = pairs.unitary(rng, f.shape[0], is_complex)
    distance = dbm.bures_wasserstein_distance_factors
    assert abs(distance(q @ f, q @ g) - distance(f, g)) <= 2e-14 * size(f, g)


@FEW
@given(factors(2))
def test_factor_gauge(drawn):
    (f, g), is_complex, rng = drawn
    v = pairs.unitary(rng, g.shape[1], is_complex)
    distance = dbm.bures_wasserstein_distance_factors
    assert abs(distance(f, g @ v) - distance(f, g)) <= 2e-14 * size(f, g)
    assert distance(g, g @ v) <= 2e-14 * size(g)
    wider = np.concatenate([g, np.zeros_like(g)], axis=1)
    assert abs(distance(f, wider) - distance(f, g)) <= 2e-14 * size(f, g)


@FEW
@given(factors(2), st.floats(-6, 6))
def test_scaling(drawn, decade):
    (f, g), _, _ = drawn
    t = 10**decade
    scaled, plain = dbm.bures_wasserstein_distance_factors(t * f, t * g), dbm.bures_wasserstein_distance_factors(f, g)
    assert abs(scaled - t * plain) <= 2e-14 * t * size(f, g)
    a, b = gram(f), gram(g)
    scaled, plain = dbm.bures_wasserstein_distance(t * a, t * b), dbm.bures_wasserstein_distance(a, b)
    assert abs(scaled**2 - t * plain**2) <= 1e-11 * t * size(f, g) ** 2


@FEW
@given(factors(2))
def test_bounds(drawn):
    (f, g), _, _ = drawn
    distance, slack = dbm.bures_wasserstein_distance_factors(f, g), 2e-14 * size(f, g)
    # From below by the norms (the identity is the best rotation of a scalar), from above by any pairing of columns and
    # by the distance of the square roots.
    assert abs(np.linalg.norm(f) - np.linalg.norm(g)) <= distance + slack
    assert distance**2 <= np.linalg.norm(f) ** 2 + np.linalg.norm(g) ** 2 + slack**2 + slack * distance
    if f.shape == g.shape:
        assert distance <= np.linalg.norm(f - g) + slack


@FEW
@given(factors(2))
def test_dense_and_factors_agree(drawn):
    (f, g), _, _ = drawn
    dense, exact = dbm.bures_wasserstein_distance(gram(f), gram(g)), dbm.bures_wasserstein_distance_factors(f, g)
    # The rounding of a covariance moves it by at most √(n · rounding) of the scale, whatever its condition.
    assert abs(dense - exact) <= 1e-7 * size(f, g)


@FEW
@given(factors(2))
def test_transport_map_transports(drawn):
    (f, g), _, _ = drawn
    n = f.shape[0]
    # The condition number of `a` is what the map can lose: keep it ordinary here.
    a = gram(f) + np.eye(n) * max(size(f), 1e-3) ** 2
    b = gram(g)
    t = dbm.transport_map(a, b)
    np.testing.assert_array_equal(t, t.conj().T)
    assert np.linalg.eigvalsh(t).min() >= -1e-12 * np.abs(t).max()
    np.testing.assert_allclose(t @ a @ t, b, atol=1e-12 * size(g) ** 2)


@FEW
@given(factors(2))
def test_transport_map_between_ill_conditioned_covariances(drawn):
    (f, g), is_complex, rng = drawn
    n = f.shape[0]
    a = gram(pairs.conditioned(rng, n, is_complex, 1e8))
    b = gram(g)
    t = dbm.transport_map(a, b)
    np.testing.assert_allclose(t @ a @ t, b, atol=1e-8 * size(g) ** 2 + 1e-300)


@pytest.mark.parametrize("seed", range(5))
def test_geodesic(seed):
    # Along ((1 − t) I + t T) a ((1 − t) I + t T) distances add up.
    rng = np.random.default_rng(seed)
    a, b = gram(rng.normal(size=(5, 5))), gram(rng.normal(size=(5, 5)))
    step = 0.7 * np.eye(5) + 0.3 * dbm.transport_map(a, b)
    middle = gram(step @ np.linalg.cholesky(a))
    distance = dbm.bures_wasserstein_distance
    assert distance(a, middle) == pytest.approx(0.3 * distance(a, b), rel=1e-9)
    assert distance(middle, b) == pytest.approx(0.7 * distance(a, b), rel=1e-9)
