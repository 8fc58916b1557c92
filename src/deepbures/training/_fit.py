"""From a target to a trained network in one call."""

import math
import warnings
from typing import Any, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_integer
from deepbures._precision import numpy_in_numpy_out
from deepbures.certificates import Certificate, Check, certificates_of, violation
from deepbures.landscape import Problem, warn_unusable
from deepbures.model import (
    AbstractLoss,
    DeepLinearNetwork,
    LossName,
    Target,
    as_loss,
    as_target,
    balanced_network,
    check_target,
    initialize,
)
from deepbures.training._descent import descend
from deepbures.training._features import FeatureDeviations, explained_variance, feature_deviations
from deepbures.training._flow import flow
from deepbures.training._host import Callback
from deepbures.training._result import Result
from deepbures.training._snapshot import Snapshot
from deepbures.training._trajectory import Trajectory
from deepbures.training._units import Units, units_of
from deepbures.training._verification import hold_against

Array = Any

SOLVERS = ("closed-form", "flow", "descent")
"""Names accepted by `fit`."""


class Fit(eqx.Module):
    """A trained network with what theory says of the problem it solved.

    Attributes
    ----------
    network : DeepLinearNetwork
        The model, with the target's mean.
    start : DeepLinearNetwork or None
        Where training began; None for the closed form.
    target, loss, solver, rank
        What was fitted, and how.
    final_loss, minimal_loss, excess : array
        L, the theoretical minimum L* over rank at most `rank`, and L − L*.
    relative_excess : array
        Excess over L*, or over the loss of the zero network where L* vanishes (the target's rank is at most `rank`).
    explained_variance : array
        Share of the variance of the target that the model has, 1 − B²(W Wᵀ + τ I, Σ0)/tr Σ0, whatever loss was trained
        (τ = 0 where that has none). At every critical point of the exact loss it is tr W Wᵀ / tr Σ0, at its minimum the
        share of the `rank` leading eigenvalues; 0 for the zero network, negative for one with far too much variance.
    sharpness, asymptotic_rate : array
        Largest Hessian eigenvalue, and rate of the final approach of the flow, at the balanced minimizer.
    unusable_modes : tuple of int
        Modes (from 1) among the leading `rank` whose eigenvalue is not above tau, so that they stay at zero.
    horizon : float or None
        Largest time (flow) or number of steps (descent).
    trajectory : Trajectory or None
        The record of the training; None for the closed form.
    result : Result
        How it ended.
    certificates : tuple of Certificate
        What theory promises of the training from `start` (see `certify`). Empty for the closed form.
    checks : tuple of Check
        The run held against each of them, in the same order. Only runs in double precision are: the others are marked
        as such.

    Examples
    --------
    >>> import deepbures as db
    >>> fitted = db.fit(db.Target.from_spectrum([4.0, 2.0, 1.0]), rank=1, solver="closed-form")
    >>> float(fitted.minimal_loss), fitted.network.widths, fitted.trajectory is None
    (3.0, (1, 3), True)

    What is guaranteed from this start, whether the run kept it, and whether it was faster:

    >>> fitted = db.fit(db.Target.from_spectrum([4.0, 2.0, 1.0]), rank=2, depth=2, init="close")
    >>> held = [check for check in fitted.checks if check.applies and check.certificate.is_guarantee]
    >>> [(check.certificate.name, check.violated, check.tightness > 1) for check in held]
    [('flow-bottleneck', False, True)]
    """

    network: DeepLinearNetwork
    start: DeepLinearNetwork | None
    target: Target
    loss: AbstractLoss
    solver: str = eqx.field(static=True)
    rank: int = eqx.field(static=True)
    final_loss: Array
    minimal_loss: Array
    excess: Array
    relative_excess: Array
    explained_variance: Array
    sharpness: Array
    asymptotic_rate: Array
    unusable_modes: tuple[int, ...] = eqx.field(static=True)
    horizon: float | None
    trajectory: Trajectory | None
    result: Result
    certificates: tuple[Certificate, ...] = eqx.field(static=True)
    checks: tuple[Check, ...] = eqx.field(static=True)

    @property
    def feature_deviations(self) -> FeatureDeviations | None:
        """Standard deviation of each feature in target and model; None for a target known through products only."""
        return feature_deviations(self.network, self.target, self.loss.noise_variance)


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


