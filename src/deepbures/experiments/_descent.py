"""Whether the flow stands for the paper's descent: slopes of both, at the paper's step size."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.experiments._pieces import Finding, Keeper, Piece, compute_all
from deepbures.experiments._setting import (
    DIM,
    HORIZON,
    STOP,
    check_depths,
    check_seed,
    check_smins,
    check_taus,
    close_start,
    flows_until,
    listed,
    slope,
    text_of,
    usable_tau,
    zipf_target,
)
from deepbures.model import BuresWasserstein, balanced_network
from deepbures.training import gradient_descent

Floats = NDArray[np.float64]

STEP_SIZE = 1e-5
_EVERY = 25
CELLS = (
    (1, 1.0, 0.0),
    (1, 4.0, 0.5),
    (7, 1.0, 0.1),
    (7, 5.0, 1.0),
    (10, 0.5, 0.0),
    (10, 2.0, 0.5),
    (10, 5.0, 0.0),
    (25, 1.0, 0.5),
    (25, 3.0, 0.0),
    (50, 2.0, 0.1),
    (100, 1.0, 0.0),
    (100, 4.0, 1.0),
)
"""Depth, smin and τ of the spot checks."""
_QUICK = ((7, 5.0, 1.0), (25, 3.0, 0.0))


@dataclass(frozen=True)
class Descent:
    """Slopes of log10(L − L*) by gradient flow and by gradient descent with the step size 1e-5, cell by cell.

    Attributes
    ----------
    depth, smin, tau : array
        The cells; τ as used, at most λ_n.
    flow_slope, descent_slope : array
        By the authors' rule, per unit of time (step size × steps); NaN where a run does not come down to 10^−3.5.
    steps : array
        Steps of the descent until L − L* ≤ 1e-4, at most 300,000.

    Examples
    --------
    >>> from deepbures.experiments import descent
    >>> one = descent(cells=((25, 5.0, 0.0),))
    >>> bool(abs(one.descent_slope / one.flow_slope - 1) < 0.01)
    True
    """

    depth: NDArray[np.int_]
    smin: Floats
    tau: Floats
    flow_slope: Floats
    descent_slope: Floats
    steps: NDArray[np.int_]

    @property
    def ratio(self) -> Floats:
        """Slope of the descent over that of the flow."""
        return self.descent_slope / self.flow_slope

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """One row for each cell."""
        names = (*self.__dataclass_fields__, "ratio")
        columns = [getattr(self, name).tolist() for name in names]
        return {"slopes": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Whether the slopes agree."""
        statement = "Slopes of the flow agree with those of exact gradient descent at the paper's step size within 1 %."
        flow, steps = np.isfinite(self.flow_slope), np.isfinite(self.descent_slope)
        alone, neither = int((flow != steps).sum()), int((~flow & ~steps).sum())
        off = np.abs(self.ratio - 1)[flow & steps]
        rest = f" In {neither} more neither has a slope." if neither else ""
        if alone:
            return (Finding(statement, False, f"In {alone} cells only one of the two has a slope.{rest}"),)
        if not off.size:
            return (Finding(statement, None, f"No cell has slopes.{rest}"),)
        return (
            Finding(
                statement,
                bool((off < 0.01).all()),
                f"Over {off.size} cells the slopes differ by at most {100 * off.max():.2g} % (median "
                f"{100 * np.median(off):.2g} %); the descents took {self.steps.min():,} to {self.steps.max():,} steps."
                f"{rest}",
            ),
        )


def descent(
    *,
    quick: bool = False,
    seed: int = 0,
    keep: Keeper = compute_all,
    cells: tuple[tuple[int, float, float], ...] | None = None,
) -> Descent:
    """Spot checks of the grid: gradient descent at the paper's step size against gradient flow, from the same start.

    Step size 1e-5, at most 3·10⁵ steps, all layers of width 20, start and stop as in `grid`.

    Parameters
    ----------
    quick : bool
        Two cells instead of twelve.
    seed : int
        Of targets and starts, as in `grid`.
    keep : Keeper
        How the pieces (one for each cell) are computed.
    cells : tuple of (depth, smin, tau), optional
        Other cells.

    Returns
    -------
    Descent

    Raises
    ------
    ValueError
        For cells that are no such triples, a depth below 1, a τ that is negative, a negative seed.

    Examples
    --------
    >>> from deepbures.experiments import descent
    >>> descent(cells=((25, 5.0, 0.0),)).findings[0].held
    True
    """
    seed = check_seed(seed)
    chosen = _check_cells((_QUICK if quick else CELLS) if cells is None else cells)
    thunks = {
        f"depth={depth}-smin={text_of(smin)}-tau={text_of(tau)}": partial(_cell, depth, smin, tau, seed)
        for depth, smin, tau in chosen
    }
    pieces = list(keep(thunks).values())
    return Descent(
        **{name: np.array([piece[name].item() for piece in pieces]) for name in Descent.__dataclass_fields__}
    )


def _check_cells(cells: tuple[tuple[int, float, float], ...]) -> list[tuple[int, float, float]]:
    for cell in listed(cells, "cells"):
        if not isinstance(cell, tuple | list) or len(cell) != 3:
            raise ValueError(f"cells must be triples (depth, smin, tau), but {cell!r} was given.")
    depths, smins, taus = zip(*cells, strict=True)
    return list(zip(check_depths(depths), check_smins(smins), check_taus(taus), strict=True))


def _cell(depth: int, smin: float, tau: float, seed: int) -> Piece:
    target = zipf_target(smin, seed)
    used = usable_tau(tau, target)
    loss = BuresWasserstein(used)
    start = close_start(target, used, seed)
    flow = flows_until(STOP, start[None], np.array([depth]), target, loss, HORIZON)
    num_steps = round(HORIZON / STEP_SIZE)
    # Tolerances of a run are relative to the loss of zero, where the minimum is zero.
    zero = float(loss.value(np.zeros((DIM, 1)), target))
    run = gradient_descent(
        balanced_network(start, (DIM,) * (depth + 1)),
        target,
        loss,
        num_steps,
        STEP_SIZE,
        steps=np.arange(0, num_steps + 1, _EVERY),
        record=("loss",),
        tolerance=STOP / zero,
    )
    return {
        "depth": np.array(depth),
        "smin": np.array(smin),
        "tau": np.array(used),
        "flow_slope": np.array(slope(flow.times[0], flow.excess[0], flow["rate"][0])[0]),
        "descent_slope": np.array(slope(np.asarray(run.times), np.asarray(run.excess))[0]),
        "steps": np.asarray(run.steps[-1]),
    }
