"""Theorems on gradient descent with a constant step size under the Bures-Wasserstein loss.

Notation as in `_hypotheses`.
"""

import math
from collections.abc import Mapping

import numpy as np

from deepbures._types import Floats
from deepbures.certificates._assumption import Assumption
from deepbures.certificates._constant_step import ConstantStep, best_constant_step, constant_step, descent_of
from deepbures.certificates._flow_theorems import DERIVED, PAPER, constants_derived, log_k_derived
from deepbures.certificates._hypotheses import (
    full_rank,
    near_target,
    regular_start,
    regular_target,
    rigorous_margin,
    unsmoothed,
)
from deepbures.certificates._logarithms import exp, log, log_of_minus_log1m, log_of_sum
from deepbures.certificates._slopes import slope_is_known
from deepbures.certificates._start import Start
from deepbures.certificates._theorem import AbstractTheorem


def _step_constants(start: Start) -> dict[str, float]:
    """The paper's step sizes η1, η2, η3 in logarithms, and what they are made of: with M = √C0, C0 = 2 (L(0) + tr Σ0),

    η1 = c²/(8 M √L(0)),   η2 = N c^p/(2Δ),   η3 = 1/(4 N c^p),
    Δ = 2^{N+1} c^{−2N} N² M^{(4N−3)/N} √λ_1 + 8 N (N−1) M^{(3N−4)/N} (M^{1/N} + tr Σ0).
    """
    depth, log_c = start.depth, rigorous_margin(start).log_c
    log_m = 0.5 * log(2 * (start.loss + start.trace))
    log_delta = (
        (depth + 1) * math.log(2)
        - 2 * depth * log_c
        + 2 * math.log(depth)
        + (4 * depth - 3) / depth * log_m
        + 0.5 * log(start.first_eigenvalue)
    )
    if depth > 1:
        outer = log_of_sum(log_m / depth, log(start.trace))
        log_delta = log_of_sum(log_delta, math.log(8 * depth * (depth - 1)) + (3 * depth - 4) / depth * log_m + outer)
    return {
        "log_margin": log_c,
        "log_M": log_m,
        "log_delta": log_delta,
        "log_eta_1": 2 * log_c - math.log(8) - log_m - 0.5 * log(start.loss),
        "log_eta_2": math.log(depth) + start.power * log_c - math.log(2) - log_delta,
        "log_eta_3": -math.log(4 * depth) - start.power * log_c,
    }


def _log_largest_step(start: Start) -> float:
    """Ln min(η1, η2, η3); NaN where there is no margin."""
    constants = _step_constants(start)
    known = start.has_full_rank and rigorous_margin(start).squared > 0
    return min(constants[f"log_eta_{i}"] for i in (1, 2, 3)) if known else math.nan


class DescentPaper(AbstractTheorem):
    """Contraction by 1 − 2 η N c^p at the paper's step size: from ‖∇L‖² ≥ 4 e, which needs τ = 0."""

    name = "descent-paper"
    method = "descent"
    kind = "guarantee"
    statement = "e(steps) ≤ e(0) (1 − 2 η N c^p)^steps for η ≤ min(η1, η2, η3)"
    source = f"{PAPER}, constants as in their public code"

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        return (*near_target(start), unsmoothed(start))

    def constants(self, start: Start) -> Mapping[str, float]:
        return {**_step_constants(start), "log_contraction": self._log_slope(start) + _log_largest_step(start)}

    def log_rate(self, start: Start) -> float:
        return log_of_minus_log1m(self._log_slope(start) + _log_largest_step(start))

    def log_max_step_size(self, start: Start) -> float:
        return _log_largest_step(start)

    def rate_of_step(self, start: Start, step_size: float) -> float:
        return exp(log_of_minus_log1m(self._log_slope(start) + math.log(step_size)))

    def _log_slope(self, start: Start) -> float:
        return math.log(2 * start.depth) + start.power * rigorous_margin(start).log_c


