"""The closed forms of each loss, mode by mode: what a mode costs or gains, and the curvatures at a critical point.

At a critical point with the modes J, W Wᵀ = Ω_J diag(w_j²) Ω_Jᵀ, the Hessian is diagonal in the directions

    exchange i→j     Ω_i v_jᵀ, i ∉ J, j ∈ J        scale of j     Ω_j v_jᵀ
    pair j, j'       the symmetric combination of Ω_j v_j'ᵀ and Ω_j' v_jᵀ; the other one is a rotation, with zero
    null row j ∈ J   Ω_j vᵀ, v orthogonal to all v_j, with zero        null row i ∉ J     Ω_i vᵀ

where v_j are the right singular vectors. All functions work on arrays of eigenvalues, of NumPy or JAX.
"""

from abc import ABC, abstractmethod
from typing import Any

from deepbures.model import AbstractLoss, BuresWasserstein, Frobenius
from deepbures.model._covariance import namespace

Array = Any


class Modes(ABC):
    """What one loss makes of the eigenvalues of a target."""

    # Whether critical points of lower rank than the bound are points of a smooth function.
    is_smooth: bool

    @abstractmethod
    def squares(self, inside: Array) -> Array:
        """w_j², the squared singular values of a critical point, for the eigenvalues λ_j that it uses."""

    @abstractmethod
    def cost(self, values: Array) -> Array:
        """What a mode adds to the loss while it is not used."""

    @abstractmethod
    def exchange(self, outside: Array, inside: Array) -> Array:
        """Curvature towards mode i ∉ J in the place of j ∈ J; of the sign of λ_j − λ_i."""

    @abstractmethod
    def pair(self, first: Array, second: Array) -> Array:
        """Curvature of the symmetric combination of two modes in J; of a mode with itself, of its scale."""

    @abstractmethod
    def null(self, outside: Array) -> Array:
        """Curvature of adding mode i ∉ J in a column of its own."""

    def threshold(self) -> Array:
        """The level that the eigenvalue of a usable mode exceeds."""
        return 0.0


class ExactModes(Modes):
    """The Bures-Wasserstein loss without smoothing, on matrices of one rank."""

    is_smooth = False

    def squares(self, inside: Array) -> Array:
        """λ_j."""
        return inside

    def cost(self, values: Array) -> Array:
        """λ_i."""
        return values

    def exchange(self, outside: Array, inside: Array) -> Array:
        """2 (1 − λ_i / λ_j)."""
        return 2 * (inside - outside) / inside

    def pair(self, first: Array, second: Array) -> Array:
        """2."""
        return 2 + 0 * (first + second)

    def null(self, outside: Array) -> Array:
        """Minus infinity: the loss has a kink there, and leaves the matrices of this rank."""
        return -namespace(outside).inf + 0 * outside


class SmoothedModes(Modes):
    """The Bures-Wasserstein loss with smoothing τ > 0."""

    is_smooth = True

    def __init__(self, tau: Array) -> None:
        self.tau = tau

    def threshold(self) -> Array:
        """τ."""
        return self.tau

    def squares(self, inside: Array) -> Array:
        """λ_j − τ."""
        return inside - self.tau

    def cost(self, values: Array) -> Array:
        """(√λ_i − √τ)²."""
        xp = namespace(values, self.tau)
        return (xp.sqrt(values) - xp.sqrt(xp.asarray(self.tau, dtype=values.dtype))) ** 2

    def exchange(self, outside: Array, inside: Array) -> Array:
        """2 (λ_j − λ_i) / (λ_j + √(λ_i τ))."""
        # Not the root of λ_i τ, which leaves the range of floating point where neither root does.
        xp = namespace(outside, inside, self.tau)
        return 2 * (inside - outside) / (inside + xp.sqrt(outside) * xp.sqrt(xp.asarray(self.tau, dtype=outside.dtype)))

    def pair(self, first: Array, second: Array) -> Array:
        """2 (λ_j + λ_j' − 2τ) / (λ_j + λ_j')."""
        return 2 * (first + second - 2 * self.tau) / (first + second)

    def null(self, outside: Array) -> Array:
        """2 (1 − √(λ_i / τ))."""
        return 2 * (1 - namespace(outside, self.tau).sqrt(outside / self.tau))


class FrobeniusModes(Modes):
    """The Frobenius loss."""

    is_smooth = True

    def squares(self, inside: Array) -> Array:
        """λ_j."""
        return inside

    def cost(self, values: Array) -> Array:
        """λ_i²."""
        return values**2

    def exchange(self, outside: Array, inside: Array) -> Array:
        """4 (λ_j − λ_i)."""
        return 4 * (inside - outside)

    def pair(self, first: Array, second: Array) -> Array:
        """4 (λ_j + λ_j')."""
        return 4 * (first + second)

    def null(self, outside: Array) -> Array:
        """−4 λ_i."""
        return -4 * outside


def modes_of(loss: AbstractLoss) -> Modes:
    """The closed forms of a loss."""
    if isinstance(loss, BuresWasserstein):
        return SmoothedModes(loss.tau) if loss.is_smooth else ExactModes()
    if isinstance(loss, Frobenius):
        return FrobeniusModes()
    raise TypeError(
        f"The landscape of a {type(loss).__name__} is not known in closed form: pass BuresWasserstein or Frobenius."
    )
