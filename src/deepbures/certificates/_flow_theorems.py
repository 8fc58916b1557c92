"""Theorems on gradient flow under the Bures-Wasserstein loss.

Notation as in `_hypotheses`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from deepbures.certificates._assumption import Assumption
from deepbures.certificates._hypotheses import (
    Margin,
    authors_margin,
    balanced,
    below_best_saddle,
    full_rank,
    near_target,
    regular_start,
    regular_target,
    rigorous_margin,
    smoothed,
    unsmoothed,
    within_margin,
)
from deepbures.certificates._logarithms import exp, log, root
from deepbures.certificates._start import Start
from deepbures.certificates._theorem import AbstractTheorem
from deepbures.certificates._unbalanced import Charge, charge_of
from deepbures.model import unsmoothed_margin

PAPER = "Bréchet, Papagiannouli, An, Montúfar (2023)"
DERIVED = "derived for this project"


def _log_c0(start: Start) -> float:
    """Ln C0, C0 = 2 (L(0) + tr Σ0)."""
    return log(2 * (start.loss + start.trace))


def _log_k_of_the_paper(start: Start) -> float:
    """Ln K, K = √(τ λ_k)/(2 C0²)."""
    return 0.5 * (log(start.tau) + log(start.kept_eigenvalue)) - math.log(2) - 2 * _log_c0(start)


def _log_c(start: Start) -> float:
    """Ln C, C = (√L(0) + √tr Σ0)²."""
    return 2 * log(root(start.loss) + root(start.trace))


def log_k_derived(start: Start) -> float:
    """Ln K, K = λ_n/(2 √λ_1 C^{3/2})."""
    return log(start.kept_eigenvalue) - math.log(2) - 0.5 * log(start.first_eigenvalue) - 1.5 * _log_c(start)


def constants_derived(start: Start) -> dict[str, float]:
    """What K is made of."""
    return {"log_C": _log_c(start), "lambda_1": start.first_eigenvalue, "lambda_n": start.kept_eigenvalue}


def _log_rate(start: Start, margin: Margin, log_k: float) -> float:
    """Ln (8 N K c^{p+2})."""
    if not margin.squared > 0:
        return math.nan
    return math.log(8 * start.depth) + log_k + (start.power + 2) * margin.log_c


def _constants(start: Start, margin: Margin, log_k: float) -> dict[str, float]:
    return {"log_margin": margin.log_c, "log_K": log_k, "log_C0": _log_c0(start)}


class FlowPaper(AbstractTheorem):
    """The paper's theorem, which needs smoothing."""

    name = "flow-paper"
    method = "flow"
    kind = "guarantee"
    statement = "e(t) ≤ e(0) exp(−8 N K c^(p+2) t), K = √(τ λ_n)/(2 C0²), C0 = 2 (L(0) + tr Σ0)"
    source = f"{PAPER}, with the margin made rigorous for τ > 0 here"

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        return (*near_target(start), smoothed(start))

    def constants(self, start: Start) -> Mapping[str, float]:
        return _constants(start, rigorous_margin(start), _log_k_of_the_paper(start))

    def log_rate(self, start: Start) -> float:
        return _log_rate(start, rigorous_margin(start), _log_k_of_the_paper(start))


class FlowAuthorsCode(AbstractTheorem):
    """The same with c = √λ_k − √L(0), which for τ > 0 is no lower bound of the singular values."""

    name = "flow-authors-code"
    method = "flow"
    kind = "comparison"
    statement = "e(t) about ≤ e(0) exp(−8 N K c^(p+2) t), c = √λ_k − √L(0) for every τ, K as in flow-paper"
    source = f"public code of {PAPER}: for τ > 0 no guarantee, as σ_min(W) can be below this c"

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        c = root(start.kept_eigenvalue) - root(start.loss)
        margin = Assumption("c = √λ_k − √L(0), as in the authors' code", c, ">", 0.0)
        return (*balanced(start), margin, smoothed(start))

    def constants(self, start: Start) -> Mapping[str, float]:
        return _constants(start, authors_margin(start), _log_k_of_the_paper(start))

    def log_rate(self, start: Start) -> float:
        return _log_rate(start, authors_margin(start), _log_k_of_the_paper(start))


