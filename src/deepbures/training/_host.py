"""Runs a method from record to record on the host, with progress, interruption and early stop."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from deepbures._types import Array
from deepbures.training._batches import MAPPED
from deepbures.training._dynamics import Weights
from deepbures.training._loop import Outcome, observe, with_result
from deepbures.training._method import AbstractMethod, Goal, State
from deepbures.training._result import Result, choose, code_of
from deepbures.training._snapshot import Snapshot, check_records


class Progress(NamedTuple):
    """What a `callback` is told, at most a few times a second; of a batch the run that is furthest behind.

    `position` of `end`, counted in `unit` ("time" or "step"); `loss`, `excess` and `relative_excess` (as
    `Fit.relative_excess`) of the newest record, with the `minimal_loss` and the `tolerance` that the relative excess is
    to fall below; and `snapshot()`, with which the run can be continued from here.
    """

    position: float
    end: float
    unit: str
    loss: float
    excess: float
    relative_excess: float
    minimal_loss: float
    tolerance: float
    snapshot: Callable[[], Snapshot]

    @property
    def share(self) -> float:
        """How much is done, in [0, 1]: of the decades from 1 to the tolerance, or of the horizon, whichever is more."""
        decades = 0.0
        if 0 < self.tolerance < 1 and self.relative_excess > 0:
            decades = math.log10(self.relative_excess) / math.log10(self.tolerance)
        return min(max(decades, self.position / self.end, 0.0), 1.0)


Callback = Callable[[Progress], None]

LARGEST_ON_ONE_THREAD = 512
"""Size of decompositions up to which a run on the host keeps LAPACK to one thread. They gain little from several, and
where another process wants the cores the threads wait for each other in a spin: measured on two cores with one other
busy process, an SVD of 200×200 in 619 ms instead of 5 ms."""

_SECONDS_PER_CALL = 0.3
_SECONDS_PER_CALLBACK = 0.1


def _start(method: AbstractMethod, weights: Weights, goal: Goal, observables: Any) -> Any:
    return observe(method, method.start(weights, goal), goal, observables)


def _advance(method: AbstractMethod, state: State, begin: Array, mark: Array, budget: Array, goal: Goal) -> State:
    return method.advance(state, begin, mark, budget, goal)


# Compiled once per shape, whatever the run: axes and observables are static, hence compared by identity.
@eqx.filter_jit
def _compiled(function: Any, axes: Any, *arguments: Any) -> Any:
    return function(*arguments) if axes is None else eqx.filter_vmap(function, in_axes=axes)(*arguments)


class _HostRun:
    """One run (or one batch of runs) on the host."""

    def __init__(self, calls: "_Calls", marks: np.ndarray, unit: str, goal: Goal, callback: Callback | None) -> None:
        self.calls, self.marks, self.unit, self.goal, self.callback = calls, marks, unit, goal, callback
        # One append a record: an interruption leaves whole rows.
        self.rows: list[dict[str, Any]] = []
        self.last_callback = time.monotonic()

    def note(self, state: State, records: dict[str, Any]) -> None:
        self.rows.append({**records, "_position": state.position, "_steps": state.steps})

    def stacked(self, count: int | None = None) -> dict[str, Any]:
        axis = self.calls.batch_axes
        stack = lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves], axis=axis)  # noqa: E731
        return jax.tree.map(stack, *self.rows[:count])

    def snapshot(self, state: State, count: int | None = None) -> Snapshot:
        return Snapshot.of(state, self.stacked(count))

    def restore(self, snapshot: Snapshot, fresh: State, names: set[str]) -> State:
        """The state of a snapshot, whose records become those of this run."""
        state, axis = snapshot.state_like(fresh), self.calls.batch_axes
        for i in range(check_records(snapshot, state, names, self.marks, axis=axis)):
            self.rows.append(jax.tree.map(lambda leaf, i=i: np.take(leaf, i, axis=axis), dict(snapshot.records)))
        return state

    def tell(self, state: State) -> None:
        now = time.monotonic()
        if self.callback is None or now - self.last_callback < _SECONDS_PER_CALLBACK:
            return
        self.last_callback = now
        last, count = self.rows[-1], len(self.rows)
        largest = lambda array: float(np.max(np.asarray(array)))  # noqa: E731
        reference = np.asarray(self.goal.problem.reference)
        reference = np.where(reference > 0, reference, 1)
        self.callback(
            Progress(
                position=float(np.min(np.asarray(state.position))),
                end=float(self.marks[-1]),
                unit=self.unit,
                loss=largest(last["loss"]),
                excess=largest(last["excess"]),
                relative_excess=largest(np.asarray(last["excess"]) / reference),
                minimal_loss=largest(self.goal.problem.minimal_value),
                tolerance=largest(np.asarray(self.goal.tolerance) / reference),
                snapshot=lambda: self.snapshot(state, count),
            )
        )

    def go(self, state: State) -> tuple[State, bool]:
        """From the last record to the end; whether it was not interrupted."""
        budget = 1
        try:
            for mark in self.marks[len(self.rows) :]:
                while True:
                    begun = time.monotonic()
                    begin = np.asarray(state.position)[_running(state)].min()
                    state = jax.block_until_ready(self.calls.advance(state, begin, mark, budget))
                    budget = _next_budget(budget, time.monotonic() - begun)
                    if not (_running(state) & (np.asarray(state.position) < mark)).any():
                        break
                    self.tell(state)
                state, records = self.calls.observe(state)
                self.note(state, records)
                self.tell(state)
                if not _running(state).any():
                    break
        except KeyboardInterrupt:
            return state, False
        return state, True


def _running(state: State) -> np.ndarray:
    """`state.is_running`, by NumPy: an operation of JAX between records takes as long as many steps."""
    return np.asarray(code_of(state.result)) == _RUNNING


_RUNNING = int(jax.tree.leaves(Result.running)[0])


def _next_budget(budget: int, seconds: float) -> int:
    """Steps for the next call of the compiled loop, which is to come back before anybody waits for an answer."""
    if seconds < _SECONDS_PER_CALL / 2:
        return min(budget * 2, 2**30)
    return max(budget // 2, 1) if seconds > _SECONDS_PER_CALL else budget


class _Calls(NamedTuple):
    """The compiled functions of a host run, over a batch or not."""

    start: Callable[[], Any]
    advance: Callable[[State, Any, Any, int], State]
    observe: Callable[[State], Any]
    batch_axes: int


def _calls(method: AbstractMethod, weights: Weights, goal: Goal, observables: Any, axes: Any) -> _Calls:
    start_axes = advance_axes = observe_axes = None
    if axes is not None:
        method_axes, weight_axes, goal_axes = axes
        start_axes = (method_axes, weight_axes, goal_axes, None)
        advance_axes = (method_axes, MAPPED, None, None, None, goal_axes)
        observe_axes = (method_axes, MAPPED, goal_axes, None)
    return _Calls(
        lambda: _compiled(_start, start_axes, method, weights, goal, observables),
        lambda state, begin, mark, budget: _compiled(
            _advance, advance_axes, method, state, jnp.asarray(begin), jnp.asarray(mark), jnp.asarray(budget), goal
        ),
        lambda state: _compiled(observe, observe_axes, method, state, goal, observables),
        0 if axes is None else 1,
    )


def run_on_host(
    method: AbstractMethod,
    weights: Weights,
    goal: Goal,
    marks: np.ndarray,
    observables: Any,
    axes: Any,
    callback: Callback | None,
    resume: Snapshot | None,
) -> Outcome:
    """The run with progress, interruption and early stop; the batch is vmapped if `axes` say so."""
    calls = _calls(method, weights, goal, observables, axes)
    state, records = calls.start()
    # In the precision of the run: a time rounded down to float32 would never reach the mark in float64.
    marks = marks.astype(state.position.dtype)
    run = _HostRun(calls, marks, method.unit, goal, callback)
    if resume is None:
        run.note(state, records)
    else:
        state = run.restore(resume, state, set(records))
    is_whole = True
    if _running(state).any():
        largest = goal.loss._largest_decomposition(goal.target, int(weights[0].shape[-1]))
        small = largest <= LARGEST_ON_ONE_THREAD
        with threadpool_limits(1 if small else None, user_api="blas"):
            state, is_whole = run.go(state)
    snapshot = run.snapshot(state)
    ended = choose(state.is_running, Result.finished if is_whole else Result.interrupted, state.result)
    stacked = run.stacked()
    positions, steps = stacked.pop("_position"), stacked.pop("_steps")
    return Outcome(with_result(state, ended), stacked, positions, steps, snapshot)