class DescentDerived(AbstractTheorem):
    """Half of what the flow decays by in the time η, with K of "flow-derived"; at the paper's step size."""

    name = "descent-derived"
    method = "descent"
    kind = "guarantee"
    statement = "e(steps) ≤ e(0) (1 − 4 η N K c^(p+2))^steps for η ≤ min(η1, η2, η3), K as in flow-derived"
    source = f"{DERIVED}, with the step sizes of {PAPER}"

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        return near_target(start)

    def constants(self, start: Start) -> Mapping[str, float]:
        return {
            **_step_constants(start),
            "log_K": log_k_derived(start),
            **constants_derived(start),
            "log_contraction": self._log_slope(start) + _log_largest_step(start),
        }

    def log_rate(self, start: Start) -> float:
        return log_of_minus_log1m(self._log_slope(start) + _log_largest_step(start))

    def log_max_step_size(self, start: Start) -> float:
        return _log_largest_step(start)

    def rate_of_step(self, start: Start, step_size: float) -> float:
        return exp(log_of_minus_log1m(self._log_slope(start) + math.log(step_size)))

    def _log_slope(self, start: Start) -> float:
        log_c = rigorous_margin(start).log_c
        return math.log(4 * start.depth) + log_k_derived(start) + (start.power + 2) * log_c


class DescentExact(AbstractTheorem):
    """Depth 1, full rank, τ = 0: the polar factor Q stays, so W − F Q shrinks by 1 − 2η in every step, for η ≤ ½."""

    name = "descent-exact"
    method = "descent"
    kind = "guarantee"
    statement = "e(steps) = e(0) (1 − 2 η)^(2 steps) for η ≤ 1/2, at depth 1"
    source = DERIVED

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        regular = (regular_target(start), regular_start(start)) if start.has_full_rank else ()
        return (Assumption("depth N", start.depth, "=", 1), full_rank(start), *regular, unsmoothed(start))

    def log_rate(self, start: Start) -> float:
        return math.inf

    def log_max_step_size(self, start: Start) -> float:
        return -math.log(2)

    def rate_of_step(self, start: Start, step_size: float) -> float:
        return -2 * math.log1p(-2 * step_size) if step_size < 0.5 else math.inf


class DescentConstant(AbstractTheorem):
    """Of every depth, bottleneck and smoothing, from layers that are balanced or not, below the best saddle.

    η and β, and why they hold, are those of `_constant_step`; Q, r and c follow the excess as it falls.
    """

    name = "descent-constant"
    method = "descent"
    kind = "guarantee"
    statement = "e(steps) ≤ y(steps), y' = (1 − (1 − β) η Q r) y, ‖∇L‖² ≥ r e, S² ≥ Q ‖∇L‖², β of η"
    source = DERIVED

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        return slope_is_known(start)

    def constants(self, start: Start) -> Mapping[str, float]:
        step = best_constant_step(start)
        if step is None:
            return {}
        drift = step.drift
        return {
            "beta": step.share,
            "log_largest_squared_layer": float(drift.log_square),
            "log_contraction": self._log_contraction(step, start.excess),
        }

    def log_rate(self, start: Start) -> float:
        return self._log_rate_at(start, start.excess)

    def log_asymptotic_rate(self, start: Start) -> float:
        return self._log_rate_at(start, 0.0)

    def log_max_step_size(self, start: Start) -> float:
        step = best_constant_step(start)
        return math.nan if step is None else step.log_size

    def rate_of_step(self, start: Start, step_size: float) -> float:
        return exp(log_of_minus_log1m(self._log_contraction(constant_step(start, step_size), start.excess)))

    def bound(self, start: Start, positions: Floats, step_size: float | None = None) -> Floats:
        descent = descent_of(self._step(start, step_size))
        return np.asarray(start.excess * np.exp(-descent.decay_after(np.floor(positions))))

    def time_to(self, start: Start, excess: float, step_size: float | None = None) -> float:
        if not excess < start.excess:
            return 0.0
        if not excess > 0:
            return 1.0 if self._log_rate_at(start, 0.0) == math.inf else math.inf
        return descent_of(self._step(start, step_size)).steps_to(math.log(start.excess / excess))

    def mean_rate(self, start: Start, first: float, last: float, step_size: float | None = None) -> float:
        decays = descent_of(self._step(start, step_size)).decay_after(np.array([first, last]))
        return float((decays[1] - decays[0]) / (last - first))

    def _step(self, start: Start, step_size: float | None) -> ConstantStep:
        step = best_constant_step(start) if step_size is None else constant_step(start, step_size)
        assert step is not None  # the assumptions hold
        return step

    def _log_rate_at(self, start: Start, excess: float) -> float:
        step = best_constant_step(start)
        return math.nan if step is None else log_of_minus_log1m(self._log_contraction(step, excess))

    def _log_contraction(self, step: ConstantStep, excess: float) -> float:
        return min(float(step.log_contraction(np.asarray(excess))), 0.0)
