"""What every form of the distance knows of itself: its value, its gradient and the derivative of its gradient.

For two arguments x and y, of whichever kind, the gradients of D(x, y) = B² are

    ∂D/∂x = c_x (e_x − M_x),    ∂D/∂y = c_y (e_y − M_y)

where M_x and M_y, the *maps*, are what optimal transport makes of the other argument. A covariance A has c = 1, e = I
and M the matrix of the optimal map from it to the other; a factor F has c = 2, e = F and M that map times F.
(Gradients are for the inner product Re tr(AᴴB).) The derivative rules of JAX and PyTorch are written once, over this
interface. Both orders come from one decomposition, whose vectors are never differentiated.
"""

from abc import ABC, abstractmethod
from typing import Any

from array_api_compat import array_namespace

from deepbures.metric._libraries import device_of

Array = Any
Pieces = tuple[Array, ...]

THIRD_DERIVATIVE = (
    "Distances have first and second derivatives; a third one was asked for. Differentiate twice at most, or take "
    "differences of second derivatives."
)


class Kernel(ABC):
    """D(x, y) for arguments of ordinary scale with as many leading axes each, and its derivatives."""

    # Which of the two arguments are covariances; the other ones are factors.
    covariances: tuple[bool, bool]

    @abstractmethod
    def value(self, x: Array, y: Array) -> Array:
        """D(x, y), the cheapest way that is accurate; exactly zero for equal arguments of one kind."""

    @abstractmethod
    def decompose(self, x: Array, y: Array) -> Pieces:
        """What value, maps and their derivatives are put together from; an array each."""

    @abstractmethod
    def value_from(self, x: Array, y: Array, pieces: Pieces) -> Array:
        """D(x, y) again."""

    @abstractmethod
    def map(self, which: int, x: Array, y: Array, pieces: Pieces) -> Array:
        """M_x (0) or M_y (1)."""

    @abstractmethod
    def map_derivatives(self, x: Array, y: Array, pieces: Pieces, dx: Array, dy: Array) -> tuple[Array, Array]:
        """The derivatives of M_x and M_y in a direction (dx, dy), in which they are linear."""

    @property
    def weights(self) -> tuple[int, int]:
        """c_x and c_y."""
        first, second = self.covariances
        return (1 if first else 2), (1 if second else 2)

    def gradient(self, which: int, x: Array, y: Array, map_: Array) -> Array:
        """∂D/∂x (0) or ∂D/∂y (1), from M_x or M_y."""
        z = (x, y)[which]
        return self.weights[which] * ((identity_like(z) if self.covariances[which] else z) - map_)

    def pull_back(self, x: Array, y: Array, pieces: Pieces, px: Array, py: Array) -> tuple[Array, Array]:
        """The adjoint of `map_derivatives`, J.

        With c = diag(c_x, c_y), c J is symmetric, as minus the part of the Hessian of D that is not constant. Hence
        Jᴴ = c J c⁻¹.
        """
        first, second = self.weights
        mx, my = self.map_derivatives(x, y, pieces, px / first, py / second)
        return first * mx, second * my


def identity_like(a: Array) -> Array:
    """The identity of the last axis of `a`."""
    xp, size = array_namespace(a), a.shape[-1]
    return xp.reshape(xp.eye(size, dtype=a.dtype, device=device_of(a)), (1,) * (a.ndim - 2) + (size, size))
