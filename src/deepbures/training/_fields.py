"""What gradient flow integrates: all layers, or for balanced starts the end-to-end matrix alone."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from deepbures.model import AbstractLoss, DeepLinearNetwork, Target
from deepbures.model._coordinates import thin_svd
from deepbures.model._network import balanced_layers, multiply_layers
from deepbures.training._dynamics import Weights, layer_gradients

Array = Any


class Field(eqx.Module):
    """A vector field whose solutions are gradient flow, and what its state stands for."""

    @abstractmethod
    def __call__(self, t: Array, weights: Weights, args: tuple[AbstractLoss, Target]) -> Weights:
        """The time derivative of the state."""

    @abstractmethod
    def end_to_end(self, weights: Weights) -> Array:
        """The end-to-end matrix W of a state."""

    @abstractmethod
    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The network of a state."""


class LayerField(Field):
    """dW_l/dt = −∂L^N/∂W_l."""

    def __call__(self, t: Array, weights: Weights, args: tuple[AbstractLoss, Target]) -> Weights:
        """The negative gradients of the layers."""
        gradients, _ = layer_gradients(weights, *args)
        return jax.tree.map(jnp.negative, gradients)

    def end_to_end(self, weights: Weights) -> Array:
        """The product of the layers."""
        return multiply_layers(weights)

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The layers themselves."""
        return DeepLinearNetwork(list(weights))


class EndToEndField(Field):
    """dW/dt = −Σ_{l=1..N} (W Wᵀ)^{(N−l)/N} ∇L(W) (WᵀW)^{(l−1)/N}: what balanced networks of depth N follow.

    With W = U diag(s) Vᵀ of rank at most k and G = ∇L(W), the sum is U (g ∘ Uᵀ G V) Vᵀ with

        g(a, b) = Σ_l a^{2(N−l)/N} b^{2(l−1)/N} = max(a, b)^p expm1(d)/expm1(d/N),  d = 2 ln(min/max),  p = 2(N − 1)/N,

    between the singular vectors, g(s, 0) = s^p between them and what is orthogonal to them, and G itself outside of
    both at depth 1. Singular values beyond the k-th, which are rounding, count as zero: a bottleneck stays one.

    `depth` is an array, so that one compiled flow serves every depth; `widths` are those of the balanced lift that is
    observed, None to observe W as a network of depth 1.
    """

    depth: Array
    rank: int = eqx.field(static=True)
    widths: tuple[int, ...] | None = eqx.field(static=True)

    def __call__(self, t: Array, weights: Weights, args: tuple[AbstractLoss, Target]) -> Weights:
        """Minus the sum above."""
        (w,), (loss, target) = weights, args
        gradient = loss.grad(w, target)
        u, s, vh = thin_svd(w)
        u, s, vh = u[:, : self.rank], s[: self.rank], vh[: self.rank]
        depth = self.depth.astype(w.dtype)
        rows, columns = u.mT @ gradient, gradient @ vh.mT
        inner = rows @ vh.mT
        power = s ** (2 * (depth - 1) / depth)
        velocity = u @ (_divided_powers(s, depth) * inner) @ vh
        if self.rank < w.shape[-2]:
            velocity = velocity + ((columns - u @ inner) * power[None, :]) @ vh
        if self.rank < w.shape[-1]:
            velocity = velocity + (u * power[None, :]) @ (rows - inner @ vh)
        if self.rank < min(w.shape[-2:]):
            outside = gradient - u @ rows - columns @ vh + u @ inner @ vh
            velocity = velocity + jnp.where(depth == 1, outside, 0)
        return (-velocity,)

    def end_to_end(self, weights: Weights) -> Array:
        """The state itself."""
        return weights[0]

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The balanced lift."""
        if self.widths is None or len(self.widths) == 2:
            return DeepLinearNetwork(list(weights))
        return DeepLinearNetwork(balanced_layers(*thin_svd(weights[0]), self.widths))


def _divided_powers(s: Array, depth: Array) -> Array:
    """g(s_i, s_j) of `EndToEndField`, without cancellation where s_i and s_j are close."""
    largest = jnp.maximum(s[:, None], s[None, :])
    smallest = jnp.minimum(s[:, None], s[None, :])
    apart = smallest < largest
    ratio = jnp.where(apart, smallest / jnp.where(largest > 0, largest, 1), 0.5)
    d = 2 * jnp.log(ratio)
    return largest ** (2 * (depth - 1) / depth) * jnp.where(apart, jnp.expm1(d) / jnp.expm1(d / depth), depth)
