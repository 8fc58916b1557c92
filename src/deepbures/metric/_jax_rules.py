"""The derivatives of a kernel in JAX: to second order, in closed form, under every transformation.

Differentiating the distance calls its gradients, differentiating these the Hessian; all from one decomposition,
which is constant as far as JAX knows. A third derivative would go through singular vectors, which have none where
singular values meet; it is refused.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from deepbures._types import Array, Float
from deepbures.metric._kernel import THIRD_DERIVATIVE, First, Kernel, Second

Decomposition = tuple[Array, ...]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def distance(kernel: Kernel, x: First, y: Second) -> Float[Array, "..."]:
    """D(x, y)."""
    return kernel.value_alone(x, y)


@functools.partial(distance.defjvp, symbolic_zeros=True)
def _distance_jvp(kernel: Kernel, primals: Any, tangents: Any) -> Any:
    pieces = _decompose(kernel, *primals)
    return _value(kernel, *primals, *pieces), _differential(kernel, primals, tangents, pieces)


def gradient(kernel: Kernel, x: First, y: Second) -> Array:
    """∂D/∂x."""
    return _gradient(kernel, 0, x, y, *_decompose(kernel, x, y))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _decompose(kernel: Kernel, x: First, y: Second) -> Decomposition:
    return kernel.decompose(x, y)


@_decompose.defjvp
def _decompose_jvp(kernel: Kernel, primals: Any, tangents: Any) -> Any:
    # What is computed from the pieces has derivatives of its own.
    pieces = _decompose(kernel, *primals)
    return pieces, tuple(jnp.zeros_like(piece) for piece in pieces)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _value(kernel: Kernel, x: First, y: Second, *pieces: Array) -> Float[Array, "..."]:
    return kernel.value(x, y, pieces)


@functools.partial(_value.defjvp, symbolic_zeros=True)
def _value_jvp(kernel: Kernel, primals: Any, tangents: Any) -> Any:
    x, y, *pieces = primals
    return _value(kernel, *primals), _differential(kernel, (x, y), tangents[:2], tuple(pieces))


def _differential(kernel: Kernel, primals: Any, tangents: Any, pieces: Decomposition) -> Float[Array, "..."]:
    """The differential Re⟨∂D/∂x, dx⟩ + Re⟨∂D/∂y, dy⟩, leaving out what stands still."""
    x, y = primals
    total = jnp.zeros(jnp.broadcast_shapes(x.shape[:-2], y.shape[:-2]), jnp.real(x).dtype)
    for which, direction in enumerate(tangents):
        if not isinstance(direction, jax.custom_derivatives.SymbolicZero):
            slope = _gradient(kernel, which, x, y, *pieces)
            total = total + jnp.sum(jnp.real(jnp.conj(slope) * direction), axis=(-2, -1))
    return total


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _gradient(kernel: Kernel, which: int, x: First, y: Second, *pieces: Array) -> Array:
    return kernel.gradient(which, x, y, pieces)


@_gradient.defjvp
def _gradient_jvp(kernel: Kernel, which: int, primals: Any, tangents: Any) -> Any:
    value = _gradient(kernel, which, *primals)
    x, y, *pieces = _no_further(primals)
    return value, kernel.hessian_product(x, y, tuple(pieces), *tangents[:2])[which]


@jax.custom_jvp
def _no_further(arrays: Any) -> Any:
    """The same arrays, which cannot be differentiated."""
    return arrays


@_no_further.defjvp
def _no_further_jvp(primals: Any, tangents: Any) -> Any:
    raise NotImplementedError(THIRD_DERIVATIVE)
