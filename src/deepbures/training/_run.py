"""From the arguments of a public function to a driven run, single, batched or traced."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_number
from deepbures.landscape._minimum import Minimum, minimum, warn_unusable
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, check_network, check_target
from deepbures.training._driver import (
    FINISHED,
    MAPPED,
    RUNNING,
    Callback,
    Outcome,
    Problem,
    batch_axes,
    is_traced,
    run_on_host,
    run_traced,
)
from deepbures.training._observables import Record, observer
from deepbures.training._trajectory import Snapshot

Array = Any


def check_pair(net: Any, target: Any) -> None:
    """Refuse what is not a network and a target of equal dimension."""
    check_network(net, batches=True)
    check_target(target)
    if net.dim != target.dim:
        raise ValueError(
            f"The network has {net.dim} outputs, but the target has dimension {target.dim}: they must be equal."
        )


def train(
    make_method: Callable[[Problem], Any],
    net: DeepLinearNetwork,
    target: Target,
    loss: AbstractLoss,
    marks: Any,
    tolerance: float,
    record: Record | None,
    callback: Callback | None,
    resume: Snapshot | None,
    *,
    rank: int | None = None,
) -> tuple[Outcome, DeepLinearNetwork, Minimum, Any]:
    """Set a problem up for one run or a batch, drive it, and hand back what the public functions report.

    `rank` is the largest rank that is reached, if it is not the bottleneck of `net` (maybe an end-to-end matrix).
    """
    bottleneck = net.bottleneck if rank is None else rank
    check_number(tolerance, "tolerance")
    observables = observer(record)
    size, weight_axes, target_axes = batch_axes(net, target)
    # Arrays of one dtype throughout: the network is trained in its own precision or the target's, whichever is higher.
    dtype = jnp.result_type(*net.weights, target.mean)
    weights = tuple(jnp.asarray(weight, dtype) for weight in net.weights)
    target = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if eqx.is_array_like(leaf) else leaf, target)

    def problem_of(target: Target) -> tuple[Any, Problem]:
        low = minimum(target, bottleneck, loss)
        low = jax.tree.map(jnp.asarray, low)
        problem = Problem(target, loss, low, tolerance * low.reference(target, loss))
        return make_method(problem), problem

    if target_axes is None:
        method, problem = problem_of(target)
        method_axes = problem_axes = None
    else:
        method, problem = eqx.filter_vmap(problem_of)(target)
        problem_axes = method_axes = MAPPED
    if is_traced(weights, problem, method):
        if size is not None:
            raise ValueError(
                "Inside a JAX transformation, map over the batch with jax.vmap instead of passing a batch."
            )
        outcome = run_traced(method, weights, problem, jnp.asarray(marks), observables)
        status = jnp.where(outcome.state.status == RUNNING, FINISHED, outcome.state.status)
        outcome = outcome._replace(state=eqx.tree_at(lambda s: s.status, outcome.state, status))
    else:
        warn_unusable(np.asarray(problem.low.eigenvalues)[..., :bottleneck], loss)
        axes = None if size is None else (method_axes, weight_axes, problem_axes)
        outcome = run_on_host(method, weights, problem, np.asarray(marks), observables, axes, callback, resume)
    lift = jax.vmap(method.network) if size is not None else method.network
    network = DeepLinearNetwork(list(lift(outcome.state.weights).weights), net.mean)
    return outcome, network, problem.low, method
