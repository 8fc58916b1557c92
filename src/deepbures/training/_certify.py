"""Convergence certificates of one start: hypotheses and constants of the theorems, computed.

Notation of the docstrings below: λ_1 ≥ … ≥ λ_n eigenvalues of the target Σ0, L the loss, L* its minimum over matrices
of rank at most k, k the bottleneck, N the depth, p = 2(N − 1)/N, e = L − L*, W the end-to-end matrix, c the margin
(modified margin deficiency), a lower bound of σ_k(W(t)) along the flow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deepbures._precision import any_traced, numpy_in_numpy_out
from deepbures.landscape._curvature import extremes_at
from deepbures.landscape._minimum import minimum
from deepbures.model import AbstractLoss, BuresWasserstein, DeepLinearNetwork, Target
from deepbures.training._certificate import Assumption, Certificate
from deepbures.training._dynamics import BALANCED, largest_relative_gap
from deepbures.training._run import check_pair

_PAPER = "Bréchet, Papagiannouli, An, Montúfar (2023)"
_DERIVED = "derived for this project"


@dataclass(frozen=True)
class _Start:
    """Numbers of one start, as Python floats."""

    n: int
    k: int
    depth: int
    tau: float
    loss: float
    excess: float
    trace: float
    first: float
    kept: float
    left_out: float
    smallest: float
    gap: float
    sharpness: float
    flattest: float

    @property
    def power(self) -> float:
        """P = 2(N − 1)/N."""
        return 2 * (self.depth - 1) / self.depth

    @property
    def log_c0(self) -> float:
        """C0 = 2 (L(0) + tr Σ0)."""
        return _log(2 * (self.loss + self.trace))


def _root(x: float) -> float:
    return math.sqrt(max(x, 0.0))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf if x == 0 else math.nan


def _log_of_sum(a: float, b: float) -> float:
    """ln(e^a + e^b)."""
    return math.nan if math.isnan(a) or math.isnan(b) else float(np.logaddexp(a, b))


def squared_margin(smallest: float, loss: float, tau: float) -> float:
    """c² = (√λ_n − √L_τ)² − τ, negative where √L_τ ≥ √λ_n or the smoothing takes it all: then there is no margin."""
    reach = _root(smallest) - _root(loss)
    return reach**2 - tau if reach > 0 else -(abs(reach) ** 2) - tau


def _smallest(w: Any, k: int) -> float:
    """σ_k, zero where it is rounding."""
    s = np.linalg.svd(np.asarray(w, np.float64), compute_uv=False)
    return float(s[k - 1]) if s[k - 1] > max(w.shape) * np.finfo(np.float64).eps * s[0] else 0.0


def _measure(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> _Start:
    low = minimum(target, net.bottleneck, loss)
    w = net.end_to_end
    values = np.asarray(low.eigenvalues, np.float64)
    steepest, flattest = extremes_at(low, loss, net.depth, net.latent_dim)
    k, n = net.bottleneck, net.dim
    return _Start(
        n=n,
        k=k,
        depth=net.depth,
        tau=float(getattr(loss, "tau", 0.0)),
        loss=float(loss.value(w, target)),
        excess=max(float(low.excess(w, target, loss)), 0.0),
        trace=float(target.trace),
        first=float(values[0]),
        kept=float(values[k - 1]),
        left_out=float(values[k]) if k < n else 0.0,
        smallest=_smallest(w, k),
        gap=largest_relative_gap(net),
        sharpness=float(steepest),
        flattest=float(flattest),
    )


class _Margin(NamedTuple):
    """A margin in logarithms, and the assumptions it rests on."""

    log_c: float
    squared: float


def _rigorous(start: _Start) -> _Margin:
    """The margin that is known for k = n; NaN for a bottleneck."""
    squared = squared_margin(start.kept, start.loss, start.tau) if start.k == start.n else math.nan
    return _Margin(0.5 * _log(squared), squared)


def _as_in_the_code(start: _Start) -> _Margin:
    """C = √λ_k − √L(0) whatever τ, as in the authors' public code."""
    c = _root(start.kept) - _root(start.loss)
    return _Margin(_log(c), math.copysign(c * c, c))


