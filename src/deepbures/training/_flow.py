"""Gradient flow: descent in the limit of small steps, integrated adaptively."""

from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_integer, check_number
from deepbures._precision import any_traced, is_tracer, numpy_in_numpy_out
from deepbures.landscape import Problem
from deepbures.model import (
    AbstractLoss,
    DeepLinearNetwork,
    Target,
    balancedness_tolerance,
    relative_balancedness_gap,
)
from deepbures.training._chebyshev import RungeKuttaChebyshev
from deepbures.training._dynamics import (
    Weights,
    curvatures,
    rate_at_the_start,
)
from deepbures.training._enclosure import train_enclosed
from deepbures.training._fields import EndToEndField, Field, LayerField
from deepbures.training._host import Callback
from deepbures.training._method import AbstractMethod, Goal, State
from deepbures.training._observables import Record
from deepbures.training._result import Result, choose
from deepbures.training._run import pose, train
from deepbures.training._snapshot import Snapshot
from deepbures.training._trajectory import Trajectory

Array = Any


class _FlowState(eqx.Module):
    """What the integrator needs next: the step it would take, and the states of solver and step size controller."""

    step: Array
    solver: Any
    controller: Any
    attempts: Array


class Integration(AbstractMethod):
    """Gradient flow by a diffrax solver, stepped one at a time so that a run can stop and go on anywhere.

    It has converged at the first step after which the excess is within the tolerance.
    """

    unit: ClassVar[str] = "time"
    field: Field
    solver: diffrax.AbstractSolver[Any]
    rtol: float
    atol: Array
    first_step: Array
    max_steps: int = eqx.field(static=True)

    @property
    def _terms(self) -> diffrax.ODETerm[Any]:
        return diffrax.ODETerm(self.field)

    @property
    def _controller(self) -> diffrax.PIDController:
        # Proportional-integral control (diffrax's advice for mildly stiff problems).
        return diffrax.PIDController(rtol=self.rtol, atol=self.atol, pcoeff=0.3, icoeff=0.4)

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The network that the state of the integration stands for."""
        return self.field.network(weights)

    def start(self, weights: Weights, goal: Goal) -> State:
        """Time 0."""
        return self.begin(self.field.pack(weights), goal)

    def begin(self, weights: Weights, goal: Goal) -> State:
        """Time 0, from a state of the field."""
        args = (goal.loss, goal.target)
        zero = jnp.zeros((), weights[0].dtype)
        first = self.first_step.astype(zero.dtype)
        _, controller = self._controller.init(
            self._terms, zero, first, weights, first, args, self.solver.func, self.solver.error_order(self._terms)
        )
        solver = self.solver.init(self._terms, zero, first, weights, args)
        inner = _FlowState(first, solver, controller, jnp.zeros((), jnp.int32))
        return State.at_start(weights, inner, zero.dtype)

    def advance(self, state: State, begin: Array, mark: Array, budget: Array | None, goal: Goal) -> State:
        """Adaptive steps, the last of which ends exactly at the mark."""
        args = (goal.loss, goal.target)
        mark = mark.astype(state.position.dtype)
        until = jnp.iinfo(jnp.int32).max if budget is None else state.inner.attempts + budget.astype(jnp.int32)
        order: Any = self.solver.error_order(self._terms)

        def go_on(s: State) -> Array:
            return (s.position < mark) & s.is_running & (s.inner.attempts < until)

        def step(s: State) -> State:
            inner = s.inner
            clipped = s.position + inner.step >= mark
            end = jnp.where(clipped, mark, s.position + inner.step)
            moved, error, _, solver, _ = self.solver.step(
                self._terms, s.position, end, s.weights, args, inner.solver, False
            )
            controlled: Any = self._controller.adapt_step_size(
                s.position, end, s.weights, moved, args, error, order, inner.controller
            )
            keep, next_start, next_end, _, controller, _ = controlled
            proposed = next_end - next_start
            # A step cut short by the mark says little about the next one: it must not shrink it.
            proposed = jnp.where(keep & clipped, jnp.maximum(proposed, inner.step), proposed)
            accepted = lambda new, old: jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, old)  # noqa: E731
            position = jnp.where(keep, end, s.position)
            steps = s.steps + keep.astype(s.steps.dtype)
            result = choose(steps >= self.max_steps, Result.max_steps, s.result)
            smallest = 4 * jnp.finfo(position.dtype).eps * jnp.maximum(position, self.first_step)
            result = choose((proposed < smallest) | ~jnp.isfinite(proposed), Result.stalled, result)
            following = _FlowState(proposed, accepted(solver, inner.solver), controller, inner.attempts + 1)
            weights = accepted(moved, s.weights)
            excess = goal.problem.excess(self.field.end_to_end(weights))
            result = choose(excess <= goal.tolerance, Result.converged, result)
            return State(position, steps, weights, following, result)

        moved: State = jax.lax.while_loop(go_on, step, state)
        return moved


class Relay(AbstractMethod):
    """An accurate method for the fast first phase, a stabilized one from `switch` on, when the slow modes are left.

    The conserved quantities drift where the gradient is large, which is before the switch; the cost lies after it.
    """

    unit: ClassVar[str] = "time"
    first: Integration
    second: Integration
    switch: Array

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The network that the state of the integration stands for, the same for both methods."""
        return self.first.network(weights)

    def start(self, weights: Weights, goal: Goal) -> State:
        """Time 0; the second method has not begun."""
        state = self.first.start(weights, goal)
        later = self.second.start(weights, goal).inner
        return eqx.tree_at(lambda s: s.inner, state, (state.inner, later, jnp.zeros((), bool)))

    def advance(self, state: State, begin: Array, mark: Array, budget: Array | None, goal: Goal) -> State:
        """By the method whose turn it is at the mark (marks are common to a batch, so one branch is run)."""

        def by_first(state: State) -> State:
            inner, later, begun = state.inner
            moved = self.first.advance(eqx.tree_at(lambda s: s.inner, state, inner), begin, mark, budget, goal)
            return eqx.tree_at(lambda s: s.inner, moved, (moved.inner, later, begun))

        def by_second(state: State) -> State:
            inner, later, begun = state.inner
            fresh = lambda: self.second.begin(state.weights, goal).inner  # noqa: E731
            later = jax.lax.cond(begun, lambda: later, fresh)
            moved = self.second.advance(eqx.tree_at(lambda s: s.inner, state, later), begin, mark, budget, goal)
            return eqx.tree_at(lambda s: s.inner, moved, (inner, moved.inner, jnp.ones((), bool)))

        result: State = jax.lax.cond(mark <= self.switch, by_first, by_second, state)
        return result


