"""Saddles on the way: where a run stayed at the loss of a critical point of lower rank."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_number
from deepbures._precision import numpy_in_numpy_out
from deepbures.landscape import minimal_loss
from deepbures.model import AbstractLoss, Target, check_target
from deepbures.training._trajectory import Trajectory

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plateau:
    """A stay near the loss of the best critical point of one rank.

    Attributes
    ----------
    rank : int
        Of that critical point: the modes 1..rank are learned, the others not yet.
    level : float
        Its loss.
    begin, end : float
        When the run came near it and when it left, in time or steps; `end` is that of the run if it never left.
    left : bool
        Whether it left.

    Examples
    --------
    >>> from deepbures.training import Plateau
    >>> Plateau(rank=1, level=0.5, begin=2.0, end=5.0, left=True).duration
    3.0
    """

    rank: int
    level: float
    begin: float
    end: float
    left: bool

    @property
    def duration(self) -> float:
        """How long it stayed."""
        return self.end - self.begin


@numpy_in_numpy_out
def plateaus(run: Trajectory, target: Target, loss: AbstractLoss, *, width: float = 0.05) -> tuple[Plateau, ...]:
    """Saddles that a run passed: intervals in which its loss was near that of the best critical point of lower rank.

    With L_r the smallest loss over matrices of rank at most r, the run is near rank r while

        L_r − width · (L_r − L_{r+1}) ≤ L ≤ L_r + width · (L_{r−1} − L_r),

    for r = 0..k − 1, k the bottleneck; and it is slow there: its squared gradient norm, the speed at which the loss
    falls, is at its least below half of the largest in the fall that follows. From small starts gradient flow learns
    one mode after the other, and visits these saddles in this order. Crossings are interpolated between records (in
    log time from the first positive one on), so their accuracy is that of the records.

    Parameters
    ----------
    run : Trajectory
        A single run.
    target : Target
        What was fitted.
    loss : BuresWasserstein or Frobenius
        The loss that was trained.
    width : float
        As above, in (0, 1/2).

    Returns
    -------
    tuple of Plateau
        In order of time; empty if the run was near none.

    Raises
    ------
    ValueError
        For a batch of runs, or a width out of range.

    Examples
    --------
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([9.0, 1.0], key=0), db.BuresWasserstein(tau=0.1)
    >>> start = db.initialize((2, 2, 2), "balanced", scale=0.01, key=0, target=target)
    >>> run = db.gradient_flow(start, target, loss, 1000.0)
    >>> [(plateau.rank, plateau.left) for plateau in db.plateaus(run, target, loss)]
    [(0, True), (1, True)]
    """
    losses = np.asarray(run.losses, np.float64)
    if losses.ndim != 1:
        raise ValueError(
            f"plateaus takes a single run, but this is a batch of shape {losses.shape[:-1]}: call it for each."
        )
    check_number(width, "width", positive=True)
    if width >= 0.5:
        raise ValueError(f"width must be below 1/2, but {width} was given.")
    speed = np.asarray(run["gradient_norm"], np.float64) ** 2
    at = np.asarray(run.steps if run.times is None else run.times, np.float64)
    k = run.network.bottleneck
    check_target(target)
    zero = float(loss.value(np.zeros((target.dim, 1), target.dtype), target))
    levels = np.array([zero, *(float(minimal_loss(target, r, loss)) for r in range(1, k + 1))])
    found = []
    for r in range(k):
        drop = levels[r] - levels[r + 1]
        rise = levels[r - 1] - levels[r] if r else drop
        if drop <= 0:  # a mode that cannot be used, or that costs nothing: no saddle
            continue
        stay = _stay(at, losses, levels[r] + width * rise, levels[r] - width * drop)
        if stay is not None and _is_slow(losses, speed, levels[r] + width * rise, levels[r] - width * drop):
            begin, end, left = stay
            found.append(Plateau(r, float(levels[r]), begin, end, left))
    return tuple(found)


def _stay(at: Floats, losses: Floats, upper: float, lower: float) -> tuple[float, float, bool] | None:
    """When a falling curve is within [lower, upper]; None if it never is at any record."""
    if not ((losses <= upper) & (losses >= lower)).any():
        return None
    begin = _crossing(at, losses, upper)
    end = _crossing(at, losses, lower)
    return (at[0] if begin is None else begin), (float(at[-1]) if end is None else end), end is not None


def _is_slow(losses: Floats, speed: Floats, upper: float, lower: float) -> bool:
    """Whether the least speed within a band is below half of the largest after it."""
    within = (losses <= upper) & (losses >= lower)
    after = losses < lower
    return not after.any() or bool(speed[within].min() < speed[after].max() / 2)


def _crossing(at: Floats, losses: Floats, level: float) -> float | None:
    below = np.flatnonzero(losses < level)
    if not below.size:
        return None
    i = int(below[0])
    if i == 0:
        return float(at[0])
    share = (losses[i - 1] - level) / (losses[i - 1] - losses[i])
    if at[i - 1] > 0:
        return float(at[i - 1] * (at[i] / at[i - 1]) ** share)
    return float(at[i - 1] + share * (at[i] - at[i - 1]))
