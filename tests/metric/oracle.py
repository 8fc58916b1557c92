"""The slow, naive truth: the defining formulas, as they stand, in 60-digit arithmetic."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import mpmath
import numpy as np

DIGITS = 60

P = ParamSpec("P")
R = TypeVar("R")


def precisely(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpmath.workdps(DIGITS):
            return function(*args, **kwargs)

    return wrapped


@precisely
def matrix(array):
    """An array, exactly."""
    rows = np.asarray(array, dtype=complex).tolist()
    return mpmath.matrix(rows) if rows and rows[0] else mpmath.zeros(len(rows), 1)


@precisely
def covariance(factor):
    """F Fᴴ without rounding."""
    f = matrix(factor)
    return f * f.H


@precisely
def function_of(a, power):
    """a^power of a Hermitian positive semidefinite matrix; negative powers as a pseudo-inverse."""
    values, vectors = mpmath.eighe(a)
    return vectors * mpmath.diag([value**power if value > 0 else value * 0 for value in _cut(values)]) * vectors.H


@precisely
def trace(a):
    return mpmath.re(sum((a[i, i] for i in range(a.rows)), mpmath.mpf(0)))


@precisely
def squared_distance(a, b):
    """tr a + tr b - 2 tr (a^½ b a^½)^½."""
    root = function_of(a, mpmath.mpf(1) / 2)
    values = _cut(mpmath.eighe(root * b * root, eigvals_only=True))
    return trace(a) + trace(b) - 2 * sum((mpmath.sqrt(value) for value in values), mpmath.mpf(0))


@precisely
def distance(a, b):
    return mpmath.sqrt(abs(squared_distance(a, b)))


@precisely
def transport_map(a, b):
    """a^{-½} (a^½ b a^½)^½ a^{-½}, for a positive definite."""
    half = mpmath.mpf(1) / 2
    root, inverse = function_of(a, half), function_of(a, -half)
    return inverse * function_of(root * b * root, half) * inverse


@precisely
def polar_factor(x):
    """X (XᴴX)^{-½}, or (X Xᴴ)^{-½} X for a wide X; full rank."""
    power = -mpmath.mpf(1) / 2
    return x * function_of(x.H * x, power) if x.rows >= x.cols else function_of(x * x.H, power) * x


@precisely
def polar_derivative(x, direction):
    """A central difference of the polar factor; its error is (1e-15)², as there are 60 digits."""
    x, direction = matrix(x), matrix(direction)
    step = mpmath.mpf(10) ** -15
    return (polar_factor(x + step * direction) - polar_factor(x - step * direction)) / (2 * step)


def numbers(a):
    """Back to double precision."""
    return np.array([[complex(a[i, j]) for j in range(a.cols)] for i in range(a.rows)])


def _cut(values):
    # Zero eigenvalues come out as 1e-60, whose root would be seen.
    floor = max(abs(value) for value in values) * mpmath.mpf(10) ** -45
    return [mpmath.re(value) if value > floor else mpmath.mpf(0) for value in values]
