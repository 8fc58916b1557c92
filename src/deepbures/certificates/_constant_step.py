"""Constant steps of descent: how far layers drift from balance, and what a step then takes from the excess at least.

Notation as in `_hypotheses`; G_l the gradient of layer l, S² = Σ ‖G_l‖², g = ‖∇L‖ ≤ 2 √e, ω a bound of all ‖W_l‖₂,
D_l = W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ, and e, W, … those of the start where no step is named.

**A step.** L − ‖W‖² is concave, so L(W + A) ≤ L(W) + ⟨∇L, A⟩ + ‖A‖². With A the change of Π (W_l − η G_l), its terms of
order 2 and more by Maclaurin's inequality, and x = η ω^{N−2} g,

    e' ≤ e − (1 − β) η S²,    β = η (N ω^{2N−2} (((1+x)^N − 1)/(N x))² + ½ (N−1) ω^{N−2} g (1+x)^{N−2}).

**Drift.** D_l' − D_l = η² (G_{l+1}ᵀ G_{l+1} − G_l G_lᵀ) exactly. As long as every step takes (1 − β) η S², all of them
together have η² Σ S² ≤ T = η e/(1 − β). So the eigenvalues of D_l lie between −δ − η² Σ ‖G_l‖² and δ + η² Σ ‖G_{l+1}‖²,
δ the largest ‖D_l‖₂ of the start, and along a chain of layers each ‖G_l‖² is counted once.

**Chain.** For y_m = W_m ⋯ W_1 v and r_m = ‖y_m‖²/‖y_{m−1}‖² we have r_{m+1} ≥ r_m + y_mᵀ D_m y_m/‖y_m‖², as
‖W_mᵀ y_m‖ ≥ ⟨W_mᵀ y_m, y_{m−1}⟩/‖y_{m−1}‖; ‖W_1‖₂² is above ω², the largest ‖W_l‖₂², less the drift from l to 1;
the same holds from the other end. So s² ≥ ‖W‖₂² ≥ Π (ω² − a − b_m), a the drift to the nearer end, b_m that of the
first m layers: at most b = T + (N−1) δ, its mean over m at most f b. By concavity of the logarithm
(ω² − a)^{1−f} (ω² − a − b)^f ≤ s^{2/N}. Inverses have the same chain where all hidden widths are k, which gives
c² ≤ Π (σ² + a + b_m) for the smallest of all σ_k(W_l)².

**What S² is.** S² ≥ Q g² with Q = N c^p for k = n, any layers. For k < n, ∇L has its rows in those of W, and
S² ≥ ‖∇L (W_{N−1} ⋯ W_1)ᵀ‖²: Q is the larger of (c/ω)² and Π σ_k(W_l)² over l < N.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from deepbures._types import Floats
from deepbures.certificates._logarithms import log, root
from deepbures.certificates._slopes import Slope, is_known, slope_at
from deepbures.certificates._start import Start

_ROUNDING = 4 * float(np.finfo(np.float64).eps)
_SHARES = np.linspace(0.0, 1.0, 17)[1:-1]
_HALVINGS = 28


class Drift(NamedTuple):
    """Of the layers, along the whole run: ln ω² and what a chain to the nearer end and back changes σ_k(W_l)² by."""

    log_square: Floats
    of_smallest: Floats


def _drift(start: Start, total: Floats, lost: Floats) -> Drift:
    """For T = `total` and 1 − β = `lost`."""
    depth, size = start.depth, start.largest_squared_layer
    log_square = 2 / depth * math.log(root(start.first_eigenvalue) + root(start.excess))
    if depth == 1:
        return Drift(np.full(total.shape, log_square), np.zeros(total.shape))
    unbalanced = (start.balancedness_gap + _ROUNDING * (start.dim + depth)) * size
    to_the_end = (depth - 1) // 2 * unbalanced
    slope = slope_at(start, np.asarray(start.excess))
    log_slope = math.log(depth) + start.power / 2 * log(float(slope.squared_margin))
    square = share = np.ones(total.shape)  # of S², at most, that is one ‖G_l‖₂²
    for _ in range(2 if start.has_full_rank else 1):
        nearer = to_the_end + (0.0 if depth == 2 else 0.5 * (1 + share) * total)
        whole = total + (depth - 1) * unbalanced
        mean = total * (depth - 1) * np.minimum(1 / depth, share / 2) + (depth - 1) / 2 * unbalanced
        square = nearer + _root_of_chain(math.exp(log_square), whole, mean / whole)
        share = np.exp(np.minimum((depth - 1) * np.log(square) - log_slope, 0.0))
    if start.has_full_rank:  # the length of the way, from √e − √e' ≥ (1 − β) η S² / (2 √e), bounds layers too
        way = 2 * root(start.excess) / np.exp(0.5 * (log_slope + np.log(slope.steepness))) / lost
        square = np.minimum(square, (start.largest_layer + way) ** 2)
    mean = total * (depth - 1) / depth + (depth - 1) / 2 * unbalanced
    return Drift(np.log(square), to_the_end + (0.0 if depth == 2 else 0.5 * total) + mean)


def _root_of_chain(goal: float, whole: Floats, share: Floats) -> Floats:
    """The z with z^{1−f} (z − b)^f = goal, rounded up: Newton's method, and the rest by the least slope."""
    height = lambda z: (1 - share) * np.log(z) + share * np.log(z - whole) - math.log(goal)  # noqa: E731
    slope = lambda z: (1 - share) / z + share / (z - whole)  # noqa: E731
    end = z = goal + whole
    for _ in range(4):
        stepped = z - height(z) / slope(z)
        z = np.where(stepped > whole, stepped, end)
    return np.asarray(np.minimum(end, z + np.maximum(-height(z), 0.0) / slope(end)))


