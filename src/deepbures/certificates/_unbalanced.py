"""What the unbalancedness of layers costs the rate: no hypothesis, but a factor.

Let V_l be the layers between the k-dimensional spaces on which W = V_N ⋯ V_1 lives, β at most all σ_k(V_l)², d a
bound of ‖V_{l+1}ᵀV_{l+1} − V_l V_lᵀ‖, and η = d/β < 1: (1 − η) V_l V_lᵀ ⪯ V_{l+1}ᵀV_{l+1} ⪯ (1 + η) V_l V_lᵀ. Furuta's
inequality for A ⪰ B ≻ 0, (B^½ A^j B^½)^{1/(j+1)} ⪰ B and (A^½ B^j A^½)^{1/(j+1)} ⪯ A, takes layer after layer to

    (1 − η)^{(N−1)/2} V_1ᵀV_1 ⪯ (WᵀW)^{1/N} ⪯ (1 + η)^{(N−1)/2} V_1ᵀV_1,                                        (1)

without the condition number of W. With Z = P Pᵀ, P = V_{N−1} ⋯ V_1, it gives V_NᵀV_N ⪯ C Z^{1/(N−1)}, hence
σ_k(W)² ≤ C λ_k(Z)^{N/(N−1)} for C = (1 + η)(1 − η)^{−(N−2)/2}, and

    −de/dt ≥ ‖∇L Pᵀ‖² ≥ C^{−(N−1)/N} σ_k(W)^p ‖∇L‖²,                                                            (2)

where balanced layers have σ_k(W)^p. As V_l V_lᵀ changes by d from layer to layer, (1) bounds β from below by
q = σ_k(W)^{2/N}: with h = (N − 1) d/2, β ≥ q − h q/β − h, so that β is above the larger root of β² − (q − h) β + h q,
or below the smaller one. Along a flow it is continuous, hence remains above if it begins there.

A = W_1ᵀW_1 obeys A' = −(Wᵀ∇L + ∇LᵀW) for all layers. Its k-th eigenvector has by (1) a spectral measure in (WᵀW)^{1/N}
that lies above κ⁻ a, a = λ_k(A), has a mean of at most κ⁺ a, and a variance about κ⁺ a of at most a ‖A‖ (κ⁺ − κ⁻)²,
κ⁻ and κ⁺ the factors in (1). So s = (κ⁻ a)^{N/2} ≤ σ_k(W) obeys the equation of the balanced σ_k but for a b ≥ 1
that depends on the condition of W in second order only: with Λ ≥ ‖W‖ and q ≤ s^{2/N},

    s' ≥ 2 N κ⁻ s^{3−2/N} (√(λ/(s² + τ)) − b),                                                                  (3)
    b = (κ⁺/κ⁻)^N + ½ N (N − 1) ((κ⁺ − κ⁻)/κ⁻)² (Λ^{2/N}/q)^{N−1}.

Where all hidden widths are k, V_l = W_l and d = δ; else what the W_l have beside V_l is at most d = (N − 1) δ.
"""

import math
from dataclasses import dataclass

from deepbures.certificates._assumption import Assumption
from deepbures.certificates._logarithms import exp
from deepbures.certificates._start import Start

_LARGEST_SHARE = 3 - 2 * math.sqrt(2)
"""The share of h in q up to which the two roots are real."""


def fraction_of(start: Start, squared: float) -> float:
    """The q of a σ_k that has to stay above a root with some room: σ_k² may fall short of it by about two fifths."""
    return (1 - 1 / (2 * start.depth)) * max(squared, 0.0) ** (1 / start.depth)


