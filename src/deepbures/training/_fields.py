"""What gradient flow integrates: all layers, or for balanced starts the end-to-end matrix alone."""

import itertools
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from deepbures._types import Array, Float
from deepbures.landscape import Problem
from deepbures.linalg import thin_svd
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, balanced_layers, layer_gradients
from deepbures.training._dynamics import Weights
from deepbures.training._observables import OBSERVABLES, Observables, rate_of_decay


class AbstractField(eqx.Module):
    """A vector field whose solutions are gradient flow, and what its state stands for."""

    def pack(self, weights: Weights) -> Weights:
        """The state of a network, as it is integrated."""
        return weights

    @abstractmethod
    def __call__(self, t: Array, weights: Weights, args: tuple[AbstractLoss, Target]) -> Weights:
        """The time derivative of the state."""

    @abstractmethod
    def end_to_end(self, weights: Weights) -> Array:
        """The end-to-end matrix W of a state."""

    @abstractmethod
    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The network of a state."""

    def look(self, weights: Weights, problem: Problem, observables: Observables) -> tuple[dict[str, Array], Any]:
        """What is recorded of a state, and the depth N of the network it stands for."""
        net = self.network(weights)
        return {name: look(net, problem) for name, look in observables}, net.depth


LONG = 8
"""From this many equal hidden layers on, they are one array and a loop: a hundred of them compile in seconds."""


class LayerField(AbstractField):
    """dW_l/dt = −∂L^N/∂W_l. Long runs of layers of one shape are held as one stack each.

    `runs` are the lengths of the runs, 1 for a layer that stands alone.
    """

    runs: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def of(cls, net: DeepLinearNetwork) -> "LayerField":
        """For networks of these widths."""
        shapes = [weight.shape[-2:] for weight in net.weights]
        runs: list[int] = []
        for _, group in itertools.groupby(shapes):
            length = len(list(group))
            runs += [length] if length >= LONG else [1] * length
        return cls(tuple(runs))

    def pack(self, weights: Weights) -> Weights:
        """The state of a network."""
        layers = iter(weights)
        runs = [[next(layers) for _ in range(length)] for length in self.runs]
        return tuple(run[0] if len(run) == 1 else jnp.stack(run) for run in runs)

    def _unpack(self, state: Weights) -> list[Array]:
        return [layer for part, n in zip(state, self.runs, strict=True) for layer in (part if n > 1 else [part])]

    def __call__(self, t: Array, weights: Weights, args: tuple[AbstractLoss, Target]) -> Weights:
        """The negative gradients of the layers."""
        if set(self.runs) == {1}:
            gradients, _ = layer_gradients(weights, *args)
            return jax.tree.map(jnp.negative, gradients)
        product, below = self._products(weights)
        back = -args[0].grad(product, args[1])
        velocity = []
        for part, before, length in reversed(list(zip(weights, below, self.runs, strict=True))):
            back, slope = _pull_back(back, (part, before)) if length == 1 else _loop_back(back, part, before)
            velocity.append(slope)
        return tuple(reversed(velocity))

    def _products(self, state: Weights) -> tuple[Array, list[Array | None]]:
        """W, and the product below each layer (a stack of them for a run; None for nothing below the first)."""
        product: Array | None = None
        below: list[Array | None] = []
        for part, length in zip(state, self.runs, strict=True):
            if length == 1:
                below.append(product)
                product = part if product is None else part @ product
            else:
                first = jnp.eye(part.shape[-1], dtype=part.dtype) if product is None else product
                product, products = jax.lax.scan(lambda p, w: (w @ p, p), first, part)
                below.append(products)
        assert product is not None
        return product, below

    def end_to_end(self, weights: Weights) -> Array:
        """The product of the layers."""
        return self._products(weights)[0]

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The layers themselves."""
        return DeepLinearNetwork(self._unpack(weights))


def _pull_back(back: Array, layer: tuple[Array, Array | None]) -> tuple[Array, Array]:
    weight, below = layer
    return weight.mT @ back, back if below is None else back @ below.mT


def _loop_back(back: Array, part: Array, below: Array | None) -> tuple[Array, Array]:
    result: tuple[Array, Array] = jax.lax.scan(_pull_back, back, (part, below), reverse=True)
    return result