def _taken(start: Start, log_step: Floats, share: Floats) -> Floats:
    """β of a step size if β is at most `share`."""
    depth = start.depth
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        log_square, _ = _drift(start, np.exp(log_step) * start.excess / (1 - share), 1 - share)
        if depth == 1:
            return np.exp(log_step)
        log_inner = (depth - 2) / 2 * log_square + math.log(2) + 0.5 * log(start.excess)
        x = np.exp(log_step + log_inner)
        grown = depth * np.log1p(x)
        stretched = np.where(x > 0, np.expm1(grown) / (depth * np.where(x > 0, x, 1)), 1.0)
        first = math.log(depth) + (depth - 1) * log_square + 2 * np.log(stretched)
        second = math.log((depth - 1) / 2) + log_inner + (depth - 2) / depth * grown
        found = np.exp(log_step + np.logaddexp(first, second))
    return np.where(np.isnan(found), np.inf, found)


def _largest_log_steps(start: Start, shares: Floats) -> Floats:
    """Ln of the largest step sizes with these β: `_taken` grows with both."""
    least = (start.depth - 1) * 2 / start.depth * math.log(root(start.first_eigenvalue) + root(start.excess))
    high = np.log(shares) - math.log(start.depth) - least
    low = high - 1500.0
    fits = _taken(start, high, shares) <= shares
    low = np.where(fits, high, low)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        fits = _taken(start, middle, shares) <= shares
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return low


@dataclass(frozen=True)
class ConstantStep:
    """A step size: ln η, β, and the drift of the layers that it can lead to."""

    start: Start
    log_size: float
    share: float

    def log_contraction(self, excess: Floats) -> Floats:
        """Ln (1 − β) η Q r of an excess up to that of the start: the share of it that a step takes at least."""
        slope = slope_at(self.start, excess)
        return np.asarray(math.log1p(-self.share) + self.log_size + self._log_layers(slope) + np.log(slope.steepness))

    @property
    def drift(self) -> Drift:
        """How far the layers can drift during the descent."""
        total = np.exp(np.asarray(self.log_size)) * self.start.excess / (1 - self.share)
        return _drift(self.start, total, np.asarray(1 - self.share))

    def _log_layers(self, slope: Slope) -> Floats:
        """Ln Q."""
        depth = self.start.depth
        if depth == 1:
            return np.zeros(np.shape(slope.squared_margin))
        log_c = 0.5 * np.log(slope.squared_margin)
        if self.start.has_full_rank:
            return math.log(depth) + self.start.power * log_c
        drift = self.drift
        found = 2 * log_c - drift.log_square
        if self.start.has_narrow_layers:
            least = np.maximum(np.exp(2 / depth * log_c) - drift.of_smallest, 1e-300)
            found = np.maximum(found, (depth - 1) * np.log(least))
        return np.asarray(found)


