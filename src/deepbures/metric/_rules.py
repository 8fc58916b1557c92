"""One place decides how a distance or a map is computed: plainly, or under the derivative rules of JAX or PyTorch."""

import importlib
from typing import Any

from deepbures.metric._kernel import Kernel
from deepbures.metric._libraries import is_differentiated, is_torch

Array = Any


def distance(kernel: Kernel, x: Array, y: Array) -> Array:
    """D(x, y), differentiable where the library of the arguments differentiates."""
    return _rules(x).distance(kernel, x, y) if is_differentiated(x, y) else kernel.value(x, y)


def maps(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array]:
    """M_x and M_y, likewise."""
    if is_differentiated(x, y):
        first, second = _rules(x).maps(kernel, x, y)
    else:
        first, second = kernel.maps(x, y, kernel.decompose(x, y))
    return first, second


def _rules(x: Array) -> Any:
    """The rules of the library of `x`, which is loaded already, since `x` is one of its arrays."""
    return importlib.import_module(f"deepbures.metric._{'torch' if is_torch(x) else 'jax'}_rules")
