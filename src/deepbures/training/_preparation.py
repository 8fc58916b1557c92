"""What a fit settles before any work: widths, whether the data can be fitted, where training begins."""

import math

import numpy as np

from deepbures._checks import check_integer
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, check_target, initialize


def fit_widths(dim: int, rank: int, depth: int, hidden: int | None) -> tuple[int, ...]:
    """(rank, hidden, …, hidden, dim), checked."""
    depth = check_integer(depth, "depth", 1)
    rank = check_integer(rank, "rank", 1, dim, why=" (the dimension of the data)")
    if hidden is None:
        hidden = rank
    elif depth == 1:
        raise ValueError(
            f"hidden = {hidden} was given, but a network of depth 1 has no hidden layer: raise depth or leave "
            "hidden out."
        )
    check_integer(hidden, "hidden", rank, why=f" (the rank: narrower hidden layers cannot carry rank {rank})")
    return (rank, *(hidden for _ in range(depth - 1)), dim)


def fit_problem(target: Target, rank: int, *, depth: int, hidden: int | None, loss: AbstractLoss) -> tuple[int, ...]:
    """Widths of the network of a fit; refuses what cannot be fitted."""
    check_target(target)
    widths = fit_widths(target.dim, rank, depth, hidden)
    total = float(target.trace)
    if not math.isfinite(total):
        raise ValueError(f"The variance of the target is beyond the range of {target.dtype}: scale the data down.")
    if not total > 0:
        raise ValueError(
            "The target has no variance: every feature is constant (or varies by so little that its square is zero), "
            "and there is nothing to fit."
        )
    _check_range(total, loss, target.dtype)
    return widths


def _check_range(total: float, objective: AbstractLoss, dtype: np.dtype) -> None:
    """Refuse data whose loss is no number of their precision."""
    size, limits = (objective.degree or 0) * math.log2(total), np.finfo(dtype)
    # That of a start may be larger, and an excess is much smaller.
    if not limits.minexp + 22 <= size <= limits.maxexp - 4:
        advice = "down" if size > 0 else "up"
        raise ValueError(
            f"A {type(objective).__name__} loss of these data is of the order of 10^{size * math.log10(2):.0f}, out of "
            f"the range of {dtype}: scale the data {advice}."
        )


def fit_start(target: Target, widths: tuple[int, ...], *, init: str, seed: int, tau: float) -> DeepLinearNetwork:
    """Where the training of a fit begins."""
    scale = (float(target.trace) / target.dim) ** 0.5 if init == "balanced" else 1.0
    return initialize(widths, init, key=seed, target=target, tau=tau, scale=scale)
