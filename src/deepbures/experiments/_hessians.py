"""Curvature of the smoothed Bures-Wasserstein loss against that of the Frobenius loss: at critical points and near."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_integer, check_number
from deepbures._types import Floats
from deepbures.datasets import load_dataset
from deepbures.experiments._hessian_parts import BlowUp, Curvatures, Models, Paths
from deepbures.experiments._hessian_record import DIRECTIONS, LOSSES, ORDERS, Hessians
from deepbures.experiments._pieces import Keeper, Piece, compute_all
from deepbures.landscape import (
    HessianSpectrum,
    critical_points,
    hessian_extremes,
    hessian_matrix,
    hessian_spectrum,
    loss_along_path,
    modes_of,
    quadratic_model,
)
from deepbures.model import AbstractLoss, BuresWasserstein, DeepLinearNetwork, Frobenius, Target, balanced_network

# Targets in one piece of work, a second or two; and how many targets are looked at beyond their closed forms.
_BLOCK = 10
_SHOWN, _SHOWN_QUICK = 5, 1


def hessians(
    *,
    quick: bool = False,
    seed: int = 0,
    keep: Keeper = compute_all,
    dim: int = 20,
    rank: int = 4,
    depth: int = 3,
    tau: float = 0.1,
    num_targets: int | None = None,
) -> Hessians:
    """The paper's comparison of Hessians, restored: smoothed Bures-Wasserstein against Frobenius loss.

    Over many Zipf targets, at critical points of full rank k, the extremes and condition numbers of the Hessian in all
    weights of the balanced lift, widths (k, …, k, n), in closed form; for the first targets also held against Lanczos
    iteration and the dense Hessian, with the loss along paths from each point to the next and second-order models.

    The paper shows this "for consecutive critical points i", without saying which. Here there are two sequences of
    n − k + 1 points, both from the minimizer, i = 0:

        "swap"   the modes 1, …, k−1 and k + i: one mode exchanged for the next smaller one. Values ascend.
        "loss"   the critical points of rank k in order of the loss, each loss in its own order.

    The targets are those of ``gaussian:spectrum=zipf`` plus τ I. So the least eigenvalue is τ + 1/n: τ exceeds none,
    every critical point exists, and nothing is clipped. Target number t is drawn with the seed 1000 · seed + t.

    Paths lead from point i to i + 1 of "swap": the Bures-Wasserstein geodesic of the covariances, and the straight line
    to a turned W Vᵀ, V random orthogonal, which is the same critical point. At the higher end, with eigenvalue b, the
    geodesic to the mode with eigenvalue a > b starts along −w_b e_b + w_a e_a, so that its second derivative is
    w_b² · scale(b) + w_a² · exchange(a → b) of `hessian_spectrum`, which without smoothing is 2 (b + a − a²/b): it
    leads down at once if and only if a/b exceeds the golden ratio (Frobenius: 2).

    Models are those along two eigenvectors: the exchange of the last mode of the point for the largest one that it
    lacks (λ_min at a saddle, the least positive eigenvalue at the minimizer; it moves W_N only), and the scale of its
    largest mode (λ_max; it moves that mode in all layers).

    The blow-up is that of the loss as a function of W (N = 1), at Ω_J diag(w) Vᵀ with s in place of the last w_j,
    j = k. With i = k + 1, a = √(λ_j (s² + τ)) and b = √(λ_i τ), the curvatures towards mode i and of the scale s are

        2 − 2 (λ_i + λ_i λ_j τ/(a b)) / (a + b)     and     2 − 2 √λ_j τ / (s² + τ)^{3/2};

    without smoothing, 2 − 2 λ_i/(√λ_j s) and 2. For the first: in these two modes, after a step t, the trace of
    (Σ0^½(W Wᵀ + τ I)Σ0^½)^½ is that of the root of a 2×2 matrix, √(tr + 2 √det), with tr = a² + b² + λ_i t² and
    det = a² b² + λ_i λ_j τ t². As s → 0 they go to 2 (1 − √(λ/τ)), λ = λ_i and λ_j: the curvature of adding a mode.

    Parameters
    ----------
    quick : bool
        A tenth of the targets, and fewer of everything else.
    seed : int
        Of targets and turns. Same seed, same bits.
    keep : Keeper
        How the pieces are computed.
    dim, rank, depth : int
        n, k < n and N.
    tau : float
        Smoothing τ > 0 of the Bures-Wasserstein loss.
    num_targets : int, optional
        By default 100, and 10 for `quick`.

    Returns
    -------
    Hessians
        Statistics, paths, models, findings.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range: the rank must be below the dimension, or there is one critical point only.

    References
    ----------
    Bréchet et al. (2023), whose figures of Hessian spectra, paths and quadratic models these are; the authors' public
    code does not have them. Closed forms derived for this project.

    Examples
    --------
    >>> from deepbures.experiments import hessians
    >>> record = hessians(quick=True, dim=5, rank=2, depth=2, num_targets=3)
    >>> record.findings[1].held
    True
    """
    n = check_integer(dim, "dim", 2)
    k = check_integer(rank, "rank", 1, n - 1, why=" (below dim, so that there are saddles of full rank)")
    num_layers = check_integer(depth, "depth", 1)
    check_number(tau, "tau", positive=True)
    default = 10 if quick else 100
    num = check_integer(default if num_targets is None else num_targets, "num_targets", 1)
    first_seed = 1000 * check_integer(seed, "seed", 0, 10**12)
    problem = _Asked(n, k, num_layers, float(tau), first_seed)
    shown = min(_SHOWN_QUICK if quick else _SHOWN, num)
    pieces: dict[str, Callable[[], Piece]] = {}
    for start in range(0, num, _BLOCK):
        block = range(start, min(start + _BLOCK, num))
        pieces[f"spectra-from={start}"] = _thunk(_spectra, problem, block)
    for name, compute in (("check", _check), ("paths", _paths), ("models", _models)):
        for number in range(shown):
            pieces[f"{name}-target={number}"] = _thunk(compute, problem, number)
    pieces["blow-up"] = _thunk(_blow_up, problem, 3 if quick else 7)
    return _assemble(problem, keep(pieces))


# --------------------------------------------------------------------------------------------------------------- pieces


@dataclasses.dataclass(frozen=True)
class _Asked:
    dim: int
    rank: int
    depth: int
    tau: float
    first_seed: int

    @property
    def num_points(self) -> int:
        return self.dim - self.rank + 1

    @property
    def points(self) -> tuple[int, ...]:
        """Points of the sequence that are looked at closely: both ends, the first saddle and the middle."""
        last = self.num_points - 1
        return tuple(sorted({0, 1, last // 2, last}))

    @property
    def losses(self) -> dict[str, AbstractLoss]:
        return dict(zip(LOSSES, (BuresWasserstein(self.tau), Frobenius()), strict=True))

    def target(self, number: int) -> Target:
        data = load_dataset(f"gaussian:dim={self.dim},spectrum=zipf,seed={self.first_seed + number}")
        return Target.from_covariance(np.asarray(data.covariance) + self.tau * np.eye(self.dim))

    def swapped(self, i: int) -> tuple[int, ...]:
        """AbstractModes of point i of the sequence "swap"."""
        return (*range(self.rank - 1), self.rank - 1 + i)

    def sequence(self, order: str, target: Target, loss: AbstractLoss) -> NDArray[np.int64]:
        """AbstractModes of all points of a sequence, (points, k)."""
        if order == "swap":
            return np.array([self.swapped(i) for i in range(self.num_points)])
        return critical_points(target, self.rank, loss, num=self.num_points, ranks=self.rank).eigen_indices

    def spectrum(self, target: Target, modes: Any, loss: AbstractLoss) -> HessianSpectrum:
        return hessian_spectrum(target, modes, loss, latent_dim=self.rank, depth=self.depth)

    def matrix(self, target: Target, modes: tuple[int, ...], loss: AbstractLoss) -> Floats:
        """W = Ω_J diag(w_J)."""
        chosen = list(modes)
        values, basis = (np.asarray(part) for part in target.spectrum(self.dim))
        return np.asarray(basis[:, chosen] * np.sqrt(modes_of(loss).used(values[chosen])))

    def network(self, target: Target, modes: tuple[int, ...], loss: AbstractLoss) -> DeepLinearNetwork:
        w = self.matrix(target, modes, loss)
        return balanced_network(w, (self.rank,) * self.depth + (self.dim,))


def _thunk(compute: Callable[..., Piece], *arguments: Any) -> Callable[[], Piece]:
    return lambda: compute(*arguments)


def _spectra(problem: _Asked, block: range) -> Piece:
    piece: dict[str, list[Any]] = {"eigenvalues": []}
    for number in block:
        target = problem.target(number)
        values = np.asarray(target.eigenvalues)
        piece["eigenvalues"].append(values)
        for order in ORDERS:
            for name, loss in problem.losses.items():
                indices = problem.sequence(order, target, loss)
                costs = np.asarray(modes_of(loss).cost(values))
                found = [problem.spectrum(target, modes, loss) for modes in indices.tolist()]
                columns = {
                    "eigen_indices": indices,
                    "value": [np.delete(costs, modes).sum() for modes in indices.tolist()],
                    "smallest": [each.smallest for each in found],
                    "largest": [each.largest for each in found],
                    "least_nonzero": [each.largest / each.absolute_condition for each in found],
                    "morse_index": [each.morse_index for each in found],
                }
                for column, entries in columns.items():
                    piece.setdefault(f"{order}-{name}-{column}", []).append(entries)
    return {name: np.array(entries) for name, entries in piece.items()}


def _check(problem: _Asked, number: int) -> Piece:
    target = problem.target(number)
    piece: dict[str, list[float]] = {}
    for name, loss in problem.losses.items():
        for i in problem.points:
            modes = problem.swapped(i)
            closed, net = problem.spectrum(target, modes, loss), problem.network(target, modes, loss)
            found = hessian_extremes(net, target, loss)
            error = max(abs(found.smallest - closed.smallest), abs(found.largest - closed.largest))
            piece.setdefault(f"{name}-lanczos", []).append(error / closed.largest)
            every = np.linalg.eigvalsh(hessian_matrix(net, target, loss))
            largest_error = float(np.abs(every - closed.eigenvalues).max())
            piece.setdefault(f"{name}-dense", []).append(largest_error / closed.largest)
    return {name: np.array(errors) for name, errors in piece.items()}


def _paths(problem: _Asked, number: int) -> Piece:
    target = problem.target(number)
    values = np.asarray(target.eigenvalues)
    normal = np.random.default_rng([problem.first_seed, number]).standard_normal
    turns = [np.linalg.qr(normal((problem.rank, problem.rank)))[0] for _ in range(problem.num_points - 1)]
    piece: Piece = {}
    for name, loss in problem.losses.items():
        closed = modes_of(loss)
        ends = [problem.matrix(target, problem.swapped(i), loss) for i in range(problem.num_points)]
        profiles = [
            [
                loss_along_path(start, end @ turn.T if kind == "straight" else end, target, loss, kind=kind)
                for start, end, turn in zip(ends[:-1], ends[1:], turns, strict=True)
            ]
            for kind in ("straight", "bures")
        ]
        above, below = values[problem.rank - 1 : -1], values[problem.rank :]
        piece["positions"] = profiles[0][0].positions
        piece[f"{name}-losses"] = np.array([[each.losses for each in row] for row in profiles])
        piece[f"{name}-curvature"] = np.asarray(
            closed.used(below) * closed.pair(below, below) + closed.used(above) * closed.exchange(above, below)
        )
    return piece


def _models(problem: _Asked, number: int) -> Piece:
    target = problem.target(number)
    basis = np.asarray(target.spectrum(problem.dim)[1])
    fractions = np.linspace(-1.0, 1.0, 101)
    piece: dict[str, list[Any]] = {}
    for name, loss in problem.losses.items():
        for i in problem.points:
            modes = problem.swapped(i)
            net = problem.network(target, modes, loss)
            spectrum = problem.spectrum(target, modes, loss)
            other = problem.rank - 1 if i else problem.rank
            exchange = [np.zeros(np.shape(weight)) for weight in net.weights]
            exchange[-1][:, -1] = basis[:, other]
            scale = [np.zeros(np.shape(weight)) for weight in net.weights]
            for step, weight in zip(scale, net.weights, strict=True):
                step[:, 0] = np.asarray(weight)[:, 0] / np.linalg.norm(np.asarray(weight)[:, 0])
            lengths = np.linalg.norm(np.asarray(net.weights[-1]), axis=0)
            reaches = (lengths[-1], np.sqrt(problem.depth) * lengths[0])
            entries = (("exchange", other, modes[-1]), ("scale", modes[0], modes[0]))
            for direction, reach, entry in zip((exchange, scale), reaches, entries, strict=True):
                found = quadratic_model(net, target, loss, direction, reach * fractions)
                unit = abs(found.curvature) / 2 * reach**2
                origin = found.losses[len(fractions) // 2]
                piece.setdefault(f"{name}-rise", []).append((found.losses - origin) / unit)
                piece.setdefault(f"{name}-model", []).append((found.model - origin) / unit)
                piece.setdefault(f"{name}-curvature", []).append(found.curvature)
                piece.setdefault(f"{name}-closed-form", []).append(_entry(spectrum, *entry))
    shape = (len(problem.points), len(DIRECTIONS))
    arrays = {key: np.array(entries) for key, entries in piece.items()}
    return {"fractions": fractions, **{key: each.reshape(*shape, *each.shape[1:]) for key, each in arrays.items()}}


def _entry(spectrum: HessianSpectrum, direction: str, first: int, second: int) -> float:
    """The eigenvalue of a direction and its modes."""
    of_kind = (spectrum.directions == direction) & (spectrum.first == first) & (spectrum.second == second)
    return float(spectrum.values[of_kind].item())


def _blow_up(problem: _Asked, num: int) -> Piece:
    target, k = problem.target(0), problem.rank
    values = np.asarray(target.eigenvalues)
    inside, outside = values[k - 1], values[k]
    taus = np.logspace(-8, -2, num)
    closed, found = [], []
    for tau in taus.tolist():
        loss, modes = BuresWasserstein(tau), tuple(range(k - 1))
        closed.append(hessian_spectrum(target, modes, loss, latent_dim=k).smallest)
        w = np.pad(problem.matrix(target, modes, loss), ((0, 0), (0, 1)))
        found.append(_least(w, target, loss))
    scales, levels = np.logspace(-6, 0, 4 * num - 3), np.array([0.0, 1e-6, 1e-4, 1e-2])
    singular = np.sqrt(inside) * scales
    full = problem.matrix(target, tuple(range(k)), BuresWasserstein(0.0))
    by_scale, by_scale_found = [], []
    for level in levels.tolist():
        a, b = np.sqrt(inside * (singular**2 + level)), np.sqrt(outside * level)
        mixed = outside * inside * level / (a * b) if level else 0.0
        exchange = 2 - 2 * (outside + mixed) / (a + b)
        by_scale.append(np.minimum(exchange, 2 - 2 * np.sqrt(inside) * level / (singular**2 + level) ** 1.5))
        matrices = [np.concatenate([full[:, :-1], full[:, -1:] * scale], axis=1) for scale in scales]
        by_scale_found.append([_least(w, target, BuresWasserstein(level)) for w in matrices])
    return {
        "taus": taus,
        "by-tau": np.array(closed),
        "by-tau-found": np.array(found),
        "scales": scales,
        "levels": levels,
        "by-scale": np.array(by_scale),
        "by-scale-found": np.array(by_scale_found),
    }


def _least(w: Floats, target: Target, loss: AbstractLoss) -> float:
    """λ_min in W, from the dense Hessian: Lanczos iteration stalls at the other end, millions of times smaller."""
    return float(np.linalg.eigvalsh(hessian_matrix(DeepLinearNetwork([w]), target, loss))[0])


# ----------------------------------------------------------------------------------------------------------- the record


def _assemble(problem: _Asked, done: dict[str, Piece]) -> Hessians:
    def parts(kind: str) -> list[Piece]:
        return [piece for key, piece in done.items() if key.startswith(f"{kind}-")]

    spectra, checks, paths, models = (parts(kind) for kind in ("spectra", "check", "paths", "models"))
    columns = [field.name for field in dataclasses.fields(Curvatures)]
    return Hessians(
        rank=problem.rank,
        depth=problem.depth,
        tau=problem.tau,
        eigenvalues=np.concatenate([piece["eigenvalues"] for piece in spectra]),
        curvatures={
            (order, loss): Curvatures(
                *(np.concatenate([piece[f"{order}-{loss}-{column}"] for piece in spectra]) for column in columns)
            )
            for order in ORDERS
            for loss in LOSSES
        },
        lanczos={loss: np.stack([piece[f"{loss}-lanczos"] for piece in checks]) for loss in LOSSES},
        dense={loss: np.stack([piece[f"{loss}-dense"] for piece in checks]) for loss in LOSSES},
        paths={
            loss: Paths(
                paths[0]["positions"],
                *(np.stack([piece[f"{loss}-{part}"] for piece in paths]) for part in ("losses", "curvature")),
            )
            for loss in LOSSES
        },
        models={
            loss: Models(
                models[0]["fractions"],
                problem.points,
                *(
                    np.stack([piece[f"{loss}-{part}"] for piece in models])
                    for part in ("rise", "model", "curvature", "closed-form")
                ),
            )
            for loss in LOSSES
        },
        blow_up=BlowUp(**{name.replace("-", "_"): array for name, array in done["blow-up"].items()}),
    )
