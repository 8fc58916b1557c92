"""Hypotheses and constants that theorems share.

Notation: λ_1 ≥ … ≥ λ_n eigenvalues of the target Σ0, L the loss, L* its minimum over matrices of rank at most k, k the
bottleneck, N the depth, p = 2(N − 1)/N, e = L − L*, W the end-to-end matrix, c the margin (modified margin deficiency),
a lower bound of σ_k(W(t)) along the flow.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deepbures.certificates._assumption import Assumption
from deepbures.certificates._logarithms import log
from deepbures.certificates._start import Start
from deepbures.model import squared_margin, unsmoothed_margin


class Margin(NamedTuple):
    """A margin: ln c, and c², which is negative where there is none."""

    log_c: float
    squared: float


def rigorous_margin(start: Start) -> Margin:
    """The margin that is known for k = n; NaN for a bottleneck."""
    squared = squared_margin(start.kept_eigenvalue, start.loss, start.tau) if start.has_full_rank else math.nan
    return Margin(0.5 * log(squared), squared)


def authors_margin(start: Start) -> Margin:
    """The margin √λ_k − √L(0) whatever τ, as in the authors' public code."""
    c = unsmoothed_margin(start.kept_eigenvalue, start.loss)
    return Margin(log(c), math.copysign(c * c, c))


def then(needs: tuple[Assumption, ...], more: Callable[[], tuple[Assumption, ...]]) -> tuple[Assumption, ...]:
    """Assumptions, and where they all hold those that can be computed only then."""
    return (*needs, *more()) if all(need.holds for need in needs) else needs


def balanced(start: Start) -> tuple[Assumption, ...]:
    """A balanced start, if there is more than one layer."""
    if start.depth == 1:
        return ()
    gap, limit = start.balancedness_gap, start.balancedness_tolerance
    return (Assumption("balancedness gap relative to the largest ‖W_l‖²", gap, "≤", limit),)


_ROUNDING = 4 * float(np.finfo(np.float64).eps)


def without_rounding(start: Start) -> float:
    """σ_k of the start, less the error with which it is known."""
    return start.smallest_singular_value - start.dim * _ROUNDING * start.largest_singular_value


def unsmoothed(start: Start) -> Assumption:
    """A loss without smoothing."""
    return Assumption("smoothing τ", start.tau, "=", 0.0)


def smoothed(start: Start) -> Assumption:
    """A smoothed loss."""
    return Assumption("smoothing τ", start.tau, ">", 0.0)


def full_rank(start: Start) -> Assumption:
    """No bottleneck, k = n."""
    return Assumption("dimensions that the bottleneck leaves out, n − k", start.dim - start.bottleneck, "=", 0)


def regular_target(start: Start) -> Assumption:
    """λ_n > 0, for k = n."""
    return Assumption("smallest eigenvalue λ_n of the target", start.kept_eigenvalue, ">", 0.0)


def regular_start(start: Start) -> Assumption:
    """An end-to-end matrix of rank n."""
    smallest = start.smallest_singular_value if start.has_full_rank else 0.0
    return Assumption("smallest singular value σ_n of the start", smallest, ">", 0.0)


def certainly_regular_start(start: Start) -> Assumption:
    """An end-to-end matrix of rank n, whatever the rounding."""
    return Assumption("smallest singular value σ_n of the start, less rounding", without_rounding(start), ">", 0.0)


def near_target(start: Start) -> tuple[Assumption, ...]:
    """What the theorems of the paper share: a balanced start and `within_margin`."""
    return (*balanced(start), *within_margin(start))


def within_margin(start: Start) -> tuple[Assumption, ...]:
    """K = n, a regular target, a margin: at full rank Σ_l ‖∂L/∂W_l‖² ≥ N σ_n^p ‖∇L‖² for layers balanced or not."""
    if not start.has_full_rank:
        return (full_rank(start),)
    return (full_rank(start), regular_target(start), squared_margin_above_zero(start))


def squared_margin_above_zero(start: Start) -> Assumption:
    """A margin, for k = n."""
    return Assumption("squared margin c² = (√λ_n − √L(0))² − τ", rigorous_margin(start).squared, ">", 0.0)


def bottlenecked(start: Start) -> Assumption:
    """A bottleneck, k < n."""
    return Assumption("dimensions that the bottleneck leaves out, n − k", start.dim - start.bottleneck, ">", 0)


def below_best_saddle(start: Start) -> tuple[Assumption, ...]:
    """A bottleneck, no smoothing, and a start below the best saddle."""
    below = bottlenecked(start)
    if not below.holds:
        return (below, unsmoothed(start))
    return (
        below,
        unsmoothed(start),
        Assumption("height of the best saddle over the minimum, λ_k − λ_{k+1}", start.gap, ">", 0.0),
        Assumption("excess e(0), which must lie below that height", start.excess, "<", start.gap),
    )