class EndToEndField(AbstractField):
    """The flow of W = W_N ⋯ W_1 of balanced networks, seen as that of their balanced lifts of these widths."""

    depth: Array
    widths: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, t: Array, weights: Weights, args: tuple[AbstractLoss, Target]) -> Weights:
        """dW/dt, as `balanced_velocity` has it."""
        (w,), (loss, target) = weights, args
        return (balanced_velocity(w, loss.grad(w, target), self.depth, min(self.widths)),)

    def end_to_end(self, weights: Weights) -> Array:
        """The state itself."""
        return weights[0]

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The balanced lift."""
        if len(self.widths) == 2:
            return DeepLinearNetwork(list(weights))
        return DeepLinearNetwork(balanced_layers(*thin_svd(weights[0]), self.widths))


class BalancedField(AbstractField):
    """The same flow where no network is wanted: `depth` is an array, so that one compiled flow serves every depth."""

    depth: Array
    rank: int = eqx.field(static=True)

    def __call__(self, t: Array, weights: Weights, args: tuple[AbstractLoss, Target]) -> Weights:
        """dW/dt, as `balanced_velocity` has it."""
        (w,), (loss, target) = weights, args
        return (balanced_velocity(w, loss.grad(w, target), self.depth, self.rank),)

    def end_to_end(self, weights: Weights) -> Array:
        """The state itself."""
        return weights[0]

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """W as a single layer."""
        return DeepLinearNetwork(list(weights))

    def look(self, weights: Weights, problem: Problem, observables: Observables) -> tuple[dict[str, Array], Any]:
        """Of W as a single layer; but what depends on the layers is that of a balanced network of this depth.

        There −dL/dt = Σ_l ‖∂L^N/∂W_l‖² = −⟨∇L(W), dW/dt⟩.
        """
        (w,), net = weights, self.network(weights)
        gradient = problem.loss.grad(w, problem.target)
        fall = -(gradient * balanced_velocity(w, gradient, self.depth, self.rank)).sum()
        excess = problem.excess(w)
        known: dict[str, Callable[[], Array]] = {
            "gradient_norm": lambda: jnp.sqrt(jnp.maximum(fall, 0)),
            "rate": lambda: rate_of_decay(fall, excess),
            "smallest_singular_value": lambda: jnp.linalg.svd(w, full_matrices=False, compute_uv=False)[self.rank - 1],
        }
        if problem.eigenvalues is not None:  # L* is known: no second decomposition
            known["loss"] = lambda: excess + problem.minimal_value
        records = {
            name: known[name]() if name in known and look is OBSERVABLES[name] else look(net, problem)
            for name, look in observables
        }
        return records, self.depth


def balanced_velocity(
    w: Float[Array, "n m"], gradient: Float[Array, "n m"], depth: Array, rank: int
) -> Float[Array, "n m"]:
    """dW/dt = −Σ_{l=1..N} (W Wᵀ)^{(N−l)/N} ∇L(W) (WᵀW)^{(l−1)/N}: what balanced networks of depth N follow.

    With W = U diag(s) Vᵀ of rank at most k and G = ∇L(W), the sum is U (g ∘ Uᵀ G V) Vᵀ with

        g(a, b) = Σ_l a^{2(N−l)/N} b^{2(l−1)/N} = max(a, b)^p expm1(d)/expm1(d/N),  d = 2 ln(min/max),  p = 2(N − 1)/N,

    between the singular vectors, g(s, 0) = s^p between them and what is orthogonal to them, and G itself outside of
    both at depth 1. Singular values beyond the k-th, which are rounding, count as zero: a bottleneck stays one.
    """
    u, s, vh = thin_svd(w)
    u, s, vh = u[:, :rank], s[:rank], vh[:rank]
    depth = depth.astype(w.dtype)
    rows, columns = u.mT @ gradient, gradient @ vh.mT
    inner = rows @ vh.mT
    power = s ** (2 * (depth - 1) / depth)
    velocity = u @ (_divided_powers(s, depth) * inner) @ vh
    if rank < w.shape[-2]:
        velocity = velocity + ((columns - u @ inner) * power[None, :]) @ vh
    if rank < w.shape[-1]:
        velocity = velocity + (u * power[None, :]) @ (rows - inner @ vh)
    if rank < min(w.shape[-2:]):
        outside = gradient - u @ rows - columns @ vh + u @ inner @ vh
        velocity = velocity + jnp.where(depth == 1, outside, 0)
    return -velocity


def _divided_powers(s: Array, depth: Array) -> Array:
    """g(s_i, s_j) of `balanced_velocity`, without cancellation where s_i and s_j are close."""
    largest = jnp.maximum(s[:, None], s[None, :])
    smallest = jnp.minimum(s[:, None], s[None, :])
    apart = smallest < largest
    ratio = jnp.where(apart, smallest / jnp.where(largest > 0, largest, 1), 0.5)
    d = 2 * jnp.log(ratio)
    return largest ** (2 * (depth - 1) / depth) * jnp.where(apart, jnp.expm1(d) / jnp.expm1(d / depth), depth)
