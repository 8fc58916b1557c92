"""From a target to a trained network in one call."""

import itertools
from typing import Any, cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_integer
from deepbures._precision import numpy_in_numpy_out
from deepbures._types import Array
from deepbures._warn import warn
from deepbures.certificates import Certificate, Check, Proof, certificates_of, violation
from deepbures.landscape import Problem
from deepbures.model import AbstractLoss, DeepLinearNetwork, LossName, Target, as_loss, as_target, check_network
from deepbures.training._features import FeatureDeviations, explained_variance, feature_deviations
from deepbures.training._host import Callback
from deepbures.training._preparation import fit_problem, fit_start
from deepbures.training._result import Result
from deepbures.training._snapshot import Snapshot
from deepbures.training._solver import AbstractSolver, Trained
from deepbures.training._solvers import as_solver
from deepbures.training._trajectory import Trajectory
from deepbures.training._units import Units, units_of
from deepbures.training._verification import hold_against


class Fit(eqx.Module):
    """A trained network with what theory says of the problem it solved.

    Attributes
    ----------
    network : DeepLinearNetwork
        The model, with the target's mean.
    start : DeepLinearNetwork or None
        Where training began; None for the closed form.
    target, loss, rank
        What was fitted, by which loss, at which rank.
    solver : AbstractSolver
        How, with everything decided that its options had left open: ``solver.name``, ``solver.horizon``.
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
    [('flow-bottleneck', False, True), ('flow-below-saddle', False, True)]
    """

    network: DeepLinearNetwork
    start: DeepLinearNetwork | None
    target: Target
    loss: AbstractLoss
    solver: AbstractSolver
    rank: int = eqx.field(static=True)
    final_loss: Array
    minimal_loss: Array
    excess: Array
    relative_excess: Array
    explained_variance: Array
    sharpness: Array
    asymptotic_rate: Array
    unusable_modes: tuple[int, ...] = eqx.field(static=True)
    trajectory: Trajectory | None
    result: Result
    certificates: tuple[Certificate, ...] = eqx.field(static=True)
    checks: tuple[Check, ...] = eqx.field(static=True)

    @property
    def feature_deviations(self) -> FeatureDeviations | None:
        """Standard deviation of each feature in target and model; None for a target known through products only."""
        return feature_deviations(self.network, self.target, self.loss.noise_variance)

    @property
    def proof(self) -> Proof | None:
        """From which record of the training on a guarantee holds, and what it promises; None for the closed form."""
        return None if self.trajectory is None else self.trajectory.certified(self.certificates)

    @property
    def proved(self) -> str | None:
        """What is proved of the training, or why nothing is, in one sentence; None for the closed form."""
        run, proof = self.trajectory, self.proof
        if run is None or proof is None:
            return None
        return proof.sentence(run.positions, run.excess)

    @property
    def horizon(self) -> float | None:
        """Largest time (flow) or number of steps (descent) of the training; None for the closed form."""
        return next(iter(self.solver.limits.values()), None)


