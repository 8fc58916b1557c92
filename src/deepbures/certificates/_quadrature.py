"""Bounds that tighten as a run goes on: solutions of e' = −ρ e whose rate ρ depends on how far the excess has fallen.

With the decay u = ln(e(0)/e) in the place of time, the equation is a quadrature: t(u) = ∫₀ᵘ dv/ρ(v). The inverse rate,
the resistance 1/ρ, varies on scales as small as the distance of the start from a saddle or from rank deficiency, and is
constant at last. So it is held as polynomials on panels [0, 2⁻¹⁰⁰] and [2ʲ, 2ʲ⁺¹] up to 2¹¹, on each of which it is as
smooth as a power of u: sixteen Radau points give it to rounding.
"""

import numpy as np
from numpy.polynomial import legendre

from deepbures._types import Floats

_NUM_NODES = 16
_EDGES = np.concatenate([[0.0], 2.0 ** np.arange(-100, 12)])
_HALVES = np.diff(_EDGES)[:, None] / 2


def _radau_points(num: int) -> Floats:
    """The zeros of P_num − P_{num−1}: 1 and num − 1 points inside (−1, 1), ascending."""
    coefficients = np.zeros(num + 1)
    coefficients[num - 1 :] = -1.0, 1.0
    points = np.sort(legendre.legroots(coefficients).real)
    points[-1] = 1.0
    return points


_POINTS = _radau_points(_NUM_NODES)
# From values at the points to coefficients of Legendre polynomials, and from those to integrals from −1 to the points.
_TO_COEFFICIENTS = np.linalg.inv(legendre.legvander(_POINTS, _NUM_NODES - 1))
_INTEGRATE = legendre.legval(_POINTS, legendre.legint(_TO_COEFFICIENTS, lbnd=-1.0)).T
DECAYS = _EDGES[:-1, None] + _HALVES * (1 + _POINTS)
"""The decays u at which a resistance is asked for, (panels, points)."""


def relax(start: float, speed: Floats, goal: Floats) -> Floats:
    """The solution of ds/du = speed · (goal − s), s(0) = start, at `DECAYS`, where speed and goal are given.

    By collocation at the Radau points, which is stable however large the speed.
    """
    identity = np.eye(_NUM_NODES)
    solution = np.empty_like(goal)
    for panel, half in enumerate(_HALVES[:, 0]):
        integral = half * _INTEGRATE * speed[panel]
        solution[panel] = np.linalg.solve(identity + integral, start + integral @ goal[panel])
        start = solution[panel, -1]
    return solution


class Course:
    """How the decay u and time belong together, from the resistance dt/du at `DECAYS`."""

    def __init__(self, resistance: Floats) -> None:
        coefficients = _TO_COEFFICIENTS @ resistance.T
        self._integrals = legendre.legint(coefficients, lbnd=-1.0) * _HALVES[:, 0]
        self._times = np.concatenate([[0.0], np.cumsum(self._integrals.sum(0))])
        self._last = float(resistance[-1, -1])

    def time_to(self, decay: Floats) -> Floats:
        """T(u)."""
        panel = np.minimum(np.searchsorted(_EDGES, decay, side="right") - 1, len(_HALVES) - 1)
        inside = np.minimum((decay - _EDGES[panel]) / _HALVES[panel, 0] - 1, 1.0)
        time = self._times[panel] + legendre.legval(inside, self._integrals[:, panel], tensor=False)
        return np.asarray(time + np.maximum(decay - _EDGES[-1], 0) * self._last)

    def decay_after(self, times: Floats) -> Floats:
        """u(t), rounded down."""
        flat = np.ravel(times)
        panel = np.minimum(np.searchsorted(self._times, flat, side="right") - 1, len(_HALVES) - 1)
        low, high = np.full(flat.shape, -1.0), np.ones(flat.shape)
        integrals, since = self._integrals[:, panel], flat - self._times[panel]
        for _ in range(54):  # halvings
            middle = (low + high) / 2
            is_reached = legendre.legval(middle, integrals, tensor=False) <= since
            low, high = np.where(is_reached, middle, low), np.where(is_reached, high, middle)
        decay = _EDGES[panel] + _HALVES[panel, 0] * (1 + low)
        beyond = np.maximum(flat - self._times[-1], 0) / self._last
        return np.asarray((decay + beyond).reshape(np.shape(times)))
