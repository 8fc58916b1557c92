"""The paper's grid: slopes of convergence over smoothing, smallest eigenvalue, depth and loss."""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.experiments._pieces import Finding, Keeper, Piece, compute_all
from deepbures.experiments._setting import (
    BW,
    DEPTHS,
    DIM,
    FROBENIUS,
    HORIZON,
    SMINS,
    STOP,
    TAUS,
    check_depths,
    check_seed,
    check_smins,
    check_taus,
    close_start,
    flows_until,
    listed,
    name_of,
    slope,
    usable_tau,
    zipf_target,
)
from deepbures.landscape import asymptotic_rate
from deepbures.model import loss_named
from deepbures.training import code_of

Floats = NDArray[np.float64]

LOSSES = (BW, FROBENIUS)
_QUICK_DEPTHS = (1, 7, 10, 20, 40, 60, 80, 100)
_QUICK_TAUS = (0.0, 0.1, 1.0)
_QUICK_SMINS = (-1.0, 1.0, 3.0, 5.0)
# Records of a curve that are kept for the figures.
_NUM_RECORDS = 100


@dataclass(frozen=True)
class Grid:
    """Slopes of log10(L − L*) over the paper's grid; one entry of every array is one run.

    Attributes
    ----------
    loss : array of str
        "bw" or "frobenius".
    tau, tau_used : array
        τ asked for, and used: with `clipped`, min(τ, λ_n), as in the authors' code.
    clipped : array of bool
        Whether τ was clipped. Cells with τ > λ_n are there twice for "bw": clipped, and as asked. For "frobenius" τ
        matters for the start alone.
    smin, depth, smallest_eigenvalue : array
        Of the target and the network.
    slope, residual : array
        d log10(L − L*)/dt over the last 0.1 units of time between 10^−2 and 10^−3.5 (the authors' rule), and the
        largest distance of the curve from the line fitted there, in decades; NaN where the run does not come down to
        10^−3.5 by the horizon.
    predicted : array
        The slope that the smallest positive Hessian eigenvalue at the minimizer predicts; 0 where the approach is
        slower than exponential.
    final_time, final_excess, steps, code : array
        Where the run ended: at an excess of 1e-4 or at the horizon 3; steps of the solver; code of the result.

    Examples
    --------
    >>> from deepbures.experiments import grid
    >>> cell = grid(losses=("bw",), taus=(0.0,), smins=(2.0,), depths=(1, 10))
    >>> (cell.slope / cell.predicted).round(2).tolist()
    [1.0, 1.19]
    """

    loss: NDArray[np.str_]
    tau: Floats
    tau_used: Floats
    clipped: NDArray[np.bool_]
    smin: Floats
    depth: NDArray[np.int_]
    smallest_eigenvalue: Floats
    slope: Floats
    residual: Floats
    predicted: Floats
    final_time: Floats
    final_excess: Floats
    steps: NDArray[np.int_]
    code: NDArray[np.int_]

    def __len__(self) -> int:
        """Number of runs."""
        return len(self.slope)

    def where(self, **cell: Any) -> NDArray[np.bool_]:
        """Which runs have these values, as ``where(loss="bw", tau=0.1)``."""
        chosen = np.ones(len(self), bool)
        for name, value in cell.items():
            chosen &= getattr(self, name) == value
        return chosen

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """One row for each run."""
        names = list(self.__dataclass_fields__)
        columns = [getattr(self, name).tolist() for name in names]
        return {"slopes": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}

    @property
    def has_rate(self) -> NDArray[np.bool_]:
        """Cells that approach the minimum exponentially."""
        return self.predicted < 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the paper says of its grid, and what was found."""
        fitted = np.isfinite(self.slope)
        return (
            self._linear(fitted),
            self._by_depth(fitted),
            self._by_smin(fitted),
            self._predicted(fitted),
            *self._flat(),
        )

    def _linear(self, fitted: NDArray[np.bool_]) -> Finding:
        at = self.has_rate & fitted
        statement = "From starts close to the target the loss falls exponentially."
        if not at.any():
            return Finding(statement, None, "No run with a positive predicted rate crosses the window.")
        worst = float(self.residual[at].max())
        missing = int((self.has_rate & ~fitted).sum())
        return Finding(
            statement,
            bool(worst < 0.1),
            f"{int(at.sum())} runs cross the window 10⁻² … 10⁻³·⁵; their curves leave the fitted lines by at most "
            f"{worst:.3g} decades. {missing} runs with a positive predicted rate are too slow to cross it by time 3.",
        )

    def _increasing(self, along: str, fitted: NDArray[np.bool_], loss: str) -> tuple[int, int, int]:
        """Neighboring cells with a steeper slope at the next one, all of them, and those predicted to be and not."""
        others = [name for name in ("tau", "tau_used", "smin", "depth") if name != along]
        good = total = surprises = 0
        base = self.has_rate & fitted & (self.loss == loss)
        keys = {tuple(getattr(self, name)[i] for name in others) for i in np.flatnonzero(base)}
        for key in keys:
            at = base.copy()
            for name, value in zip(others, key, strict=True):
                at &= getattr(self, name) == value
            order = np.argsort(getattr(self, along)[at])
            steps, expected = (np.diff(-values[at][order]) for values in (self.slope, self.predicted))
            good, total = good + int((steps > 0).sum()), total + steps.size
            surprises += int(((steps <= 0) & (expected > 0)).sum())
        return good, total, surprises

    def _by_depth(self, fitted: NDArray[np.bool_]) -> Finding:
        told, counts = self._neighbors("depth", fitted)
        surprises = sum(extra for _, _, extra in counts)
        return Finding(
            "Convergence is faster the deeper the network, wherever the predicted rate grows.",
            surprises == 0 if counts else None,
            f"{told} Of the others, {surprises} were predicted to be." if counts else told,
        )

    def _by_smin(self, fitted: NDArray[np.bool_]) -> Finding:
        told, counts = self._neighbors("smin", fitted & (self.tau == self.tau_used))
        return Finding(
            "Convergence is faster the larger the smallest eigenvalue of the target.",
            all(good >= 0.95 * total for good, total, _ in counts) if counts else None,
            told,
        )

    def _neighbors(self, along: str, chosen: NDArray[np.bool_]) -> tuple[str, list[tuple[int, int, int]]]:
        """What `_increasing` counts, in words, and for each loss that has neighboring cells."""
        found = {loss: self._increasing(along, chosen, loss) for loss in LOSSES}
        found = {loss: counts for loss, counts in found.items() if counts[1]}
        if not found:
            return "No neighboring cells both have a slope.", []
        told = ", ".join(f"{good} of {total} ({loss})" for loss, (good, total, _) in found.items())
        return f"The slope is steeper at the next {along} in {told} pairs of neighboring cells.", list(found.values())

    def _predicted(self, fitted: NDArray[np.bool_]) -> Finding:
        ratio = (self.slope / np.where(self.has_rate, self.predicted, np.nan))[self.has_rate & fitted]
        return Finding(
            "In the window no run is slower than the asymptotic rate, from the Hessian at the minimizer.",
            bool(ratio.min() > 0.99) if ratio.size else None,
            f"Slope over predicted slope: median {np.median(ratio):.3f}, {ratio.min():.3f} … {ratio.max():.3f} over "
            f"{ratio.size} runs. (In the window the run is still on its way to the asymptotic regime.)"
            if ratio.size
            else "No run crosses the window.",
        )

    def _flat(self) -> tuple[Finding, ...]:
        cells = (self.loss == BW) & (self.tau > self.smallest_eigenvalue)
        if not cells.any():
            return ()
        clipped, asked = cells & self.clipped, cells & ~self.clipped
        told = f"{int(clipped.sum())} cells{self._ends(clipped)}. As asked (τ > λ_n) {int(asked.sum())} cells"
        return (
            Finding(
                "Where the authors' code clips τ to λ_n, no exponential rate exists: λ_n = τ.",
                bool((self.predicted[clipped] == 0).all()) if clipped.any() else None,
                f"{told}{self._ends(asked)}{': a power of t as well at depth ≥ 2' if asked.any() else ''}.",
            ),
        )

    def _ends(self, cells: NDArray[np.bool_]) -> str:
        """Where runs ended, in words; nothing of no runs."""
        ends = self.final_excess[cells]
        return f", the excess at time 3 is {ends.min():.2g} … {ends.max():.2g}" if ends.size else ""


def grid(
    *,
    quick: bool = False,
    seed: int = 0,
    keep: Keeper = compute_all,
    losses: tuple[str, ...] = LOSSES,
    taus: tuple[float, ...] | None = None,
    smins: tuple[float, ...] | None = None,
    depths: tuple[int, ...] | None = None,
) -> Grid:
    """The paper's grid, τ × smin × depth × loss, by gradient flow: slopes of convergence.

    n = 20, bottleneck 20, "zipf" targets, starts "close" of the authors' code, horizon 3, stop at an excess of 1e-4.
    The flow is that of the end-to-end matrix; start and target are the same for all depths. Cells in which τ exceeds
    λ_n are run twice: with τ clipped to λ_n, as the authors' code does, and as asked (from the same start).

    Parameters
    ----------
    quick : bool
        A tenth of the grid.
    seed : int
        Of targets and starts.
    keep : Keeper
        How the pieces (one for each target, τ and loss) are computed.
    losses, taus, smins, depths : tuples, optional
        Another grid. Losses are "bw" and "frobenius".

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        For an unknown loss, a τ that is negative, a smin that is not finite, a depth below 1, a negative seed, nothing.

    References
    ----------
    Bréchet, Papagiannouli, An, Montúfar (2023), Section 5, and their public code.

    Examples
    --------
    >>> from deepbures.experiments import grid
    >>> cell = grid(losses=("bw",), taus=(0.5,), smins=(4.0,), depths=(7,))
    >>> len(cell), bool(cell.slope[0] < 0)
    (1, True)
    """
    names, seed = _check_losses(losses), check_seed(seed)
    chosen_depths = check_depths((_QUICK_DEPTHS if quick else DEPTHS) if depths is None else depths)
    chosen_taus = check_taus((_QUICK_TAUS if quick else TAUS) if taus is None else taus)
    chosen_smins = check_smins((_QUICK_SMINS if quick else SMINS) if smins is None else smins)
    cells: list[tuple[str, float, float, bool]] = []
    for loss, smin, tau in itertools.product(names, chosen_smins, chosen_taus):
        cells.append((loss, smin, tau, True))
        if loss == BW and usable_tau(tau, zipf_target(smin, seed)) < tau:
            cells.append((loss, smin, tau, False))
    thunks = {
        name_of(loss, smin, tau, "" if clip else "-asked"): partial(_cell, loss, smin, tau, clip, chosen_depths, seed)
        for loss, smin, tau, clip in cells
    }
    pieces = list(keep(thunks).values())
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in Grid.__dataclass_fields__}
    return Grid(**columns)


def _check_losses(losses: tuple[str, ...]) -> tuple[str, ...]:
    found = listed(losses, "losses")
    for loss in found:
        if loss not in LOSSES:
            raise ValueError(f"losses must be of 'bw' and 'frobenius', but {loss!r} was given.")
    return found


def _cell(loss: str, smin: float, tau: float, clip: bool, depths: tuple[int, ...], seed: int) -> Piece:
    """All depths of one target, τ and loss."""
    target = zipf_target(smin, seed)
    usable = usable_tau(tau, target)
    start = close_start(target, usable, seed)
    used = usable if clip else tau
    objective = loss_named(loss, tau=used if loss == BW else 0.0)
    predicted = np.array([float(asymptotic_rate(target, DIM, objective, depth=depth)) for depth in depths])
    starts = np.broadcast_to(start, (len(depths), *start.shape))
    runs = flows_until(STOP, starts, np.asarray(depths), target, objective, HORIZON, _NUM_RECORDS)
    slopes = [slope(*curve) for curve in zip(runs.times, runs.excess, runs["rate"], strict=True)]
    common = {
        "loss": loss,
        "tau": tau,
        "tau_used": used,
        "clipped": used < tau,
        "smin": smin,
        "smallest_eigenvalue": usable_tau(np.inf, target),
    }
    return {
        **{name: np.full(len(depths), value) for name, value in common.items()},
        "depth": np.asarray(depths),
        "slope": np.array([s for s, _ in slopes]),
        "residual": np.array([r for _, r in slopes]),
        "predicted": -predicted / np.log(10),
        "final_time": runs.times[:, -1],
        "final_excess": runs.excess[:, -1],
        "steps": runs.steps[:, -1],
        "code": code_of(runs.result),
    }
