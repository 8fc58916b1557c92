"""What the array API standard leaves to each library: what is being traced, and values without derivatives."""

import sys
from typing import Any

Array = Any


def is_jax(array: Array) -> bool:
    """Whether this is an array of JAX, traced or not."""
    jax = sys.modules.get("jax")  # what was never imported has no arrays
    return jax is not None and isinstance(array, jax.Array)


def is_torch(array: Array) -> bool:
    """Whether this is a tensor of PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def is_traced(*arrays: Array) -> bool:
    """Whether a transformation is tracing any of the arrays, so that its values cannot be looked at.

    That is anything inside a transformation of JAX, inside `torch.func.vmap`, and inside `torch.compile`.
    """
    return any(
        isinstance(array, sys.modules["jax"].core.Tracer) if is_jax(array) else is_torch(array) and _is_batched(array)
        for array in arrays
    )


def _is_batched(array: Array) -> bool:
    torch = sys.modules["torch"]
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(array):
        if functorch.is_batchedtensor(array):
            return True
        array = functorch.get_unwrapped(array)
    return bool(torch.compiler.is_compiling())


def is_differentiated(*arrays: Array) -> bool:
    """Whether derivatives of what is computed from the arrays may be asked for, or a map over them is under way."""
    if not all(is_torch(array) for array in arrays):
        return is_traced(*arrays)
    torch = sys.modules["torch"]
    return any(
        (array.requires_grad and torch.is_grad_enabled())
        or torch._C._functorch.is_functorch_wrapped_tensor(array)
        or torch.autograd.forward_ad.unpack_dual(array).tangent is not None
        for array in arrays
    )


def detached(array: Array) -> Array:
    """The same values, constant under differentiation."""
    if is_torch(array):
        return array.detach()
    return sys.modules["jax"].lax.stop_gradient(array) if is_jax(array) else array
