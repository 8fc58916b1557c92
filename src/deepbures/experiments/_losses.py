"""Five losses side by side: sharpness, condition, bias, escape from saddles and rate, on one target and on digits."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from deepbures.datasets import load_dataset
from deepbures.experiments._losses_record import Losses, LossesOnTarget
from deepbures.experiments._pieces import Keeper, Piece, compute_all
from deepbures.experiments._setting import check_depths, check_seed, flows_until, listed
from deepbures.landscape import Problem, asymptotic_rate, hessian_matrix, hessian_spectrum, sharpness
from deepbures.model import (
    AbstractSpectralLoss,
    BuresWasserstein,
    LossName,
    Target,
    balanced_network,
    loss_named,
)
from deepbures.training import BalancedFlows, aligned_flow

Floats = NDArray[np.float64]

NAMES = tuple(name.value for name in LossName)
DEPTHS = (1, 2, 3, 5, 10)
_QUICK_DEPTHS = (1, 2)
RANK, DIGITS_RANK = 2, 8
# At no depth are the two slowest directions of a loss nearly as slow: the late rate is seen soon.
EIGENVALUES = np.array([6.0, 1.0, 0.5, 0.25, 0.125])
SHARE = 0.1
"""τ over λ_k."""
SCALES = np.array([1 / 16, 1.0, 16.0])
SPREADS = np.array([6.0, 30.0, 1e2, 1e3, 1e4])
SHARES = np.array([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
DELTAS = np.array([1e-2, 1e-3, 1e-4, 1e-5])
_RECORDS = 400
_DIGITS_DEPTH = 2


class _Setting(NamedTuple):
    """A target, the rank that it is approximated with, and τ."""

    target: Target
    rank: int
    tau: float

    @property
    def eigenvalues(self) -> Floats:
        return np.asarray(self.target.eigenvalues, np.float64)


def losses_of(tau: float) -> dict[str, AbstractSpectralLoss]:
    """The five, with the smoothing τ, the noise τ, or ε = 2τ: three of them have the minimizer of eigenvalues λ − τ.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbures.experiments._losses import losses_of
    >>> {name: float(loss.modes.used(np.array(4.0))) for name, loss in losses_of(1.0).items()}
    {'bw': 3.0, 'frobenius': 4.0, 'likelihood': 3.0, 'entropic': 3.0, 'sinkhorn': 4.0}
    """
    parameters = {"tau": tau, "epsilon": 2 * tau}
    found: dict[str, Any] = {}
    for name in LossName:
        own = {key: value for key, value in parameters.items() if key == name.parameter}
        found[name.value] = loss_named(name, **own)
    return found


def losses(
    *,
    quick: bool = False,
    seed: int = 0,
    keep: Keeper = compute_all,
    depths: tuple[int, ...] | None = None,
    names: tuple[str, ...] = NAMES,
) -> Losses:
    """Five losses side by side: what "qualitatively different from the square loss" means, in numbers.

    Bures-Wasserstein with smoothing τ, Frobenius, Gaussian likelihood with noise τ, entropic transport and Sinkhorn
    divergence with ε = 2τ, for τ = λ_k/10: the first, third and fourth then have the same minimizer, of eigenvalues
    λ_j − τ; the others take the λ_j themselves. Their units differ (variance, variance², none, variance, variance), so
    times and curvatures are compared in units of the sharpness λ_max at the minimizer: λ_max times a time is about the
    number of steps of gradient descent at 1/λ_max.

    One target has the eigenvalues 6, 1, ½, ¼, ⅛ and is approximated with rank 2: Hessians, flows to the minimizer and
    flows away from the lowest saddle are measured there, and held against the closed forms. The other one, the digits
    with rank 8, has the closed forms, and a flow at depth 2.

    Parameters
    ----------
    quick : bool
        Depths 1 and 2 instead of five, and no flow on the digits.
    seed : int
        Of the basis and of all perturbations.
    keep : Keeper
        How the pieces (Hessians, flows and digits of each loss) are computed.
    depths : tuple of int, optional
        Other depths.
    names : tuple of str
        Some of "bw", "frobenius", "likelihood", "entropic" and "sinkhorn".

    Returns
    -------
    Losses

    Raises
    ------
    ValueError
        If a depth is below 1, a loss is not one of these, or the seed is negative.

    Examples
    --------
    >>> from deepbures.experiments import losses
    >>> record = losses(quick=True, depths=(1,), names=("frobenius",))
    >>> float(record.small.condition.round(6).item())     # 2 λ_1 / (λ_k − λ_{k+1}) = 2 · 6 / (1 − ½)
    24.0
    """
    chosen = check_depths((_QUICK_DEPTHS if quick else DEPTHS) if depths is None else depths)
    seed = check_seed(seed)
    asked = _check_names(names)
    thunks = {}
    for name in asked:
        thunks[f"hessians-{name}"] = partial(_hessians, name, chosen, seed)
        thunks[f"flows-{name}"] = partial(_flows, name, chosen, seed)
        thunks[f"digits-{name}"] = partial(_digits, name, chosen, seed, flow=not quick)
    done = keep(thunks)

    def stacked(kind: str) -> dict[str, Floats]:
        parts = [done[f"{kind}-{name}"] for name in asked]
        return {key: np.stack([part[key] for part in parts]) for key in parts[0]}

    hessians, flows, digits = stacked("hessians"), stacked("flows"), stacked("digits")
    measured = ("dense", "by_scale", "by_spread", "by_share", "by_share_found")
    return Losses(
        names=asked,
        depths=np.array(chosen),
        small=_on_target({**hessians, **flows}),
        digits=_on_target(digits),
        scales=SCALES,
        spreads=SPREADS,
        shares=SHARES,
        deltas=DELTAS,
        **{name: hessians[name] for name in measured},
        **{name: flows[name] for name in ("observed", "escape")},
        approach=digits["approach"],
    )


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """In the order of the claims."""
    asked = listed(names, "names")
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        raise ValueError(f"names must be of {', '.join(NAMES)}, but {unknown[0]!r} was given.")
    return tuple(name for name in NAMES if name in asked)


def _on_target(columns: dict[str, Floats]) -> LossesOnTarget:
    shared = {name: columns[name][0] for name in ("eigenvalues", "rank", "tau")}
    names = ("sharpness", "condition", "rate", "saddle", "minimizer", "with_noise", "reached")
    return LossesOnTarget(
        eigenvalues=shared["eigenvalues"],
        rank=int(shared["rank"]),
        tau=float(shared["tau"]),
        **{name: columns[name] for name in names},
    )


# -------------------------------------------------------------------------------------------------------------- targets


def _setting(eigenvalues: Floats, seed: int, share: float = SHARE) -> _Setting:
    return _Setting(Target.from_spectrum(eigenvalues, key=seed), RANK, share * float(eigenvalues[RANK - 1]))


def _digits_setting() -> _Setting:
    samples = load_dataset("builtin:digits").samples
    target = Target.from_samples(samples)
    values = target.eigenvalues
    assert values is not None  # the covariance is 64×64
    return _Setting(target, DIGITS_RANK, SHARE * float(values[DIGITS_RANK - 1]))


# --------------------------------------------------------------------------------------------------------- closed forms


def _closed_forms(name: str, setting: _Setting, depths: tuple[int, ...]) -> Piece:
    """What is known of the minimizer and of the lowest saddle, by depth."""
    target, rank, tau = setting
    loss = losses_of(tau)[name]
    minimizer = Problem(target, loss, rank).minimizer()
    steepest, rates = np.array([_speeds(setting, loss, depth) for depth in depths]).T
    return {
        "eigenvalues": setting.eigenvalues,
        "rank": np.array(rank),
        "tau": np.array(tau),
        "sharpness": steepest,
        "condition": 2 * steepest / rates,
        "rate": rates,
        "saddle": np.array([_saddle_curvature(setting, loss, depth) for depth in depths]),
        "minimizer": _distance(minimizer, target, 0.0),
        "with_noise": _distance(minimizer, target, loss.noise_variance),
    }


def _saddle_modes(rank: int) -> tuple[int, ...]:
    """The critical point next above the minimizer: its last mode exchanged for the first that it leaves out."""
    return (*range(rank - 1), rank)


def _saddle_curvature(setting: _Setting, loss: AbstractSpectralLoss, depth: int) -> float:
    return hessian_spectrum(setting.target, _saddle_modes(setting.rank), loss, depth=depth).smallest


def _distance(w: Floats, target: Target, noise: float) -> Floats:
    """B²(W Wᵀ + noise · I, Σ0)."""
    return np.asarray(BuresWasserstein(noise).value(w, target), np.float64)


# ------------------------------------------------------------------------------------------------------------- Hessians


def _hessians(name: str, depths: tuple[int, ...], seed: int) -> Piece:
    """Closed forms, and dense Hessians at minimizers of scaled and stretched targets, and where a mode is missing."""
    setting = _setting(EIGENVALUES, seed)
    dense = [[_ends(name, _setting(scale * EIGENVALUES, seed), depth) for scale in SCALES] for depth in depths]
    ends = np.array(dense)  # (depths, scales, 2)
    stretched = [_ends(name, _setting(_stretched(spread), seed), 1) for spread in SPREADS]
    closed, found = zip(*(_missing(name, share, seed) for share in SHARES), strict=True)
    return {
        **_closed_forms(name, setting, depths),
        "dense": ends[:, SCALES == 1.0][:, 0],
        "by_scale": ends[..., 1],
        "by_spread": np.array([high / low for low, high in stretched]),
        "by_share": np.array(closed),
        "by_share_found": np.array(found),
    }


def _stretched(spread: float) -> Floats:
    """Eigenvalues λ_1 = spread · λ_k, the used ones spaced evenly in logarithms; the others as in `EIGENVALUES`."""
    used = EIGENVALUES[RANK - 1] * np.geomspace(spread, 1.0, RANK)
    return np.concatenate([used, EIGENVALUES[RANK:]])


def _ends(name: str, setting: _Setting, depth: int) -> tuple[float, float]:
    """Smallest positive and largest eigenvalue of the dense Hessian at the balanced minimizer."""
    target, rank, tau = setting
    w = Problem(target, losses_of(tau)[name], rank).minimizer()
    values = _dense(name, setting, w, depth)
    return float(values[values > 1e-9 * values[-1]][0]), float(values[-1])


def _dense(name: str, setting: _Setting, w: Floats, depth: int) -> Floats:
    """All eigenvalues of the Hessian at the balanced lift of W, by automatic differentiation of the loss's gradient."""
    net = balanced_network(w, (setting.rank,) * depth + (setting.target.dim,))
    with jax.enable_x64(True):
        # Parameters as arrays: one compilation for all.
        loss = jax.tree.map(jnp.asarray, losses_of(setting.tau)[name])
        return np.asarray(np.linalg.eigvalsh(hessian_matrix(net, setting.target, loss)), np.float64)


