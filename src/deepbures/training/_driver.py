"""Runs any kind of training from record to record: on the host with progress and interruption, or traced.

A run is a state, an `advance` from one mark (a time or a step number) to the next, and an `observe` that looks at the
weights there. Between marks everything is compiled; at marks the run decides whether to go on. The traced form of the
same loop (`jax.lax.scan` over the marks) serves inside `jax.vmap`, `jax.jit` and the like.
"""

import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from deepbures._precision import any_traced
from deepbures.landscape import Problem
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target
from deepbures.training._dynamics import Weights
from deepbures.training._observables import Observable
from deepbures.training._trajectory import Result, Snapshot

Array = Any

RUNNING, CONVERGED, STATIONARY, FINISHED, DIVERGED, STALLED, MAX_STEPS, INTERRUPTED = range(8)


def result_of(code: Array) -> Result:
    """The member of `Result` with a code; batches of codes give batched members."""
    item: Result = jax.tree.map(lambda _: code, Result.running)
    return item


class Goal(NamedTuple):
    """What is minimized, and the excess at which it counts as minimized."""

    problem: Problem
    tolerance: Array

    @property
    def target(self) -> Target:
        """The target."""
        return self.problem.target

    @property
    def loss(self) -> AbstractLoss:
        """The loss."""
        return self.problem.loss


class State(eqx.Module):
    """Where a run is. `position` is its time or step number, `status` a code of `Result`, `inner` the method's own."""

    position: Array
    steps: Array
    weights: Weights
    inner: Any
    status: Array


