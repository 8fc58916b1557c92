"""Gradient descent as a method: one compiled loop over steps, by one of four rules."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from deepbures._types import Array
from deepbures.model import layer_gradients, multiply_layers
from deepbures.training._dynamics import Weights, sum_of_squares
from deepbures.training._method import AbstractMethod, Goal, State
from deepbures.training._result import Result, choose


class PlainStep(eqx.Module):
    """W_l ← W_l − η ∂L^N/∂W_l."""

    step_size: Array

    def init(self, weights: Weights) -> Any:
        """What the rule remembers, before the first step."""
        return ()

    def move(self, gradients: Weights, state: Any, weights: Weights, gradient: Array) -> tuple[Weights, Any]:
        """The weights after a step along these gradients, and what the rule remembers then."""
        return tuple(w - self.step_size * g for w, g in zip(weights, gradients, strict=True)), state


class OptaxStep(eqx.Module):
    """Any optax optimizer."""

    transformation: optax.GradientTransformation = eqx.field(static=True)

    def init(self, weights: Weights) -> Any:
        """What the rule remembers, before the first step."""
        return self.transformation.init(weights)

    def move(self, gradients: Weights, state: Any, weights: Weights, gradient: Array) -> tuple[Weights, Any]:
        """The weights after a step along these gradients, and what the rule remembers then."""
        updates, state = self.transformation.update(gradients, state, weights)
        moved: Weights = optax.apply_updates(weights, updates)
        return moved, state


class AcceleratedStep(eqx.Module):
    """Nesterov's accelerated gradient, restarted whenever it would run uphill (O'Donoghue and Candès 2015).

    The gradient is taken at the extrapolated weights, which are the weights of the run; `state` holds the point
    they were extrapolated from and the number of steps since the last restart.
    """

    step_size: Array
    momentum: Array

    def init(self, weights: Weights) -> Any:
        """What the rule remembers, before the first step."""
        return weights, jnp.zeros((), weights[0].dtype)

    def move(self, gradients: Weights, state: Any, weights: Weights, gradient: Array) -> tuple[Weights, Any]:
        """The weights after a step along these gradients, and what the rule remembers then."""
        before, age = state
        point = tuple(w - self.step_size * g for w, g in zip(weights, gradients, strict=True))
        travel = tuple(new - old for new, old in zip(point, before, strict=True))
        uphill = sum((g * d).sum() for g, d in zip(gradients, travel, strict=True)) > 0
        age = jnp.where(uphill, 0.0, age + 1)
        beta = jnp.minimum(age / (age + 3), self.momentum)
        return tuple(p + beta * d for p, d in zip(point, travel, strict=True)), (point, age)


class MonotoneStep(eqx.Module):
    """Plain steps of a size that is certified anew at each: the loss falls by at least ½ η S², S² = Σ ‖∂L^N/∂W_l‖².

    L − ½ κ ‖W‖² is concave, so the change A of the end-to-end matrix in a step, a product of layers, raises the loss by
    at most ⟨∇L, A⟩ + ½ κ ‖A‖². A step is tried at 1.2 times the size of the last one, and made smaller until that, with
    the rounding error of A, is no more than −½ η S²; after `_MOST_TRIALS` the weights stay, as then what is left is
    rounding. In ⟨∇L, A⟩ + ½ κ ‖A‖² = −η S² + q η² a trial gives q, and with it the largest size that would do.
    """

    curvature: float = eqx.field(static=True)

    def init(self, weights: Weights) -> Any:
        """The first size to try: 1/(N w^{2N−2}), w² the mean square of a layer."""
        depth = len(weights)
        square = sum((weight**2).sum() / min(weight.shape) for weight in weights) / depth
        size = 1 / (depth * square ** (depth - 1))
        return jnp.clip(jnp.nan_to_num(size, nan=1.0), 1e-30, 1e30).astype(weights[0].dtype)

    def move(self, gradients: Weights, state: Any, weights: Weights, gradient: Array) -> tuple[Weights, Any]:
        """The weights after a step along these gradients, and what the rule remembers then."""
        before, steepness = multiply_layers(weights), sum_of_squares(gradients)
        unit = 4 * (len(weights) + 1) * jnp.finfo(before.dtype).eps * jnp.sqrt((before**2).sum())
        slope = jnp.sqrt((gradient**2).sum())

        def is_open(carry: Any) -> Array:
            trials, _, _, _, is_certain = carry
            return (trials < _MOST_TRIALS) & ~is_certain

        def attempt(carry: Any) -> Any:
            trials, _, size, _, _ = carry
            moved = tuple(w - size * g for w, g in zip(weights, gradients, strict=True))
            change = multiply_layers(moved) - before
            square = (change**2).sum()
            rise = (gradient * change).sum() + self.curvature / 2 * square
            rounding = unit * (slope + self.curvature * jnp.sqrt(square))
            is_certain = rise + rounding <= -0.5 * size * steepness
            share = 0.45 * steepness * size / (rise + size * steepness)
            shrunk = size * jnp.clip(jnp.nan_to_num(share, nan=0.0), 1 / 16, 0.7)
            return trials + 1, size, shrunk, moved, is_certain

        tried = (jnp.zeros((), jnp.int32), state, 1.2 * state, weights, jnp.zeros((), bool))
        _, size, _, moved, is_certain = jax.lax.while_loop(is_open, attempt, tried)
        keep = lambda new, old: jnp.where(is_certain, new, old)  # noqa: E731
        return jax.tree.map(keep, moved, weights), keep(size, state)


_MOST_TRIALS = 40


class Iteration(AbstractMethod):
    """Full-batch descent; `position` counts steps."""

    unit: ClassVar[str] = "step"
    rule: PlainStep | OptaxStep | AcceleratedStep | MonotoneStep

    def start(self, weights: Weights, goal: Goal) -> State:
        """Step 0; `inner` holds the optimizer's state and the Σ_l ‖W_l‖² above which the run has diverged."""
        dtype = weights[0].dtype
        # At a balanced minimizer ‖W_l‖² ≤ k^{1−1/N} tr(Σ0)^{1/N}. A hundred times the norms of start and minimizer is
        # far from both, and near enough that products of a hundred layers stay finite.
        depth = len(weights)
        bottleneck = min(weights[0].shape[-1], *(weight.shape[-2] for weight in weights))
        reached = depth * bottleneck ** (1 - 1 / depth) * goal.target.trace ** (1 / depth)
        limit = 1e4 * (sum_of_squares(weights) + reached)
        return State.at_start(weights, (self.rule.init(weights), limit.astype(dtype)), jnp.int32)

    def advance(self, state: State, begin: Array, mark: Array, budget: Array | None, goal: Goal) -> State:
        """The compiled loop: to the mark or the budget; divergence is seen before it is stepped into."""
        limit = state.inner[1]
        count = mark.astype(jnp.int32) - begin.astype(jnp.int32)
        if budget is not None:
            count = jnp.minimum(count, budget.astype(jnp.int32))

        def go_on(carry: Any) -> Array:
            # With a budget the length is the same for a whole batch (which spares a copy of all weights a step), and
            # the host looks at the status after each call. Without one, nobody does: the loop must.
            iteration, _, _, _, result = carry
            return iteration < count if budget is not None else (iteration < count) & (result == Result.running)

        def step(carry: Any) -> Any:
            iteration, position, weights, inner, result = carry
            gradients, gradient = layer_gradients(weights, goal.loss, goal.target)
            moved, moved_inner = self.rule.move(gradients, inner, weights, gradient)
            sound = sum_of_squares(moved) <= limit  # False for NaN
            active = sound & (result == Result.running)
            keep = lambda new, old: jnp.where(active, new, old)  # noqa: E731
            weights = jax.tree.map(keep, moved, weights)
            inner = jax.tree.map(keep, moved_inner, inner)
            result = choose(sound | (result != Result.running), result, Result.diverged)
            return iteration + 1, position + active.astype(position.dtype), weights, inner, result

        carry = (jnp.zeros((), jnp.int32), state.position, state.weights, state.inner[0], state.result)
        _, position, weights, inner, result = jax.lax.while_loop(go_on, step, carry)
        return State(position, position, weights, (inner, limit), result)
