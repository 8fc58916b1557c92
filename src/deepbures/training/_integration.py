"""Gradient flow as a method: adaptive steps of one integrator, or of two in turn."""

from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from deepbures._types import Array
from deepbures.landscape import Problem
from deepbures.model import DeepLinearNetwork
from deepbures.training._chebyshev import RungeKuttaChebyshev
from deepbures.training._dynamics import Weights
from deepbures.training._fields import AbstractField
from deepbures.training._method import AbstractMethod, Goal, State
from deepbures.training._observables import Observables
from deepbures.training._result import Result, choose


class _IntegrationState(eqx.Module):
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
    field: AbstractField
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

    def look(self, weights: Weights, problem: Problem, observables: Observables) -> tuple[dict[str, Array], Any]:
        """What the field tells of the weights."""
        return self.field.look(weights, problem, observables)

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
        inner = _IntegrationState(first, solver, controller, jnp.zeros((), jnp.int32))
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
            following = _IntegrationState(proposed, accepted(solver, inner.solver), controller, inner.attempts + 1)
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

    def look(self, weights: Weights, problem: Problem, observables: Observables) -> tuple[dict[str, Array], Any]:
        """The same for both methods."""
        return self.first.look(weights, problem, observables)

    def start(self, weights: Weights, goal: Goal) -> State:
        """Time 0; the second method has not begun."""
        state = self.first.start(weights, goal)
        # What the second method needs is found when it begins: until then its shapes are enough.
        shapes = jax.eval_shape(lambda: self.second.start(weights, goal).inner)
        later = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return eqx.tree_at(lambda s: s.inner, state, (state.inner, later, jnp.zeros((), bool)))

    def advance(self, state: State, begin: Array, mark: Array, budget: Array | None, goal: Goal) -> State:
        """Advance by the method whose turn it is at the mark (marks are common to a batch, so one branch is run)."""

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


INTEGRATORS = {"tsit5": diffrax.Tsit5, "dopri8": diffrax.Dopri8, "chebyshev": RungeKuttaChebyshev}

STIFF = 2000.0
"""Number of the fastest time scales after which "auto" changes to the Chebyshev method, if the horizon is longer."""


def integrator_named(solver: Any) -> diffrax.AbstractSolver[Any] | None:
    """The integrator of a `solver` argument; None for "auto"."""
    if isinstance(solver, str) and solver == "auto":
        return None
    if isinstance(solver, str):
        if solver not in INTEGRATORS:
            names = ", ".join(map(repr, INTEGRATORS))
            raise ValueError(f'solver must be "auto", {names} or an adaptive diffrax solver, but {solver!r} was given.')
        chosen: diffrax.AbstractSolver[Any] = INTEGRATORS[solver]()
        return chosen
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        names = ", ".join(map(repr, INTEGRATORS))
        raise TypeError(
            f'solver must be "auto", {names} or an adaptive diffrax solver, but a {type(solver).__name__} was given.'
        )
    return solver


class Accuracy(NamedTuple):
    """How accurately to integrate, and how long at most."""

    rtol: float
    atol: float | None
    max_steps: int


def integration(
    field: AbstractField,
    num_parts: int,
    goal: Goal,
    speed: Array,
    integrator: diffrax.AbstractSolver[Any] | None,
    accuracy: Accuracy,
    *,
    is_long: bool,
) -> Integration | Relay:
    """The flow by one integrator, or for None by those that suit the horizon.

    `num_parts` is the number of factors that the state has of W, `speed` the inverse of the fastest time scale; a
    horizon `is_long` if it may be `STIFF` time scales away.
    """
    rtol, atol, max_steps = accuracy
    scale = jnp.asarray(goal.problem.largest_deviation) ** (1 / num_parts)
    level = rtol * jnp.where(scale > 0, scale, 1) if atol is None else jnp.asarray(atol, scale.dtype)
    by = lambda chosen, rtol, atol: Integration(field, chosen, rtol, atol, 0.01 / speed, max_steps)  # noqa: E731
    if integrator is not None:
        return by(integrator, rtol, level)
    ordinary = by(diffrax.Dopri8(), rtol, level)
    if not is_long:
        return ordinary
    looser = max(1e-7 / rtol, 1.0)
    return Relay(ordinary, by(RungeKuttaChebyshev(), rtol * looser, level * looser), STIFF / speed)