def _missing(name: str, share: float, seed: int) -> tuple[float, float]:
    """λ_min at the saddle that lacks the k-th mode, over the sharpness of the minimizer: in closed form, and dense."""
    setting = _setting(EIGENVALUES, seed, share)
    loss = losses_of(setting.tau)[name]
    steepest = float(sharpness(setting.target, RANK, loss))
    closed = hessian_spectrum(setting.target, range(RANK - 1), loss, latent_dim=RANK).smallest
    w = np.array(Problem(setting.target, loss, RANK).minimizer())
    w[:, -1] = 0.0
    return closed / steepest, float(_dense(name, setting, w, 1)[0]) / steepest


# ---------------------------------------------------------------------------------------------------------------- flows


def _flows(name: str, depths: tuple[int, ...], seed: int) -> Piece:
    """To the minimizer: the late rate and what is reached; from beside the lowest saddle: the times to leave it."""
    setting = _setting(EIGENVALUES, seed)
    target, rank, tau = setting
    loss = losses_of(tau)[name]
    rng = np.random.default_rng([seed, 7])
    turn = rng.standard_normal((target.dim, rank))
    turn *= np.sqrt(setting.eigenvalues[rank - 1]) / np.linalg.norm(turn)
    w, saddle = (_point(setting, loss, modes) for modes in (tuple(range(rank)), _saddle_modes(rank)))
    run_at = partial(_run, setting, loss, horizon=_longest(setting, loss, depths))
    observed, escape, reached = [], [], []
    for depth in depths:
        run = run_at(depth, 1.2 * w + 0.3 * turn)  # every direction, the scale of the modes among them
        observed.append(run["rate"][0, -1])
        reached.append(_distance(run.end_to_end[0], target, 0.0))
        leaving = [run_at(depth, saddle + delta * turn) for delta in DELTAS]
        escape.append([_left(run.times[0], run.excess[0]) for run in leaving])
    return {"observed": np.array(observed), "escape": np.array(escape), "reached": np.array(reached[0])}


