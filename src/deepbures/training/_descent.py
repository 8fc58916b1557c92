"""Gradient descent with finite steps."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_integer, check_number
from deepbures._precision import numpy_in_numpy_out
from deepbures.landscape import Problem
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target
from deepbures.training._dynamics import natural_horizon
from deepbures.training._enclosure import train_enclosed
from deepbures.training._host import Callback
from deepbures.training._iteration import Iteration, PlainStep
from deepbures.training._observables import Record
from deepbures.training._run import pose, train
from deepbures.training._snapshot import Snapshot
from deepbures.training._solver import AbstractSolver, Trained
from deepbures.training._step_sizes import step_rule
from deepbures.training._trajectory import Trajectory
from deepbures.training._units import Units


class Descent(AbstractSolver):
    """Gradient descent, as `gradient_descent` runs it.

    Parameters
    ----------
    num_steps : int, optional
        Largest number of steps. Left open, the horizon of `Flow` in steps of size 1/λ_max, from 1000 to 10⁶.
    step_size : float, str or optax optimizer
        As for `gradient_descent`.
    steps : array, optional
        Steps to record, as for `gradient_descent`.

    Raises
    ------
    ValueError
        For num_steps that is not in 1..2³¹ − 1, steps that are not whole numbers.

    Examples
    --------
    >>> import deepbures as db
    >>> fitted = db.fit(db.Target.from_spectrum([4.0, 1.0]), 1, depth=2, solver=db.Descent(step_size="accelerated"))
    >>> bool(fitted.result == db.Result.converged), fitted.solver.num_steps
    (True, 1000)
    """

    num_steps: int | None = None
    step_size: Any = "sharpness"
    steps: Any = None

    def __check_init__(self) -> None:
        if self.num_steps is not None and check_integer(self.num_steps, "num_steps", 1) >= 2**31:
            raise ValueError(f"num_steps must be below 2³¹, but {self.num_steps} was given.")

    @property
    def name(self) -> str:
        """Descent."""
        return "descent"

    @property
    def words(self) -> str:
        """Gradient descent."""
        return "gradient descent"

    @property
    def limits(self) -> dict[str, float]:
        """The number of steps, once it is decided."""
        return {} if self.num_steps is None else {"num_steps": self.num_steps}

    def in_units(self, units: Units) -> "Descent":
        """The same descent, whose step size is in other units."""
        return dataclasses.replace(self, step_size=units.of_step_size(self.step_size))

    def train(
        self,
        problem: Problem,
        start: DeepLinearNetwork,
        *,
        tolerance: float = 1e-10,
        num_records: int = 200,
        record: Record | None = None,
        callback: Callback | None = None,
        resume: Snapshot | None = None,
    ) -> Trained:
        """Descent from a start, recorded; see `gradient_descent`."""
        num_records = check_integer(num_records, "num_records", 1)
        decided = self._decided(problem, start)
        marks = decided._marks(num_records)
        check_number(tolerance, "tolerance")

        def descend(
            net: DeepLinearNetwork, problem: Problem, tolerance: float, callback: Callback | None
        ) -> Trajectory:
            return _descend(net, problem, self.step_size, marks, tolerance, record, callback, resume)

        run = train_enclosed(descend, start, problem, record, tolerance, callback)
        return Trained(run.network, run, run.result, decided)

    def _decided(self, problem: Problem, start: DeepLinearNetwork) -> "Descent":
        if self.num_steps is not None:
            return self
        horizon = natural_horizon(problem, start, "num_steps and step_size")
        steepest = float(problem.extremes(start.depth, start.latent_dim)[0])
        return dataclasses.replace(self, num_steps=min(max(int(np.ceil(horizon * steepest)), 1000), 10**6))

    def _marks(self, num_records: int) -> np.ndarray:
        """The steps to record at, checked."""
        num_steps = self.num_steps
        assert num_steps is not None  # it is decided
        if self.steps is None:
            return record_steps(num_steps, num_records)
        marks = np.unique(np.concatenate([[0], np.asarray(self.steps).ravel(), [num_steps]]))
        if marks.dtype.kind not in "iu" and not np.all(marks == np.floor(marks)):
            raise ValueError("steps must be whole numbers.")
        marks = marks.astype(np.int64)
        if marks[0] < 0 or marks[-1] > num_steps:
            raise ValueError(f"steps must lie in 0..num_steps = {num_steps}, but reach from {marks[0]} to {marks[-1]}.")
        return marks


def _descend(
    net: DeepLinearNetwork,
    problem: Problem,
    step_size: Any,
    marks: np.ndarray,
    tolerance: float,
    record: Record | None,
    callback: Callback | None,
    resume: Snapshot | None,
) -> Trajectory:
    rule = step_rule(step_size, net, problem)
    outcome, network, method = train(
        lambda goal: Iteration(rule(goal)), net, problem, marks, tolerance, record, callback, resume
    )
    times = eta = None
    if isinstance(method.rule, PlainStep):
        eta = method.rule.step_size
        times = outcome.positions * (jnp.asarray(eta)[..., None] if jnp.ndim(eta) else eta)
    return Trajectory(
        times=times,
        steps=outcome.positions,
        records=outcome.records,
        network=network,
        minimal_loss=problem.minimal_value,
        step_size=eta,
        result=outcome.state.result,
        snapshot=outcome.snapshot,
    )


@numpy_in_numpy_out
def gradient_descent(
    net: DeepLinearNetwork,
    target: Target,
    loss: AbstractLoss,
    num_steps: int,
    step_size: Any = "sharpness",
    *,
    tolerance: float = 1e-10,
    num_records: int = 200,
    steps: Any = None,
    record: Record | None = None,
    callback: Callback | None = None,
    resume: Snapshot | None = None,
) -> Trajectory:
    """Full-batch gradient descent on the layers, W_l ← W_l − η ∂L^N/∂W_l, in one compiled loop.

    Parameters
    ----------
    net : DeepLinearNetwork
        Start. With a leading batch dimension (on the network, the target or both) all runs of the batch go together;
        inside `jax.vmap` or `jax.jit` the whole run is traced.
    target : Target
        What is fitted.
    loss : BuresWasserstein or Frobenius
        The loss.
    num_steps : int
        Largest number of steps; the run stops before when it has converged.
    step_size : float, "sharpness", "certified", "monotone", "accelerated" or optax optimizer
        A number η > 0; "sharpness": 1/λ_max at the balanced minimizer, half the stability limit there (see
        `sharpness`); "certified": the largest step with a guarantee from this start (see `certify`), in a batch the
        smallest of them; "monotone": from any start, at each step the largest size found for which the loss certainly
        falls, by ½ η Σ ‖∂L^N/∂W_l‖² (Bures-Wasserstein loss); "accelerated": Nesterov's method with the step of
        "sharpness", restarted where it runs uphill, with a momentum of at most (1 − √(μ/λ_max))/(1 + √(μ/λ_max)), μ the
        smallest positive curvature there: about √(λ_max/μ) steps instead of λ_max/μ; or any
        `optax.GradientTransformation`.
    tolerance : float
        Stop once L − L* ≤ tolerance · L* (· the loss of the zero network, where L* vanishes). Judged at records.
    num_records : int
        About how many steps to record, evenly spaced in log(step).
    steps : array of int, optional
        The steps to record at, instead.
    record : names or mapping, optional
        What to record: names among loss, excess, gradient_norm, balancedness_gap, smallest_singular_value, rank,
        effective_rank (the default), singular_values, alignment, end_to_end, weights; or a mapping from names to
        functions (net, target, loss) ↦ array that JAX can trace.
    callback : function, optional
        Called a few times a second with a `Progress`.
    resume : Snapshot, optional
        Continue an interrupted run, `trajectory.snapshot`, with otherwise the same arguments: same bits.

    Returns
    -------
    Trajectory
        Divergence, and Ctrl-C, are results, not exceptions.

    Warns
    -----
    UserWarning
        If a step size given as a number is above the stability limit 2/λ_max of the balanced minimizer.

    Raises
    ------
    ValueError
        For a step size that is not positive and finite, num_steps < 1, shapes that do not fit; for "certified", if no
        certificate holds from this start (saying which assumption is missed, and by how much).

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0)
    >>> start = db.initialize((2, 2, 3), key=1)
    >>> run = db.gradient_descent(start, target, db.BuresWasserstein(), 1000)
    >>> bool(run.result == db.Result.converged), bool(run.excess[-1] < 1e-9)
    (True, True)
    """
    descent = Descent(num_steps, step_size, steps)
    trained = descent.train(
        pose(net, target, loss),
        net,
        tolerance=tolerance,
        num_records=num_records,
        record=record,
        callback=callback,
        resume=resume,
    )
    assert trained.trajectory is not None  # it has one; tells the type checker
    return trained.trajectory


def record_steps(num_steps: int, num_records: int) -> np.ndarray:
    """Steps to record at: 0, then about evenly spaced in log(step), so that no phase of a run is missed."""
    spaced = np.geomspace(1, num_steps, max(min(num_records, num_steps), 1))
    return np.unique(np.concatenate([[0], np.round(spaced).astype(np.int64), [num_steps]]))