@numpy_in_numpy_out
def fit(
    target: Target | Array,
    rank: int,
    loss: str | AbstractLoss = LossName.bw.value,
    solver: str | AbstractSolver = "flow",
    *,
    depth: int = 1,
    hidden: int | None = None,
    tau: float = 0.0,
    epsilon: float | None = None,
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
    loss : "bw", "frobenius", "likelihood", "entropic", "sinkhorn" or AbstractLoss
        A name of `loss_named`, or any loss, such as ``SinkhornDivergence(0.1)``.
    solver : "closed-form", "flow", "descent" or AbstractSolver
        The name of a solver (`ClosedForm`, `Flow`, `Descent`), or one with its options, or of your own.
    depth : int
        Number of layers N.
    hidden : int, optional
        Width of the hidden layers, at least (and by default) the rank.
    tau, epsilon : float
        The parameter of a loss that is given by name: smoothing of "bw", variance of the noise of "likelihood" (tau);
        regularization of "entropic" and "sinkhorn" (epsilon). In the units of the covariance.
    init : str
        A scheme of `initialize`. "balanced" (the default) is scaled to the total variance of the target.
    seed : int
        Seed of the start. Same seed, same bits.
    horizon, num_steps, step_size
        Options of a solver that is given by name: the `horizon` of `Flow`, `num_steps` and `step_size` of `Descent`.
    num_records, callback, resume
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
    is_default = isinstance(step_size, str) and step_size == "sharpness"
    chosen = as_solver(solver, horizon=horizon, num_steps=num_steps, step_size=None if is_default else step_size)
    seed = check_integer(seed, "seed", 0, 2**63 - 1)
    start = None
    if chosen.needs_start:
        start = fit_start(target, widths, init=init, seed=seed, tau=objective.noise_variance)
    units = units_of(target, objective, start, depth)
    problem = Problem(*units.of_problem(target, objective), rank, exponent=units.matrix)
    inner = chosen if units.are_the_users else chosen.in_units(units)
    trained = inner.train(
        problem,
        _of_widths(widths, target.dtype) if start is None else units.of_network(start),
        tolerance=tolerance,
        num_records=num_records,
        callback=units.of_callback(callback),
        resume=resume,
    )
    _check_trained(trained, inner, problem)
    return _report(trained, inner, problem, units, start, tolerance, (target, objective))


def _check_trained(trained: Any, solver: AbstractSolver, problem: Problem) -> None:
    """Refuse what a solver of one's own should not have handed back."""
    train = f"{type(solver).__name__}.train"
    if not isinstance(trained, Trained):
        raise TypeError(f"{train} must return Trained(network), but returned a {type(trained).__name__}.")
    check_network(trained.network)
    net = trained.network
    if net.dim != problem.target.dim or net.bottleneck > problem.rank:
        raise ValueError(
            f"{train} must return a network of dimension {problem.target.dim} whose layers have a rank of at most "
            f"{problem.rank}, but returned one of widths {net.widths}."
        )


def _of_widths(widths: tuple[int, ...], dtype: Any) -> DeepLinearNetwork:
    """A network that says nothing but its widths."""
    return DeepLinearNetwork([np.zeros((above, below), dtype) for below, above in itertools.pairwise(widths)])


def _report(
    trained: Trained,
    solver: AbstractSolver,
    problem: Problem,
    units: Units,
    start: DeepLinearNetwork | None,
    tolerance: float,
    asked: tuple[Target, AbstractLoss],
) -> Fit:
    """`trained`, `solver` and `problem` are in the units that were computed in, the rest in user's."""
    target, objective = asked
    network, solver = trained.network, trained.solver or solver
    w = jnp.asarray(network.end_to_end)
    value, excess = problem.loss.value(w, problem.target), problem.excess(w)
    sharpness, slowest = problem.extremes(network.depth, problem.rank)
    trajectory = None if trained.trajectory is None else units.to_user(trained.trajectory)
    certificates = () if start is None else _certificates(start, problem, units, asked)
    checks = () if trajectory is None else hold_against(trajectory, certificates)
    for check in checks:
        if check.violated:
            warn(violation(check))
    return Fit(
        network=DeepLinearNetwork(list(units.network_to_user(network).weights), target.mean),
        start=start,
        target=target,
        loss=objective,
        solver=solver if units.are_the_users else solver.in_units(units.inverse),
        rank=problem.rank,
        final_loss=units.loss_to_user(value),
        minimal_loss=units.loss_to_user(jnp.asarray(problem.minimal_value)),
        excess=units.loss_to_user(excess),
        explained_variance=explained_variance(w, problem.target, problem.loss.noise_variance),
        relative_excess=excess / problem.reference,
        sharpness=units.curvature_to_user(sharpness),
        asymptotic_rate=units.curvature_to_user(2 * slowest),
        unusable_modes=problem.unusable_modes(),
        trajectory=trajectory,
        result=_judged(excess, tolerance * problem.reference) if trained.result is None else trained.result,
        certificates=certificates,
        checks=checks,
    )


def _judged(excess: Array, tolerance: Array) -> Result:
    """How a training ended that does not say so itself."""
    return cast(Any, Result.converged) if bool(excess <= tolerance) else cast(Any, Result.finished)


def _certificates(
    start: DeepLinearNetwork, problem: Problem, units: Units, asked: tuple[Target, AbstractLoss]
) -> tuple[Certificate, ...]:
    """Certify a start in the user's units; where products are out of range there, they are not asked for."""
    if units.are_the_users:
        return certificates_of(start, problem)
    return () if asked[0].eigenvalues is None else certificates_of(start, Problem(*asked, problem.rank))
