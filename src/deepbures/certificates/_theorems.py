"""The theorems, each as a function from the numbers of a start to a certificate.

Notation as in `_hypotheses`.
"""

import math
from collections.abc import Callable
from functools import singledispatch
from typing import NamedTuple

import numpy as np

from deepbures.certificates._certificate import Assumption, Certificate
from deepbures.certificates._hypotheses import (
    Margin,
    Start,
    as_in_the_code,
    balanced,
    full_rank,
    full_rank_start,
    log,
    log_of_sum,
    regular,
    rigorous,
    root,
    within,
)
from deepbures.model import AbstractLoss, BuresWasserstein

_PAPER = "Bréchet, Papagiannouli, An, Montúfar (2023)"
_DERIVED = "derived for this project"


def _flow_constants(start: Start, margin: Margin, log_k: float) -> tuple[dict[str, float], float]:
    log_rate = math.log(8 * start.depth) + log_k + (start.power + 2) * margin.log_c if margin.squared > 0 else math.nan
    return {"log_margin": margin.log_c, "log_K": log_k, "log_C0": start.log_c0}, log_rate


def _flow_paper(start: Start) -> Certificate:
    """K = √(τ λ_n)/(2 C0²), C0 = 2 (L(0) + tr Σ0)."""
    margin = rigorous(start)
    log_k = 0.5 * (log(start.tau) + log(start.kept)) - math.log(2) - 2 * start.log_c0
    constants, log_rate = _flow_constants(start, margin, log_k)
    smoothed = Assumption("smoothing τ", start.tau, ">", 0.0)
    return Certificate(
        "flow-paper",
        "flow",
        True,
        "e(t) ≤ e(0) exp(−8 N K c^(p+2) t), K = √(τ λ_n)/(2 C0²), C0 = 2 (L(0) + tr Σ0)",
        f"{_PAPER}, with the margin made rigorous for τ > 0 here",
        (*within(start, margin), smoothed),
        constants,
        start.excess,
        log_rate,
    )


def _flow_authors(start: Start) -> Certificate:
    """The same with c = √λ_k − √L(0), which for τ > 0 is no lower bound of the singular values."""
    margin = as_in_the_code(start)
    log_k = 0.5 * (log(start.tau) + log(start.kept)) - math.log(2) - 2 * start.log_c0
    constants, log_rate = _flow_constants(start, margin, log_k)
    return Certificate(
        "flow-authors-code",
        "flow",
        False,
        "e(t) about ≤ e(0) exp(−8 N K c^(p+2) t), c = √λ_k − √L(0) for every τ, K as in flow-paper",
        f"public code of {_PAPER}: for τ > 0 no guarantee, as σ_min(W) can be below this c",
        (
            *balanced(start),
            Assumption("c = √λ_k − √L(0), as in the authors' code", root(start.kept) - root(start.loss), ">", 0.0),
            Assumption("smoothing τ", start.tau, ">", 0.0),
        ),
        constants,
        start.excess,
        log_rate,
    )


def _derived_constant(start: Start) -> tuple[float, dict[str, float]]:
    """Ln K, K = λ_n/(2 √λ_1 C^{3/2}), C = (√L(0) + √tr Σ0)²."""
    log_c = 2 * log(root(start.loss) + root(start.trace))
    log_k = log(start.kept) - math.log(2) - 0.5 * log(start.first) - 1.5 * log_c
    return log_k, {"log_C": log_c, "lambda_1": start.first, "lambda_n": start.kept}


def _flow_derived(start: Start) -> Certificate:
    margin = rigorous(start)
    log_k, constants = _derived_constant(start)
    flow, log_rate = _flow_constants(start, margin, log_k)
    return Certificate(
        "flow-derived",
        "flow",
        True,
        "e(t) ≤ e(0) exp(−8 N K c^(p+2) t), K = λ_n/(2 √λ_1 C^(3/2)), C = (√L(0) + √tr Σ0)²",
        _DERIVED,
        within(start, margin),
        {**flow, **constants},
        start.excess,
        log_rate,
    )


def _flow_exact(start: Start) -> Certificate:
    """From L = ¼ ‖∇L‖² at full rank without smoothing. At depth 1 full rank is enough, and it is an equality."""
    margin = rigorous(start)
    alone = (full_rank(start), regular(start), full_rank_start(start)) if start.k == start.n else None
    return Certificate(
        "flow-exact",
        "flow",
        True,
        "L(t) ≤ L(0) exp(−4 N c^p t), from L = ¼ ‖∇L‖²; equality at depth 1",
        _DERIVED,
        (
            *(alone if alone is not None and start.depth == 1 else within(start, margin)),
            Assumption("smoothing τ", start.tau, "=", 0.0),
        ),
        {"log_margin": margin.log_c, "power": start.power},
        start.excess,
        math.log(4 * start.depth) + (start.power * margin.log_c if start.depth > 1 else 0.0),
    )