def _point(setting: _Setting, loss: AbstractSpectralLoss, modes: tuple[int, ...]) -> Floats:
    """The critical point with these modes."""
    values, basis = setting.target.spectrum(setting.target.dim)
    chosen = list(modes)
    squares = loss.modes.used(np.asarray(values, np.float64)[chosen])
    return np.asarray(basis, np.float64)[:, chosen] * np.sqrt(squares)


def _longest(setting: _Setting, loss: AbstractSpectralLoss, depths: tuple[int, ...]) -> float:
    """A horizon, in units of 1/λ_max, for all depths: runs of equal length are of one compilation."""
    found = []
    for depth in depths:
        steepest, rate = _speeds(setting, loss, depth)
        found.append(25.0 * steepest / min(rate, abs(_saddle_curvature(setting, loss, depth))))
    return max(found)


def _speeds(setting: _Setting, loss: AbstractSpectralLoss, depth: int) -> tuple[float, float]:
    """Sharpness and asymptotic rate."""
    found = (each(setting.target, setting.rank, loss, depth=depth) for each in (sharpness, asymptotic_rate))
    steepest, rate = map(float, found)
    return steepest, rate


def _run(setting: _Setting, loss: AbstractSpectralLoss, depth: int, start: Floats, *, horizon: float) -> BalancedFlows:
    """One flow, until its excess is 1e-8 of that of its start."""
    target, rank, _ = setting
    excess = 1e-8 * float(Problem(target, loss, rank).excess(start))
    steepest, _ = _speeds(setting, loss, depth)
    return flows_until(excess, start[None], np.array([depth]), target, loss, horizon / steepest, _RECORDS)