def _balanced(start: _Start) -> tuple[Assumption, ...]:
    if start.depth == 1:
        return ()
    return (Assumption("balancedness gap relative to the largest ‖W_l‖²", start.gap, "≤", BALANCED),)


def _full_rank(start: _Start) -> Assumption:
    return Assumption("dimensions that the bottleneck leaves out, n − k", start.n - start.k, "=", 0)


def _regular(start: _Start) -> Assumption:
    return Assumption("smallest eigenvalue λ_n of the target", start.kept, ">", 0.0)


def _full_rank_start(start: _Start) -> Assumption:
    return Assumption(
        "smallest singular value σ_n of the start", start.smallest if start.k == start.n else 0.0, ">", 0.0
    )


def _with_margin(margin: _Margin) -> Assumption:
    return Assumption("squared margin c² = (√λ_n − √L(0))² − τ", margin.squared, ">", 0.0)


def _within(start: _Start, margin: _Margin) -> tuple[Assumption, ...]:
    """What all theorems for full rank share: k = n, a regular target, a balanced start, a margin."""
    if start.k < start.n:
        return (*_balanced(start), _full_rank(start))
    return (*_balanced(start), _full_rank(start), _regular(start), _with_margin(margin))


def _flow_constants(start: _Start, margin: _Margin, log_k: float) -> tuple[dict[str, float], float]:
    log_rate = math.log(8 * start.depth) + log_k + (start.power + 2) * margin.log_c if margin.squared > 0 else math.nan
    return {"log_margin": margin.log_c, "log_K": log_k, "log_C0": start.log_c0}, log_rate


def _flow_paper(start: _Start) -> Certificate:
    """K = √(τ λ_n)/(2 C0²), C0 = 2 (L(0) + tr Σ0)."""
    margin = _rigorous(start)
    log_k = 0.5 * (_log(start.tau) + _log(start.kept)) - math.log(2) - 2 * start.log_c0
    constants, log_rate = _flow_constants(start, margin, log_k)
    smoothed = Assumption("smoothing τ", start.tau, ">", 0.0)
    return Certificate(
        "flow-paper",
        "flow",
        True,
        "e(t) ≤ e(0) exp(−8 N K c^(p+2) t), K = √(τ λ_n)/(2 C0²), C0 = 2 (L(0) + tr Σ0)",
        f"{_PAPER}, with the margin made rigorous for τ > 0 here",
        (*_within(start, margin), smoothed),
        constants,
        start.excess,
        log_rate,
    )


def _flow_authors(start: _Start) -> Certificate:
    """The same with c = √λ_k − √L(0), which for τ > 0 is no lower bound of the singular values."""
    margin = _as_in_the_code(start)
    log_k = 0.5 * (_log(start.tau) + _log(start.kept)) - math.log(2) - 2 * start.log_c0
    constants, log_rate = _flow_constants(start, margin, log_k)
    return Certificate(
        "flow-authors-code",
        "flow",
        False,
        "e(t) about ≤ e(0) exp(−8 N K c^(p+2) t), c = √λ_k − √L(0) for every τ, K as in flow-paper",
        f"public code of {_PAPER}: for τ > 0 no guarantee, as σ_min(W) can be below this c",
        (
            *_balanced(start),
            Assumption("c = √λ_k − √L(0), as in the authors' code", _root(start.kept) - _root(start.loss), ">", 0.0),
            Assumption("smoothing τ", start.tau, ">", 0.0),
        ),
        constants,
        start.excess,
        log_rate,
    )


def _derived_constant(start: _Start) -> tuple[float, dict[str, float]]:
    """Ln K, K = λ_n/(2 √λ_1 C^{3/2}), C = (√L(0) + √tr Σ0)²."""
    log_c = 2 * _log(_root(start.loss) + _root(start.trace))
    log_k = _log(start.kept) - math.log(2) - 0.5 * _log(start.first) - 1.5 * log_c
    return log_k, {"log_C": log_c, "lambda_1": start.first, "lambda_n": start.kept}


def _flow_derived(start: _Start) -> Certificate:
    margin = _rigorous(start)
    log_k, constants = _derived_constant(start)
    flow, log_rate = _flow_constants(start, margin, log_k)
    return Certificate(
        "flow-derived",
        "flow",
        True,
        "e(t) ≤ e(0) exp(−8 N K c^(p+2) t), K = λ_n/(2 √λ_1 C^(3/2)), C = (√L(0) + √tr Σ0)²",
        _DERIVED,
        _within(start, margin),
        {**flow, **constants},
        start.excess,
        log_rate,
    )