@numpy_in_numpy_out
def fit(
    target: Target | Array,
    rank: int,
    *,
    depth: int = 1,
    hidden: int | None = None,
    tau: float = 0.0,
    epsilon: float | None = None,
    loss: str | AbstractLoss = LossName.bw.value,
    solver: str = "flow",
    init: str = "balanced",
    seed: int = 0,
    horizon: float | None = None,
    num_steps: int | None = None,
    step_size: Any = "sharpness",
    tolerance: float = 1e-7,
    num_records: int = 200,
    callback: Callback | None = None,
    resume: Snapshot | None = None,
) -> Fit:
    """Fit a deep linear network of a given rank to a target: closed form, gradient flow or gradient descent.

    Parameters
    ----------
    target : Target, or array or frame of shape (N, n)
        What is fitted; or samples in rows, for the target that `Target.from_samples` makes of them.
    rank : int
        Latent size and bottleneck k, in 1..n.
    depth : int
        Number of layers N.
    hidden : int, optional
        Width of the hidden layers, at least (and by default) the rank.
    tau, epsilon : float
        The parameter of a loss that is given by name: smoothing of "bw", variance of the noise of "likelihood" (tau);
        regularization of "entropic" and "sinkhorn" (epsilon). In the units of the covariance.
    loss : "bw", "frobenius", "likelihood", "entropic", "sinkhorn" or AbstractLoss
        A name of `loss_named`, or any loss, such as ``SinkhornDivergence(0.1)``.
    solver : "closed-form", "flow" or "descent"
        "closed-form" takes the balanced lift of `rank_k_minimizer`.
    init : str
        A scheme of `initialize`. "balanced" (the default) is scaled to the total variance of the target.
    seed : int
        Seed of the start. Same seed, same bits.
    horizon : float, optional
        Largest time of the flow. Default: long enough for the asymptotic rate, 40/rate; with a rate of zero (the
        approach is slower than exponential) 10⁶/λ_max.
    num_steps : int, optional
        Largest number of steps of descent. Default: the same horizon in steps of size 1/λ_max, at most 10⁶.
    step_size, num_records, callback, resume
        As for `gradient_descent`.
    tolerance : float
        Relative excess over the theoretical minimum at which training stops: the flow after the first step within it,
        descent at the first record.

    Returns
    -------
    Fit

    Notes
    -----
    Data so small or large that squares of their variance are out of the range of their precision (standard deviations
    beyond about 10^±31 in float64) are computed in units of a power of two, which changes no digit; everything that
    comes back, and what a callback is told, is in user's units.

    Warns
    -----
    UserWarning
        If the run violated a guarantee whose assumptions hold from its start: an error of this package or of a theorem.
        And as `gradient_descent` does.

    Raises
    ------
    ValueError
        For a rank, depth, width, tau, solver, … out of range, before any work.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> x = np.random.default_rng(0).standard_normal((200, 5)) * np.array([5.0, 4.0, 3.0, 1.0, 0.5])
    >>> fitted = db.fit(db.Target.from_samples(x), rank=2, depth=2)
    >>> bool(fitted.relative_excess < 1e-6), fitted.network.widths
    (True, (2, 2, 5))
    """
    target = as_target(target)
    objective = as_loss(loss, tau=tau, epsilon=epsilon)
    widths = fit_problem(target, rank, depth=depth, hidden=hidden, loss=objective)
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(SOLVERS)}, but {solver!r} was given.")
    for name, value, owner in (("horizon", horizon, "flow"), ("num_steps", num_steps, "descent")):
        if value is not None and solver != owner:
            raise ValueError(f"{name} belongs to the solver {owner!r}, but solver = {solver!r}: leave it out.")
    seed = check_integer(seed, "seed", 0, 2**63 - 1)
    start = (
        None
        if solver == "closed-form"
        else fit_start(target, widths, init=init, seed=seed, tau=objective.noise_variance)
    )
    units = units_of(target, objective, start, depth)
    problem = Problem(*units.of_problem(target, objective), rank)
    extremes = problem.extremes(depth, rank)
    if start is not None and horizon is None and num_steps is None:
        _refuse_unknown_length(problem, solver)
    if start is None:
        warn_unusable(problem)
        network = balanced_network(problem.minimizer(), widths)
        return _report(network, None, None, None, solver, (target, objective), (units, problem, extremes))
    options: dict[str, Any] = {
        "tolerance": tolerance,
        "num_records": num_records,
        "callback": units.of_callback(callback),
        "resume": resume,
    }
    natural = natural_horizon(*extremes)
    begin = units.of_network(start)
    limit: float
    if solver == "flow":
        limit = natural if horizon is None else units.of_time(horizon)
        trajectory = flow(begin, problem, limit, **options)
        limit = units.time_to_user(limit)
    else:
        natural_steps = min(max(int(np.ceil(natural * float(extremes[0]))), 1000), 10**6)
        limit = natural_steps if num_steps is None else num_steps
        trajectory = descend(begin, problem, limit, units.of_step_size(step_size), **options)
    return _report(
        trajectory.network, start, trajectory, limit, solver, (target, objective), (units, problem, extremes)
    )


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