def _left(times: Floats, excess: Floats) -> float:
    """When the excess has fallen to half of what it was: ln(e(0)/e − 1), nearly straight in time there, is zero."""
    after = np.flatnonzero(excess <= excess[0] / 2)
    if not after.size:
        return np.nan
    i = int(after[0])
    a, b = np.log(excess[0] / excess[i - 1] - 1), np.log(excess[0] / excess[i] - 1)
    return float(times[i - 1] - a / (b - a) * (times[i] - times[i - 1]))


# --------------------------------------------------------------------------------------------------------------- digits


def _digits(name: str, depths: tuple[int, ...], seed: int, *, flow: bool) -> Piece:
    setting = _digits_setting()
    target, rank, tau = setting
    loss = losses_of(tau)[name]
    reached = np.array(np.nan)
    if flow:
        rng = np.random.default_rng([seed, 8])
        start = np.sqrt(setting.eigenvalues[rank - 1] / target.dim) * rng.standard_normal((target.dim, rank))
        horizon = _longest(setting, loss, (_DIGITS_DEPTH,))
        run = _run(setting, loss, _DIGITS_DEPTH, start, horizon=horizon)
        reached = _distance(run.end_to_end[0], target, 0.0)
    return {**_closed_forms(name, setting, depths), "reached": reached, "approach": _approach(setting, loss)}


def _approach(setting: _Setting, loss: AbstractSpectralLoss) -> Floats:
    """Rates at which the singular values of the used modes come to rest at depth 1: of |s(t) − s*|, from 1 % above."""
    lam = setting.eigenvalues[: setting.rank]
    ends = np.sqrt(loss.modes.used(lam))
    rates: list[Any] = []
    for value, end, curvature in zip(lam, ends, loss.modes.scale(lam), strict=True):
        times = np.array([2.0, 4.0]) / curvature
        off = aligned_flow([1.01 * end], [value], loss, times)[:, 0] - end
        rates.append(np.log(off[0] / off[1]) / (times[1] - times[0]))
    return np.array(rates)