def record_times(horizon: float, first: float, num_records: int) -> np.ndarray:
    """Times to record at: 0, then evenly spaced in log(time) from the fastest time scale to the horizon."""
    if num_records == 1 or horizon <= first:
        return np.linspace(0.0, horizon, num_records + 1)
    return np.concatenate([[0.0], np.geomspace(first, horizon, num_records)])


_SOLVERS = {"tsit5": diffrax.Tsit5, "dopri8": diffrax.Dopri8, "chebyshev": RungeKuttaChebyshev}

STIFF = 2000.0
"""Number of the fastest time scales after which "auto" changes to the Chebyshev method, if the horizon is longer."""


def _solver(solver: Any) -> diffrax.AbstractSolver[Any]:
    if isinstance(solver, str):
        if solver not in _SOLVERS:
            names = ", ".join(map(repr, _SOLVERS))
            raise ValueError(f'solver must be "auto", {names} or an adaptive diffrax solver, but {solver!r} was given.')
        chosen: diffrax.AbstractSolver[Any] = _SOLVERS[solver]()
        return chosen
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        names = ", ".join(map(repr, _SOLVERS))
        raise TypeError(
            f'solver must be "auto", {names} or an adaptive diffrax solver, but a {type(solver).__name__} was given.'
        )
    return solver


