"""What smoothing buys and costs: bias, conditioning, rate, and the escape from saddles."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from deepbures.experiments._pieces import Finding, Keeper, Piece, compute_all
from deepbures.experiments._setting import check_depths, check_seed, check_taus, flows_until, text_of
from deepbures.landscape import asymptotic_rate, hessian_spectrum, minimal_loss, rank_k_minimizer, sharpness
from deepbures.model import BuresWasserstein, Target
from deepbures.training import Result, aligned_flow

Floats = NDArray[np.float64]

DIM, RANK = 10, 5
DEPTHS = (1, 2, 3, 5)
TAUS = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2)
_QUICK_TAUS = (0.0, 1e-2, 0.2)
EIGENVALUES = 8.0 / np.arange(1, DIM + 1)
HIDDEN = 1e-3
"""Size of the mode that a run has not learned yet, relative to √λ."""
_TURN = 0.2
"""The largest angle by which the start of an escape is turned on the left."""


@dataclass(frozen=True)
class Smoothing:
    """Bias, conditioning, rates and escape times by τ and depth; n = 10, λ_i = 8/i, rank 5.

    Attributes
    ----------
    tau, depth : array
        Of each entry of the arrays below.
    bias : array
        B²(WWᵀ, Σ0) of the minimizer of L_τ over its least value Σ_{i>k} λ_i: what is lost in the true distance.
    condition, sharpness, rate : array
        Of the Hessian at the balanced minimizer: λ_max over the smallest positive eigenvalue, λ_max, and the
        asymptotic rate of the flow (0 where it is slower than exponential).
    time : array
        Until the flow from a random start has come within 1e-6 of the minimum (of the loss of zero), in units of the
        fastest time scale 1/λ_max: about the number of descent steps at the "sharpness" step size. NaN where it has not
        by time 200.
    escape, aligned, predicted : array
        Time until a missing mode, hidden at 1e-3 √λ_k, is half learned: by the flow of the whole matrix, by the scalar
        equation of that mode, and by the leading-order formula (NaN where it does not apply). The flow is given half
        as much time again as the scalar equation takes; NaN where that is not enough.

    Examples
    --------
    >>> from deepbures.experiments import smoothing
    >>> few = smoothing(taus=(0.0, 0.1), depths=(2,))
    >>> bool(few.escape[1] > few.escape[0]), few.bias.round(4).tolist()
    (True, [1.0, 1.0009])
    """

    tau: Floats
    depth: NDArray[np.int_]
    bias: Floats
    condition: Floats
    sharpness: Floats
    rate: Floats
    time: Floats
    escape: Floats
    aligned: Floats
    predicted: Floats

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """One row for each τ and depth."""
        names = list(self.__dataclass_fields__)
        columns = [getattr(self, name).tolist() for name in names]
        return {"smoothing": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What it buys, what it costs."""
        return (self._bias(), self._condition(), self._escape(), self._prediction())

    def _bias(self) -> Finding:
        one_depth = self.depth == self.depth[0]
        bias, tau = self.bias[one_depth], self.tau[one_depth]
        grows = bool((np.diff(bias) > 0).all())
        return Finding(
            "Smoothing biases the minimizer: its true distance grows with τ.",
            grows if tau.size > 1 else None,
            f"At τ = {tau[-1]:g} it is {100 * (bias[-1] - 1):.3g} % above the least.",
        )

    def _condition(self) -> Finding:
        told = []
        for depth in np.unique(self.depth):
            at = self.depth == depth
            exact, smoothed = self.condition[at & (self.tau == 0)], self.condition[at]
            told.append(f"depth {depth}: {smoothed.min() / exact.min():.3g}-{smoothed.max() / exact.min():.3g}")
        return Finding(
            "At the minimizer itself smoothing buys no better condition number.",
            all(self.condition[i] >= 0.99 * self._exact(i, "condition") for i in range(len(self.tau)))
            if (self.tau > 0).any()
            else None,
            f"Condition number over that of τ = 0, {', '.join(told)}.",
        )

    def _exact(self, i: int, name: str) -> float:
        return float(getattr(self, name)[(self.tau == 0) & (self.depth == self.depth[i])][0])

    def _escape(self) -> Finding:
        statement = "At depth ≥ 2 saddles of the smoothed loss are flat in the missing direction: leaving takes longer."
        deep = (self.depth >= 2) & (self.tau > 0)
        ratios = np.array([self.escape[i] / self._exact(int(i), "escape") for i in np.flatnonzero(deep)])
        ratios = ratios[np.isfinite(ratios)]
        if not ratios.size:
            return Finding(statement, None, "No such run has left its saddle.")
        told = f"Escape time over that of τ = 0: {ratios.min():.3g} to {ratios.max():.3g}."
        return Finding(statement, bool((ratios > 1).all()), told)

    def _prediction(self) -> Finding:
        statement = "A missing mode escapes as its scalar equation says."
        # A run that has not left its saddle in half as much time again is as wrong as one that is early.
        expected = np.isfinite(self.aligned)
        left = np.isfinite(self.escape) & expected
        stayed = int((expected & ~left).sum())
        if not left.any():
            return Finding(statement, False if stayed else None, f"None of {stayed} runs has left its saddle.")
        off = np.abs(self.aligned[left] / self.escape[left] - 1)
        ratios = (self.predicted / self.escape)[left & np.isfinite(self.predicted)]
        formula = ""
        if ratios.size:
            formula = f"; leading-order formula over whole flow: {ratios.min():.2f} to {ratios.max():.2f}"
        still = f" {stayed} runs have not left their saddles." if stayed else ""
        return Finding(
            statement,
            bool((off < 0.1).all()) and not stayed,
            f"Scalar equation against whole flow: within {100 * off.max():.2g} %{formula}.{still}",
        )