def natural_horizon(steepest: Array, flattest: Array) -> float:
    """Time for 40 e-foldings of the slowest mode's loss, or 10⁶ fastest time scales where nothing is exponential."""
    rate = 2 * float(flattest)
    return 40 / rate if rate > 0 else 1e6 / float(steepest)


def _report(
    network: DeepLinearNetwork,
    start: DeepLinearNetwork | None,
    trajectory: Trajectory | None,
    limit: float | None,
    solver: str,
    asked: tuple[Target, AbstractLoss],
    computed: tuple[Units, Problem, tuple[Array, Array]],
) -> Fit:
    """`network` and `trajectory` are in the units that were computed in, all others and what comes back in user's."""
    (target, objective), (units, problem, extremes) = asked, computed
    w = jnp.asarray(network.end_to_end)
    value, excess = problem.loss.value(w, problem.target), problem.excess(w)
    trajectory = None if trajectory is None else units.to_user(trajectory)
    certificates: tuple[Certificate, ...] = ()
    if start is not None and units.are_the_users:
        certificates = certificates_of(start, problem)
    elif start is not None and target.eigenvalues is not None:  # in user's units, where products may be out of range
        certificates = certificates_of(start, Problem(target, objective, problem.rank))
    checks = () if trajectory is None else hold_against(trajectory, certificates)
    for check in checks:
        if check.violated:
            warnings.warn(violation(check), UserWarning, stacklevel=4)
    return Fit(
        network=DeepLinearNetwork(list(units.network_to_user(network).weights), target.mean),
        start=start,
        target=target,
        loss=objective,
        solver=solver,
        rank=problem.rank,
        final_loss=units.loss_to_user(value),
        minimal_loss=units.loss_to_user(jnp.asarray(problem.minimal_value)),
        excess=units.loss_to_user(excess),
        explained_variance=explained_variance(w, problem.target, problem.loss.noise_variance),
        relative_excess=excess / problem.reference,
        sharpness=units.curvature_to_user(extremes[0]),
        asymptotic_rate=units.curvature_to_user(2 * extremes[1]),
        unusable_modes=problem.unusable_modes(),
        horizon=limit,
        trajectory=trajectory,
        result=cast(Any, Result.converged) if trajectory is None else trajectory.result,
        certificates=certificates,
        checks=checks,
    )


def _refuse_unknown_length(problem: Problem, solver: str) -> None:
    """How long to train follows from the curvature at the minimizer, where that is known."""
    if problem.eigenvalues is None:
        argument = "horizon" if solver == "flow" else "num_steps and step_size"
        raise ValueError(
            f"How long to train is not known for a {type(problem.loss).__name__}, whose landscape is not known in "
            f"closed form (it has no `modes`): pass {argument}."
        )
