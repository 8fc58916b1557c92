"""The vector field of training: gradients of L^N with respect to the layers."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from deepbures.landscape._curvature import sharpness
from deepbures.model import AbstractLoss, BuresWasserstein, DeepLinearNetwork, Target

Array = Any
Weights = tuple[Array, ...]


def balanced_within(net: DeepLinearNetwork) -> float:
    """Largest ‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖ relative to the largest ‖W_l‖² of a network that counts as balanced.

    1e-8, or in single precision, where a balanced lift is not better than that, about 2e-6.
    """
    return max(1e-8, *(16 * float(np.finfo(weight.dtype).eps) for weight in net.weights))


def largest_relative_gap(net: DeepLinearNetwork) -> float:
    """The balancedness gap relative to the largest ‖W_l‖²; of a batch the largest."""
    sizes = np.stack([(np.asarray(weight, np.float64) ** 2).sum((-2, -1)) for weight in net.weights])
    largest = sizes.max(0)
    return float(np.max(np.asarray(net.balancedness_gap()) / np.where(largest > 0, largest, 1)))


def layer_gradients(weights: Weights, loss: AbstractLoss, target: Target) -> tuple[Weights, Array]:
    """∂L^N/∂W_l = (W_N ⋯ W_{l+1})ᵀ ∇L(W) (W_{l−1} ⋯ W_1)ᵀ for every layer, and ∇L(W) itself."""
    products = [weights[0]]
    for weight in weights[1:]:
        products.append(weight @ products[-1])
    gradient = loss.grad(products[-1], target)
    back = gradient
    gradients = []
    for layer in range(len(weights) - 1, 0, -1):
        gradients.append(back @ products[layer - 1].mT)
        back = weights[layer].mT @ back
    return (back, *reversed(gradients)), gradient


def sum_of_squares(weights: Weights) -> Array:
    """Σ_l ‖·_l‖² over the layers."""
    total = (weights[0] ** 2).sum((-2, -1))
    for weight in weights[1:]:
        total = total + (weight**2).sum((-2, -1))
    return total


def norm(weights: Weights) -> Array:
    """(Σ_l ‖·_l‖²)^½, whose squares may be out of range. Divided by a power of two, the same digits come out."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(weight)) for weight in weights]))
    exponent = jnp.where(jnp.isfinite(largest), jnp.frexp(largest)[1], 0)
    scaled = tuple(jnp.ldexp(weight, -exponent) for weight in weights)
    return jnp.ldexp(jnp.sqrt(sum_of_squares(scaled)), exponent)


def fastest_rate(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> Array:
    """λ_max at the balanced minimizer, for one target or each of a batch; the inverse of the fastest time scale.

    NaN or 0 where the minimizer is the zero network (a zero target, or one below the smoothing), which is flat.
    """
    one = lambda target: sharpness(target, net.bottleneck, loss, depth=net.depth, latent_dim=net.latent_dim)  # noqa: E731
    if np.ndim(target.mean) == 2:
        rates: Array = eqx.filter_vmap(one)(target)
        return rates
    return one(target)


def rate_at_the_start(net: DeepLinearNetwork, loss: AbstractLoss) -> Array:
    """About the largest curvature at the start, N w^p times that of the loss, w² the mean square singular value."""
    layers = [(jnp.asarray(weight) ** 2).sum((-2, -1)) / min(weight.shape[-2:]) for weight in net.weights]
    square = sum(layers) / net.depth
    curvature = 2.0 if isinstance(loss, BuresWasserstein) else 12 * square**net.depth
    rate: Array = net.depth * square ** (net.depth - 1) * curvature
    return rate
