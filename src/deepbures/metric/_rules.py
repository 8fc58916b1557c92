"""One place decides how a distance or its gradient is computed: plainly, or by the rules of JAX or PyTorch."""

from typing import Any

from deepbures._types import Array, Float, Inexact
from deepbures.metric._kernel import First, Kernel, Second
from deepbures.metric._libraries import in_full_precision, is_differentiated, is_torch


def distance(kernel: Kernel, x: Inexact[Array, "... m n"], y: Inexact[Array, "... p q"]) -> Float[Array, "..."]:
    """D(x, y), differentiable where the library of the arguments differentiates."""
    with in_full_precision(x):
        return _rules(x).distance(kernel, x, y) if is_differentiated(x, y) else kernel.value_alone(x, y)


def gradient(kernel: Kernel, x: First, y: Second) -> Array:
    """∂D/∂x, likewise."""
    with in_full_precision(x):
        if is_differentiated(x, y):
            return _rules(x).gradient(kernel, x, y)
        return kernel.gradient(0, x, y, kernel.decompose(x, y))


def constant_product(matrix: Array, x: Array) -> Array:
    """The product of a constant matrix and x, in full precision; in PyTorch its derivatives too, under autocast."""
    return _rules(x).product(matrix, x) if is_torch(x) else matrix @ x


def _rules(x: Array) -> Any:
    """The rules of the library of `x`, which is loaded already, since `x` is one of its arrays.

    They are imported by statements, which `torch.compile` can follow.
    """
    if is_torch(x):
        from deepbures.metric import _torch_rules

        return _torch_rules
    from deepbures.metric import _jax_rules

    return _jax_rules