@lru_cache(maxsize=64)
def best_constant_step(start: Start) -> ConstantStep | None:
    """That which contracts most late in the run; None where nothing is known of the start."""
    if not is_known(start):
        return None
    best, shares = None, _SHARES
    for _ in range(2):
        sizes = _largest_log_steps(start, shares)
        steps = [ConstantStep(start, float(*pair), float(share)) for *pair, share in zip(sizes, shares, strict=True)]
        at = int(np.argmax([float(step.log_contraction(np.asarray(0.0))) for step in steps]))
        around = shares[max(at - 1, 0)], shares[min(at + 1, len(shares) - 1)]
        best, shares = steps[at], np.linspace(*around, 7)
    return best


@lru_cache(maxsize=64)
def constant_step(start: Start, step_size: float) -> ConstantStep:
    """A step size no larger than the best: with the least β that `_taken` has at most itself."""
    best = best_constant_step(start)
    assert best is not None  # the theorem holds
    log_size = math.log(step_size)
    if log_size >= best.log_size:
        return best
    low, high = 0.0, best.share
    for _ in range(52):
        middle = 0.5 * (low + high)
        fits = bool(_taken(start, np.asarray(log_size), np.asarray(middle)) <= middle)
        low, high = (low, middle) if fits else (middle, high)
    return ConstantStep(start, log_size, high)


class Descent(NamedTuple):
    """How far the excess has fallen after numbers of steps, at least: ln(e(0)/e) at `steps`, and a step from there."""

    steps: Floats
    decays: Floats
    slopes: Floats

    def decay_after(self, steps: Floats) -> Floats:
        """Ln(e(0)/e) after whole numbers of steps."""
        at = np.searchsorted(self.steps, steps, side="right") - 1
        more = steps - self.steps[at]
        with np.errstate(invalid="ignore"):
            return np.asarray(self.decays[at] + np.where(more > 0, more * self.slopes[at], 0.0))

    def steps_to(self, decay: float) -> float:
        """The number of steps after which it has fallen so far."""
        at = max(int(np.searchsorted(self.decays, decay, side="left")) - 1, 0)
        return float(self.steps[at] + (decay - self.decays[at]) / self.slopes[at])


_RESOLUTION, _LAST, _LEAST = 0.02, 20.0, 1e-250


@lru_cache(maxsize=64)
def descent_of(step: ConstantStep) -> Descent:
    """The bound of a run: what a step takes grows as the excess falls, and is known on a grid of decays."""
    grid = np.arange(0.0, _LAST, _RESOLUTION)
    with np.errstate(divide="ignore"):
        taken = np.minimum(np.exp(step.log_contraction(step.start.excess * np.exp(-grid))), 1.0)
        slopes = -np.log1p(-taken)
    steps, decays, at = [0.0], [0.0], [0]
    while at[-1] < len(grid) - 1 and slopes[at[-1]] > _LEAST:
        slope = float(slopes[at[-1]])
        count = max(1.0, math.floor((grid[at[-1] + 1] - decays[-1]) / slope))
        steps.append(steps[-1] + count)
        decays.append(decays[-1] + count * slope)
        at.append(int(np.searchsorted(grid, decays[-1], side="right")) - 1)
    return Descent(np.array(steps), np.array(decays), slopes[at])