def _flow_bottleneck(start: Start) -> Certificate:
    """From ‖∇L‖² ≥ 4 (1 − ρ)(1 − e/gap) e below the best saddle."""
    gap, e = start.kept - start.left_out, start.excess
    c = root(start.kept) - root(e)
    met = start.k < start.n and 0 <= e < gap
    rho = start.left_out / start.kept if start.kept > 0 else math.nan
    log_rate = math.log(4) + log(1 - rho) + start.power * log(c) if met else math.nan
    below = Assumption("dimensions that the bottleneck leaves out, n − k", start.n - start.k, ">", 0)
    saddle = (
        Assumption("height of the best saddle over the minimum, λ_k − λ_{k+1}", gap, ">", 0.0),
        Assumption("excess e(0), which must lie below that height", e, "<", gap),
    )
    return Certificate(
        "flow-bottleneck",
        "flow",
        True,
        "e(t) ≤ E/(1 + E/gap), E = e(0)/(1 − e(0)/gap) exp(−4 (1 − ρ) c^p t), ρ = λ_{k+1}/λ_k, c = √λ_k − √e(0)",
        _DERIVED,
        (
            *balanced(start),
            below,
            Assumption("smoothing τ", start.tau, "=", 0.0),
            *(saddle if below.holds else ()),
        ),
        {"log_margin": log(c) if met else math.nan, "gap": gap, "rho": rho},
        e,
        log_rate,
        _transform=(lambda x: x / np.maximum(1 - x / gap, 1e-300), lambda big: big / (1 + big / gap)) if met else None,
    )


def _flow_asymptotic(start: Start) -> Certificate:
    return Certificate(
        "flow-asymptotic",
        "flow",
        False,
        "e(t) ~ exp(−r t) late in the run, r twice the smallest positive Hessian eigenvalue at the balanced minimizer",
        _DERIVED,
        (Assumption("rate of the approach at the balanced minimizer", 2 * start.flattest, ">", 0.0),),
        {"smallest_curvature": start.flattest, "sharpness": start.sharpness},
        start.excess,
        log(2 * start.flattest),
    )


class _Steps(NamedTuple):
    """The paper's step sizes, in logarithms."""

    log_eta: float
    constants: dict[str, float]


def _paper_steps(start: Start, margin: Margin) -> _Steps:
    """η = min(η1, η2, η3): with M = √C0,

    η1 = c²/(8 M √L(0)),   η2 = N c^p/(2Δ),   η3 = 1/(4 N c^p),
    Δ = 2^{N+1} c^{−2N} N² M^{(4N−3)/N} √λ_1 + 8 N (N−1) M^{(3N−4)/N} (M^{1/N} + tr Σ0).
    """
    depth, log_c = start.depth, margin.log_c
    log_m = 0.5 * start.log_c0
    log_delta = (
        (depth + 1) * math.log(2)
        - 2 * depth * log_c
        + 2 * math.log(depth)
        + (4 * depth - 3) / depth * log_m
        + 0.5 * log(start.first)
    )
    if depth > 1:
        outer = log_of_sum(log_m / depth, log(start.trace))
        log_delta = log_of_sum(log_delta, math.log(8 * depth * (depth - 1)) + (3 * depth - 4) / depth * log_m + outer)
    log_steps = {
        "log_eta_1": 2 * log_c - math.log(8) - log_m - 0.5 * log(start.loss),
        "log_eta_2": math.log(depth) + start.power * log_c - math.log(2) - log_delta,
        "log_eta_3": -math.log(4 * depth) - start.power * log_c,
    }
    known = start.k == start.n and margin.squared > 0
    log_eta = min(log_steps.values()) if known else math.nan
    return _Steps(log_eta, {"log_margin": log_c, "log_M": log_m, "log_delta": log_delta, **log_steps})


def _descent_paper(start: Start) -> Certificate:
    """Contraction by 1 − 2 η N c^p at the paper's step size: from ‖∇L‖² ≥ 4 e, which needs τ = 0."""
    margin = rigorous(start)
    steps = _paper_steps(start, margin)
    log_slope = math.log(2 * start.depth) + start.power * margin.log_c
    return Certificate(
        "descent-paper",
        "descent",
        True,
        "e(steps) ≤ e(0) (1 − 2 η N c^p)^steps for η ≤ min(η1, η2, η3)",
        f"{_PAPER}, constants as in their public code",
        (*within(start, margin), Assumption("smoothing τ", start.tau, "=", 0.0)),
        {**steps.constants, "log_contraction": log_slope + steps.log_eta},
        start.excess,
        log_of_minus_log1m(log_slope + steps.log_eta),
        steps.log_eta,
        _rate_of_step=_contracting(log_slope),
    )


