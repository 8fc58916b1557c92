"""How far a network is from balanced, W_{l+1}ᵀ W_{l+1} = W_l W_lᵀ for every l, relative to its size."""

import numpy as np

from deepbures._types import Array, Float64
from deepbures.model._network import DeepLinearNetwork


def relative_balancedness_gap(net: DeepLinearNetwork) -> float:
    """The largest ‖W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ‖ over the largest ‖W_l‖²; of a batch the largest."""
    largest = _squared_layers(net)
    return float(np.max(np.asarray(net.balancedness_gap()) / np.where(largest > 0, largest, 1)))


def largest_squared_layer(net: DeepLinearNetwork) -> float:
    """The largest ‖W_l‖²; of a batch the largest."""
    return float(np.max(_squared_layers(net)))


def _squared_layers(net: DeepLinearNetwork) -> Float64[Array, "..."]:
    """The largest ‖W_l‖² of each network."""
    sizes: np.ndarray = np.stack([(np.asarray(weight, np.float64) ** 2).sum((-2, -1)) for weight in net.weights])
    return sizes.max(0)


def balancedness_tolerance(net: DeepLinearNetwork) -> float:
    """The relative balancedness gap up to which a network counts as balanced.

    1e-8, or in single precision, where a balanced lift is not better than that, about 2e-6.
    """
    return max(1e-8, *(16 * float(np.finfo(weight.dtype).eps) for weight in net.weights))