@numpy_in_numpy_out
def gradient_flow(
    net: DeepLinearNetwork,
    target: Target,
    loss: AbstractLoss,
    horizon: float,
    *,
    space: str = "layers",
    times: Any = None,
    num_records: int = 200,
    tolerance: float = 1e-10,
    solver: Any = "auto",
    rtol: float = 1e-8,
    atol: float | None = None,
    max_steps: int = 1_000_000,
    record: Record | None = None,
    callback: Callback | None = None,
    resume: Snapshot | None = None,
) -> Trajectory:
    """Gradient flow on the layers, dW_l/dt = −∂L^N/∂W_l, integrated adaptively until convergence or the horizon.

    The flow conserves W_{l+1}ᵀW_{l+1} − W_lW_lᵀ; how well the integration keeps them is its accuracy, and is recorded.

    Parameters
    ----------
    net : DeepLinearNetwork
        Start. With a leading batch dimension (on the network, the target or both) all runs of the batch go together;
        inside `jax.vmap` or `jax.jit` the whole run is traced.
    target : Target
        What is fitted.
    loss : BuresWasserstein or Frobenius
        The loss.
    horizon : float
        Largest time T > 0. One unit of time is 1/η steps of gradient descent with step size η.
    space : "layers" or "end-to-end"
        What is integrated. "end-to-end": the n×m matrix W, by dW/dt = −Σ_l (W Wᵀ)^{(N−l)/N} ∇L(W) (WᵀW)^{(l−1)/N},
        at a cost that does not depend on the depth N. For balanced starts only, which stay balanced: the result is the
        balanced lift of W.
    times : array, optional
        Times to record at, within [0, horizon]. Default: 0 and `num_records` times evenly spaced in log(time) up to the
        horizon. The solver steps exactly onto every record: records are not interpolated.
    num_records : int
        How many times to record, if `times` is not given.
    tolerance : float
        Stop once L − L* ≤ tolerance · L* (· the loss of the zero network, where L* vanishes). Judged after every step:
        the last record is there.
    solver : "auto", "dopri8", "tsit5", "chebyshev" or an adaptive diffrax solver
        "auto": Dormand-Prince of order 8; from 2000 of the fastest time scales 1/λ_max (`sharpness`) on, if the horizon
        is longer, a stabilized Runge-Kutta-Chebyshev method, at a tolerance of at least 1e-7.
    rtol, atol : float
        Local error tolerances, relative and absolute (default: rtol times the largest singular value of a layer of the
        balanced minimizer).
    max_steps : int
        Limit on the steps of the solver.
    record : names or mapping, optional
        What to record, as for `gradient_descent`.
    callback : function, optional
        Called a few times a second with a `Progress`.
    resume : Snapshot, optional
        Continue an interrupted run, `trajectory.snapshot`, with otherwise the same arguments: same bits.

    Returns
    -------
    Trajectory
        A collapse of the step size (at a kink of the loss), and Ctrl-C, are results, not exceptions.

    Raises
    ------
    ValueError
        For a horizon that is not positive and finite, times outside it, an unknown solver or space, shapes that do not
        fit; for space = "end-to-end", if the start is not balanced (saying by how much).

    Examples
    --------
    One mode, depth 2, aligned start: s(t) = √λ / (1 + (√λ/s(0) − 1) exp(−4√λ t)).

    >>> import numpy as np
    >>> import deepbures as db
    >>> start = db.balanced_network(np.array([[0.1]]), (1, 1, 1))
    >>> run = db.gradient_flow(start, db.Target.from_spectrum([4.0]), db.BuresWasserstein(), 1.0, times=[0.5])
    >>> s = 2 / (1 + (2 / 0.1 - 1) * np.exp(-4 * 2 * 0.5))
    >>> bool(abs(run.losses[1] - (2 - s) ** 2) < 1e-7)
    True
    """
    return flow(
        net,
        pose(net, target, loss),
        horizon,
        space=space,
        times=times,
        num_records=num_records,
        tolerance=tolerance,
        solver=solver,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        record=record,
        callback=callback,
        resume=resume,
    )


def flow(
    net: DeepLinearNetwork,
    problem: Problem,
    horizon: float,
    *,
    space: str = "layers",
    times: Any = None,
    num_records: int = 200,
    tolerance: float = 1e-10,
    solver: Any = "auto",
    rtol: float = 1e-8,
    atol: float | None = None,
    max_steps: int = 1_000_000,
    record: Record | None = None,
    callback: Callback | None = None,
    resume: Snapshot | None = None,
) -> Trajectory:
    """`gradient_flow`, where the minimum is known already."""
    check_number(horizon, "horizon", positive=True)
    check_number(rtol, "rtol", positive=True)
    if atol is not None:
        check_number(atol, "atol", positive=True)
    num_records = check_integer(num_records, "num_records", 1)
    max_steps = check_integer(max_steps, "max_steps", 1)
    check_number(tolerance, "tolerance")
    only = None if isinstance(solver, str) and solver == "auto" else _solver(solver)
    moments = None if times is None else _moments(times, float(horizon))

    def run(net: DeepLinearNetwork, problem: Problem, tolerance: float, callback: Callback | None) -> Trajectory:
        marks = num_records if moments is None else moments
        limits = _Limits(float(horizon), rtol, atol, max_steps)
        return _integrate(net, problem, space, only, limits, marks, tolerance, record, callback, resume)

    return train_enclosed(run, net, problem, record, tolerance, callback)


