"""The derivatives of a kernel in PyTorch: forward and backward, twice, in closed form, under `torch.func` too.

The backward of the distance calls its gradients, the backward of these the Hessian. What was decomposed in
the forward pass is kept for both. A third derivative would go through singular vectors; it is refused.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import Function

from deepbures.metric._kernel import THIRD_DERIVATIVE, Kernel
from deepbures.metric._libraries import in_full_precision
from deepbures.metric._torch_compiled import CompiledDistance, CompiledGradient, CompiledProduct

Array = torch.Tensor


def distance(kernel: Kernel, x: Array, y: Array) -> Array:
    """D(x, y)."""
    if torch.compiler.is_compiling():
        value, *_ = CompiledDistance.apply(kernel, *_same_batch(x, y))
        return value
    _refuse_nested_forward()
    value, *_ = _Distance.apply(kernel, *_same_batch(x, y))
    return value


def gradient(kernel: Kernel, x: Array, y: Array) -> Array:
    """∂D/∂x."""
    x, y = _same_batch(x, y)
    if torch.compiler.is_compiling():
        _, *pieces = CompiledDistance.apply(kernel, x, y)
        compiled: Array = CompiledGradient.apply(kernel, x, y, *pieces)
        return compiled
    _refuse_nested_forward()
    _, *pieces = _Distance.apply(kernel, x, y)
    first: Array = _Gradient.apply(kernel, 0, x, y, *pieces)
    return first


def product(matrix: Array, x: Array) -> Array:
    """The product of a constant matrix and x, without autocast in its derivatives either."""
    rule = CompiledProduct if torch.compiler.is_compiling() else _Product
    result: Array = rule.apply(matrix, x)
    return result


def _uncast(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward method without autocast: `backward` may be called where it is on, and calls others forward."""

    @functools.wraps(forward)
    def wrapped(*arguments: Any) -> Any:
        with in_full_precision(arguments[-1]):
            return forward(*arguments)

    return wrapped


class _Distance(Function):
    """(D, pieces of the decomposition); only D has a derivative."""

    @staticmethod
    @_uncast
    def forward(kernel: Kernel, x: Array, y: Array) -> tuple[Array, ...]:
        pieces = kernel.decompose(x, y)
        return kernel.value(x, y, pieces), *pieces

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
        gradients = (
            cotangent[..., None, None] * _Gradient.apply(ctx.kernel, which, x, y, *pieces)
            if ctx.needs_input_grad[which + 1]
            else None
            for which in (0, 1)
        )
        return None, *gradients

    @staticmethod
    def jvp(ctx: Any, _: None, *directions: Array | None) -> tuple[Array | None, ...]:
        x, y, *pieces = ctx.saved_tensors
        tangent = torch.zeros(x.shape[:-2], dtype=x.real.dtype, device=x.device)
        for which, direction in enumerate(directions):
            if direction is not None:
                slope = _Gradient.apply(ctx.kernel, which, x, y, *pieces)
                tangent = tangent + (slope.conj() * direction).real.sum((-2, -1))
        return tangent, *(None for _ in pieces)

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, x: Array, y: Array) -> Any:
        output = _Distance.apply(kernel, *_batch_first(info, in_dims[1:], x, y))
        return output, (0,) * len(output)


class _Gradient(Function):
    """∂D/∂x or ∂D/∂y, from the pieces of the decomposition."""

    @staticmethod
    @_uncast
    def forward(kernel: Kernel, which: int, x: Array, y: Array, *pieces: Array) -> Array:
        return kernel.gradient(which, x, y, pieces)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.kernel, ctx.which, *arguments = inputs
        ctx.save_for_backward(*arguments)
        ctx.save_for_forward(*arguments)

    @staticmethod
    def backward(ctx: Any, cotangent: Array) -> tuple[Array | None, ...]:
        x, y, *pieces = ctx.saved_tensors
        px, py = (cotangent if which == ctx.which else torch.zeros_like(z) for which, z in enumerate((x, y)))
        gx, gy = _Adjoint.apply(ctx.kernel, x, y, px, py, *pieces)
        return None, None, gx, gy, *(None for _ in pieces)

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, dx: Array | None, dy: Array | None, *___: Any) -> Array:
        x, y, *pieces = ctx.saved_tensors
        dx = torch.zeros_like(x) if dx is None else dx
        dy = torch.zeros_like(y) if dy is None else dy
        moved: Array = _Hessian.apply(ctx.kernel, x, y, dx, dy, *pieces)[ctx.which]
        return moved

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, which: int, *arguments: Array) -> Any:
        return _Gradient.apply(kernel, which, *_batch_first(info, in_dims[2:], *arguments)), 0


class _Linear(Function):
    """What is linear in its two directions, and has no further derivative in the rest."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(THIRD_DERIVATIVE)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(THIRD_DERIVATIVE)


class _Adjoint(_Linear):
    @staticmethod
    @_uncast
    def forward(kernel: Kernel, x: Array, y: Array, px: Array, py: Array, *pieces: Array) -> tuple[Array, Array]:
        return kernel.adjoint_product(x, y, pieces, px, py)

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, *arguments: Array) -> Any:
        return _Adjoint.apply(kernel, *_batch_first(info, in_dims[1:], *arguments)), (0, 0)


class _Hessian(_Linear):
    @staticmethod
    @_uncast
    def forward(kernel: Kernel, x: Array, y: Array, dx: Array, dy: Array, *pieces: Array) -> tuple[Array, Array]:
        return kernel.hessian_product(x, y, pieces, dx, dy)

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Kernel, *arguments: Array) -> Any:
        return _Hessian.apply(kernel, *_batch_first(info, in_dims[1:], *arguments)), (0, 0)


class _Product(Function):
    """A constant matrix times x."""

    generate_vmap_rule = True

    @staticmethod
    @_uncast
    def forward(matrix: Array, x: Array) -> Array:
        return matrix @ x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    def backward(ctx: Any, cotangent: Array) -> tuple[None, Array]:
        return None, _Product.apply(ctx.saved_tensors[0].mT, cotangent)

    @staticmethod
    def jvp(ctx: Any, _: None, direction: Array) -> Array:
        moved: Array = _Product.apply(ctx.saved_tensors[0], direction)
        return moved


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
