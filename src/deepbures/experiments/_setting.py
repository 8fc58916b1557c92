"""The authors' setting: targets, starts and the rule for slopes, after the experiments of Bréchet et al. (2023)."""

import warnings
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_integer, check_number
from deepbures.datasets import load_dataset
from deepbures.landscape import Problem
from deepbures.metric import squared_bures_wasserstein_factors
from deepbures.model import AbstractLoss, LossName, Target, perturbed_minimizers
from deepbures.training import BalancedFlows, balanced_flows

Floats = NDArray[np.float64]

BW, FROBENIUS = LossName.bw.value, LossName.frobenius.value
"""The two losses of the paper."""
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
    data = load_dataset(f"gaussian:dim={DIM},spectrum=zipf,smin={text_of(smin)},seed={seed}")
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


def flows_until(
    excess: float,
    starts: Floats,
    depths: NDArray[np.int_],
    target: Target,
    loss: AbstractLoss,
    horizon: float,
    num_records: int = 100,
) -> BalancedFlows:
    """`balanced_flows` that stop at an excess; that some τ keep modes at zero is part of what is studied here."""
    rank = starts.shape[-1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cannot be used, and stay at zero", category=UserWarning)
        return balanced_flows(
            starts,
            depths,
            target,
            loss,
            horizon,
            tolerance=excess / float(Problem(target, loss, rank).reference),
            num_records=num_records,
        )


def slope(times: Floats, excess: Floats, rate: Floats | None = None) -> tuple[float, float]:
    """Slope of log10(L − L*) and its largest residual, by the authors' rule.

    The longest stretch with −3.5 < log10(L − L*) < −2, on an even grid of times; linear regression over its last 0.1
    units of time, or all of it if it is shorter. Between records the logarithm is interpolated: by cubics that have
    the slope −`rate`, if given. Nothing is smoothed: the curves here are not noisy.
    NaN where the run does not come down to 10^−3.5, or begins below it. Records that are not positive are left out.
    """
    seen = np.isfinite(excess) & (excess > 0)
    at, unique = np.unique(times[seen], return_index=True)
    logs = np.log10(excess[seen][unique])
    if at.size < 2 or logs.min() > WINDOW[0]:
        return np.nan, np.nan
    # Between the first and the last pair of neighboring records that the window, a decade wider, has a part in.
    lower, upper = np.minimum(logs[:-1], logs[1:]), np.maximum(logs[:-1], logs[1:])
    inside = np.flatnonzero((lower < WINDOW[1] + 1.0) & (upper > WINDOW[0] - 1.0))
    if not inside.size:
        return np.nan, np.nan
    grid = np.linspace(at[inside[0]], at[inside[-1] + 1], 20_000)
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
    return f"{loss}-smin={text_of(smin)}-tau={text_of(tau)}{suffix}"


def text_of(value: float) -> str:
    """The shortest text that is read as this number, and no other, again; fit for the key of a piece."""
    return repr(float(value)).removesuffix(".0").replace("+", "")


def listed(values: Iterable[Any], name: str) -> tuple[Any, ...]:
    """`values` as a tuple that is not empty."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a tuple, but {values!r} was given: write ({values!r},) for this one alone.")
    found = tuple(values)
    if not found:
        raise ValueError(f"{name} must not be empty: leave it out for those of the experiment.")
    return found


def check_depths(depths: Iterable[int]) -> tuple[int, ...]:
    """Depths as a tuple of whole numbers from 1 on."""
    found = listed(depths, "depths")
    if any(isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 1 for depth in found):
        raise ValueError(f"depths must be whole numbers from 1 on, but {depths} was given.")
    return tuple(int(depth) for depth in found)


def check_taus(taus: Iterable[float]) -> tuple[float, ...]:
    """Smoothings as a tuple of finite numbers that are not negative."""
    found = listed(taus, "taus")
    check_number(found, "taus")
    return tuple(float(tau) for tau in found)


def check_smins(smins: Iterable[float]) -> tuple[float, ...]:
    """What the smallest eigenvalues are shifted to, as a tuple of finite numbers; negative ones shift nothing."""
    found = listed(smins, "smins")
    try:
        numbers = tuple(float(smin) for smin in found)
    except (TypeError, ValueError):
        raise TypeError(f"smins must be numbers, but {smins!r} was given.") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"smins must be finite, but {smins!r} was given.")
    return numbers


def check_seed(seed: int) -> int:
    """A seed that every generator of random numbers takes."""
    return check_integer(seed, "seed", 0, 2**63 - 1)
