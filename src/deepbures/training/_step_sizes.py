"""Step sizes by name: what a `step_size` argument stands for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deepbures._checks import check_number
from deepbures._step_names import STEP_SIZES, STEP_SIZES_IN_WORDS
from deepbures._warn import warn
from deepbures.certificates import certified_step_size
from deepbures.landscape import Problem
from deepbures.model import DeepLinearNetwork
from deepbures.training._batches import batch_axes, is_traced, member
from deepbures.training._dynamics import curvatures
from deepbures.training._iteration import AcceleratedStep, MonotoneStep, OptaxStep, PlainStep
from deepbures.training._method import Goal

_EXPECTED = f"step_size must be a positive number, {STEP_SIZES_IN_WORDS} or an optax optimizer, but "


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
    """Warn of a step at which the balanced minimizer is not stable, and say whether another one may be."""
    if is_traced(step_size, net, problem):
        return
    steepest = float(np.max(np.asarray(curvatures(problem, net.depth, net.latent_dim)[0])))
    if not steepest > 0:  # the minimizer is flat: every step is stable there
        return
    limit = 2 / steepest
    if float(step_size) > limit:
        anywhere = float(step_size) * np.max(np.asarray(problem.least_sharpness(net.depth))) > 2
        consequence = (
            "every minimizer, however it is factored: it cannot converge there"
            if anywhere
            else "the balanced minimizer: it can converge only to layers that are not balanced, where they are flatter"
        )
        warn(
            f"step_size = {float(step_size):.4g} is above the stability limit 2/λ_max = {limit:.4g}, at which gradient "
            f'descent leaves {consequence}. Take a smaller step, or "sharpness", which is half the limit.'
        )


Rule = Callable[[Goal], PlainStep | OptaxStep | AcceleratedStep | MonotoneStep]


def step_rule(step_size: Any, net: DeepLinearNetwork, problem: Problem) -> Rule:
    """From a `step_size` argument: what makes the rule of a step out of what is known of each problem."""
    if isinstance(step_size, optax.GradientTransformation):
        return lambda goal: OptaxStep(step_size)
    if isinstance(step_size, str):
        if step_size not in STEP_SIZES:
            raise ValueError(f"{_EXPECTED}{step_size!r} was given.")
        if step_size == "certified":
            step = _certified(net, problem)
            return lambda goal: PlainStep(jnp.asarray(step, goal.target.dtype))

        if step_size == "monotone":
            return _monotone(problem)

        steepest = curvatures(problem, net.depth, net.latent_dim)[0]
        if not is_traced(net, steepest) and not np.all(np.asarray(steepest) > 0):
            raise ValueError(f'step_size = "{step_size}" {_why_flat(problem)}')

        def from_curvature(goal: Goal) -> PlainStep | AcceleratedStep:
            steepest, flattest = goal.problem.extremes(net.depth, net.latent_dim)
            if step_size == "sharpness":
                return PlainStep(1 / steepest)
            root = jnp.sqrt(flattest / steepest)
            return AcceleratedStep(1 / steepest, (1 - root) / (1 + root))

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
    return lambda goal: PlainStep(jnp.asarray(step_size, goal.target.dtype))


def _monotone(problem: Problem) -> Rule:
    curvature = problem.loss.upper_curvature
    if curvature is None:
        raise ValueError(
            f'step_size = "monotone" needs a bound of the curvature from above, which is not known for a '
            f'{type(problem.loss).__name__} (its `upper_curvature` is None): pass "sharpness" or a number.'
        )
    return lambda goal: MonotoneStep(curvature)


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
