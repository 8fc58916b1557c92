"""What the convergence theorems are about: numbers of a start, margins, and the hypotheses they share.

Notation: λ_1 ≥ … ≥ λ_n eigenvalues of the target Σ0, L the loss, L* its minimum over matrices of rank at most k, k the
bottleneck, N the depth, p = 2(N − 1)/N, e = L − L*, W the end-to-end matrix, c the margin (modified margin deficiency),
a lower bound of σ_k(W(t)) along the flow.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deepbures.certificates._certificate import Assumption
from deepbures.landscape import Problem
from deepbures.model import DeepLinearNetwork, balancedness_tolerance, relative_balancedness_gap


@dataclass(frozen=True)
class Start:
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
    balanced_within: float
    sharpness: float
    flattest: float
    rounding: float

    @property
    def power(self) -> float:
        """P = 2(N − 1)/N."""
        return 2 * (self.depth - 1) / self.depth

    @property
    def log_c0(self) -> float:
        """C0 = 2 (L(0) + tr Σ0)."""
        return log(2 * (self.loss + self.trace))


def root(x: float) -> float:
    return math.sqrt(max(x, 0.0))


def log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf if x == 0 else math.nan


def log_of_sum(a: float, b: float) -> float:
    """ln(e^a + e^b)."""
    return math.nan if math.isnan(a) or math.isnan(b) else float(np.logaddexp(a, b))


def squared_margin(smallest: float, loss: float, tau: float) -> float:
    """c² = (√λ_n − √L_τ)² − τ, negative where √L_τ ≥ √λ_n or the smoothing takes it all: then there is no margin."""
    reach = root(smallest) - root(loss)
    return reach**2 - tau if reach > 0 else -(abs(reach) ** 2) - tau


def _smallest(w: Any, k: int) -> float:
    """σ_k, zero where it is rounding."""
    s = np.linalg.svd(np.asarray(w, np.float64), compute_uv=False)
    return float(s[k - 1]) if s[k - 1] > max(w.shape) * np.finfo(np.float64).eps * s[0] else 0.0


def measure(net: DeepLinearNetwork, problem: Problem) -> Start:
    """The numbers of a start; NaN where they are not known in closed form."""
    target, loss = problem.target, problem.loss
    w, k, n = net.end_to_end, net.bottleneck, net.dim
    known = problem.eigenvalues is not None
    values = np.asarray(problem.eigenvalues, np.float64) if known else np.full(n, np.nan)
    value = float(loss.value(w, target))
    steepest, flattest = problem.extremes(net.depth, net.latent_dim)
    return Start(
        n=n,
        k=k,
        depth=net.depth,
        tau=float(loss.modes.threshold()) if loss.modes is not None else math.nan,
        loss=value,
        excess=max(float(problem.excess(w)), 0.0),
        trace=float(target.trace),
        first=float(values[0]),
        kept=float(values[k - 1]),
        left_out=float(values[k]) if k < n else 0.0,
        smallest=_smallest(w, k),
        gap=relative_balancedness_gap(net),
        balanced_within=balancedness_tolerance(net),
        sharpness=float(steepest),
        flattest=float(flattest),
        rounding=_rounding(net, problem, value),
    )


def _rounding(net: DeepLinearNetwork, problem: Problem, value: float) -> float:
    """An excess that rounding alone may show at the minimum: factors and W are right to about (n + N) eps."""
    eps = max(float(np.finfo(np.asarray(array).dtype).eps) for array in (*net.weights, problem.target.mean))
    size, power = problem.loss._resolution(problem.target, value)
    return (32 * (net.dim + net.depth) * eps) ** power * float(size)


class Margin(NamedTuple):
    """A margin in logarithms, and the assumptions it rests on."""

    log_c: float
    squared: float


def rigorous(start: Start) -> Margin:
    """The margin that is known for k = n; NaN for a bottleneck."""
    squared = squared_margin(start.kept, start.loss, start.tau) if start.k == start.n else math.nan
    return Margin(0.5 * log(squared), squared)


def as_in_the_code(start: Start) -> Margin:
    """The margin √λ_k − √L(0) whatever τ, as in the authors' public code."""
    c = root(start.kept) - root(start.loss)
    return Margin(log(c), math.copysign(c * c, c))


def balanced(start: Start) -> tuple[Assumption, ...]:
    if start.depth == 1:
        return ()
    return (Assumption("balancedness gap relative to the largest ‖W_l‖²", start.gap, "≤", start.balanced_within),)


def full_rank(start: Start) -> Assumption:
    return Assumption("dimensions that the bottleneck leaves out, n − k", start.n - start.k, "=", 0)


def regular(start: Start) -> Assumption:
    return Assumption("smallest eigenvalue λ_n of the target", start.kept, ">", 0.0)


def full_rank_start(start: Start) -> Assumption:
    return Assumption(
        "smallest singular value σ_n of the start", start.smallest if start.k == start.n else 0.0, ">", 0.0
    )


def with_margin(margin: Margin) -> Assumption:
    return Assumption("squared margin c² = (√λ_n − √L(0))² − τ", margin.squared, ">", 0.0)


def within(start: Start, margin: Margin) -> tuple[Assumption, ...]:
    """What all theorems for full rank share: k = n, a regular target, a balanced start, a margin."""
    if start.k < start.n:
        return (*balanced(start), full_rank(start))
    return (*balanced(start), full_rank(start), regular(start), with_margin(margin))