def _flow_exact(start: _Start) -> Certificate:
    """From L = ¼ ‖∇L‖² at full rank without smoothing. At depth 1 full rank is enough, and it is an equality."""
    margin = _rigorous(start)
    alone = (_full_rank(start), _regular(start), _full_rank_start(start)) if start.k == start.n else None
    return Certificate(
        "flow-exact",
        "flow",
        True,
        "L(t) ≤ L(0) exp(−4 N c^p t), from L = ¼ ‖∇L‖²; equality at depth 1",
        _DERIVED,
        (
            *(alone if alone is not None and start.depth == 1 else _within(start, margin)),
            Assumption("smoothing τ", start.tau, "=", 0.0),
        ),
        {"log_margin": margin.log_c, "power": start.power},
        start.excess,
        math.log(4 * start.depth) + (start.power * margin.log_c if start.depth > 1 else 0.0),
    )


def _flow_bottleneck(start: _Start) -> Certificate:
    """From ‖∇L‖² ≥ 4 (1 − ρ)(1 − e/gap) e below the best saddle."""
    gap, e = start.kept - start.left_out, start.excess
    c = _root(start.kept) - _root(e)
    met = start.k < start.n and 0 <= e < gap
    rho = start.left_out / start.kept if start.kept > 0 else math.nan
    log_rate = math.log(4) + _log(1 - rho) + start.power * _log(c) if met else math.nan
    height = "height of the best saddle over the minimum, λ_k − λ_{k+1}"
    return Certificate(
        "flow-bottleneck",
        "flow",
        True,
        "e(t) ≤ E/(1 + E/gap), E = e(0)/(1 − e(0)/gap) exp(−4 (1 − ρ) c^p t), ρ = λ_{k+1}/λ_k, c = √λ_k − √e(0)",
        _DERIVED,
        (
            *_balanced(start),
            Assumption("dimensions that the bottleneck leaves out, n − k", start.n - start.k, ">", 0),
            Assumption("smoothing τ", start.tau, "=", 0.0),
            Assumption(height, gap if start.k < start.n else math.nan, ">", 0.0),
            Assumption("excess e(0), which must lie below that height", e, "<", gap),
        ),
        {"log_margin": _log(c) if met else math.nan, "gap": gap, "rho": rho},
        e,
        log_rate,
        _transform=(lambda x: x / np.maximum(1 - x / gap, 1e-300), lambda big: big / (1 + big / gap)) if met else None,
    )


def _flow_asymptotic(start: _Start) -> Certificate:
    return Certificate(
        "flow-asymptotic",
        "flow",
        False,
        "e(t) ~ exp(−r t) late in the run, r twice the smallest positive Hessian eigenvalue at the balanced minimizer",
        _DERIVED,
        (Assumption("rate of the approach at the balanced minimizer", 2 * start.flattest, ">", 0.0),),
        {"smallest_curvature": start.flattest, "sharpness": start.sharpness},
        start.excess,
        _log(2 * start.flattest),
    )


class _Steps(NamedTuple):
    """The paper's step sizes, in logarithms."""

    log_eta: float
    constants: dict[str, float]


def _paper_steps(start: _Start, margin: _Margin) -> _Steps:
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
        + 0.5 * _log(start.first)
    )
    if depth > 1:
        outer = _log_of_sum(log_m / depth, _log(start.trace))
        log_delta = _log_of_sum(log_delta, math.log(8 * depth * (depth - 1)) + (3 * depth - 4) / depth * log_m + outer)
    log_steps = {
        "log_eta_1": 2 * log_c - math.log(8) - log_m - 0.5 * _log(start.loss),
        "log_eta_2": math.log(depth) + start.power * log_c - math.log(2) - log_delta,
        "log_eta_3": -math.log(4 * depth) - start.power * log_c,
    }
    known = start.k == start.n and margin.squared > 0
    log_eta = min(log_steps.values()) if known else math.nan
    return _Steps(log_eta, {"log_margin": log_c, "log_M": log_m, "log_delta": log_delta, **log_steps})


