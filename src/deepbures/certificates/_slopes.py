"""How steep the loss is below the best saddle, whatever the layers; notation as in `_hypotheses`."""

import math
from typing import NamedTuple

import numpy as np

from deepbures._types import Floats
from deepbures.certificates._assumption import Assumption
from deepbures.certificates._hypotheses import below_best_saddle, full_rank, squared_margin_above_zero
from deepbures.certificates._logarithms import root
from deepbures.certificates._smoothed_bottleneck import below_smoothed_saddle, constants_at
from deepbures.certificates._start import Start


class Slope(NamedTuple):
    """‖∇L‖² ≥ steepness · e, and σ_k(W) ≥ c, wherever the excess is e or less and W has rank at most k."""

    steepness: Floats
    squared_margin: Floats


def slope_at(start: Start, excess: Floats) -> Slope:
    """Of every excess up to that of a start that meets `slope_is_known`; it grows as the excess falls.

    k = n:           steepness 4 c²/(c² + τ),     c² = (√λ_n − √e)² − τ;
    k < n, τ = 0:    steepness 4 (gap − e)/λ_k,   c = √λ_k − √e;
    k < n, τ > 0:    steepness 4 κ/(1 + κ), κ and c as in "flow-smoothed-bottleneck".
    """
    if start.has_full_rank:
        square = (root(start.kept_eigenvalue) - np.sqrt(excess)) ** 2 - start.tau
        return Slope(4 * square / (square + start.tau), square)
    if start.tau == 0:
        return Slope(
            4 * (start.gap - excess) / start.kept_eigenvalue, (root(start.kept_eigenvalue) - np.sqrt(excess)) ** 2
        )
    _, kappa, square = constants_at(start, excess)
    return Slope(4 / (1 + 1 / kappa), square)


def slope_is_known(start: Start) -> tuple[Assumption, ...]:
    """What `slope_at` needs: within the margin for k = n, below the best saddle for a bottleneck."""
    if start.has_full_rank:
        return (full_rank(start), squared_margin_above_zero(start))
    if start.tau == 0:
        return below_best_saddle(start)
    return below_smoothed_saddle(start)


def is_known(start: Start) -> bool:
    """Whether `slope_at` may be asked."""
    return math.isfinite(start.excess) and all(need.holds for need in slope_is_known(start))
