"""Gradient descent with finite steps."""

import warnings
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from deepbures._checks import check_integer, check_number
from deepbures._precision import numpy_in_numpy_out
from deepbures.certificates import certified_step_size
from deepbures.landscape import Problem
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, layer_gradients
from deepbures.training._batches import batch_axes, is_traced, member
from deepbures.training._dynamics import Weights, curvatures, sum_of_squares
from deepbures.training._enclosure import train_enclosed
from deepbures.training._host import Callback
from deepbures.training._method import AbstractMethod, Goal, State
from deepbures.training._observables import Record
from deepbures.training._result import Result, choose
from deepbures.training._run import pose, train
from deepbures.training._snapshot import Snapshot
from deepbures.training._trajectory import Trajectory

Array = Any


class _Plain(eqx.Module):
    """W_l ← W_l − η ∂L^N/∂W_l."""

    step_size: Array

    def init(self, weights: Weights) -> Any:
        return ()

    def move(self, gradients: Weights, state: Any, weights: Weights) -> tuple[Weights, Any]:
        return tuple(w - self.step_size * g for w, g in zip(weights, gradients, strict=True)), state


class _Optax(eqx.Module):
    """Any optax optimizer."""

    transformation: optax.GradientTransformation = eqx.field(static=True)

    def init(self, weights: Weights) -> Any:
        return self.transformation.init(weights)

    def move(self, gradients: Weights, state: Any, weights: Weights) -> tuple[Weights, Any]:
        updates, state = self.transformation.update(gradients, state, weights)
        moved: Weights = optax.apply_updates(weights, updates)
        return moved, state


class _Accelerated(eqx.Module):
    """Nesterov's accelerated gradient, restarted whenever it would run uphill (O'Donoghue and Candès 2015).

    The gradient is taken at the extrapolated weights, which are the weights of the run; `state` holds the point
    they were extrapolated from and the number of steps since the last restart.
    """

    step_size: Array
    momentum: Array

    def init(self, weights: Weights) -> Any:
        return weights, jnp.zeros((), weights[0].dtype)

    def move(self, gradients: Weights, state: Any, weights: Weights) -> tuple[Weights, Any]:
        before, age = state
        point = tuple(w - self.step_size * g for w, g in zip(weights, gradients, strict=True))
        travel = tuple(new - old for new, old in zip(point, before, strict=True))
        uphill = sum((g * d).sum() for g, d in zip(gradients, travel, strict=True)) > 0
        age = jnp.where(uphill, 0.0, age + 1)
        beta = jnp.minimum(age / (age + 3), self.momentum)
        return tuple(p + beta * d for p, d in zip(point, travel, strict=True)), (point, age)


class Iteration(AbstractMethod):
    """Full-batch descent; `position` counts steps."""

    unit: ClassVar[str] = "step"
    rule: _Plain | _Optax | _Accelerated

    def start(self, weights: Weights, goal: Goal) -> State:
        """Step 0; `inner` holds the optimizer's state and the Σ_l ‖W_l‖² above which the run has diverged."""
        dtype = weights[0].dtype
        # At a balanced minimizer ‖W_l‖² ≤ k^{1−1/N} tr(Σ0)^{1/N}. A hundred times the norms of start and minimizer is
        # far from both, and near enough that products of a hundred layers stay finite.
        depth = len(weights)
        bottleneck = min(weights[0].shape[-1], *(weight.shape[-2] for weight in weights))
        reached = depth * bottleneck ** (1 - 1 / depth) * goal.target.trace ** (1 / depth)
        limit = 1e4 * (sum_of_squares(weights) + reached)
        return State.at_start(weights, (self.rule.init(weights), limit.astype(dtype)), jnp.int32)

    def advance(self, state: State, begin: Array, mark: Array, budget: Array | None, goal: Goal) -> State:
        """The compiled loop: to the mark or the budget; divergence is seen before it is stepped into."""
        limit = state.inner[1]
        count = mark.astype(jnp.int32) - begin.astype(jnp.int32)
        if budget is not None:
            count = jnp.minimum(count, budget.astype(jnp.int32))

        def go_on(carry: Any) -> Array:
            # With a budget the length is the same for a whole batch (which spares a copy of all weights a step), and
            # the host looks at the status after each call. Without one, nobody does: the loop must.
            iteration, _, _, _, result = carry
            return iteration < count if budget is not None else (iteration < count) & (result == Result.running)

        def step(carry: Any) -> Any:
            iteration, position, weights, inner, result = carry
            gradients, _ = layer_gradients(weights, goal.loss, goal.target)
            moved, moved_inner = self.rule.move(gradients, inner, weights)
            sound = sum_of_squares(moved) <= limit  # False for NaN
            active = sound & (result == Result.running)
            keep = lambda new, old: jnp.where(active, new, old)  # noqa: E731
            weights = jax.tree.map(keep, moved, weights)
            inner = jax.tree.map(keep, moved_inner, inner)
            result = choose(sound | (result != Result.running), result, Result.diverged)
            return iteration + 1, position + active.astype(position.dtype), weights, inner, result

        carry = (jnp.zeros((), jnp.int32), state.position, state.weights, state.inner[0], state.result)
        _, position, weights, inner, result = jax.lax.while_loop(go_on, step, carry)
        return State(position, position, weights, (inner, limit), result)