def _descent_paper(start: _Start) -> Certificate:
    """Contraction by 1 − 2 η N c^p at the paper's step size: from ‖∇L‖² ≥ 4 e, which needs τ = 0."""
    margin = _rigorous(start)
    steps = _paper_steps(start, margin)
    log_slope = math.log(2 * start.depth) + start.power * margin.log_c
    return Certificate(
        "descent-paper",
        "descent",
        True,
        "e(steps) ≤ e(0) (1 − 2 η N c^p)^steps for η ≤ min(η1, η2, η3)",
        f"{_PAPER}, constants as in their public code",
        (*_within(start, margin), Assumption("smoothing τ", start.tau, "=", 0.0)),
        {**steps.constants, "log_contraction": log_slope + steps.log_eta},
        start.excess,
        _log_of_minus_log1m(log_slope + steps.log_eta),
        steps.log_eta,
        _rate_of_step=_contracting(log_slope),
    )


def _descent_derived(start: _Start) -> Certificate:
    """Half of what the flow decays by in the time η, with K of "flow-derived"; at the paper's step size."""
    margin = _rigorous(start)
    steps = _paper_steps(start, margin)
    log_k, constants = _derived_constant(start)
    log_slope = math.log(4 * start.depth) + log_k + (start.power + 2) * margin.log_c
    return Certificate(
        "descent-derived",
        "descent",
        True,
        "e(steps) ≤ e(0) (1 − 4 η N K c^(p+2))^steps for η ≤ min(η1, η2, η3), K as in flow-derived",
        f"{_DERIVED}, with the step sizes of {_PAPER}",
        _within(start, margin),
        {**steps.constants, "log_K": log_k, **constants, "log_contraction": log_slope + steps.log_eta},
        start.excess,
        _log_of_minus_log1m(log_slope + steps.log_eta),
        steps.log_eta,
        _rate_of_step=_contracting(log_slope),
    )


def _descent_exact(start: _Start) -> Certificate:
    """Depth 1, full rank, τ = 0: the polar factor Q stays, so W − F Q shrinks by 1 − 2η in every step, for η ≤ ½."""
    return Certificate(
        "descent-exact",
        "descent",
        True,
        "e(steps) = e(0) (1 − 2 η)^(2 steps) for η ≤ 1/2, at depth 1",
        _DERIVED,
        (
            Assumption("depth N", start.depth, "=", 1),
            _full_rank(start),
            *((_regular(start), _full_rank_start(start)) if start.k == start.n else ()),
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
    return lambda eta: math.exp(_log_of_minus_log1m(log_slope + math.log(eta)))


def _log_of_minus_log1m(log_q: float) -> float:
    """ln(−ln(1 − q)) from ln q."""
    if log_q < -30:  # −ln(1 − q) = q + q²/2 + …
        return log_q
    return math.log(-math.log1p(-math.exp(log_q))) if log_q < 0 else math.nan if math.isnan(log_q) else math.inf


def _descent_sharpness(start: _Start) -> Certificate:
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
        _log(shrinks(1 / start.sharpness)) if start.sharpness > 0 else math.nan,
        -_log(start.sharpness),
        _rate_of_step=shrinks,
    )


def _descent_stability(start: _Start) -> Certificate:
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
        math.log(2) - _log(start.sharpness),
    )


_PREDICTIONS = (_flow_asymptotic, _descent_sharpness, _descent_stability)
_FOR_BURES_WASSERSTEIN = (
    _flow_paper,
    _flow_derived,
    _flow_exact,
    _flow_bottleneck,
    _flow_authors,
    _descent_paper,
    _descent_derived,
    _descent_exact,
    *_PREDICTIONS,
)


