"""Coordinates in which a target with a known spectrum is diagonal."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from deepbures._types import Array, Float


class Coordinates(NamedTuple):
    """Matrices of shape (n, m) in coordinates in which the target is diagonal."""

    eigenvalues: Float[Array, "... q"]
    """(q,) eigenvalues of the target on the compressed space."""
    blocks: tuple[Float[Array, "... q m"], ...]
    """The matrices there, (q, m)."""
    outside: tuple[Float[Array, "... n m"], ...] | None
    """Their parts (n, m) in the null space of the target, None if there is none."""
    num_left: int
    """Dimensions of the data space that neither holds, times their common eigenvalue `floor`."""
    floor: Float[Array, "..."] | None
    lift: Callable[[Array], Array]
    """From the compressed space back to (n, m)."""


def coordinates(
    basis: Float[Array, "... n r"],
    values: Float[Array, "... r"],
    floor: Float[Array, "..."] | None,
    *matrices: Float[Array, "... n _"],
) -> Coordinates:
    """Write matrices in coordinates in which the target is diagonal.

    Where the target has a floor, they hold the first matrix whole; of the others they lack the part orthogonal to it
    and to the eigenvectors (where the target is floor · I).
    """
    basis, values = jnp.asarray(basis), jnp.asarray(values)
    n, r = basis.shape[-2:]
    inner = tuple(basis.mT @ w for w in matrices)
    if r == n:
        return Coordinates(values, inner, None, 0, None, lambda y: basis @ y)
    outside = tuple(w - basis @ c for w, c in zip(matrices, inner, strict=True))
    if floor is None:
        return Coordinates(values, inner, outside, n - r, None, lambda y: basis @ y)
    floor = jnp.asarray(floor)
    # On the complement of Ω the target is floor · I: any orthonormal basis z of the span of the first matrix's columns
    # there diagonalizes it. It must not depend on the others, in which derivatives are linear. Where the columns are
    # dependent, QR fills z up with directions whose rows of R are zero; they decouple from the rest. Only for the other
    # matrices do these have to be orthogonal to Ω as well.
    if len(matrices) == 1:
        z, rows = jnp.linalg.qr(outside[0])
        parts: tuple[Array, ...] = (rows,)
    else:
        z = jnp.linalg.qr(jnp.concatenate([basis, outside[0]], axis=-1))[0][..., r:]
        parts = tuple(z.mT @ part for part in outside)
    blocks = tuple(jnp.concatenate([c, part], axis=-2) for c, part in zip(inner, parts, strict=True))
    extended = jnp.concatenate([values, jnp.broadcast_to(floor[..., None], (*values.shape[:-1], z.shape[-1]))], axis=-1)
    return Coordinates(
        extended, blocks, None, n - extended.shape[-1], floor, lambda y: basis @ y[..., :r, :] + z @ y[..., r:, :]
    )
