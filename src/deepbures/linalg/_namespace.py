"""The library of an array."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any


def namespace(*arrays: Any) -> Any:
    """`jax.numpy` if any array is JAX's, else `numpy`."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def transpose(x: Array) -> Array:
    """Transpose of the last two axes."""
    return x.swapaxes(-1, -2)
