"""Theorems on gradient flow whose bounds tighten as the run goes on: solutions of scalar comparison equations.

Notation as in `_hypotheses`; u = ln(e(0)/y) is how far the bound y has fallen.
"""

import math
from abc import abstractmethod

import numpy as np

from deepbures._types import Floats
from deepbures.certificates._assumption import Assumption
from deepbures.certificates._hypotheses import (
    below_best_saddle,
    certainly_regular_start,
    full_rank,
    rigorous_margin,
    squared_margin_above_zero,
    then,
    without_rounding,
)
from deepbures.certificates._logarithms import exp, log, root
from deepbures.certificates._quadrature import DECAYS, Course, relax
from deepbures.certificates._start import Start
from deepbures.certificates._theorem import AbstractTheorem
from deepbures.certificates._unbalanced import Charge, Growth, charge_of, growth_of

_SOURCE = "derived for this project"
_TO_A_MILLIONTH = np.asarray(6 * math.log(10))


class AbstractTighteningTheorem(AbstractTheorem):
    """A bound y that falls by y' = −ρ y, with a rate ρ that depends on how far it has fallen."""

    @abstractmethod
    def resistance(self, start: Start) -> Floats:
        """1/ρ where the bound has fallen by the factors exp(−u), u = `DECAYS`."""

    def bound(self, start: Start, positions: Floats, step_size: float | None = None) -> Floats:
        return np.asarray(start.excess * np.exp(-Course(self.resistance(start)).decay_after(positions)))

    def time_to(self, start: Start, excess: float, step_size: float | None = None) -> float:
        if not excess < start.excess:
            return 0.0
        if not excess > 0:
            return math.inf
        return float(Course(self.resistance(start)).time_to(np.asarray(math.log(start.excess / excess))))

    def mean_rate(self, start: Start, first: float, last: float, step_size: float | None = None) -> float:
        decays = Course(self.resistance(start)).decay_after(np.array([first, last]))
        return float((decays[1] - decays[0]) / (last - first))


class FlowGlobal(AbstractTighteningTheorem):
    """From every start of full rank, however far, with layers that are balanced, or nearly.

    The smallest singular value obeys σ_n' = 2N σ_n^{3−2/N} (uᵀT u − 1), T the transport map from W Wᵀ + τI to Σ0, and
    uᵀT u ≥ √(λ_n/(σ_n² + τ)), as the geometric mean is monotone: σ_n is above the s of the statement. With
    ‖∇L‖² ≥ 4 s²/(s² + τ) L and v = √(s² + τ) the bound is y = e(0) (√λ_n − v)²/(√λ_n − v(0))², since

        d/dt ln |√λ_n − v| = −2N s^{p+2}/v².

    Unbalanced layers have a smaller λ_n and s(0) in this, and another speed of s (`_unbalanced`); the equation of L is
    the same for all layers.
    """

    name = "flow-global"
    method = "flow"
    kind = "guarantee"
    statement = (
        "L(t) ≤ L(0) exp(−4 N ∫ s^(p+2)/(s² + τ) dt), s' = 2 N s^(3−2/N) (√(λ_n/(s² + τ)) − 1), s(0) = σ_n(W(0)), "
        "λ_n and s(0) less what the unbalancedness costs"
    )
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        if not start.has_full_rank:
            return (full_rank(start),)
        smoothing = Assumption("smoothing τ, which must lie below λ_n", start.tau, "<", start.kept_eigenvalue)
        needs = (full_rank(start), smoothing, certainly_regular_start(start))
        return then(needs, lambda: self._growth(start).assumptions)

    def constants(self, start: Start) -> dict[str, float]:
        if not start.has_full_rank:
            return {}
        growth = self._growth(start)
        balanced = self._log_rate_at(start, root(start.kept_eigenvalue - start.tau))
        factor = exp(self.log_asymptotic_rate(start) - balanced)
        return {"charged_lambda_n": growth.eigenvalue, "unbalancedness_factor": factor}

    def log_rate(self, start: Start) -> float:
        return self._log_rate_at(start, self._growth(start).first)

    def log_asymptotic_rate(self, start: Start) -> float:
        return self._log_rate_at(start, root(self._growth(start).eigenvalue - start.tau))

    def resistance(self, start: Start) -> Floats:
        growth = self._growth(start)
        first, last = growth.first**2, growth.eigenvalue - start.tau
        v, goal = math.sqrt(first + start.tau), math.sqrt(growth.eigenvalue)
        distance = (last - first) / (goal + v)  # √λ_n − v(0) without cancellation
        decays = growth.speed * DECAYS / 2
        if distance > 0:  # from below: s² from that of the start, else from the goal, so that all terms are positive
            covered = -distance * np.expm1(-decays)
            squares = first + (2 * v + covered) * covered
        else:
            left = -distance * np.exp(-decays)
            squares = last + (2 * goal + left) * left
        return np.asarray((squares + start.tau) / squares / (4 * start.depth * squares ** (start.power / 2)))

    def _growth(self, start: Start) -> Growth:
        return growth_of(start, without_rounding(start), start.kept_eigenvalue, start.largest_squared_norm)

    def _log_rate_at(self, start: Start, s: float) -> float:
        if not (start.has_full_rank and s > 0):
            return math.nan
        return math.log(4 * start.depth) + (start.power + 2) * log(s) - log(s**2 + start.tau)


