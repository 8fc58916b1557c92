"""Theorems on gradient flow under the Frobenius loss L = ‖W Wᵀ − Σ0‖²; notation as in `_hypotheses`.

With H = W Wᵀ − Σ0, ∇L = 4 H W: where σ_n(W) ≥ c, Σ_l ‖∂L/∂W_l‖² ≥ 16 N c^p ‖H W‖² ≥ 16 N c^{p+2} L.
"""

import math

import numpy as np

from deepbures._types import Floats
from deepbures.certificates._assumption import Assumption
from deepbures.certificates._hypotheses import (
    bottlenecked,
    certainly_regular_start,
    full_rank,
    regular_target,
    then,
    without_rounding,
)
from deepbures.certificates._logarithms import exp, log, root
from deepbures.certificates._quadrature import DECAYS
from deepbures.certificates._start import Start
from deepbures.certificates._tightening import AbstractTighteningTheorem
from deepbures.certificates._unbalanced import Charge, Growth, charge_of, growth_of

_SOURCE = "derived for this project"


class AbstractFrobeniusTheorem(AbstractTighteningTheorem):
    """A theorem about a loss that is quadratic in covariances."""

    def size(self, start: Start) -> float:
        return start.loss + start.trace**2


class FrobeniusGlobal(AbstractFrobeniusTheorem):
    """From every start of full rank, however far, with layers that are balanced, or nearly.

    σ_n' = 4N σ_n^{3−2/N} (uᵀΣ0u − σ_n²) and uᵀΣ0u ≥ λ_n. In u = ln(L(0)/y) the equation of s² is linear,
    d(s²)/du = (λ_n − s²)/2. What unbalanced layers have of λ_n, s(0) and the speed of s is in `_unbalanced`.
    """

    name = "flow-frobenius-global"
    method = "flow"
    kind = "guarantee"
    statement = "L(t) ≤ L(0) exp(−16 N ∫ s^(p+2) dt), s' = 4 N s^(3−2/N) (λ_n − s²), s(0) = σ_n(W(0))"
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        if not start.has_full_rank:
            return (full_rank(start),)
        needs = (full_rank(start), regular_target(start), certainly_regular_start(start))
        return then(needs, lambda: self._growth(start).assumptions)

    def constants(self, start: Start) -> dict[str, float]:
        if not start.has_full_rank:
            return {}
        charged = self._growth(start).eigenvalue
        factor = exp(self.log_asymptotic_rate(start) - _log_rate(start, start.kept_eigenvalue))
        return {"charged_lambda_n": charged, "unbalancedness_factor": factor}

    def log_rate(self, start: Start) -> float:
        return _log_rate(start, max(self._growth(start).first, 0.0) ** 2)

    def log_asymptotic_rate(self, start: Start) -> float:
        return _log_rate(start, self._growth(start).eigenvalue)

    def resistance(self, start: Start) -> Floats:
        growth = self._growth(start)
        first, last, decays = growth.first**2, growth.eigenvalue, growth.speed * DECAYS / 2
        from_below = first - (last - first) * np.expm1(-decays)
        return _resistance(start, from_below if first < last else last + (first - last) * np.exp(-decays))

    def _growth(self, start: Start) -> Growth:
        """Growth is bounded by the largest singular value, which obeys ‖W‖² ≤ λ_1 + √L."""
        largest = start.first_eigenvalue + root(start.loss)
        return growth_of(start, without_rounding(start), start.kept_eigenvalue, largest, order=2)


class FrobeniusAnyLayers(AbstractFrobeniusTheorem):
    """At full rank, within the margin, from layers that are balanced or not: λ_n − √L bounds σ_n² from below."""

    name = "flow-frobenius-any-layers"
    method = "flow"
    kind = "guarantee"
    statement = "L(t) ≤ y(t), y' = −16 N c^(p+2) y, c² = λ_n − √y, y(0) = L(0); any layers"
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        if not start.has_full_rank:
            return (full_rank(start),)
        return (full_rank(start), Assumption("squared margin c² = λ_n − √L(0)", self._square(start), ">", 0.0))

    def log_rate(self, start: Start) -> float:
        return _log_rate(start, self._square(start))

    def log_asymptotic_rate(self, start: Start) -> float:
        return _log_rate(start, start.kept_eigenvalue)

    def resistance(self, start: Start) -> Floats:
        return _resistance(start, self._square(start) - root(start.loss) * np.expm1(-DECAYS / 2))

    def _square(self, start: Start) -> float:
        return start.kept_eigenvalue - root(start.loss)


