"""The library of an array."""

import sys
from typing import Any

import numpy as np

from deepbures._types import Array, Shaped


def namespace(*arrays: Any) -> Any:
    """`jax.numpy` if any array is JAX's, else `numpy`."""
    jax = sys.modules.get("jax")  # what was never imported has no arrays
    return jax.numpy if jax is not None and any(isinstance(array, jax.Array) for array in arrays) else np


def transpose(x: Shaped[Array, "... n m"]) -> Shaped[Array, "... m n"]:
    """Transpose of the last two axes."""
    return x.swapaxes(-1, -2)