def smoothing(
    *,
    quick: bool = False,
    seed: int = 0,
    keep: Keeper = compute_all,
    taus: tuple[float, ...] | None = None,
    depths: tuple[int, ...] = DEPTHS,
) -> Smoothing:
    """Smoothing against speed: what τ costs in bias, and what it does to conditioning and to the escape from saddles.

    Parameters
    ----------
    quick : bool
        Three values of τ instead of seven.
    seed : int
        Of target and starts.
    keep : Keeper
        How the pieces (one for each τ) are computed.
    taus : tuple of float, optional
        Other values, growing and below λ_k = 1.6; the first must be 0, which the others are held against.
    depths : tuple of int
        Depths.

    Returns
    -------
    Smoothing

    Raises
    ------
    ValueError
        If taus do not begin with 0 and grow, one is not below λ_k, a depth is below 1, or the seed is negative.

    Examples
    --------
    >>> from deepbures.experiments import smoothing
    >>> smoothing(taus=(0.0, 0.1), depths=(1,)).condition.round(3).tolist()     # 1/(1 − λ_6/λ_5) without smoothing
    [6.0, 7.277]
    """
    chosen = check_taus((_QUICK_TAUS if quick else TAUS) if taus is None else taus)
    if chosen[0] != 0 or chosen[-1] >= EIGENVALUES[RANK - 1] or (np.diff(chosen) <= 0).any():
        raise ValueError(
            f"taus must begin with 0 and be below {EIGENVALUES[RANK - 1]:g}, each larger than the one before, but "
            f"{chosen} was given."
        )
    arguments = (check_depths(depths), check_seed(seed))
    thunks = {f"tau={text_of(tau)}": partial(_row, tau, *arguments) for tau in chosen}
    pieces = list(keep(thunks).values())
    return Smoothing(
        **{name: np.concatenate([piece[name] for piece in pieces]) for name in Smoothing.__dataclass_fields__}
    )


def _row(tau: float, depths: tuple[int, ...], seed: int) -> Piece:
    """All depths of one τ."""
    target, loss = Target.from_spectrum(EIGENVALUES, key=seed), BuresWasserstein(tau)
    factor = np.asarray(rank_k_minimizer(target, RANK, loss), np.float64)
    true = float(BuresWasserstein().value(factor, target))
    bias = true / float(minimal_loss(target, RANK, BuresWasserstein()))
    steepest = np.array([float(sharpness(target, RANK, loss, depth=depth)) for depth in depths])
    positive = [_smallest(target, loss, depth) for depth in depths]
    rates = np.array([float(asymptotic_rate(target, RANK, loss, depth=depth)) for depth in depths])
    escape, aligned, predicted = zip(*(_escapes(target, loss, factor, depth, seed) for depth in depths), strict=True)
    return {
        "tau": np.full(len(depths), tau),
        "depth": np.asarray(depths),
        "bias": np.full(len(depths), bias),
        "condition": steepest / np.array(positive),
        "sharpness": steepest,
        "rate": rates,
        "time": _times(target, loss, depths, steepest, seed),
        "escape": np.array(escape),
        "aligned": np.array(aligned),
        "predicted": np.array(predicted),
    }


