"""From the arguments of a public function to a driven run, single, batched or traced."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_number
from deepbures.landscape import Problem, warn_unusable
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, check_pair
from deepbures.training._batches import MAPPED, batch_axes, is_traced
from deepbures.training._host import Callback, run_on_host
from deepbures.training._loop import Outcome, run_traced
from deepbures.training._method import Goal
from deepbures.training._observables import Record, observer
from deepbures.training._snapshot import Snapshot


def pose(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> Problem:
    """What is known of the minimum that a network can reach; of each, for a batch of targets."""
    check_pair(net, target)
    one = lambda target: Problem(target, loss, net.bottleneck)  # noqa: E731
    found: Problem = eqx.filter_vmap(one)(target) if target.covariance.batch_shape else one(target)
    return found


def train(
    make_method: Callable[[Goal], Any],
    net: DeepLinearNetwork,
    problem: Problem,
    marks: Any,
    tolerance: float,
    record: Record | None,
    callback: Callback | None,
    resume: Snapshot | None,
) -> tuple[Outcome, DeepLinearNetwork, Any]:
    """Drive one run or a batch towards the minimum of a problem, and hand back what the public functions report."""
    check_number(tolerance, "tolerance")
    observables = observer(record)
    size, weight_axes, target_axes = batch_axes(net, problem.target)
    # Arrays of one dtype throughout: the network is trained in its own precision or the target's, whichever is higher.
    dtype = jnp.result_type(*net.weights, problem.target.mean)
    weights = tuple(jnp.asarray(weight, dtype) for weight in net.weights)
    problem = problem.astype(dtype)

    def goal_of(problem: Problem) -> tuple[Any, Goal]:
        goal = Goal(problem, tolerance * problem.reference)
        return make_method(goal), goal

    if target_axes is None:
        method, goal = goal_of(problem)
        method_axes = goal_axes = None
    else:
        method, goal = eqx.filter_vmap(goal_of)(problem)
        goal_axes = method_axes = MAPPED
    if is_traced(weights, goal, method):
        if size is not None:
            raise ValueError(
                "Inside a JAX transformation, map over the batch with jax.vmap instead of passing a batch."
            )
        outcome = run_traced(method, weights, goal, jnp.asarray(marks), observables)
    else:
        warn_unusable(problem)
        axes = None if size is None else (method_axes, weight_axes, goal_axes)
        outcome = run_on_host(method, weights, goal, np.asarray(marks), observables, axes, callback, resume)
    lift = jax.vmap(method.network) if size is not None else method.network
    network = DeepLinearNetwork(list(lift(outcome.state.weights).weights), net.mean)
    return outcome, network, method
