"""What the array API standard leaves to each library: what is being traced, and values without derivatives."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from array_api_compat import device

from deepbures._types import Array, Shaped


def is_jax(array: Shaped[Array, "..."]) -> bool:
    """Whether this is an array of JAX, traced or not."""
    jax = sys.modules.get("jax")  # what was never imported has no arrays
    return jax is not None and isinstance(array, jax.Array)


def is_torch(array: Shaped[Array, "..."]) -> bool:
    """Whether this is a tensor of PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def is_traced(*arrays: Shaped[Array, "..."]) -> bool:
    """Whether what is computed from the arrays is traced, so that its values cannot be looked at.

    That is anything that a transformation of JAX maps over or differentiates by, or that is inside `torch.func.vmap` or
    `torch.compile`. Inside `jax.jit` (a scan, a loop, …) it is every array of JAX, also one that is closed over and has
    values of its own: operations on it become part of the program that is being written.
    """
    if any(is_jax(array) for array in arrays):
        jax = sys.modules["jax"]
        return any(isinstance(array, jax.core.Tracer) for array in arrays) or _is_staging(jax)
    return any(is_torch(array) and _is_batched(array) for array in arrays)


def values_of(array: Shaped[Array, "..."]) -> contextlib.AbstractContextManager[bool]:
    """Whether the values of the array itself can be looked at, and a context for what is computed to look at them.

    They can be where the array is a constant of a program that JAX is writing.
    """
    if not is_jax(array):
        return contextlib.nullcontext(not is_traced(array))
    if isinstance(array, sys.modules["jax"].core.Tracer):
        return contextlib.nullcontext(False)
    return _constant_of_jax()


@contextlib.contextmanager
def _constant_of_jax() -> Iterator[bool]:
    with constants_of_jax():
        yield True


def constants_of_jax() -> contextlib.AbstractContextManager[None]:
    """A context in which operations on constants of a program that JAX is writing are carried out."""
    jax = sys.modules["jax"]
    return jax.ensure_compile_time_eval() if _is_staging(jax) else contextlib.nullcontext()


def _is_staging(jax: Any) -> bool:
    """Whether JAX writes a program instead of computing: then even what depends on nothing is traced."""
    return isinstance(jax.lax.iota("int32", 1), jax.core.Tracer)


def _is_batched(array: Shaped[Array, "..."]) -> bool:
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():
        return True
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(array):
        if functorch.is_batchedtensor(array):
            return True
        array = functorch.get_unwrapped(array)
    return False


def is_differentiated(*arrays: Shaped[Array, "..."]) -> bool:
    """Whether derivatives of what is computed from the arrays may be asked for, or a map over them is under way."""
    if not all(is_torch(array) for array in arrays):
        return is_traced(*arrays)
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():
        return any(array.requires_grad for array in arrays) and torch.is_grad_enabled()
    return any(
        (array.requires_grad and torch.is_grad_enabled())
        or torch._C._functorch.is_functorch_wrapped_tensor(array)
        or torch.autograd.forward_ad.unpack_dual(array).tangent is not None
        for array in arrays
    )


def device_of(array: Shaped[Array, "..."]) -> Any:
    """The device to put new arrays beside this one on; None where the library finds it by itself.

    JAX moves what it has to, or says why it cannot; under its transformations there is no device.
    """
    return None if is_jax(array) else device(array)


def detached(array: Shaped[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    """The same values, constant under differentiation."""
    if is_torch(array):
        return array.detach()
    return sys.modules["jax"].lax.stop_gradient(array) if is_jax(array) else array


def in_full_precision(array: Shaped[Array, "..."]) -> contextlib.AbstractContextManager[Any]:
    """A context without PyTorch's autocast, which would have matrix products made in half precision."""
    if not is_torch(array) or not is_autocast(array):
        return contextlib.nullcontext()
    return sys.modules["torch"].autocast(array.device.type, enabled=False)


def is_autocast(array: Shaped[Array, "..."]) -> bool:
    """Whether this is a tensor on a device for which autocast is on."""
    if not is_torch(array):
        return False
    torch, kind = sys.modules["torch"], array.device.type
    return bool(torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind))
