"""Aligned flows where they are hard: tiny and vanishing modes, long times, and an integration by Taylor series."""

import itertools
import math

import mpmath
import numpy as np
import pytest

import deepbures as db

LOSSES = (db.BuresWasserstein(), db.BuresWasserstein(0.3), db.Frobenius())


def followed(s0, eigenvalue, loss, times, depth):
    return db.aligned_flow([s0], [eigenvalue], loss, times, depth=depth)[:, 0]


@pytest.mark.parametrize(
    ("s0", "eigenvalue", "tau", "depth", "time"), [(0.1, 4.0, 0.3, 3, 0.3), (2.0, 0.5, 0.8, 5, 0.05)]
)
def test_smoothed_modes_against_a_taylor_series(s0, eigenvalue, tau, depth, time):
    """Of ln s, with 17 digits: one mode that grows, one that decays as its eigenvalue is below τ."""
    with mpmath.workdps(17):

        def speed(_, x):
            s = mpmath.e ** x[0]
            pull = 1 - mpmath.sqrt(eigenvalue / (s**2 + mpmath.mpf(tau)))
            return [-2 * depth * s ** (2 - mpmath.mpf(2) / depth) * pull]

        expected = float(mpmath.e ** mpmath.odefun(speed, 0, [mpmath.log(s0)], tol=mpmath.mpf(10) ** -14)(time)[0])
    assert followed(s0, eigenvalue, db.BuresWasserstein(tau), [time], depth)[0] == pytest.approx(expected, rel=1e-10)


def test_modes_of_a_zero_eigenvalue_decay_as_powers():
    """ds/dt = −2N s^{3−2/N} without smoothing, −4N s^{5−2/N} for the Frobenius loss at depths of known integrals."""
    t, s0 = np.array([0.0, 0.7, 40.0]), 0.5
    np.testing.assert_allclose(followed(s0, 0.0, LOSSES[0], t, 1), s0 * np.exp(-2 * t), rtol=1e-13)
    np.testing.assert_allclose(followed(s0, 0.0, LOSSES[0], t, 2), s0 / (1 + 4 * s0 * t), rtol=1e-10)
    np.testing.assert_allclose(followed(s0, 0.0, LOSSES[0], t, 4), (s0**-1.5 + 12 * t) ** (-1 / 1.5), rtol=1e-10)
    np.testing.assert_allclose(followed(s0, 0.0, LOSSES[2], t, 1), s0 / np.sqrt(1 + 8 * s0**2 * t), rtol=1e-10)
    np.testing.assert_allclose(followed(s0, 0.0, LOSSES[2], t, 2), (s0**-3 + 24 * t) ** (-1 / 3), rtol=1e-10)


def test_long_times():
    """A mode below τ falls like a power of t, s^{−p} = p 2N (1 − √(λ/τ)) t + …, at depth 1 exponentially, to zero."""
    t = np.array([1e12])
    loss = db.BuresWasserstein(0.1)
    power = 4 / 3
    expected = (power * 6 * (math.sqrt(0.05 / 0.1) - 1) * -t) ** (-1 / power)
    np.testing.assert_allclose(followed(1.0, 0.05, loss, t, 3), expected, rtol=1e-6)
    assert followed(1.0, 0.05, loss, t, 1)[0] == 0.0
    for other, depth in itertools.product(LOSSES, (1, 2, 3)):
        height = math.sqrt(4.0 - float(getattr(other, "tau", 0.0)))
        np.testing.assert_allclose(followed(0.01, 4.0, other, t, depth), height, rtol=1e-12)


def test_tiny_and_denormal_starts():
    """Growth from s0 is s0 e^{rt} as long as s ≪ √λ."""
    for s0 in (1e-200, 1e-310):
        np.testing.assert_allclose(followed(s0, 4.0, LOSSES[0], [1.0], 2), s0 * math.exp(8), rtol=1e-12)
        np.testing.assert_allclose(followed(s0, 4.0, LOSSES[2], [1.0], 1), s0 * math.exp(16), rtol=1e-12)
        np.testing.assert_allclose(followed(s0, 4.0, LOSSES[2], [1e3], 1), 2.0, rtol=1e-14)
        assert followed(s0, 4.0, LOSSES[1], [1e3], 3)[0] == pytest.approx(s0, rel=1e-12)


@pytest.mark.parametrize(("loss", "depth"), list(itertools.product(LOSSES, (1, 2, 3))))
def test_to_go_on_from_where_one_is(loss, depth):
    """The flow over t1 + t2 is that over t2 after that over t1; times in any order, and twice."""
    values, eigenvalues = [0.3, 3.0, 1.0], [4.0, 1.0, 0.2]
    late, half, same, start = db.aligned_flow(values, eigenvalues, loss, [0.2, 0.1, 0.2, 0.0], depth=depth)
    np.testing.assert_array_equal(late, same)
    np.testing.assert_allclose(start, values, rtol=1e-14)
    np.testing.assert_allclose(db.aligned_flow(half, eigenvalues, loss, [0.1], depth=depth)[0], late, rtol=1e-10)


def test_no_times_no_modes():
    assert db.aligned_flow([], [], LOSSES[0], [1.0, 2.0]).shape == (2, 0)
    for loss, depth in itertools.product(LOSSES, (1, 3)):
        assert db.aligned_flow([1.0, 2.0], [1.0, 0.0], loss, [], depth=depth).shape == (0, 2)
        np.testing.assert_allclose(db.aligned_flow([2.0], [1.0], loss, [0.0, 0.0], depth=depth), 2.0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"start_values": [-1.0]}, ValueError, "start_values must be finite and not negative"),
        ({"start_values": [np.nan]}, ValueError, "start_values has 1 entry that is not finite"),
        ({"start_values": 1.0}, ValueError, r"have shapes \(\), \(1,\) and \(1,\)"),
        ({"eigenvalues": [-1.0]}, ValueError, "eigenvalues must be finite and not negative"),
        ({"times": [np.inf]}, ValueError, "times has 1 entry that is not finite"),
        ({"depth": 0}, ValueError, "depth must be at least 1, but 0 was given"),
        ({"depth": 1.5}, TypeError, "depth must be a whole number, but 1.5 was given"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"start_values": [1.0], "eigenvalues": [1.0], "loss": LOSSES[0], "times": [1.0], "depth": 1, **change}
    with pytest.raises(error, match=message):
        db.aligned_flow(**arguments)
