"""The authors' setting: targets, starts and the rule for slopes, after the experiments of Bréchet et al. (2023)."""

from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import NDArray

from deepbures.datasets import load_dataset
from deepbures.metric import squared_bures_wasserstein_factors
from deepbures.model import Target
from deepbures.model._initialization import perturbed_minimizers

Floats = NDArray[np.float64]

DIM = 20
DEPTHS = (1, 7, *range(10, 101, 5))
TAUS = (0.0, 0.1, 0.5, 1.0)
SMINS = (-1.0, *(0.5 * i for i in range(1, 11)))
HORIZON = 3.0
STOP = 1e-4
WINDOW = (-3.5, -2.0)
FIT_TIME = 0.1


def zipf_target(smin: float, seed: int) -> Target:
    """The 20-dimensional "zipf" target whose smallest eigenvalue is smin + 1/20 (1/20 for smin = −1)."""
    data = load_dataset(f"gaussian:dim={DIM},spectrum=zipf,smin={smin:g},seed={seed}")
    return Target.from_covariance(data.covariance)


def usable_tau(tau: float, target: Target) -> float:
    """τ as the authors' code takes it: at most λ_n, without a word."""
    eigenvalues = target.eigenvalues
    assert eigenvalues is not None  # the targets here are small
    return min(tau, float(eigenvalues[-1]))


def close_start(target: Target, tau: float, seed: int) -> Floats:
    """The authors' start "close": the first perturbed minimizer with √L_τ ≤ √λ_n, hence with hardly any margin.

    One pair of rotations for each seed, not redrawn as the perturbation shrinks.
    """
    n = target.dim
    factor = target.factor()
    for w in perturbed_minimizers((n, n), jax.random.key(seed), target, tau):
        smoothed = np.concatenate([w, np.sqrt(tau) * np.eye(n)], axis=1)  # L_τ(W) = L([W, √τ I])
        if float(squared_bures_wasserstein_factors(smoothed, factor)) <= usable_tau(np.inf, target):
            return np.asarray(w, np.float64)
    raise ValueError(f"No start of loss below λ_n: with tau = {tau:g} the minimum itself is above. Lower tau.")


def slope(times: Floats, excess: Floats, rate: Floats | None = None) -> tuple[float, float]:
    """Slope of log10(L − L*) and its largest residual, by the authors' rule.

    The longest stretch with −3.5 < log10(L − L*) < −2, on a grid of 2000 times; linear regression over its last 0.1
    units of time. Between records the logarithm is interpolated: by cubics that have the slope −`rate`, if given.
    NaN where the run does not cross the window.
    """
    seen = excess > 0
    at, logs = times[seen], np.log10(excess[seen])
    at, unique = np.unique(at, return_index=True)
    logs = logs[unique]
    inside = np.flatnonzero((logs < WINDOW[1] + 1.0) & (logs > WINDOW[0] - 1.0))
    if at.size < 3 or logs.min() > WINDOW[0] or not inside.size:
        return np.nan, np.nan
    begin, end = at[max(inside[0] - 1, 0)], at[min(inside[-1] + 1, at.size - 1)]
    grid = np.linspace(begin, end, 20_000)
    if rate is None:
        curve = np.interp(grid, at, logs)
    else:
        curve = _hermite(grid, at, logs, -rate[seen][unique] / np.log(10))
    kept = (curve < WINDOW[1]) & (curve > WINDOW[0])
    if not kept.any():
        return np.nan, np.nan
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(int)))
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    stretch = slice(starts[longest], ends[longest])
    x, y = grid[stretch], curve[stretch]
    last = x >= x[-1] - FIT_TIME
    x, y = x[last], y[last]
    if x.size < 2:
        return np.nan, np.nan
    coefficients = np.polyfit(x - x[0], y, 1)
    return float(coefficients[0]), float(np.abs(np.polyval(coefficients, x - x[0]) - y).max())


def _hermite(grid: Floats, at: Floats, values: Floats, slopes: Floats) -> Floats:
    """Cubic Hermite interpolation."""
    i = np.clip(np.searchsorted(at, grid, side="right") - 1, 0, at.size - 2)
    h = at[i + 1] - at[i]
    t = (grid - at[i]) / h
    t2, t3 = t * t, t * t * t
    return np.asarray(
        (2 * t3 - 3 * t2 + 1) * values[i]
        + (t3 - 2 * t2 + t) * h * slopes[i]
        + (3 * t2 - 2 * t3) * values[i + 1]
        + (t3 - t2) * h * slopes[i + 1]
    )


def name_of(loss: str, smin: float, tau: float, suffix: str = "") -> str:
    """The key of a piece."""
    return f"{loss}-smin={smin:g}-tau={tau:g}{suffix}"


def thin(values: Sequence[float], quick: Sequence[float], is_quick: bool) -> Sequence[float]:
    """The whole range, or the part of it that a quick run takes."""
    return quick if is_quick else values
