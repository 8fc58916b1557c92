"""The derivatives of a kernel in JAX: to second order, in closed form, under every transformation.

Differentiating the distance calls the maps, differentiating the maps calls their derivatives. A third derivative would
go through singular vectors, which have none where singular values meet; it is refused.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from deepbures.metric._kernel import Kernel, Pieces

Array = Any


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def distance(kernel: Kernel, x: Array, y: Array) -> Array:
    """D(x, y)."""
    return kernel.value(x, y)


@distance.defjvp
def _distance_jvp(kernel: Kernel, primals: Any, tangents: Any) -> Any:
    # dD = Re⟨∂D/∂x, dx⟩ + Re⟨∂D/∂y, dy⟩
    (x, y), (dx, dy) = primals, tangents
    value, *both = _distance_and_maps(kernel, x, y)
    gx, gy = kernel.gradients(x, y, (both[0], both[1]))
    return value, _inner_product(gx, dx) + _inner_product(gy, dy)


def maps(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array]:
    """M_x and M_y."""
    _, first, second = _distance_and_maps(kernel, x, y)
    return first, second


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _distance_and_maps(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array, Array]:
    pieces = kernel.decompose(x, y)
    return kernel.value_from(x, y, pieces), *kernel.maps(x, y, pieces)


@_distance_and_maps.defjvp
def _distance_and_maps_jvp(kernel: Kernel, primals: Any, tangents: Any) -> Any:
    (x, y), (dx, dy) = primals, tangents
    pieces = _decompose(kernel, x, y)
    value, (mx, my) = kernel.value_from(x, y, pieces), kernel.maps(x, y, pieces)
    gx, gy = kernel.gradients(x, y, (mx, my))
    derivatives = kernel.map_derivatives(x, y, pieces, dx, dy)
    return (value, mx, my), (_inner_product(gx, dx) + _inner_product(gy, dy), *derivatives)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _decompose(kernel: Kernel, x: Array, y: Array) -> Pieces:
    return kernel.decompose(x, y)


@_decompose.defjvp
def _decompose_jvp(kernel: Kernel, primals: Any, tangents: Any) -> Any:
    raise NotImplementedError(
        "Distances have first and second derivatives; a third one was asked for. Differentiate twice at most, or take "
        "differences of second derivatives."
    )


def _inner_product(gradient: Array, direction: Array) -> Array:
    """Re tr(AᴴB), over the last two axes."""
    return jnp.sum(jnp.real(jnp.conj(gradient) * direction), axis=(-2, -1))
