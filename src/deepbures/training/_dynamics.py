"""The vector field of training: gradients of L^N with respect to the layers."""

from typing import Any

from deepbures.model import AbstractLoss, Target

Array = Any
Weights = tuple[Array, ...]


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
