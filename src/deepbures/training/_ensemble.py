"""Many balanced flows, each of its own depth: one compiled integration of end-to-end matrices for a whole study.

The runs go one after the other. On a CPU a batch would gain nothing (its decompositions are done one by one anyway) and
would lose the time that its quickest runs wait for its slowest.
"""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from deepbures.landscape import Problem
from deepbures.model import AbstractLoss, Target
from deepbures.training._chebyshev import RungeKuttaChebyshev
from deepbures.training._fields import EndToEndField
from deepbures.training._flow import STIFF, Integration
from deepbures.training._method import Goal, State
from deepbures.training._result import Result, choose, code_of

Array = Any


class Ensemble(NamedTuple):
    """Records of many flows, the runs first: (B, R), and (B,) for what is one number a run.

    `rate` is −d ln(L − L*)/dt, from the vector field, not from differences; `codes` are those of `Result`.
    """

    times: np.ndarray
    excess: np.ndarray
    rate: np.ndarray
    smallest_singular_value: np.ndarray
    steps: np.ndarray
    codes: np.ndarray
    end_to_end: np.ndarray

    @property
    def results(self) -> list[Result]:
        """How each run ended."""
        return [jax.tree.map(lambda _, c=code: np.int32(c), Result.running) for code in self.codes]


class _Settings(eqx.Module):
    """Of the integration: two methods, as in `Relay`."""

    field: EndToEndField
    rtol: float
    atol: Array
    first_step: Array

    def flow(self, solver: Any, least: float) -> Integration:
        looser = max(least / self.rtol, 1.0)
        return Integration(self.field, solver, self.rtol * looser, self.atol * looser, self.first_step, 1_000_000)


def _observe(settings: _Settings, state: State, goal: Goal) -> tuple[Array, ...]:
    (w,) = state.weights
    excess = goal.problem.excess(w)
    (velocity,) = settings.field(state.position, state.weights, (goal.loss, goal.target))
    fall = -(goal.loss.grad(w, goal.target) * velocity).sum()
    smallest = jnp.linalg.svd(w, full_matrices=False, compute_uv=False)[settings.field.rank - 1]
    return state.position, excess, fall / jnp.where(excess > 0, excess, 1), smallest


def _run(w: Array, settings: _Settings, marks: tuple[Array, Array | None], goal: Goal) -> Any:
    def scan(flow: Integration, state: State, marks: Array) -> Any:
        def to_mark(state: State, mark: Array) -> Any:
            state = flow.advance(state, state.position, mark, None, goal)
            return state, _observe(settings, state, goal)

        return jax.lax.scan(to_mark, state, marks)

    accurate = settings.flow(diffrax.Dopri8(), settings.rtol)
    stabilized = settings.flow(RungeKuttaChebyshev(), 1e-7)
    state = accurate.start((w,), goal)
    # A start may be within the tolerance already.
    first = _observe(settings, state, goal)
    state, rows = scan(accurate, state, marks[0])
    parts = [tuple(x[None] for x in first), rows]
    if marks[1] is not None:
        fresh = stabilized.start(state.weights, goal).inner
        state, rows = scan(stabilized, eqx.tree_at(lambda s: s.inner, state, fresh), marks[1])
        parts.append(rows)
    return tuple(jnp.concatenate(column) for column in zip(*parts, strict=True)), state


_compiled = eqx.filter_jit(_run)


def end_to_end_flows(
    starts: Array,
    depths: Array,
    rank: int,
    target: Target,
    loss: AbstractLoss,
    horizon: float,
    *,
    fastest: Array,
    tolerance: float,
    num_records: int = 100,
    rtol: float = 1e-8,
) -> Ensemble:
    """Gradient flow of balanced networks, by their end-to-end matrices.

    Parameters
    ----------
    starts : array (B, n, m)
        End-to-end matrices.
    depths : array of int (B,)
        N of each.
    rank : int
        Bottleneck of all.
    target, loss
        Of all.
    horizon : float
        Largest time.
    fastest : array (B,)
        λ_max at the balanced minimizer of each depth: sets the times of the records, evenly spaced in log(time) up to
        the horizon, and where the stabilized method takes over.
    tolerance : float
        Runs stop at L − L* ≤ tolerance (not relative).
    num_records, rtol
        As for `gradient_flow`.
    """
    with jax.enable_x64(True), threadpool_limits(1, user_api="blas"):
        speed = np.asarray(fastest, np.float64)
        switch = np.minimum(STIFF / speed, horizon)
        late = num_records // 4 if bool((switch < horizon).any()) else 0
        early_marks = np.geomspace(np.minimum(0.05 / speed, switch / 2), switch, num_records - late, axis=-1)
        late_marks = np.geomspace(switch, horizon, late + 1, axis=-1)[:, 1:]
        if loss.modes is None or loss.modes.is_smooth:  # parameters as arrays: one compilation for all
            loss = jax.tree.map(jnp.asarray, loss)
        problem = Problem(target, loss, rank)
        scale = float(np.asarray(problem.largest_deviation))
        goal = Goal(problem.astype(jnp.float64), jnp.asarray(tolerance, jnp.float64))
        runs = []
        for i, depth in enumerate(np.asarray(depths)):
            field = EndToEndField(jnp.asarray(float(depth)), rank, None)
            settings = _Settings(field, rtol, jnp.asarray(rtol * scale), jnp.asarray(0.01 / speed[i]))
            marks = (jnp.asarray(early_marks[i]), jnp.asarray(late_marks[i]) if late else None)
            records, state = _compiled(jnp.asarray(starts[i]), settings, marks, goal)
            status = code_of(choose(state.is_running, Result.finished, state.result))
            runs.append(tuple(np.asarray(x) for x in (*records, state.steps, status, state.weights[0])))
        return Ensemble(*(np.stack(column) for column in zip(*runs, strict=True)))
