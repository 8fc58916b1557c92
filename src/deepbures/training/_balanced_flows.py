"""Many balanced flows, each of its own depth: one compiled integration of end-to-end matrices for a whole study.

The runs go one after the other. On a CPU a batch would gain nothing (its decompositions are done one by one anyway) and
would lose the time that its quickest runs wait for its slowest.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepbures._checks import as_array, check_finite, check_integer, check_number, rounding
from deepbures._precision import numpy_in_numpy_out
from deepbures._types import Array
from deepbures.landscape import Problem, warn_unusable
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, balanced_network, check_target
from deepbures.training._batches import is_traced, member
from deepbures.training._fields import BalancedField
from deepbures.training._flow import fastest_rate, times_within
from deepbures.training._integration import STIFF, Accuracy, integration, integrator_named
from deepbures.training._loop import Outcome, run_traced
from deepbures.training._method import AbstractMethod, Goal
from deepbures.training._observables import OBSERVABLES, Observables, Record, observer
from deepbures.training._result import Result

_DEFAULT_RECORD = ("rate", "smallest_singular_value")
_OF_LAYERS = ("weights", "balancedness_gap")


class BalancedFlows(eqx.Module):
    """What `balanced_flows` recorded of B runs, R records each; one that stopped earlier keeps its last values.

    Attributes
    ----------
    times : array (B, R)
        Flow time of each record.
    steps : array (B, R)
        Steps taken by the solver up to each record.
    records : dict of arrays (B, R, ...)
        What was logged, by name.
    end_to_end : array (B, n, m)
        Where the runs ended.
    depth : array of int (B,)
        N of each.
    rank : int
        Their bottleneck.
    minimal_loss : array (B,)
        The theoretical minimum of each.
    result : Result
        How each ended: one member for all, whose ``== Result.converged`` is an array (B,).

    Raises
    ------
    KeyError
        From ``runs[name]``, if nothing of that name was recorded.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 1.0], key=0), db.BuresWasserstein()
    >>> runs = db.balanced_flows([0.5 * np.eye(2)] * 2, [1, 7], target, loss, 10.0, num_records=20)
    >>> len(runs), runs.times.shape, runs.network(1).depth
    (2, (2, 21), 7)
    """

    times: Array
    steps: Array
    records: dict[str, Array]
    end_to_end: Array
    depth: NDArray[np.int_]
    rank: int = eqx.field(static=True)
    minimal_loss: Array
    result: Result

    def __len__(self) -> int:
        """How many runs."""
        return len(self.depth)

    def __getitem__(self, name: str) -> Array:
        """A record by name."""
        if name not in self.records:
            raise KeyError(f"{name!r} was not recorded; recorded are {', '.join(self.records)}.")
        return self.records[name]

    @property
    def losses(self) -> Array:
        """Loss at each record."""
        return self.records["loss"]

    @property
    def excess(self) -> Array:
        """Loss over the theoretical minimum, L − L*, at each record."""
        return self.records["excess"]

    def network(self, index: int) -> DeepLinearNetwork:
        """Where a run ended: the balanced network of its depth with hidden layers as wide as the bottleneck."""
        w = self.end_to_end[index]
        return balanced_network(w, _widths(w, self.depth[index], self.rank))


@numpy_in_numpy_out
def balanced_flows(
    end_to_end: Array,
    depth: Any,
    target: Target,
    loss: AbstractLoss,
    horizon: float,
    *,
    rank: int | None = None,
    times: Any = None,
    num_records: int = 200,
    tolerance: float = 1e-10,
    solver: Any = "auto",
    rtol: float = 1e-8,
    atol: float | None = None,
    max_steps: int = 1_000_000,
    record: Record | None = None,
) -> BalancedFlows:
    """Gradient flow of many balanced networks, by their end-to-end matrices: one compilation for all depths.

    Every run is that of `gradient_flow` with ``space="end-to-end"``, dW/dt = −Σ_l (W Wᵀ)^{(N−l)/N} ∇L(W)
    (WᵀW)^{(l−1)/N}, at a cost that does not depend on the depth N, without a network and without a word on the way. For
    one network, progress and interruption, take that.

    Parameters
    ----------
    end_to_end : array (B, n, m)
        W(0) of each run, of rank at most `rank`.
    depth : int, or array of int (B,)
        N, of all or of each.
    target : Target
        What is fitted, by all; or a batch of B targets, one for each.
    loss : AbstractLoss
        The loss.
    horizon : float
        Largest time T > 0.
    rank : int, optional
        Bottleneck k of all; min(n, m) if left out.
    times : array (R,), optional
        Times to record at, within [0, horizon]. Default: 0 and `num_records` times spaced by ratios, from 0.05 of the
        fastest time scale 1/λ_max of each run (`sharpness`) to the horizon.
    num_records : int
        How many times to record, if `times` is not given.
    tolerance, solver, rtol, atol, max_steps
        As for `gradient_flow`.
    record : names or mapping, optional
        What to record beside loss, excess and gradient_norm (that of the layers), as for `gradient_descent`; by default
        rate, −d ln(L − L*)/dt, and smallest_singular_value, the k-th. Functions of your own are shown W as a network of
        one layer.

    Returns
    -------
    BalancedFlows
        Records, the runs first.

    Raises
    ------
    ValueError
        For shapes that do not fit, a start of a rank above `rank`, and as `gradient_flow` does.

    Examples
    --------
    From W = ½ I to Σ0 = 4 I, each mode by itself: ds/dt = −2N s^{2−2/N} (s − 2).

    >>> import numpy as np
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 4.0]), db.BuresWasserstein()
    >>> runs = db.balanced_flows([0.5 * np.eye(2)] * 3, [1, 2, 50], target, loss, 1.0, times=[0.01])
    >>> exact = [db.aligned_flow([0.5], [4.0], loss, [0.01], depth=depth)[0, 0] for depth in runs.depth]
    >>> bool(np.allclose(runs["smallest_singular_value"][:, 1], exact, rtol=1e-7))
    True
    """
    if is_traced(end_to_end, target, loss):
        raise ValueError("balanced_flows is compiled already: call it outside of JAX transformations.")
    check_number(horizon, "horizon", positive=True)
    check_number(tolerance, "tolerance")
    num_records, max_steps = check_integer(num_records, "num_records", 1), check_integer(max_steps, "max_steps", 1)
    integrator, observables = integrator_named(solver), _observables(record)
    starts, rank = _checked_starts(end_to_end, target, rank)
    depths = _checked_depths(depth, len(starts))
    problems = _problems(target, loss, rank, len(starts))
    speeds = np.array([_speed(*run, rank) for run in zip(starts, depths, problems, strict=True)])
    marks = _marks(speeds, float(horizon), num_records)
    if times is not None:
        asked = times_within(times, float(horizon))
        marks = np.broadcast_to(asked, (len(starts), asked.size))
    accuracy, is_long = Accuracy(rtol, atol, max_steps), bool(float(horizon) * speeds.max() > STIFF)
    warn_unusable(problems[0])
    outcomes = []
    with threadpool_limits(1, user_api="blas"):
        for w, n, problem, speed, own in zip(starts, depths, problems, speeds, marks, strict=True):
            problem = _traceable(problem).astype(starts.dtype)
            goal = Goal(problem, jnp.asarray(tolerance * problem.reference, starts.dtype))
            field = BalancedField(jnp.asarray(n, starts.dtype), rank)
            method = integration(field, 1, goal, jnp.asarray(speed), integrator, accuracy, is_long=is_long)
            outcome = _run(method, jnp.asarray(w), goal, jnp.asarray(own), observables)
            outcomes.append(jax.tree.map(np.asarray, outcome))
    return BalancedFlows(
        times=np.stack([outcome.positions for outcome in outcomes]),
        steps=np.stack([outcome.steps for outcome in outcomes]),
        records=_stacked([outcome.records for outcome in outcomes]),
        end_to_end=np.stack([outcome.state.weights[0] for outcome in outcomes]),
        depth=depths,
        rank=rank,
        minimal_loss=np.stack([problem.minimal_value for problem in problems]),
        result=_stacked([outcome.state.result for outcome in outcomes]),
    )


@eqx.filter_jit
def _run(method: AbstractMethod, w: Array, goal: Goal, marks: Array, observables: Observables) -> Outcome:
    return run_traced(method, (w,), goal, marks, observables)


def _stacked(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _observables(record: Record | None) -> Observables:
    chosen = observer(_DEFAULT_RECORD if record is None else record)
    layered = [name for name, look in chosen if name in _OF_LAYERS and look is OBSERVABLES[name]]
    if layered:
        raise ValueError(f"{layered[0]} is a record of layers, which these runs do not have: take gradient_flow.")
    return chosen


def _checked_starts(end_to_end: Any, target: Any, rank: int | None) -> tuple[Array, int]:
    """The starts as one array, and their bottleneck."""
    check_target(target)
    starts = as_array(end_to_end, "end_to_end")
    if starts.ndim != 3 or starts.shape[1] != target.dim or len(starts) == 0:
        raise ValueError(
            f"end_to_end must have shape (B, n, m), one matrix for each run, with n = {target.dim}, the dimension of "
            f"the target, but has shape {starts.shape}. (For one run pass w[None].)"
        )
    check_finite(starts, "end_to_end")
    starts = jnp.asarray(starts, jnp.result_type(starts, target.mean))
    smaller = min(starts.shape[1:])
    rank = smaller if rank is None else check_integer(rank, "rank", 1, smaller, why=" (that of the matrices)")
    if rank < smaller:
        s = np.linalg.svd(np.asarray(starts), compute_uv=False)
        beyond = s[:, rank] > rounding(starts.dtype, max(starts.shape[1:])) * s[:, 0]
        if beyond.any():
            raise ValueError(
                f"end_to_end[{int(beyond.argmax())}] has a rank above {rank}, which no network of that bottleneck has: "
                "raise rank, or cut the matrix."
            )
    return starts, rank


def _checked_depths(depth: Any, count: int) -> NDArray[np.int_]:
    """The depth of each run."""
    if np.ndim(depth) == 0:
        return np.full(count, check_integer(depth, "depth", 1))
    depths = np.array([check_integer(each, f"depth[{i}]", 1) for i, each in enumerate(np.asarray(depth).tolist())])
    if depths.shape != (count,):
        raise ValueError(f"depth must be one number, or one for each of the {count} runs, but has {len(depths)}.")
    return depths


def _problems(target: Target, loss: AbstractLoss, rank: int, count: int) -> list[Problem]:
    """What is known of the minimum, for each run."""
    if not target.covariance.batch_shape:
        return [Problem(target, loss, rank)] * count
    if target.mean.shape[0] != count:
        raise ValueError(f"There are {count} runs, but {target.mean.shape[0]} targets: pass one, or one for each.")
    return [Problem(member(target, i), loss, rank) for i in range(count)]


def _traceable(problem: Problem) -> Problem:
    """Make arrays of the parameters of the loss, where no branch depends on them: one compilation serves all."""
    modes = problem.loss.modes
    if modes is not None and not modes.is_smooth:
        return problem
    as_arrays = jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, float) else x, problem.loss)
    found: Problem = eqx.tree_at(lambda p: p.loss, problem, as_arrays)
    return found


def _speed(w: Array, depth: int, problem: Problem, rank: int) -> float:
    """The inverse of the fastest time scale of a run."""
    return float(fastest_rate(problem, int(depth), w.shape[1], lambda: balanced_network(w, _widths(w, depth, rank))))


def _widths(w: Array, depth: int, rank: int) -> tuple[int, ...]:
    """Of the narrowest network of a depth and a bottleneck with this end-to-end matrix."""
    return (w.shape[1], *(rank for _ in range(int(depth) - 1)), w.shape[0])


def _marks(speeds: Array, horizon: float, num_records: int) -> Array:
    """Times to record at, (B, R): a quarter of them where the stabilized method has taken over, if it does anywhere."""
    switch = np.minimum(STIFF / speeds, horizon)
    late = num_records // 4 if bool((switch < horizon).any()) else 0
    early = np.geomspace(np.minimum(0.05 / speeds, switch / 2), switch, num_records - late, axis=-1)
    after = np.geomspace(switch, horizon, late + 1, axis=-1)[:, 1:]
    return np.concatenate([np.zeros((len(speeds), 1)), early, after], axis=1)