def _descent_derived(start: Start) -> Certificate:
    """Half of what the flow decays by in the time η, with K of "flow-derived"; at the paper's step size."""
    margin = rigorous(start)
    steps = _paper_steps(start, margin)
    log_k, constants = _derived_constant(start)
    log_slope = math.log(4 * start.depth) + log_k + (start.power + 2) * margin.log_c
    return Certificate(
        "descent-derived",
        "descent",
        True,
        "e(steps) ≤ e(0) (1 − 4 η N K c^(p+2))^steps for η ≤ min(η1, η2, η3), K as in flow-derived",
        f"{_DERIVED}, with the step sizes of {_PAPER}",
        within(start, margin),
        {**steps.constants, "log_K": log_k, **constants, "log_contraction": log_slope + steps.log_eta},
        start.excess,
        log_of_minus_log1m(log_slope + steps.log_eta),
        steps.log_eta,
        _rate_of_step=_contracting(log_slope),
    )


def _descent_exact(start: Start) -> Certificate:
    """Depth 1, full rank, τ = 0: the polar factor Q stays, so W − F Q shrinks by 1 − 2η in every step, for η ≤ ½."""
    return Certificate(
        "descent-exact",
        "descent",
        True,
        "e(steps) = e(0) (1 − 2 η)^(2 steps) for η ≤ 1/2, at depth 1",
        _DERIVED,
        (
            Assumption("depth N", start.depth, "=", 1),
            full_rank(start),
            *((regular(start), full_rank_start(start)) if start.k == start.n else ()),
            Assumption("smoothing τ", start.tau, "=", 0.0),
        ),
        {},
        start.excess,
        math.inf,
        -math.log(2),
        _rate_of_step=lambda eta: -2 * math.log1p(-2 * eta) if eta < 0.5 else math.inf,
    )


def _contracting(log_slope: float) -> Callable[[float], float]:
    """η ↦ −ln(1 − slope · η)."""
    return lambda eta: math.exp(log_of_minus_log1m(log_slope + math.log(eta)))


def log_of_minus_log1m(log_q: float) -> float:
    """ln(−ln(1 − q)) from ln q."""
    if log_q < -30:  # −ln(1 − q) = q + q²/2 + …
        return log_q
    return math.log(-math.log1p(-math.exp(log_q))) if log_q < 0 else math.nan if math.isnan(log_q) else math.inf


def _descent_sharpness(start: Start) -> Certificate:
    shrinks = lambda eta: -2 * math.log1p(-eta * start.flattest) if eta * start.flattest < 1 else math.inf  # noqa: E731
    return Certificate(
        "descent-sharpness",
        "descent",
        False,
        "e shrinks by (1 − η μ)² per step, η ≤ 1/λ_max, late in the run, μ the smallest positive curvature",
        _DERIVED,
        (
            Assumption("sharpness λ_max of the balanced minimizer", start.sharpness, ">", 0.0),
            Assumption("smallest positive curvature μ there", start.flattest, ">", 0.0),
        ),
        {"sharpness": start.sharpness, "smallest_curvature": start.flattest},
        start.excess,
        log(shrinks(1 / start.sharpness)) if start.sharpness > 0 else math.nan,
        -log(start.sharpness),
        _rate_of_step=shrinks,
    )


def _descent_stability(start: Start) -> Certificate:
    return Certificate(
        "descent-stability",
        "descent",
        False,
        "descent stays at the balanced minimizer for η < 2/λ_max and leaves it above; no minimizer is flatter",
        _DERIVED,
        (Assumption("sharpness λ_max of the balanced minimizer", start.sharpness, ">", 0.0),),
        {"sharpness": start.sharpness},
        start.excess,
        math.nan,
        math.log(2) - log(start.sharpness),
    )


PREDICTIONS = (_flow_asymptotic, _descent_sharpness, _descent_stability)


@singledispatch
def theorems_of(loss: AbstractLoss) -> tuple[Callable[[Start], Certificate], ...]:
    """What is known of the training of a loss: of one with closed forms, the local predictions."""
    return () if loss.modes is None else PREDICTIONS


@theorems_of.register
def _of_bures_wasserstein(loss: BuresWasserstein) -> tuple[Callable[[Start], Certificate], ...]:
    return (
        _flow_paper,
        _flow_derived,
        _flow_exact,
        _flow_bottleneck,
        _flow_authors,
        _descent_paper,
        _descent_derived,
        _descent_exact,
        *PREDICTIONS,
    )