STEP_SIZES = ("sharpness", "certified", "accelerated")
"""Names accepted as a step size."""

_EXPECTED = 'step_size must be a positive number, "sharpness", "certified", "accelerated" or an optax optimizer, but '


def _certified(net: DeepLinearNetwork, problem: Problem) -> float:
    """The certified step size; of a batch the smallest one, which is certified for every run of it."""
    if is_traced(net, problem):
        raise ValueError(
            'step_size = "certified" needs concrete numbers: outside the JAX transformation, take max_step_size of '
            'the certificates "descent-…" of certify, and pass it as a number.'
        )
    size, weight_axes, target_axes = batch_axes(net, problem.target)
    if size is None:
        return certified_step_size(net, problem)
    pick = lambda tree, axes, i: tree if axes is None else member(tree, i)  # noqa: E731
    return min(certified_step_size(pick(net, weight_axes, i), pick(problem, target_axes, i)) for i in range(size))


def _warn_unstable(step_size: Any, net: DeepLinearNetwork, problem: Problem) -> None:
    """Warn of a step at which no minimizer is stable."""
    if is_traced(step_size, net, problem):
        return
    steepest = float(np.max(np.asarray(curvatures(problem, net)[0])))
    if not steepest > 0:  # the minimizer is flat: every step is stable there
        return
    limit = 2 / steepest
    if float(step_size) > limit:
        warnings.warn(
            f"step_size = {float(step_size):.4g} is above the stability limit 2/λ_max = {limit:.4g}, at which gradient "
            "descent leaves even the flattest (the balanced) minimizer: it cannot converge there. Take a smaller "
            'step, or "sharpness", which is half the limit.',
            UserWarning,
            stacklevel=8,
        )


def _rule(step_size: Any, net: DeepLinearNetwork, problem: Problem) -> Any:
    """From the step_size argument: what makes the update rule out of what is known of each problem."""
    if isinstance(step_size, optax.GradientTransformation):
        return lambda goal: _Optax(step_size)
    if isinstance(step_size, str):
        if step_size not in STEP_SIZES:
            raise ValueError(f"{_EXPECTED}{step_size!r} was given.")
        if step_size == "certified":
            step = _certified(net, problem)
            return lambda goal: _Plain(jnp.asarray(step, goal.target.dtype))

        if not is_traced(net, problem) and not np.all(np.asarray(curvatures(problem, net)[0]) > 0):
            raise ValueError(f'step_size = "{step_size}" {_why_flat(problem)}')

        def from_curvature(goal: Goal) -> _Plain | _Accelerated:
            steepest, flattest = goal.problem.extremes(net.depth, net.latent_dim)
            if step_size == "sharpness":
                return _Plain(1 / steepest)
            root = jnp.sqrt(flattest / steepest)
            return _Accelerated(1 / steepest, (1 - root) / (1 + root))

        return from_curvature
    if not (np.isscalar(step_size) or isinstance(step_size, (np.ndarray, jax.Array))):
        raise TypeError(f"{_EXPECTED}a {type(step_size).__name__} was given.")
    if np.ndim(step_size):
        raise ValueError(
            f"step_size must be one number, but an array of shape {np.shape(step_size)} was given. For runs with step "
            "sizes of their own, map over them with jax.vmap."
        )
    check_number(step_size, "step_size", positive=True)
    _warn_unstable(step_size, net, problem)
    return lambda goal: _Plain(jnp.asarray(step_size, goal.target.dtype))


