"""The gradient of a loss with respect to the layers of a network."""

from collections.abc import Sequence

from deepbures._types import Array, Float
from deepbures.linalg import transpose
from deepbures.model._losses import AbstractLoss
from deepbures.model._target import Target


def layer_gradients(
    weights: Sequence[Float[Array, "... _ _"]], loss: AbstractLoss, target: Target
) -> tuple[tuple[Float[Array, "... _ _"], ...], Float[Array, "... n m"]]:
    """∂L^N/∂W_l = (W_N ⋯ W_{l+1})ᵀ ∇L(W) (W_{l−1} ⋯ W_1)ᵀ for every layer, and ∇L(W) itself, W = W_N ⋯ W_1.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> from deepbures.model import layer_gradients
    >>> target, weights = db.Target.from_spectrum([4.0]), [np.eye(1), 3 * np.eye(1)]
    >>> (first, second), _ = layer_gradients(weights, db.BuresWasserstein(), target)
    >>> float(first[0, 0]), float(second[0, 0])                # of (w_2 w_1 − 2)²: 2 w_2 (w − 2), 2 w_1 (w − 2)
    (6.0, 2.0)
    """
    products = [weights[0]]
    for weight in weights[1:]:
        products.append(weight @ products[-1])
    gradient = loss.grad(products[-1], target)
    back = gradient
    gradients = []
    for layer in range(len(weights) - 1, 0, -1):
        gradients.append(back @ transpose(products[layer - 1]))
        back = transpose(weights[layer]) @ back
    return (back, *reversed(gradients)), gradient