class FlowAnyLayers(AbstractTighteningTheorem):
    """At full rank, within the margin, from layers that are balanced or not.

    Σ_l ‖∂L/∂W_l‖² ≥ N σ_n^p ‖∇L‖² for every factorization of a W of rank n, ‖∇L‖² ≥ 4 c²/(c² + τ) L, and the margin c
    grows as L falls.
    """

    name = "flow-any-layers"
    method = "flow"
    kind = "guarantee"
    statement = "L(t) ≤ y(t), y' = −4 N c^(p+2)/(c² + τ) y, c² = (√λ_n − √y)² − τ, y(0) = L(0); any layers"
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        if not start.has_full_rank:
            return (full_rank(start),)
        return (full_rank(start), squared_margin_above_zero(start))

    def log_rate(self, start: Start) -> float:
        return self._log_rate_at(start, rigorous_margin(start).squared)

    def log_asymptotic_rate(self, start: Start) -> float:
        return self._log_rate_at(start, start.kept_eigenvalue - start.tau)

    def resistance(self, start: Start) -> Floats:
        first = root(start.kept_eigenvalue) - root(start.loss)
        gained = -root(start.loss) * np.expm1(-DECAYS / 2)
        squares = rigorous_margin(start).squared + (2 * first + gained) * gained
        return np.asarray((squares + start.tau) / squares / (4 * start.depth * squares ** (start.power / 2)))

    def _log_rate_at(self, start: Start, square: float) -> float:
        if not (start.has_full_rank and square > 0):
            return math.nan
        return math.log(4 * start.depth) + (start.power / 2 + 1) * log(square) - log(square + start.tau)


class FlowBelowSaddle(AbstractTighteningTheorem):
    """Through a bottleneck without smoothing, below the best saddle.

    y' = −4 (gap − y)/λ_k s^p y from ‖∇L‖² ≥ 4 e (gap − e)/λ_k, and s' = 2N s^p (√(λ_k − y) − s) bounds σ_k from below;
    the pair is cooperative, so that y and s bound e and σ_k (Kamke). In u the second equation is linear,

        ds/du = (N λ_k/2) (√(λ_k − y) − s)/(gap − y).

    Unbalanced layers have φ s^p in the first and the pull, speed and s(0) of `_unbalanced` in the second; σ_k is above
    √λ_k − √y in any case.
    """

    name = "flow-below-saddle"
    method = "flow"
    kind = "guarantee"
    statement = (
        "e(t) ≤ y(t), y' = −4 (gap − y)/λ_k φ s^p y, s' = 2 N s^p (√(λ_k − y) − s), s(0) = σ_k(W(0)), φ = 1 for "
        "balanced layers, s less what the unbalancedness costs"
    )
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        return then(below_best_saddle(start), lambda: self._charge(start).assumptions)

    def constants(self, start: Start) -> dict[str, float]:
        factor = self._charge(start).factor if _is_below(start) else math.nan
        return {"gap": start.gap, "unbalancedness_factor": factor}

    def log_rate(self, start: Start) -> float:
        return -log(float(self.resistance(start)[0, 0])) if _is_below(start) else math.nan

    def log_asymptotic_rate(self, start: Start) -> float:
        return -log(float(self.resistance(start)[-1, -1])) if _is_below(start) else math.nan

    def resistance(self, start: Start) -> Floats:
        factor = self._charge(start).factor
        below = (start.gap - start.excess) - start.excess * np.expm1(-DECAYS)  # gap − y
        sizes = [root(start.kept_eigenvalue) - root(start.excess) * np.exp(-DECAYS / 2)]
        growth = self._growth(start)
        if all(need.holds for need in growth.assumptions):
            pull = math.sqrt((start.kept_eigenvalue - start.excess) / growth.eigenvalue)
            speed = growth.speed / factor * start.depth * start.kept_eigenvalue / 2
            goal = np.sqrt(start.left_out_eigenvalue + below) / pull
            sizes.append(relax(growth.first, speed / below, goal))
        ways = [np.asarray(start.kept_eigenvalue / below / (4 * factor * s**start.power)) for s in sizes]
        return min(ways, key=lambda way: float(Course(way).time_to(_TO_A_MILLIONTH)))

    def _growth(self, start: Start) -> Growth:
        """Of σ_k, from its value or the bound below the saddle."""
        smallest = max(without_rounding(start), root(start.kept_eigenvalue) - root(start.excess))
        return growth_of(start, smallest, start.kept_eigenvalue - start.excess, start.largest_squared_norm)

    def _charge(self, start: Start) -> Charge:
        """From √λ_k − √e(0), or what σ_k is known to stay above."""
        margin = charge_of(start, (root(start.kept_eigenvalue) - root(start.excess)) ** (2 / start.depth))
        growth = self._growth(start)
        is_better = growth.charge.floor > margin.floor and all(need.holds for need in growth.assumptions)
        return growth.charge if is_better else margin


def _is_below(start: Start) -> bool:
    return not start.has_full_rank and start.excess < start.gap
