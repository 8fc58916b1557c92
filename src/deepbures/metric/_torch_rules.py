"""The derivatives of a kernel in PyTorch: forward and backward, twice, in closed form, under `torch.func` too.

The backward of the distance calls the maps, the backward of the maps calls their derivatives. What was decomposed in
the forward pass is kept for both. A third derivative would go through singular vectors; it is refused.
"""

from typing import Any

import torch
from torch.autograd import Function

from deepbures.metric._kernel import Kernel

Array = torch.Tensor


def distance(kernel: Kernel, x: Array, y: Array) -> Array:
    """D(x, y)."""
    _refuse_nested_forward()
    value, *_ = _Distance.apply(kernel, *_same_batch(x, y))
    return value


def maps(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array]:
    """M_x and M_y."""
    _refuse_nested_forward()
    x, y = _same_batch(x, y)
    _, *pieces = _Distance.apply(kernel, x, y)
    first, second = _Maps.apply(kernel, x, y, *pieces)
    return first, second


class _Distance(Function):
    """(D, pieces of the decomposition); only D has a derivative."""

    @staticmethod
    def forward(kernel: Kernel, x: Array, y: Array) -> tuple[Array, ...]:
        pieces = kernel.decompose(x, y)
        return kernel.value_from(x, y, pieces), *pieces

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.kernel, *arguments = inputs
        _, *pieces = output
        ctx.mark_non_differentiable(*pieces)
        ctx.save_for_backward(*arguments, *pieces)
        ctx.save_for_forward(*arguments, *pieces)

    @staticmethod
    def backward(ctx: Any, cotangent: Array, *_: Any) -> tuple[Array | None, ...]:
        x, y, *pieces = ctx.saved_tensors
        gx, gy = ctx.kernel.gradients(x, y, _Maps.apply(ctx.kernel, x, y, *pieces))
        return None, cotangent[..., None, None] * gx, cotangent[..., None, None] * gy

    @staticmethod
    def jvp(ctx: Any, _: None, dx: Array | None, dy: Array | None) -> tuple[Array | None, ...]:
        x, y, *pieces = ctx.saved_tensors
        gx, gy = ctx.kernel.gradients(x, y, _Maps.apply(ctx.kernel, x, y, *pieces))
        tangent = torch.zeros((), dtype=gx.real.dtype, device=gx.device)
        if dx is not None:
            tangent = tangent + _inner_product(gx, dx)
        if dy is not None:
            tangent = tangent + _inner_product(gy, dy)
        return tangent, *(None for _ in pieces)

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, x: Array, y: Array) -> Any:
        output = _Distance.apply(kernel, *_batch_first(info, in_dims[1:], x, y))
        return output, (0,) * len(output)


class _Maps(Function):
    """M_x and M_y, from the pieces of the decomposition."""

    @staticmethod
    def forward(kernel: Kernel, x: Array, y: Array, *pieces: Array) -> tuple[Array, Array]:
        return kernel.maps(x, y, pieces)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.kernel, *arguments = inputs
        ctx.save_for_backward(*arguments)
        ctx.save_for_forward(*arguments)

    @staticmethod
    def backward(ctx: Any, px: Array, py: Array) -> tuple[Array | None, ...]:
        x, y, *pieces = ctx.saved_tensors
        gx, gy = _PullBack.apply(ctx.kernel, x, y, px, py, *pieces)
        return None, gx, gy, *(None for _ in pieces)

    @staticmethod
    def jvp(ctx: Any, _: None, dx: Array | None, dy: Array | None, *__: Any) -> tuple[Array, Array]:
        x, y, *pieces = ctx.saved_tensors
        dx = torch.zeros_like(x) if dx is None else dx
        dy = torch.zeros_like(y) if dy is None else dy
        return _PushForward.apply(ctx.kernel, x, y, dx, dy, *pieces)

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, *arguments: Array) -> Any:
        return _Maps.apply(kernel, *_batch_first(info, in_dims[1:], *arguments)), (0, 0)


class _Linear(Function):
    """What is linear in its two directions, and has no further derivative in the rest."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(_THIRD)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(_THIRD)


_THIRD = (
    "Distances have first and second derivatives; a third one was asked for. Differentiate twice at most, or take "
    "differences of second derivatives."
)


class _PullBack(_Linear):
    @staticmethod
    def forward(kernel: Kernel, x: Array, y: Array, px: Array, py: Array, *pieces: Array) -> tuple[Array, Array]:
        return kernel.pull_back(x, y, pieces, px, py)

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, *arguments: Array) -> Any:
        return _PullBack.apply(kernel, *_batch_first(info, in_dims[1:], *arguments)), (0, 0)


class _PushForward(_Linear):
    @staticmethod
    def forward(kernel: Kernel, x: Array, y: Array, dx: Array, dy: Array, *pieces: Array) -> tuple[Array, Array]:
        return kernel.map_derivatives(x, y, pieces, dx, dy)

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, *arguments: Array) -> Any:
        return _PushForward.apply(kernel, *_batch_first(info, in_dims[1:], *arguments)), (0, 0)


def _refuse_nested_forward() -> None:
    """Forward over forward mode loses the inner derivative of any custom function (pytorch/pytorch#197867)."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    if sum(interpreter.key() == torch._C._functorch.TransformType.Jvp for interpreter in stack) > 1:
        raise NotImplementedError(
            "PyTorch differentiates custom functions wrongly in forward mode within forward mode (torch.func.jvp or "
            "jacfwd, nested). Use reverse mode for one of the two: torch.func.hessian, or jacrev of jacfwd."
        )


def _same_batch(x: Array, y: Array) -> tuple[Array, Array]:
    """Both with the leading dimensions that they broadcast to, as views, so that gradients are summed by PyTorch."""
    batch = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return x.expand(*batch, *x.shape[-2:]), y.expand(*batch, *y.shape[-2:])


def _batch_first(info: Any, in_dims: Any, *arguments: Array) -> tuple[Array, ...]:
    return tuple(
        argument.expand(info.batch_size, *argument.shape) if dim is None else argument.movedim(dim, 0)
        for argument, dim in zip(arguments, in_dims, strict=True)
    )


def _inner_product(gradient: Array, direction: Array) -> Array:
    """Re tr(AᴴB), over the last two axes."""
    return (gradient.conj() * direction).real.sum((-2, -1))