class FlowDerived(AbstractTheorem):
    """The paper's theorem with a larger constant, also without smoothing."""

    name = "flow-derived"
    method = "flow"
    kind = "guarantee"
    statement = "e(t) ≤ e(0) exp(−8 N K c^(p+2) t), K = λ_n/(2 √λ_1 C^(3/2)), C = (√L(0) + √tr Σ0)²"
    source = DERIVED

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        return within_margin(start)

    def constants(self, start: Start) -> Mapping[str, float]:
        return {**_constants(start, rigorous_margin(start), log_k_derived(start)), **constants_derived(start)}

    def log_rate(self, start: Start) -> float:
        return _log_rate(start, rigorous_margin(start), log_k_derived(start))


class FlowExact(AbstractTheorem):
    """From L = ¼ ‖∇L‖² at full rank without smoothing. At depth 1 full rank is enough, and it is an equality."""

    name = "flow-exact"
    method = "flow"
    kind = "guarantee"
    statement = "L(t) ≤ L(0) exp(−4 N c^p t), from L = ¼ ‖∇L‖²; equality at depth 1"
    source = DERIVED

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        if start.depth == 1 and start.has_full_rank:
            return (full_rank(start), regular_target(start), regular_start(start), unsmoothed(start))
        return (*within_margin(start), unsmoothed(start))

    def constants(self, start: Start) -> Mapping[str, float]:
        return {"log_margin": rigorous_margin(start).log_c, "power": start.power}

    def log_rate(self, start: Start) -> float:
        growth = start.power * rigorous_margin(start).log_c if start.depth > 1 else 0.0
        return math.log(4 * start.depth) + growth


class FlowBottleneck(AbstractTheorem):
    """From ‖∇L‖² ≥ 4 (1 − ρ)(1 − e/gap) e below the best saddle, so that e/(1 − e/gap) decays exponentially."""

    name = "flow-bottleneck"
    method = "flow"
    kind = "guarantee"
    statement = (
        "e(t) ≤ E/(1 + E/gap), E = e(0)/(1 − e(0)/gap) exp(−4 (1 − ρ) φ c^p t), ρ = λ_{k+1}/λ_k, c = √λ_k − √e(0), "
        "φ = 1 for balanced layers"
    )
    source = DERIVED

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        below = below_best_saddle(start)
        return (*below, *self._charge(start).assumptions) if all(need.holds for need in below) else below

    def constants(self, start: Start) -> Mapping[str, float]:
        kept, left_out = start.kept_eigenvalue, start.left_out_eigenvalue
        rho = left_out / kept if kept > 0 else math.nan
        numbers = {"log_margin": self._log_margin(start), "gap": start.gap, "rho": rho}
        return {**numbers, "unbalancedness_factor": self._charge(start).factor}

    def log_rate(self, start: Start) -> float:
        if not self._is_below_the_saddle(start):
            return math.nan
        exchange = log(1 - start.left_out_eigenvalue / start.kept_eigenvalue)
        charged = log(self._charge(start).factor)
        return math.log(4) + exchange + charged + start.power * self._log_margin(start)

    def transform(self, start: Start, excess: Any) -> Any:
        gap = start.gap
        return np.where(excess < gap, excess / np.maximum(1 - excess / gap, 1e-300), math.nan)

    def excess_of(self, start: Start, transformed: Any) -> Any:
        return transformed / (1 + transformed / start.gap)

    def _is_below_the_saddle(self, start: Start) -> bool:
        return not start.has_full_rank and 0 <= start.excess < start.gap

    def _log_margin(self, start: Start) -> float:
        margin = unsmoothed_margin(start.kept_eigenvalue, start.excess)
        return log(margin) if self._is_below_the_saddle(start) else math.nan

    def _charge(self, start: Start) -> Charge:
        return charge_of(start, exp(2 / start.depth * self._log_margin(start)))