class FrobeniusBelowSaddle(AbstractFrobeniusTheorem):
    """Through a bottleneck, below the best saddle, of height λ_k² − λ_{k+1}².

    With q = √(λ_k² − y), f = λ_k − q: (gap − f)/(2λ_k − f) = (saddle − y)/((q + λ_{k+1})(q + λ_k)).
    """

    name = "flow-frobenius-below-saddle"
    method = "flow"
    kind = "guarantee"
    statement = (
        "e(t) ≤ y(t), y' = −16 φ c^(p+2) (gap − f)/(2 λ_k − f) y, f = λ_k − √(λ_k² − y), c² = λ_k − √y, y(0) = e(0), "
        "φ = 1 for balanced layers"
    )
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        if start.has_full_rank:
            return (bottlenecked(start),)
        saddle = Assumption("height of the best saddle, λ_k² − λ_{k+1}²", self._saddle(start), ">", 0.0)
        below = Assumption("excess e(0), which must lie below that height", start.excess, "<", self._saddle(start))
        return then((bottlenecked(start), saddle, below), lambda: self._charge(start).assumptions)

    def constants(self, start: Start) -> dict[str, float]:
        saddle = self._saddle(start)
        factor = self._charge(start).factor if start.excess < saddle else math.nan
        return {"saddle": saddle, "unbalancedness_factor": factor}

    def log_rate(self, start: Start) -> float:
        return self._log_rate_at(start, start.excess)

    def log_asymptotic_rate(self, start: Start) -> float:
        return self._log_rate_at(start, 0.0)

    def resistance(self, start: Start) -> Floats:
        below = (self._saddle(start) - start.excess) - start.excess * np.expm1(-DECAYS)
        squares = (start.kept_eigenvalue - root(start.excess)) - root(start.excess) * np.expm1(-DECAYS / 2)
        factor = self._charge(start).factor
        return np.asarray(1 / (16 * factor * self._share(start, below) * squares ** (start.power / 2 + 1)))

    def _charge(self, start: Start) -> Charge:
        square = max(start.kept_eigenvalue - root(start.excess), 0.0)
        return charge_of(start, square ** (1 / start.depth), start.first_eigenvalue + root(start.loss))

    def _saddle(self, start: Start) -> float:
        if start.has_full_rank:
            return math.nan
        return start.gap * (start.kept_eigenvalue + start.left_out_eigenvalue)

    def _share(self, start: Start, below: Floats) -> Floats:
        """(gap − f)/(2λ_k − f) that much below the saddle."""
        q = np.sqrt(start.left_out_eigenvalue * start.left_out_eigenvalue + below)
        return np.asarray(below / (q + start.left_out_eigenvalue) / (q + start.kept_eigenvalue))

    def _log_rate_at(self, start: Start, excess: float) -> float:
        below = self._saddle(start) - excess
        if not (below > 0 and start.excess < self._saddle(start)):
            return math.nan
        share = float(self._share(start, np.asarray(below)))
        charged = log(self._charge(start).factor)
        return math.log(16) + log(share) + charged + (start.power / 2 + 1) * log(start.kept_eigenvalue - root(excess))


def _log_rate(start: Start, square: float) -> float:
    """Ln (16 N c^{p+2})."""
    if not (start.has_full_rank and square > 0):
        return math.nan
    return math.log(16 * start.depth) + (start.power / 2 + 1) * log(square)


def _resistance(start: Start, squares: Floats) -> Floats:
    return np.asarray(1 / (16 * start.depth * squares ** (start.power / 2 + 1)))