def _moments(times: Any, horizon: float) -> np.ndarray:
    """The times to record at, checked, with 0 and the horizon."""
    marks = np.unique(np.concatenate([[0.0], np.asarray(times, float).ravel(), [horizon]]))
    if not np.isfinite(marks).all() or marks[0] < 0 or marks[-1] > horizon:
        raise ValueError(f"times must be finite and lie in [0, horizon] = [0, {horizon}].")
    return marks


class _Limits(NamedTuple):
    """How far to integrate, and how accurately."""

    horizon: float
    rtol: float
    atol: float | None
    max_steps: int


def _integrate(
    net: DeepLinearNetwork,
    problem: Problem,
    space: str,
    only: diffrax.AbstractSolver[Any] | None,
    limits: _Limits,
    marks: np.ndarray | int,
    tolerance: float,
    record: Record | None,
    callback: Callback | None,
    resume: Snapshot | None,
) -> Trajectory:
    """The flow by one solver, or by "auto"; `marks` may be the number of records."""
    horizon, rtol, atol, max_steps = limits
    speed = _speed(net, problem)
    if isinstance(marks, int):
        first = 1e-6 * horizon if is_tracer(speed) else 0.1 / float(np.max(np.asarray(speed)))
        marks = record_times(horizon, first, marks)

    field, state = _state(net, space)

    def make(goal: Goal) -> Integration | Relay:
        scale = jnp.asarray(goal.problem.largest_deviation) ** (1 / len(state.weights))
        level = rtol * jnp.where(scale > 0, scale, 1) if atol is None else jnp.asarray(atol, scale.dtype)
        fastest = jnp.max(jnp.asarray(speed))
        by = lambda chosen, rtol, atol: Integration(field, chosen, rtol, atol, 0.01 / fastest, max_steps)  # noqa: E731
        if only is not None:
            return by(only, rtol, level)
        ordinary = by(diffrax.Dopri8(), rtol, level)
        if not is_tracer(fastest) and float(horizon * fastest) <= STIFF:
            return ordinary
        looser = max(1e-7 / rtol, 1.0)
        return Relay(ordinary, by(RungeKuttaChebyshev(), rtol * looser, level * looser), STIFF / fastest)

    outcome, network, _ = train(make, state, problem, marks, tolerance, record, callback, resume)
    return Trajectory(
        outcome.positions,
        outcome.steps,
        outcome.records,
        network,
        problem.minimal_value,
        None,
        outcome.state.result,
        outcome.snapshot,
    )


def _speed(net: DeepLinearNetwork, problem: Problem) -> Array:
    """The inverse of the fastest time scale: at the minimizer, or if that is flat at the start, or else 1."""
    rate = curvatures(problem, net)[0]
    if not is_tracer(rate) and bool(np.all(np.asarray(rate) > 0)):
        return rate
    start = rate_at_the_start(net, problem).max()
    return jnp.where(jnp.asarray(rate) > 0, rate, jnp.where(start > 0, start, 1.0))


def _state(net: DeepLinearNetwork, space: str) -> tuple[Field, DeepLinearNetwork]:
    """The vector field of a space, and the start as its state."""
    if space == "layers":
        return LayerField.of(net), net
    if space != "end-to-end":
        raise ValueError(f'space must be "layers" or "end-to-end", but {space!r} was given.')
    if not any_traced(net):
        gap, limit = relative_balancedness_gap(net), balancedness_tolerance(net)
        if gap > limit:
            raise ValueError(
                f"The end-to-end flow is that of balanced networks, but the balancedness gap of this one is {gap:.3g} "
                f'of the largest squared layer (at most {limit:.2g}): take space="layers", or start from '
                "balanced_network(net.end_to_end, net.widths)."
            )
    field = EndToEndField(jnp.asarray(net.depth), net.bottleneck, net.widths)
    return field, DeepLinearNetwork([net.end_to_end], net.mean)
