"""The first derivatives of a kernel in programs that `torch.compile` and `torch.export` write.

They cannot follow a custom function that has a forward mode of its own, and have no second derivatives. So these know
of neither; PyTorch refuses what is missing.
"""

import contextlib
from typing import Any

import torch
from torch.autograd import Function

from deepbures.metric._kernel import Kernel

Array = torch.Tensor


def _uncast(x: Array) -> Any:
    """Autocast off, whether it is on or not: a backward is written where it is off, and run where it may be on."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else contextlib.nullcontext()


class CompiledDistance(Function):
    """(D, pieces of the decomposition); only D has a derivative."""

    @staticmethod
    def forward(kernel: Kernel, x: Array, y: Array) -> tuple[Array, ...]:
        """D and the pieces."""
        pieces = kernel.decompose(x, y)
        return kernel.value(x, y, pieces), *pieces

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps all of it."""
        ctx.kernel, *arguments = inputs
        _, *pieces = output
        ctx.mark_non_differentiable(*pieces)
        ctx.save_for_backward(*arguments, *pieces)

    @staticmethod
    def backward(ctx: Any, cotangent: Array, *_: Any) -> tuple[Array | None, ...]:
        """∂D/∂x and ∂D/∂y."""
        x, y, *pieces = ctx.saved_tensors
        with _uncast(x):
            slopes = [ctx.kernel.gradient(which, x, y, tuple(pieces)) for which in (0, 1)]
        first, second = (cotangent[..., None, None] * slope for slope in slopes)
        return None, first, second


class CompiledGradient(Function):
    """∂D/∂x, from the pieces of the decomposition."""

    @staticmethod
    def forward(kernel: Kernel, x: Array, y: Array, *pieces: Array) -> Array:
        """∂D/∂x."""
        return kernel.gradient(0, x, y, pieces)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps all of it."""
        ctx.kernel, *arguments = inputs
        ctx.save_for_backward(*arguments)

    @staticmethod
    def backward(ctx: Any, cotangent: Array) -> tuple[Array | None, ...]:
        """The adjoint of its derivative."""
        x, y, *pieces = ctx.saved_tensors
        with _uncast(x):
            moved = ctx.kernel.adjoint_product(x, y, tuple(pieces), cotangent, torch.zeros_like(y))
        return None, *moved, *(None for _ in pieces)


class CompiledProduct(Function):
    """A constant matrix times x."""

    @staticmethod
    def forward(matrix: Array, x: Array) -> Array:
        """The product."""
        return matrix @ x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keeps the matrix."""
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, cotangent: Array) -> tuple[None, Array]:
        """The product with the transposed matrix."""
        (matrix,) = ctx.saved_tensors
        with _uncast(matrix):
            return None, matrix.mT @ cotangent
