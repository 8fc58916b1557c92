"""Runs a method from record to record inside JAX transformations, and what every loop looks at in a record.

A run is a state, an `advance` from one mark (a time or a step number) to the next, and an `observe` that looks at the
weights there. Between marks everything is compiled; at marks it is decided whether the run goes on.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from deepbures._types import Array
from deepbures.training._dynamics import Weights
from deepbures.training._method import AbstractMethod, Goal, State
from deepbures.training._observables import Observables
from deepbures.training._result import Result, choose
from deepbures.training._snapshot import Snapshot


class Outcome(NamedTuple):
    """What a loop hands to the public functions."""

    state: State
    records: dict[str, Array]
    positions: Array
    steps: Array
    snapshot: Snapshot | None


def with_result(state: State, result: Result) -> State:
    """A state that has ended so."""
    return eqx.tree_at(lambda s: s.result, state, result)


def observe(
    method: AbstractMethod, state: State, goal: Goal, observables: Observables
) -> tuple[State, dict[str, Array]]:
    """Records at the current weights, and whether the run has converged or come to a halt."""
    records, depth = method.look(state.weights, goal.problem, observables)
    excess, norm = records["excess"], records["gradient_norm"]
    # The rounding error of a layer's gradient at a critical point: eps times the product of all factors' sizes.
    power = (goal.loss.degree or 1) - 1 / (2 * depth)
    scale = 8 * jnp.finfo(excess.dtype).eps * jnp.asarray(goal.target.trace) ** power
    result = choose(norm <= scale, Result.stationary, state.result)
    result = choose(excess <= goal.tolerance, Result.converged, result)
    return with_result(state, choose(state.is_running, result, state.result)), records


def run_traced(method: AbstractMethod, weights: Weights, goal: Goal, marks: Array, observables: Any) -> Outcome:
    """The whole run as one scan over the marks, for use inside `jax.vmap`, `jax.jit` and the like."""
    state, first = observe(method, method.start(weights, goal), goal, observables)

    def to_mark(state: State, interval: tuple[Array, Array]) -> Any:
        state = method.advance(state, *interval, None, goal)
        state, records = observe(method, state, goal, observables)
        return state, (records, state.position, state.steps)

    state, (rest, positions, steps) = jax.lax.scan(to_mark, state, (marks[:-1], marks[1:]))
    together = lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b])  # noqa: E731
    records = jax.tree.map(together, first, rest)
    zero = jnp.zeros((), steps.dtype)
    state = with_result(state, choose(state.is_running, Result.finished, state.result))
    return Outcome(state, records, together(marks[0].astype(positions.dtype), positions), together(zero, steps), None)
