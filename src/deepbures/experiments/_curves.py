"""The curves behind the grid: excess and bounds, balancedness, ranks, alignment; saddles passed from small starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.certificates import certify
from deepbures.experiments._pieces import Finding, Keeper, Piece, compute_all
from deepbures.experiments._setting import BW, DIM, FROBENIUS, HORIZON, zipf_target
from deepbures.landscape import rank_k_minimizer
from deepbures.metric import squared_bures_wasserstein_factors
from deepbures.model import AbstractLoss, Target, initialize, loss_named
from deepbures.training import gradient_flow, plateaus

Floats = NDArray[np.float64]

SMIN = 1.0
BOUNDS = ("flow-exact", "flow-derived", "flow-paper", "flow-bottleneck")
SEPARATED = 8.0 * 0.5 ** np.arange(DIM)
"""Eigenvalues of the target of small starts: well apart, so that one mode is learned after the other."""
_BOTTLENECK = 5
_SMALL = 1e-3
_NUM_RECORDS = 120

RUNS: tuple[tuple[str, str, int, float], ...] = (
    *(("close", BW, depth, tau) for tau in (0.0, 0.1) for depth in (1, 3, 10)),
    *(("close", FROBENIUS, depth, 0.0) for depth in (1, 3, 10)),
    *(("small", BW, depth, tau) for tau in (0.0, 0.1) for depth in (2, 3)),
    ("close", BW, 100, 0.0),
    ("small", BW, 100, 0.0),
)
"""Start, loss, depth and τ of each run."""
_QUICK = (("close", BW, 3, 0.0), ("close", BW, 3, 0.1), ("close", FROBENIUS, 3, 0.0), ("small", BW, 3, 0.0))

_DEEP = 20
"""From this depth on the flow is that of the end-to-end matrix."""


@dataclass(frozen=True)
class Curve:
    """One run.

    Attributes
    ----------
    start : "close" or "small"
        Near the "zipf" target with smin = 1 with half of the largest margin, bottleneck 20; or balanced with singular
        values of about 1e-3, bottleneck 5, for a target with the eigenvalues 8, 4, 2, ….
    loss, depth, tau
        What was trained.
    times, excess : array (R,)
        L − L*.
    bounds : mapping from names of certificates to arrays (R,)
        Of those that hold for this start.
    violated : tuple of str
        Those of them that the run was above.
    balancedness_gap, rank, effective_rank : array (R,)
        As a `Trajectory` records them.
    singular_values : array (R, k)
        Of W.
    alignment : array (R,)
        Mean |cos| between the left singular vectors and the eigenvectors of the target, in order.
    distance, frobenius_distance : array (R,)
        B²(WWᵀ, W*W*ᵀ) and ‖WWᵀ − W*W*ᵀ‖, W* the minimizer.
    plateaus : array (P, 4)
        Rank, loss, begin and end of each stay near a saddle.
    steps : int
        Of the solver.

    Examples
    --------
    >>> from deepbures.experiments import curves
    >>> run = curves(runs=(("close", "bw", 1, 0.0),)).curves[0]
    >>> sorted(run.bounds), run.violated, bool(run.alignment[-1] > 0.999)
    (['flow-derived', 'flow-exact'], (), True)
    """

    start: str
    loss: str
    depth: int
    tau: float
    times: Floats
    excess: Floats
    bounds: Mapping[str, Floats]
    violated: tuple[str, ...]
    balancedness_gap: Floats
    rank: Floats
    effective_rank: Floats
    singular_values: Floats
    alignment: Floats
    distance: Floats
    frobenius_distance: Floats
    plateaus: Floats
    steps: int

    @property
    def label(self) -> str:
        """For legends and tables."""
        name = "BW" if self.loss == BW else "Frobenius"
        smoothing = f", τ = {self.tau:g}" if self.tau else ""
        return f"{self.start}, {name}{smoothing}, depth {self.depth}"


@dataclass(frozen=True)
class Curves:
    """All runs.

    Attributes
    ----------
    curves : tuple of Curve
        In the order asked for.

    Examples
    --------
    >>> from deepbures.experiments import curves
    >>> [finding.held for finding in curves(runs=(("close", "bw", 1, 0.0),)).findings]
    [True, True, True]
    """

    curves: tuple[Curve, ...]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The end of each run, and the saddles that runs from small starts passed."""
        ends = [
            {
                "run": c.label,
                "time": float(c.times[-1]),
                "steps": c.steps,
                "excess at the start": float(c.excess[0]),
                "excess": float(c.excess[-1]),
                "largest balancedness gap": float(c.balancedness_gap.max()),
                "rank": int(c.rank[-1]),
                "effective rank": float(c.effective_rank[-1]),
                "alignment": float(c.alignment[-1]),
                "squared Bures-Wasserstein distance": float(c.distance[-1]),
                "Frobenius distance": float(c.frobenius_distance[-1]),
            }
            for c in self.curves
        ]
        saddles = [
            {"run": c.label, "rank": int(row[0]), "loss": float(row[1]), "begin": float(row[2]), "end": float(row[3])}
            for c in self.curves
            for row in c.plateaus
        ]
        return {"runs": ends} | ({"plateaus": saddles} if saddles else {})

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Conservation, bounds, alignment, saddles."""
        found = [self._balanced(), self._bounds(), self._aligned()]
        if any(c.start == "small" for c in self.curves):
            found.append(self._saddles())
        if any(c.depth >= _DEEP and c.start == "close" for c in self.curves):
            found.append(self._deep())
        return tuple(found)

    def _balanced(self) -> Finding:
        layers = [c for c in self.curves if c.depth < _DEEP]
        close, small = ([float(c.balancedness_gap.max()) for c in layers if c.start == s] for s in ("close", "small"))
        long = f"; in long ones, where a stabilized method takes over: {np.max(small):.2g}" if small else ""
        statement = "Gradient flow keeps a balanced network balanced."
        if not close:
            return Finding(statement, None, f"No run of layers from a close start{long}.")
        worst = float(np.max(close))  # NaN, which is not below anything, where a run has failed
        return Finding(
            statement, worst < 1e-8, f"Largest gap over {len(close)} runs from close starts: {worst:.2g}{long}."
        )

    def _bounds(self) -> Finding:
        count = sum(len(c.bounds) for c in self.curves)
        bad = sum(len(c.violated) for c in self.curves)
        return Finding(
            "L − L* stays below every bound whose assumptions hold.",
            bad == 0 if count else None,
            f"{bad} violations of {count} bounds." if count else "The assumptions of no bound hold from these starts.",
        )

    def _aligned(self) -> Finding:
        statement = "At the end the left singular vectors are the leading eigenvectors of the target."
        if not self.curves:
            return Finding(statement, None, "No runs.")
        least = float(np.min([c.alignment[-1] for c in self.curves]))
        return Finding(statement, least > 0.99, f"Mean |cos| at the end of the runs: at least {least:.6f}.")

    def _saddles(self) -> Finding:
        runs = [c for c in self.curves if c.start == "small"]
        ordered = all((np.diff(c.plateaus[:, 3]) > 0).all() for c in runs if len(c.plateaus))
        told = "; ".join(f"{c.label}: rank {', '.join(str(int(r)) for r in c.plateaus[:, 0])}" for c in runs)
        return Finding(
            "From small starts the modes are learned one after the other, with stays at the saddles between.",
            bool(ordered and all(len(c.plateaus) for c in runs)),
            f"Saddles passed, {told}.",
        )

    def _deep(self) -> Finding:
        runs = [c for c in self.curves if c.depth >= _DEEP and c.start == "close"]
        told = [f"{c.excess[-1] / c.excess[0]:.1e} of it in {c.steps} steps, time {c.times[-1]:.3g}" for c in runs]
        return Finding(
            "At depth 100 the flow reaches 10⁻⁸ of the excess of its start.",
            all(bool(c.excess[-1] <= 1e-8 * c.excess[0]) for c in runs),
            f"{'; '.join(told)}.",
        )


def curves(
    *,
    quick: bool = False,
    seed: int = 0,
    keep: Keeper = compute_all,
    runs: tuple[tuple[str, str, int, float], ...] | None = None,
) -> Curves:
    """The curves behind the grid: single runs, everything recorded.

    From starts close to the "zipf" target with smin = 1; and from small starts, with a bottleneck of 5, to a target
    with the eigenvalues 8, 4, 2, ….

    Parameters
    ----------
    quick : bool
        Four runs instead of fifteen.
    seed : int
        Of target and starts.
    keep : Keeper
        How the pieces (one for each run) are computed.
    runs : tuple of (start, loss, depth, tau), optional
        Other runs; start "close" or "small", loss "bw" or "frobenius".

    Returns
    -------
    Curves

    Raises
    ------
    ValueError
        For another start or loss.

    Examples
    --------
    >>> from deepbures.experiments import curves
    >>> len(curves(runs=(("close", "frobenius", 1, 0.0),)).curves)
    1
    """
    chosen = runs or (_QUICK if quick else RUNS)
    for start, loss, _, _ in chosen:
        if start not in ("close", "small") or loss not in (BW, FROBENIUS):
            raise ValueError(
                f'A run is a start "close" or "small", a loss "bw" or "frobenius", a depth and a tau, but ({start!r}, '
                f"{loss!r}, …) was given."
            )
    thunks = {
        f"{start}-{loss}-depth={depth}-tau={tau:g}": partial(_run, start, loss, depth, tau, seed)
        for start, loss, depth, tau in chosen
    }
    pieces = keep(thunks).values()
    return Curves(tuple(_curve(*run, piece) for run, piece in zip(chosen, pieces, strict=True)))


def _curve(start: str, loss: str, depth: int, tau: float, piece: Piece) -> Curve:
    names = [str(name) for name in piece["bound_names"]]
    plain = {name: piece[name] for name in Curve.__dataclass_fields__ if name in piece}
    return Curve(
        **plain | {"violated": tuple(str(name) for name in piece["violated"]), "steps": int(piece["steps"])},  # type: ignore[arg-type]
        start=start,
        loss=loss,
        depth=depth,
        tau=tau,
        bounds=dict(zip(names, piece["bound_values"], strict=True)),
    )


def _run(start: str, loss_name: str, depth: int, tau: float, seed: int) -> Piece:
    target = zipf_target(SMIN, seed) if start == "close" else Target.from_spectrum(SEPARATED, key=seed)
    loss = loss_named(loss_name, tau=tau)
    if start == "close":
        net = initialize((DIM,) * (depth + 1), "close", key=seed, target=target, tau=tau)
        horizon = HORIZON
    else:
        # The same end-to-end size at every depth: the square of the scale is the variance of an output.
        net = initialize((_BOTTLENECK,) * depth + (DIM,), "balanced", scale=_SMALL, key=seed, target=target)
        horizon = 1e5
    run = gradient_flow(
        net,
        target,
        loss,
        horizon,
        space="layers" if depth < _DEEP else "end-to-end",
        num_records=_NUM_RECORDS if start == "close" else 4 * _NUM_RECORDS,
        record=("loss", "balancedness_gap", "rank", "effective_rank", "end_to_end"),
        tolerance=1e-12 if start == "close" else 1e-9,
    )
    certificates = [c for c in certify(net, target, loss) if c.name in BOUNDS and c.holds]
    checks = run.check(certificates)
    stays = plateaus(run, target, loss) if start == "small" else ()
    return {
        "times": np.asarray(run.times),
        **{
            name: np.asarray(run[name], np.float64) for name in ("excess", "balancedness_gap", "rank", "effective_rank")
        },
        **_seen(np.asarray(run["end_to_end"]), target, loss, net.bottleneck),
        "bound_names": np.array([c.name for c in certificates], dtype="U32"),
        "bound_values": np.array([c.bound(run.times) for c in certificates]).reshape(-1, len(run.excess)),
        "violated": np.array([check.certificate.name for check in checks if check.violated], dtype="U32"),
        "plateaus": np.array([(p.rank, p.level, p.begin, p.end) for p in stays], np.float64).reshape(-1, 4),
        "steps": np.asarray(run.steps[-1]),
    }


def _seen(path: Floats, target: Target, loss: AbstractLoss, k: int) -> Piece:
    """What is computed from the end-to-end matrices."""
    minimizer = np.asarray(rank_k_minimizer(target, k, loss), np.float64)
    _, basis = target.spectrum(k)
    u, s, _ = np.linalg.svd(path, full_matrices=False)
    cosines = np.abs(np.einsum("ik,rik->rk", basis, u[..., :k]))
    covariances = path @ path.swapaxes(-1, -2) - minimizer @ minimizer.T
    return {
        "singular_values": s[:, :k],
        "alignment": cosines.mean(-1),
        "distance": np.array([squared_bures_wasserstein_factors(w, minimizer) for w in path]),
        "frobenius_distance": np.linalg.norm(covariances, axis=(-2, -1)),
    }
