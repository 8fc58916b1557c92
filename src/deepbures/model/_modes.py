"""The scalar functions of a loss that is invariant under common rotations: all that its landscape is made of.

Such a loss is a function ℓ(M) of M = W Wᵀ and the target Σ0. On a pair with common eigenvectors, where mode i has the
eigenvalue λ of the target and m of M, it is Σ_i h(λ_i, m_i), and its second derivative there is

    D²ℓ[dM, dM] = Σ_i h''(λ_i, m_i) dM_ii² + Σ_{i≠j} q(λ_i, λ_j, m_i, m_j) dM_ij²,

primes being derivatives in m. A critical point of W ↦ ℓ(W Wᵀ) has m = 0 or h'(λ, m) = 0 in every mode, the latter at
m = m*(λ), so that W Wᵀ = Ω_J diag(m*(λ_j)) Ω_Jᵀ for a set J of modes. There the Hessian in W is diagonal in

    exchange i→j     Ω_i v_jᵀ, i ∉ J, j ∈ J                        2 h'(λ_i, 0) + 2 q(λ_i, λ_j, 0, m_j) m_j
    scale of j       Ω_j v_jᵀ                                      4 h''(λ_j, m_j) m_j
    pair j, j'       symmetric, of Ω_j v_j'ᵀ and Ω_j' v_jᵀ         2 q(λ_j, λ_j', m_j, m_j') (m_j + m_j')
    null row i ∉ J   Ω_i vᵀ, v orthogonal to all v_j               2 h'(λ_i, 0)

with v_j the right singular vectors; rotations within J, and null rows j ∈ J, have zero. The functions work on arrays of
NumPy or JAX.
"""

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar, dataclass_transform

from deepbures._types import Array, Float

Numbers = Float[Array, "..."]
"""Of one mode or many: functions work entry by entry."""


@dataclass_transform(frozen_default=True, eq_default=False)
class AbstractModes(ABC):
    """What one invariant loss makes of a mode with the eigenvalue λ of the target and m of W Wᵀ.

    Functions take and return arrays. `exchange`, `pair`, `scale` and `null` follow from the others; a leaf says them
    itself where the general formula cancels. A subclass lists its parameters as annotated fields: it is a frozen
    dataclass without being decorated.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> modes = db.BuresWasserstein(tau=1.0).modes
    >>> modes.used(np.array([4.0])).tolist(), modes.cost(np.array([4.0])).tolist()     # λ − τ, (√λ − √τ)²
    ([3.0], [1.0])
    >>> modes.exchange(np.array([1.0]), np.array([4.0])).tolist()     # 2 (4 − 1)/(4 + √(1 · 1))
    [1.2]
    """

    threshold_name: ClassVar[str] = "the threshold of the loss"
    """What a message calls the threshold."""

    used_formula: ClassVar[str] = "m*(λⱼ)"
    """What a sentence calls `used`."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        dataclasses.dataclass(frozen=True, eq=False)(cls)

    @property
    @abstractmethod
    def is_smooth(self) -> bool:
        """Whether h'(λ, 0) is finite, so that points of every rank are points of a smooth function."""

    @abstractmethod
    def value(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """What a mode adds to the loss, h(λ, m)."""

    @abstractmethod
    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The derivative h'(λ, m) in m."""

    @abstractmethod
    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The second derivative h''(λ, m) in m."""

    @abstractmethod
    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The second derivative q(λ_i, λ_j, m_i, m_j) in the direction (e_i e_jᵀ + e_j e_iᵀ)/√2.

        It is that of the loss as a function of W Wᵀ, where this and Σ0 are diagonal. For equal modes it is h''.
        """

    @abstractmethod
    def used(self, eigenvalue: Numbers) -> Numbers:
        """The eigenvalue m*(λ) of W Wᵀ at which a mode above the threshold rests."""

    @abstractmethod
    def threshold(self) -> Float[Array, ""] | float:
        """The level that the eigenvalue of a mode must exceed to be used: m*(λ) > 0 iff λ is above it."""

    def cost(self, eigenvalue: Numbers) -> Numbers:
        """What a mode adds to the loss while it is not used, h(λ, 0)."""
        return self.value(eigenvalue, 0 * eigenvalue)

    def rest(self, eigenvalue: Numbers) -> Numbers:
        """What a mode adds to the loss while it is used, h(λ, m*)."""
        return self.value(eigenvalue, self.used(eigenvalue))

    def exchange(self, outside: Numbers, inside: Numbers) -> Numbers:
        """Hessian eigenvalue towards mode i ∉ J in the place of j ∈ J."""
        square = self.used(inside)
        nothing = 0 * (outside + inside)
        return 2 * self.slope(outside, 0 * outside) + 2 * square * self.coupling(
            outside + nothing, inside + nothing, nothing, square + nothing
        )

    def pair(self, first: Numbers, second: Numbers) -> Numbers:
        """Hessian eigenvalue of the symmetric combination of two modes in J; of a mode with itself, of its scale."""
        a, b = self.used(first), self.used(second)
        return 2 * (a + b) * self.coupling(first, second, a, b)

    def scale(self, inside: Numbers) -> Numbers:
        """Hessian eigenvalue of the scale of a mode in J."""
        square = self.used(inside)
        return 4 * square * self.curvature(inside, square)

    def null(self, outside: Numbers) -> Numbers:
        """Hessian eigenvalue of adding mode i ∉ J in a column of its own."""
        return 2 * self.slope(outside, 0 * outside)