class Method(eqx.Module):
    """One way of training."""

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The network that the weights of a state stand for."""
        return DeepLinearNetwork(list(weights))

    @abstractmethod
    def start(self, weights: Weights, goal: Goal) -> State:
        """The state before the first step."""

    @abstractmethod
    def advance(self, state: State, begin: Array, mark: Array, budget: Array | None, goal: Goal) -> State:
        """Go on to the mark, at most `budget` inner steps (None: no limit), unless the status says it has ended.

        `begin` is where the runs of a batch that have not ended are, or for methods of adaptive steps the last mark.
        """


class Progress(NamedTuple):
    """What a `callback` is told, at most a few times a second.

    `position` of `end` (time or steps), the newest `records`, the status text, and `snapshot()`, with which the run can
    be continued from here.
    """

    position: float
    end: float
    loss: float
    excess: float
    minimal_loss: float
    snapshot: Callable[[], Snapshot]


Callback = Callable[[Progress], None]

LARGEST_ON_ONE_THREAD = 512
"""Size of decompositions up to which a run on the host keeps LAPACK to one thread. They gain little from several, and
where another process wants the cores the threads wait for each other in a spin: measured on two cores with one other
busy process, an SVD of 200×200 in 619 ms instead of 5 ms."""

_SECONDS_PER_CALL = 0.3
_SECONDS_PER_CALLBACK = 0.1


class Outcome(NamedTuple):
    """What the driver hands to the public functions."""

    state: State
    records: dict[str, Array]
    positions: Array
    steps: Array
    snapshot: Snapshot | None


def observe(
    method: Method, state: State, goal: Goal, observables: tuple[tuple[str, Observable], ...]
) -> tuple[State, dict[str, Array]]:
    """Records at the current weights, and whether the run has converged or come to a halt."""
    net = method.network(state.weights)
    records = {name: look(net, goal.problem) for name, look in observables}
    excess, norm = records["excess"], records["gradient_norm"]
    # The rounding error of a layer's gradient at a critical point: eps times the product of all factors' sizes.
    power = (goal.loss.degree or 1) - 1 / (2 * net.depth)
    scale = 8 * jnp.finfo(excess.dtype).eps * jnp.asarray(goal.target.trace) ** power
    status = jnp.where(norm <= scale, STATIONARY, state.status)
    status = jnp.where(excess <= goal.tolerance, CONVERGED, status)
    status = jnp.where(state.status == RUNNING, status, state.status)
    return eqx.tree_at(lambda s: s.status, state, status.astype(state.status.dtype)), records


MAPPED = eqx.if_array(0)
"""The vmap axes of a pytree all of whose arrays carry the batch."""


def _start(method: Method, weights: Weights, goal: Goal, observables: Any) -> Any:
    return observe(method, method.start(weights, goal), goal, observables)


def _advance(method: Method, state: State, begin: Array, mark: Array, budget: Array, goal: Goal) -> State:
    return method.advance(state, begin, mark, budget, goal)


# Compiled once per shape, whatever the run: axes and observables are static, hence compared by identity.
@eqx.filter_jit
def _compiled(function: Any, axes: Any, *arguments: Any) -> Any:
    return function(*arguments) if axes is None else eqx.filter_vmap(function, in_axes=axes)(*arguments)


def run_traced(method: Method, weights: Weights, goal: Goal, marks: Array, observables: Any) -> Outcome:
    """The whole run as one scan, for use inside JAX transformations."""
    state, first = observe(method, method.start(weights, goal), goal, observables)

    def to_mark(state: State, interval: tuple[Array, Array]) -> Any:
        state = method.advance(state, *interval, None, goal)
        state, records = observe(method, state, goal, observables)
        return state, (records, state.position, state.steps)

    state, (rest, positions, steps) = jax.lax.scan(to_mark, state, (marks[:-1], marks[1:]))
    together = lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b])  # noqa: E731
    records = jax.tree.map(together, first, rest)
    zero = jnp.zeros((), steps.dtype)
    return Outcome(state, records, together(marks[0].astype(positions.dtype), positions), together(zero, steps), None)


class _HostRun:
    """One run (or one batch of runs) on the host."""

    def __init__(self, calls: "_Calls", marks: np.ndarray, minimal_value: Array, callback: Callback | None) -> None:
        self.calls, self.marks, self.callback = calls, marks, callback
        self.minimal_value = float(np.max(np.asarray(minimal_value)))
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
        return Snapshot(tuple(np.asarray(leaf) for leaf in jax.tree.leaves(state)), self.stacked(count))

    def tell(self, state: State) -> None:
        now = time.monotonic()
        if self.callback is None or now - self.last_callback < _SECONDS_PER_CALLBACK:
            return
        self.last_callback = now
        last, count = self.rows[-1], len(self.rows)
        self.callback(
            Progress(
                float(np.min(np.asarray(state.position))),
                float(self.marks[-1]),
                float(np.max(np.asarray(last["loss"]))),
                float(np.max(np.asarray(last["excess"]))),
                self.minimal_value,
                lambda: self.snapshot(state, count),
            )
        )

    def go(self, state: State, index: int) -> tuple[State, bool]:
        """From the mark before `index` to the end; whether it was not interrupted."""
        budget = 1
        try:
            for mark in self.marks[index:]:
                while True:
                    begun = time.monotonic()
                    running = np.asarray(state.status) == RUNNING
                    begin = np.asarray(state.position)[running].min()
                    after = jax.block_until_ready(self.calls.advance(state, begin, mark, budget))
                    spent = time.monotonic() - begun
                    state = after
                    if spent < _SECONDS_PER_CALL / 2:
                        budget = min(budget * 2, 2**30)
                    elif spent > _SECONDS_PER_CALL:
                        budget = max(budget // 2, 1)
                    running = np.asarray(state.status) == RUNNING
                    if not (running & (np.asarray(state.position) < mark)).any():
                        break
                    self.tell(state)
                state, records = self.calls.observe(state)
                self.note(state, records)
                self.tell(state)
                if (np.asarray(state.status) != RUNNING).all():
                    break
        except KeyboardInterrupt:
            return state, False
        return state, True


class _Calls(NamedTuple):
    """The compiled functions of a host run, over a batch or not."""

    start: Callable[[], Any]
    advance: Callable[[State, Any, Any, int], State]
    observe: Callable[[State], Any]
    batch_axes: int


def _calls(method: Method, weights: Weights, goal: Goal, observables: Any, axes: Any) -> _Calls:
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
    method: Method,
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
    run = _HostRun(calls, marks, goal.problem.minimal_value, callback)
    if resume is None:
        run.note(state, records)
        index = 1
    else:
        state, index = _restore(resume, state, set(records), run)
    uninterrupted = True
    if (np.asarray(state.status) == RUNNING).any():
        largest = goal.loss._largest_decomposition(goal.target, int(weights[0].shape[-1]))
        small = largest <= LARGEST_ON_ONE_THREAD
        with threadpool_limits(1 if small else None, user_api="blas"):
            state, uninterrupted = run.go(state, index)
    snapshot = run.snapshot(state)
    code = INTERRUPTED if not uninterrupted else FINISHED
    status = jnp.where(state.status == RUNNING, code, state.status)
    stacked = run.stacked()
    positions, steps = stacked.pop("_position"), stacked.pop("_steps")
    return Outcome(eqx.tree_at(lambda s: s.status, state, status), stacked, positions, steps, snapshot)


def _restore(snapshot: Snapshot, fresh: State, names: set[str], run: _HostRun) -> tuple[State, int]:
    leaves, structure = jax.tree.flatten(fresh)
    shapes, kept = [np.shape(leaf) for leaf in leaves], [np.shape(leaf) for leaf in snapshot.leaves]
    if shapes != kept:
        raise ValueError(
            "The snapshot does not belong to this run: its state has other shapes. Resume with the network, target, "
            "loss and method the run was begun with."
        )
    held = set(snapshot.records) - {"_position", "_steps"}
    if held != names:
        raise ValueError(
            f"The snapshot does not belong to this run: it holds the records {', '.join(sorted(held))}, but "
            f"{', '.join(sorted(names))} were asked for. Resume with the same record argument."
        )
    axis = run.calls.batch_axes
    positions = np.asarray(snapshot.records["_position"])
    count = positions.shape[axis]
    # Up to the last record some run of a batch was still going, and that one was at the mark.
    furthest = positions.max(tuple(range(axis)))[:-1]
    if count > run.marks.size or not np.allclose(furthest, run.marks[: count - 1]):
        raise ValueError(
            "The snapshot does not belong to this run: it was recorded at other steps or times. Resume with the same "
            "num_steps or horizon, and the same records."
        )
    for i in range(count):
        run.rows.append(jax.tree.map(lambda leaf, i=i: np.take(leaf, i, axis=axis), dict(snapshot.records)))
    state = jax.tree.unflatten(
        structure, [jnp.asarray(leaf, np.asarray(old).dtype) for leaf, old in zip(snapshot.leaves, leaves, strict=True)]
    )
    return state, count


def save_snapshot(snapshot: Snapshot, path: str | Path) -> None:
    """Write a snapshot to an .npz file, without pickle."""
    state = {f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(snapshot.leaves)}
    records: dict[str, np.ndarray] = {}
    for name, value in snapshot.records.items():
        if isinstance(value, tuple):
            records |= {f"tuple_{name}_{i}": np.asarray(part) for i, part in enumerate(value)}
        else:
            records[f"record_{name}"] = np.asarray(value)
    with Path(path).open("wb") as file:
        np.savez(file, **state, **records)  # type: ignore[arg-type]


def load_snapshot(path: str | Path) -> Snapshot:
    """Read a snapshot written by `save_snapshot`."""
    with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    count = sum(name.startswith("state_") for name in arrays)
    records: dict[str, Any] = {name[7:]: value for name, value in arrays.items() if name.startswith("record_")}
    parts = sorted(
        (name[6:].rsplit("_", 1) for name in arrays if name.startswith("tuple_")), key=lambda part: int(part[1])
    )
    for name, number in parts:
        records[name] = (*records.get(name, ()), arrays[f"tuple_{name}_{number}"])
    return Snapshot(tuple(arrays[f"state_{i}"] for i in range(count)), records)


def is_traced(*trees: Any) -> bool:
    """Whether the run is asked for inside a JAX transformation."""
    return any(any_traced(tree) for tree in trees)


def batch_axes(net: DeepLinearNetwork, target: Target) -> tuple[int | None, Any, Any]:
    """Batch size, and the vmap axes of weights and target: those that have a leading batch dimension are mapped."""
    batched_target = bool(target.covariance.batch_shape)
    sizes = set(net.batch_shape) | ({target.mean.shape[0]} if batched_target else set())
    if len(net.batch_shape) > 1 or len(sizes) > 1:
        raise ValueError(
            f"A batch has one leading dimension, equal for networks and targets, but the networks have batch shape "
            f"{net.batch_shape} and the target's mean has shape {target.mean.shape}."
        )
    if not sizes:
        return None, None, None
    weight_axes = 0 if net.batch_shape else None
    return sizes.pop(), weight_axes, (0 if batched_target else None)
