"""The squared Frobenius loss between covariances, the square-loss comparison."""

from typing import Any

import jax.numpy as jnp

from deepbures.metric._procrustes import squared_norm
from deepbures.model._coordinates import coordinates
from deepbures.model._covariance import ProductCovariance
from deepbures.model._losses import AbstractLoss, inner_product
from deepbures.model._target import Target

Array = Any


class Frobenius(AbstractLoss):
    """Squared Frobenius loss L_F(W) = ‖W Wᵀ − Σ0‖², with ∇L_F(W) = 4 (W Wᵀ − Σ0) W.

    The comparison used by Bréchet et al. (2023); their public code trains this loss and logs a quarter of it. Needs
    Σ0 through products only. The value of a target that is known through products is ‖WᵀW‖² − 2 tr(WᵀΣ0W) + ‖Σ0‖²,
    where ‖Σ0‖² takes n products with unit vectors if only an operator is known.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_covariance(np.diag([4.0, 1.0]))
    >>> float(db.Frobenius().value(np.array([[3.0], [0.0]]), target))     # (9 − 4)² + 1²
    26.0
    """

    degree = 2

    def in_units(self, exponent: int) -> "Frobenius":
        """The loss of data in units of 2^exponent: it has no parameter."""
        return self

    def _value(self, w: Array, target: Target) -> Array:
        covariance = target.covariance
        if isinstance(covariance, ProductCovariance):
            gram = w.mT @ w
            return squared_norm(gram) - 2 * inner_product(w, covariance.matmul(w)) + operator_squared_norm(covariance)
        c = coordinates(covariance, w)
        inner = c.blocks[0]
        value = squared_norm(inner @ inner.mT - c.eigenvalues[..., :, None] * jnp.eye(inner.shape[-2], dtype=w.dtype))
        if c.outside is not None:
            outside_gram = c.outside[0].mT @ c.outside[0]
            value = value + squared_norm(outside_gram) + 2 * inner_product(inner.mT @ inner, outside_gram)
        return value if c.floor is None else value + c.num_left * c.floor**2

    def _gradient(self, w: Array, target: Target) -> Array:
        return 4 * (w @ (w.mT @ w) - target.covariance.matmul(w))

    def _hvp(self, w: Array, target: Target, direction: Array) -> Array:
        moved = direction @ (w.mT @ w) + w @ (direction.mT @ w) + w @ (w.mT @ direction)
        return 4 * (moved - target.covariance.matmul(direction))


def operator_squared_norm(covariance: ProductCovariance) -> Array:
    """‖Σ0‖² of a target known through products, a block of unit vectors at a time."""
    if covariance.squared_norm is not None:
        return covariance.squared_norm
    n, dtype = covariance.dim, covariance.trace.dtype
    total = jnp.zeros((), dtype)
    for start in range(0, n, 256):
        block = jnp.eye(n, min(256, n - start), -start, dtype=dtype)
        total = total + squared_norm(jnp.asarray(covariance.matmul(block)))
    return total
