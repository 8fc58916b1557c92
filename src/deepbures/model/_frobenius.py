"""The squared Frobenius loss between covariances, the square-loss comparison."""

import jax.numpy as jnp

from deepbures._loss_names import LossName
from deepbures._types import Array, Float
from deepbures.linalg import squared_norm
from deepbures.model._losses import AbstractSpectralLoss, inner_product
from deepbures.model._modes import AbstractModes, Numbers
from deepbures.model._target import Target


class Frobenius(AbstractSpectralLoss):
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
    name = LossName.frobenius.value

    def in_units(self, exponent: int) -> "Frobenius":
        """The loss of data in units of 2^exponent: it has no parameter."""
        return self

    @property
    def words(self) -> str:
        """What it is called in a sentence, before "loss"."""
        return "squared Frobenius"

    @property
    def modes(self) -> "FrobeniusModes":
        """The scalar functions of its landscape."""
        return FrobeniusModes()

    def _value(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "..."]:
        c = target.covariance.coordinates(w)
        if c is None:
            products = squared_norm(w.mT @ w) - 2 * inner_product(w, target.covariance.matmul(w))
            return products + target.covariance.squared_norm()
        inner = c.blocks[0]
        value = squared_norm(inner @ inner.mT - c.eigenvalues[..., :, None] * jnp.eye(inner.shape[-2], dtype=w.dtype))
        if c.outside is not None:
            outside_gram = c.outside[0].mT @ c.outside[0]
            value = value + squared_norm(outside_gram) + 2 * inner_product(inner.mT @ inner, outside_gram)
        return value if c.floor is None else value + c.num_left * c.floor**2

    def _resolution(self, target: Target, value: Float[Array, ""] | float) -> tuple[Float[Array, ""] | float, int]:
        """A difference of squares of covariances."""
        return target.trace**2 + value, 1

    def _gradient(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "... n m"]:
        return 4 * (w @ (w.mT @ w) - target.covariance.matmul(w))

    def _hvp(
        self, w: Float[Array, "... n m"], target: Target, direction: Float[Array, "... n m"]
    ) -> Float[Array, "... n m"]:
        moved = direction @ (w.mT @ w) + w @ (direction.mT @ w) + w @ (w.mT @ direction)
        return 4 * (moved - target.covariance.matmul(direction))


class FrobeniusModes(AbstractModes):
    """h = (m − λ)², h' = 2 (m − λ), h'' = q = 2, m* = λ."""

    used_formula = "λⱼ"

    @property
    def is_smooth(self) -> bool:
        """Smooth at m = 0 too."""
        return True

    def value(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The value h = (m − λ)²."""
        return (square - eigenvalue) ** 2

    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The slope h' = 2 (m − λ)."""
        return 2 * (square - eigenvalue)

    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The curvature h'' = 2."""
        return 2 + 0 * (eigenvalue + square)

    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The coupling q = 2."""
        return 2 + 0 * (first + second + first_square + second_square)

    def used(self, eigenvalue: Numbers) -> Numbers:
        """A used mode rests at m* = λ."""
        return eigenvalue

    def threshold(self) -> Float[Array, ""] | float:
        """Modes must exceed 0."""
        return 0.0

    def rest(self, eigenvalue: Numbers) -> Numbers:
        """The value of a used mode, 0."""
        return 0 * eigenvalue
