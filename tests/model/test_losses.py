"""Losses and their derivatives against 120-digit arithmetic, and what they promise without formulas."""

import numpy as np
import pytest

import deepbures as db

from .oracle import LOSSES, PROBLEMS, cases

EPS = np.finfo(float).eps

CASES = pytest.mark.parametrize("problem, loss", cases())
COLUMNS = pytest.mark.parametrize("m", [2, 4, 6])


def scale_of(w, problem, loss):
    """What the rounding of a value is relative to: the sizes of the two covariances (Frobenius: squared)."""
    total = (w**2).sum() + problem.eigenvalues.sum() + 4 * getattr(loss, "tau", 0.0)
    return total**2 if isinstance(loss, db.Frobenius) else total


@CASES
@COLUMNS
def test_value(problem, loss, m, rng):
    """To 64 eps of its scale: tens of operations in 4 dimensions; also at condition 1e12, as the factor is graded.

    The gram form (operator) takes roots of eigenvalues that are right to eps · r_1², r_1/r_j < 10 here.
    """
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    w = rng.standard_normal((4, m))
    tolerance = (640 if problem.is_operator else 64) * EPS * scale_of(w, problem, loss)
    np.testing.assert_allclose(loss.value(w, problem.target), problem.oracle(loss).value(w), rtol=0, atol=tolerance)


def derivative_tolerance(problem, loss, w):
    """The polar factor of X = Fᵀ[W, √τ I] is right to eps ‖X‖/gap, gap = s_r + s_{r−1} or s_r if X is not square.

    Another factor of ten for the second derivative is granted by the caller.
    """
    x = problem.factor.T @ w
    s = np.linalg.svd(x, compute_uv=False)
    s = s[s > 1e-14 * s[0]]
    if isinstance(loss, db.Frobenius):
        return 100 * EPS * scale_of(w, problem, loss)
    return 100 * EPS * (np.linalg.norm(w) + s[0] ** 2 / s[-1] ** (2 if problem.is_operator else 1))


@CASES
@COLUMNS
def test_gradient(problem, loss, m, rng):
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    w = rng.standard_normal((4, m))
    gradient, oracle = loss.grad(w, problem.target), problem.oracle(loss)
    for _ in range(3):
        a = rng.standard_normal((4, m))
        tolerance = derivative_tolerance(problem, loss, w)
        np.testing.assert_allclose((gradient * a).sum(), oracle.slope(w, a), rtol=0, atol=tolerance)


@CASES
@COLUMNS
def test_hessian_vector_product(problem, loss, m, rng):
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    w, a = rng.standard_normal((2, 4, m))
    product, oracle = loss.hvp(w, problem.target, a), problem.oracle(loss)
    for _ in range(2):
        b = rng.standard_normal((4, m))
        expected = oracle.curvature(w, a, b)
        tolerance = 10 * derivative_tolerance(problem, loss, w) * max(1, abs(expected))
        np.testing.assert_allclose((product * b).sum(), expected, rtol=0, atol=tolerance)