@numpy_in_numpy_out
def certify(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> tuple[Certificate, ...]:
    """Certificates of convergence for gradient flow and descent from a start.

    ==================  ==========================================================================  ===========
    name                what                                                                        kind
    ==================  ==========================================================================  ===========
    flow-paper          e(t) ≤ e(0) exp(−8NKc^{p+2} t), K = √(τλ_n)/(2C0²): τ > 0, k = n             guarantee
    flow-derived        the same with K = λ_n/(2√λ_1 C^{3/2}): τ ≥ 0, k = n                          guarantee
    flow-exact          L(t) ≤ L(0) exp(−4Nc^p t): τ = 0, k = n                                      guarantee
    flow-bottleneck     below the best saddle: τ = 0, k < n                                          guarantee
    flow-authors-code   flow-paper with the margin of the authors' code                              comparison
    flow-asymptotic     twice the smallest positive curvature at the balanced minimizer              prediction
    descent-paper       (1 − 2ηNc^p) per step for η ≤ min(η1, η2, η3): τ = 0, k = n                  guarantee
    descent-derived     (1 − 4ηNKc^{p+2}) per step for these η, K of flow-derived: τ ≥ 0, k = n      guarantee
    descent-exact       (1 − 2η)² per step for η ≤ ½: depth 1, τ = 0, k = n                          guarantee
    descent-sharpness   (1 − ημ)² per step for η ≤ 1/λ_max, μ the smallest positive curvature        prediction
    descent-stability   the stability limit 2/λ_max                                                  prediction
    ==================  ==========================================================================  ===========

    All of them are for balanced starts, within a relative balancedness gap of 1e-8. The margin c bounds the smallest
    singular value along the flow from below: c² = (√λ_n − √L(0))² − τ, which for τ = 0 is the modified margin
    deficiency √λ_n − √L(0) of the paper. For the Frobenius loss only the local predictions are known.

    Parameters
    ----------
    net : DeepLinearNetwork
        The start.
    target : Target
        λ_1 ≥ … ≥ λ_n.
    loss : BuresWasserstein or Frobenius
        The loss that is trained.

    Returns
    -------
    tuple of Certificate
        Also those whose assumptions are not met: they say which, and by how much.

    Raises
    ------
    ValueError
        For a batch of networks or targets, or inside a JAX transformation.
    TypeError
        If net or target is something else.

    References
    ----------
    Bréchet et al. (2023), Theorems on gradient flow and finite-step descent, constants as in their public code. The
    others, and the rigorous margin for τ > 0, are derived for this project.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0)
    >>> start = db.initialize((3, 3, 3), "close", target=target, key=1)
    >>> for certificate in db.certify(start, target, db.BuresWasserstein()):
    ...     print(certificate.name, "holds" if certificate.holds else f"not met: {len(certificate.missed)}")
    flow-paper not met: 1
    flow-derived holds
    flow-exact holds
    flow-bottleneck not met: 2
    flow-authors-code not met: 1
    descent-paper holds
    descent-derived holds
    descent-exact not met: 1
    flow-asymptotic holds
    descent-sharpness holds
    descent-stability holds
    """
    check_pair(net, target)
    if any_traced((net, target, loss)):
        raise ValueError("certify needs concrete numbers: call it outside jax.jit, jax.vmap and the like.")
    if net.batch_shape or np.ndim(target.mean) != 1:
        raise ValueError(
            f"certify takes one network and one target, but the networks have batch shape {net.batch_shape} and the "
            f"target's mean has shape {np.shape(target.mean)}: call it for each."
        )
    start = _measure(net, target, loss)
    makers = _FOR_BURES_WASSERSTEIN if isinstance(loss, BuresWasserstein) else _PREDICTIONS
    return tuple(make(start) for make in makers)


def certified_step_size(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> float:
    """The largest step size with a guarantee for descent from this start.

    Raises
    ------
    ValueError
        If no guarantee has all its assumptions met, or the step underflows.
    """
    known = [c for c in certify(net, target, loss) if c.method == "descent" and c.is_guarantee]
    if not known:
        raise ValueError(
            'step_size = "certified" is known for the Bures-Wasserstein loss only: pass "sharpness" or a number.'
        )
    held = [c.log_max_step_size for c in known if c.holds and c.log_max_step_size is not None]
    if not held:
        nearest = min(known, key=lambda c: len(c.missed))
        reasons = "; ".join(str(assumption) for assumption in nearest.missed)
        raise ValueError(
            f'step_size = "certified" has no certificate from this start ({reasons}). Start closer to the target '
            '(initialize(…, "close", target=…)), or pass "sharpness" or a number.'
        )
    log_step = max(held)
    if not log_step > math.log(np.finfo(np.float64).tiny):
        raise ValueError(
            f"The certified step size is 10^{log_step / math.log(10):.0f}, below the range of floating point: pass "
            '"sharpness" or a number.'
        )
    return math.exp(log_step)