def _smallest(target: Target, loss: BuresWasserstein, depth: int) -> float:
    values = hessian_spectrum(target, range(RANK), loss, latent_dim=RANK, depth=depth).values
    return float(values[values > 1e-12 * values.max()].min())


def _times(target: Target, loss: BuresWasserstein, depths: tuple[int, ...], steepest: Floats, seed: int) -> Floats:
    """λ_max × the time from a random start to 1e-6 of the loss of zero above the minimum."""
    rng = np.random.default_rng([seed, 1])
    start = rng.standard_normal((DIM, RANK)) / np.sqrt(RANK)
    zero = float(loss.value(np.zeros((DIM, 1)), target))
    starts = np.broadcast_to(start, (len(depths), *start.shape))
    runs = flows_until(1e-6 * zero, starts, np.asarray(depths), target, loss, 200.0, num_records=60)
    # The last step went somewhat below: back along the exponential.
    late = np.log(1e-6 * zero / runs.excess[:, -1]) / runs["rate"][:, -1]
    return np.where(np.asarray(runs.result == Result.converged), (runs.times[:, -1] - late) * steepest, np.nan)


def _escapes(
    target: Target, loss: BuresWasserstein, factor: Floats, depth: int, seed: int
) -> tuple[float, float, float]:
    """The k-th mode hidden, all directions turned by up to `_TURN`: time to half height by flow, scalar, formula.

    A turn on the right leaves the covariance, hence the singular values of the whole flow, as they are; one on the left
    mixes the hidden mode with the others and with those that the network has no rank for.
    """
    tau, lam = float(loss.tau), float(EIGENVALUES[RANK - 1])
    height = float(np.sqrt(lam - tau))
    hidden = HIDDEN * np.sqrt(lam)
    skew = np.random.default_rng([seed, 2]).standard_normal((DIM, DIM))
    skew -= skew.T
    turn = scipy.linalg.expm(_TURN * skew / np.linalg.norm(skew, 2))
    start = factor.copy()
    start[:, -1] *= hidden / height
    predicted = _predicted_escape(hidden, lam, tau, depth)
    scale = predicted if np.isfinite(predicted) and predicted > 0 else 1.0
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 1.0, 4000)]) * (20 * scale + 5.0)
    modes = aligned_flow([hidden], [lam], loss, grid, depth=depth)[:, 0]
    aligned = _half(grid, modes, height / 2)
    if not np.isfinite(aligned):  # half the height is below where it hides
        return np.nan, np.nan, predicted
    turned = (turn @ start)[None]
    run = flows_until(0.0, turned, np.array([depth]), target, loss, 1.5 * aligned, num_records=1200)
    return _half(run.times[0], run["smallest_singular_value"][0], height / 2), aligned, predicted


def _half(times: Floats, values: Floats, level: float) -> float:
    """When a curve first reaches a level, with straight lines between records."""
    above = np.flatnonzero(values >= level)
    if not above.size or above[0] == 0:
        return np.nan
    i = int(above[0])
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(times[i - 1] + share * (times[i] - times[i - 1]))


def _predicted_escape(hidden: float, lam: float, tau: float, depth: int) -> float:
    """Leading order in the hidden size s0, for s0² ≪ τ or τ = 0."""
    root = np.sqrt(lam)
    if tau == 0:
        if depth == 1:
            return float(np.log((root - hidden) / (root / 2)) / 2)
        if depth == 2:
            return float(np.log(root / hidden - 1) / (4 * root))
        return float(hidden ** -(1 - 2 / depth) / (2 * (depth - 2) * root))
    if hidden**2 > 0.1 * tau:
        return np.nan
    slope = np.sqrt(lam / tau) - 1
    if depth == 1:
        return float(np.log(np.sqrt(lam - tau) / 2 / hidden) / (2 * slope))
    power = 2 * (depth - 1) / depth
    return float(hidden**-power / (4 * (depth - 1) * slope))