def _why_flat(problem: Problem) -> str:
    if problem.eigenvalues is None:
        return (
            f"needs the curvature at the minimizer, which is not known for a {type(problem.loss).__name__} (it has no "
            "`modes`): pass a number, for a start 1/hessian_extremes(net, target, loss).largest."
        )
    return (
        "needs a minimizer with curvature, but here that is the zero network, which is flat (a zero target, or no "
        "eigenvalue above tau): pass a number."
    )


def record_steps(num_steps: int, num_records: int) -> np.ndarray:
    """Steps to record at: 0, then about evenly spaced in log(step), so that no phase of a run is missed."""
    spaced = np.geomspace(1, num_steps, max(min(num_records, num_steps), 1))
    return np.unique(np.concatenate([[0], np.round(spaced).astype(np.int64), [num_steps]]))


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
    step_size : float, "sharpness", "certified", "accelerated" or optax optimizer
        A number η > 0; "sharpness": 1/λ_max at the balanced minimizer, half the stability limit there (see
        `sharpness`); "certified": the largest step with a guarantee from this start (see `certify`), often very
        small, in a batch the smallest of them; "accelerated": Nesterov's method with the step of "sharpness", restarted
        where it runs uphill, with a momentum of at most (1 − √(μ/λ_max))/(1 + √(μ/λ_max)), μ the smallest positive
        curvature there: about √(λ_max/μ) steps instead of λ_max/μ; or any `optax.GradientTransformation`.
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
    return descend(
        net,
        pose(net, target, loss),
        num_steps,
        step_size,
        tolerance=tolerance,
        num_records=num_records,
        steps=steps,
        record=record,
        callback=callback,
        resume=resume,
    )


def descend(
    net: DeepLinearNetwork,
    problem: Problem,
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
    """`gradient_descent`, where the minimum is known already."""
    num_steps = check_integer(num_steps, "num_steps", 1)
    if num_steps >= 2**31:
        raise ValueError(f"num_steps must be below 2³¹, but {num_steps} was given.")
    num_records = check_integer(num_records, "num_records", 1)
    if steps is None:
        marks = record_steps(num_steps, num_records)
    else:
        marks = np.unique(np.concatenate([[0], np.asarray(steps).ravel(), [num_steps]]))
        if marks.dtype.kind not in "iu" and not np.all(marks == np.floor(marks)):
            raise ValueError("steps must be whole numbers.")
        marks = marks.astype(np.int64)
        if marks[0] < 0 or marks[-1] > num_steps:
            raise ValueError(f"steps must lie in 0..num_steps = {num_steps}, but reach from {marks[0]} to {marks[-1]}.")
    check_number(tolerance, "tolerance")

    def run(net: DeepLinearNetwork, problem: Problem, tolerance: float, callback: Callback | None) -> Trajectory:
        return _descend(net, problem, step_size, marks, tolerance, record, callback, resume)

    return train_enclosed(run, net, problem, record, tolerance, callback)


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
    rule = _rule(step_size, net, problem)
    outcome, network, method = train(
        lambda goal: Iteration(rule(goal)), net, problem, marks, tolerance, record, callback, resume
    )
    eta = method.rule.step_size if isinstance(method.rule, _Plain) else None
    times = (
        None
        if eta is None
        else (outcome.positions * jnp.asarray(eta)[..., None] if jnp.ndim(eta) else outcome.positions * eta)
    )
    return Trajectory(
        times,
        outcome.positions,
        outcome.records,
        network,
        problem.minimal_value,
        eta,
        outcome.state.result,
        outcome.snapshot,
    )
