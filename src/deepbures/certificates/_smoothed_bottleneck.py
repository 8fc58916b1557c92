"""The theorem on gradient flow through a bottleneck with smoothing; notation as in `_hypotheses`."""

import math

import numpy as np

from deepbures._types import Floats
from deepbures.certificates._assumption import Assumption
from deepbures.certificates._hypotheses import bottlenecked, smoothed, then
from deepbures.certificates._logarithms import log, root
from deepbures.certificates._quadrature import DECAYS
from deepbures.certificates._start import Start
from deepbures.certificates._tightening import AbstractTighteningTheorem
from deepbures.certificates._unbalanced import Charge, charge_of

_ROUNDED_UP = 1 + 2.0**-20
"""More than the quadrature loses at the two excesses, r² and r² λ_k/θ, where the curvature of the rate jumps."""


class FlowSmoothedBottleneck(AbstractTighteningTheorem):
    """Through a bottleneck with smoothing, below the best saddle, whether λ_{k+1} is above or below τ.

    e' ≤ −4 κ/(1 + κ) φ c^p e, where φ = 1 for balanced layers (else as in `_unbalanced`) and, with θ = max(λ_{k+1}, τ),
    r = √θ − √τ, R² = r² + e, ε = (√τ + R)²,

        κ = ν / ((√τ + √ε)² (1 + (ε − √(τε))/g)),     g = (λ_k − λ_{k+1}) (λ_k − ε)/(λ_k − θ),
        ν = λ_k + θ − 2τ − R² − 2√τ x,                  x the largest y + √(R² − y²) of r ≤ y ≤ R,
        c² = φ² − τ,                                    φ the least √(λ_k + θ − (√τ + y)²) − √(R² − y²) of these y.

    The largest is at y = r or R/√2. φ falls as y rises up to y = √τ R/(√(λ_k + θ) − R), where φ² is
    (√(λ_k + θ) − R)² − τ, and rises beyond; at y = r it is √λ_k − √e.
    """

    name = "flow-smoothed-bottleneck"
    method = "flow"
    kind = "guarantee"
    statement = (
        "e(t) ≤ y(t), y' = −4 κ/(1 + κ) φ c^p y, κ and c from λ_k, λ_{k+1}, τ and y, φ = 1 for balanced layers: "
        "0 < τ < λ_k, k < n, below the saddle"
    )
    source = "derived for this project"

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        if start.has_full_rank:
            return (bottlenecked(start),)
        return then(below_smoothed_saddle(start), lambda: _charge(start).assumptions)

    def constants(self, start: Start) -> dict[str, float]:
        saddle = height_of_saddle(start)
        return {"saddle": saddle, "unbalancedness_factor": _charge(start).factor if start.excess < saddle else math.nan}

    def log_rate(self, start: Start) -> float:
        return self._log_rate_at(start, start.excess)

    def log_asymptotic_rate(self, start: Start) -> float:
        return self._log_rate_at(start, 0.0)

    def resistance(self, start: Start) -> Floats:
        below = (height_of_saddle(start) - start.excess) - start.excess * np.expm1(-DECAYS)
        _, kappa, square = _constants_below_saddle(start, start.excess * np.exp(-DECAYS), below)
        return np.asarray(_ROUNDED_UP * (1 + 1 / kappa) / (4 * _charge(start).factor * square ** (start.power / 2)))

    def _log_rate_at(self, start: Start, excess: float) -> float:
        if not start.excess < height_of_saddle(start):
            return math.nan
        nu, kappa, square = constants_at(start, np.asarray(excess))
        if not (nu > 0 and square > 0):
            return math.nan
        charged = log(_charge(start).factor)
        return math.log(4) - log(1 + 1 / float(kappa)) + charged + start.power / 2 * log(float(square))


def _charge(start: Start) -> Charge:
    """Where c is that of the start, its least."""
    _, _, square = constants_at(start, np.asarray(start.excess))
    return charge_of(start, max(float(square), 0.0) ** (1 / start.depth))


def below_smoothed_saddle(start: Start) -> tuple[Assumption, ...]:
    """Smoothing, and a start below the best saddle, where ν and c² are positive."""
    smoothing = Assumption("smoothing τ, which must lie below λ_k", start.tau, "<", start.kept_eigenvalue)
    return then(
        (bottlenecked(start), smoothed(start), smoothing), lambda: then((_below(start),), lambda: _known(start))
    )


def _below(start: Start) -> Assumption:
    return Assumption("excess e(0), which must lie below the best saddle", start.excess, "<", height_of_saddle(start))


def _known(start: Start) -> tuple[Assumption, ...]:
    nu, _, square = constants_at(start, np.asarray(start.excess))
    positive = Assumption("ν, which bounds squared singular values from below", float(nu), ">", 0.0)
    return (positive, Assumption("squared margin c²", float(square), ">", 0.0))


def height_of_saddle(start: Start) -> float:
    """The height of the best saddle over the minimum, (√λ_k − √τ)² − r², without cancellation; NaN where of no use."""
    if start.has_full_rank or not 0 < start.tau < start.kept_eigenvalue:
        return math.nan
    noise, kept = root(start.tau), root(start.kept_eigenvalue)
    used = max(start.left_out_eigenvalue, start.tau)
    apart = (start.kept_eigenvalue - used) / (kept + root(used))
    return apart * ((kept - noise) + (root(used) - noise))


def constants_at(start: Start, excess: Floats) -> tuple[Floats, Floats, Floats]:
    """ν, κ and c² at an excess below the saddle."""
    return _constants_below_saddle(start, excess, np.asarray(height_of_saddle(start) - excess))


def _constants_below_saddle(start: Start, excess: Floats, below: Floats) -> tuple[Floats, Floats, Floats]:
    """ν, κ and c² at an excess, which is that much below the saddle."""
    noise, kept = start.tau, start.kept_eigenvalue
    used = max(start.left_out_eigenvalue, noise)
    root_noise, total = math.sqrt(noise), kept + used
    inner = (used - noise) / (math.sqrt(used) + root_noise)
    outer = np.sqrt(inner**2 + excess)
    span = np.where(excess <= inner**2, np.sqrt(excess) + inner, math.sqrt(2) * outer)
    nu = total - 2 * noise - outer**2 - 2 * root_noise * span
    # λ_k − ε = (√λ_k − √ε)(√λ_k + √ε), and the first is √λ_k − √τ − R.
    apart = below / (math.sqrt(kept) - root_noise + outer) * (math.sqrt(kept) + root_noise + outer)
    gap = start.gap * apart / (kept - used)
    kappa = nu / ((2 * root_noise + outer) ** 2 * (1 + outer * (root_noise + outer) / gap))
    at_the_end = excess * used <= inner**2 * kept
    least = np.where(
        at_the_end, (math.sqrt(kept) - np.sqrt(excess)) ** 2 - noise, (math.sqrt(total) - outer) ** 2 - 2 * noise
    )
    return nu, kappa, least