@dataclass(frozen=True)
class Charge:
    """The constants above, from a bound q ≤ σ_k(W)^{2/N} along the flow."""

    depth: int
    unbalancedness: float
    floor: float
    smallest_squared_layer: float

    @property
    def _drift(self) -> float:
        """The h of the derivation above."""
        return (self.depth - 1) / 2 * self.unbalancedness

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """Layers that are balanced enough."""
        if self.depth == 1 or self.unbalancedness == 0:
            return ()
        share = self._drift / self.floor if self.floor > 0 else math.nan
        name = "unbalancedness of the layers, (N − 1)/2 of it relative to σ^(2/N)"
        little = Assumption(name, share, "<", _LARGEST_SHARE)
        middle = (self.floor - self._drift) / 2
        return (little, Assumption("smallest σ_k² of a layer", self.smallest_squared_layer, ">", middle))

    @property
    def eta(self) -> float:
        """d/β; NaN where the layers are too unbalanced."""
        if self.depth == 1 or self.unbalancedness == 0:
            return 0.0
        if not self._drift < _LARGEST_SHARE * self.floor:
            return math.nan
        sum_of_roots = self.floor - self._drift
        return 2 * self.unbalancedness / (sum_of_roots + math.sqrt(sum_of_roots**2 - 4 * self._drift * self.floor))

    @property
    def factor(self) -> float:
        """What is left of the rate by (2)."""
        halves = (self.depth - 2) / 2 * math.log1p(-self.eta) - math.log1p(self.eta)
        return math.exp((self.depth - 1) / self.depth * halves) if self.depth > 1 else 1.0

    @property
    def _log_lower(self) -> float:
        return (self.depth - 1) / 2 * math.log1p(-self.eta)

    @property
    def _log_spread(self) -> float:
        """ln(κ⁺/κ⁻)."""
        return (self.depth - 1) / 2 * math.log1p(self.eta) - self._log_lower

    @property
    def lower(self) -> float:
        """κ⁻."""
        return math.exp(self._log_lower)

    @property
    def of_start(self) -> float:
        """s(0)/σ_k(W(0)) at the least: (κ⁻/κ⁺)^{N/2}."""
        return math.exp(-self.depth / 2 * self._log_spread)

    def pull(self, largest: float, order: int = 1) -> float:
        """The b of (3) for a bound of ‖W‖²; of order 2 what multiplies s² in the equation of the Frobenius loss."""
        if self.depth == 1:
            return 1.0
        power = order * self.depth
        second = power * (power - 1) / 2 * math.expm1(self._log_spread) ** 2
        if second > 0:  # in logarithms, as this may be far out of range where nothing holds
            condition = math.log(largest) / self.depth - math.log(self.floor)
            second = exp(math.log(second) + (power - 1) * condition)
        return exp(power * self._log_spread) + second


def charge_of(start: Start, floor: float, largest: float | None = None) -> Charge:
    """From q ≤ σ_k(W(t))^{2/N} and a bound of ‖W‖², by default that under the Bures-Wasserstein loss.

    Where the layers themselves are not known, ‖WᵀW − (V_1ᵀV_1)^N‖ ≤ ½ N (N − 1) d s^{N−1} with the largest ‖V_l‖²,
    s ≤ ‖W‖^{2/N} + ½ N (N − 1) d, bounds their singular values.
    """
    depth, apart = start.depth, start.unbalancedness
    norm = (start.largest_squared_norm if largest is None else largest) ** (1 / depth)
    drift = depth * (depth - 1) / 2 * apart
    first = floor - drift * ((norm + drift) / floor) ** (depth - 1) if floor > 0 else 0.0
    # q^N − x ≥ (q − x/q^{N−1})^N for x ≥ 0
    return Charge(depth, apart, floor, max(start.smallest_squared_layer, first - (depth - 1) * apart))


@dataclass(frozen=True)
class Growth:
    """How σ_k grows at the least: s' = 2 N speed s^{3−2/N} (√(λ/(s² + τ)) − 1) from s(0); or as under Frobenius.

    Attributes
    ----------
    charge : Charge
        Of the least of s.
    eigenvalue : float
        λ as charged.
    speed : float
        At least 1.
    first : float
        s(0).
    assumptions : tuple of Assumption
        That s stays above what the charge is computed for.
    """

    charge: Charge
    eigenvalue: float
    speed: float
    first: float
    assumptions: tuple[Assumption, ...]


def growth_of(start: Start, smallest: float, eigenvalue: float, largest: float, order: int = 1) -> Growth:
    """From σ_k(W(0)), the eigenvalue λ that pulls σ_k up, and a bound of ‖W‖² along the flow."""
    tau = start.tau if order == 1 else 0.0
    charge = charge_of(start, fraction_of(start, min(smallest * smallest, eigenvalue - tau)), largest)
    pull = charge.pull(largest, order) if charge.floor > 0 else math.nan
    charged = eigenvalue / pull**2 if order == 1 else eigenvalue / pull
    first = smallest * charge.of_start
    if start.depth == 1:
        return Growth(charge, charged, 1.0, first, ())
    least = min(first * first, charged - tau)
    floor = charge.floor**start.depth
    stays = Assumption("least σ_k² along the flow, charged with the unbalancedness", least, ">", floor)
    tracked = Assumption("latent or first hidden dimensions beyond the bottleneck", start.spare_inputs, "=", 0)
    return Growth(charge, charged, charge.lower * pull, first, (tracked, *charge.assumptions, stays))
