"""Kernels of the squared Bures-Wasserstein distance, whose gradients are made of optimal maps.

For two arguments x and y, of whichever kind, the gradients of D(x, y) = B² are

    ∂D/∂x = c_x (e_x − M_x),    ∂D/∂y = c_y (e_y − M_y)

where M_x and M_y, the *maps*, are what optimal transport makes of the other argument. A covariance A has c = 1, e = I
and M the matrix of the optimal map from it to the other; a factor F has c = 2, e = F and M that map times F.
"""

import dataclasses
from abc import abstractmethod

from array_api_compat import array_namespace

from deepbures._types import Array, Float
from deepbures.metric._kernel import First, Kernel, Second
from deepbures.metric._libraries import device_of

Decomposition = tuple[Array, ...]


class TransportKernel(Kernel):
    """D(x, y) = B² for arguments of ordinary scale with as many leading axes each."""

    # Which of the two arguments are covariances; the other ones are factors.
    covariances: tuple[bool, bool]

    @abstractmethod
    def map(self, which: int, x: First, y: Second, pieces: Decomposition) -> Array:
        """M_x (0) or M_y (1)."""

    @abstractmethod
    def map_derivatives(
        self, x: First, y: Second, pieces: Decomposition, dx: First, dy: Second
    ) -> tuple[First, Second]:
        """The derivatives of M_x and M_y in a direction (dx, dy), in which they are linear."""

    @property
    def weights(self) -> tuple[int, int]:
        """c_x and c_y."""
        first, second = self.covariances
        return (1 if first else 2), (1 if second else 2)

    def gradient(self, which: int, x: First, y: Second, pieces: Decomposition) -> Array:
        """c_x (e_x − M_x) or c_y (e_y − M_y)."""
        z = (x, y)[which]
        unit = _identity_like(z) if self.covariances[which] else z
        return self.weights[which] * (unit - self.map(which, x, y, pieces))

    def hessian_product(
        self, x: First, y: Second, pieces: Decomposition, dx: First, dy: Second
    ) -> tuple[First, Second]:
        """c_x (de_x − dM_x) and c_y (de_y − dM_y)."""
        moved = self.map_derivatives(x, y, pieces, dx, dy)
        first, second = (
            weight * (-dm if is_covariance else dz - dm)
            for weight, is_covariance, dz, dm in zip(self.weights, self.covariances, (dx, dy), moved, strict=True)
        )
        return first, second


@dataclasses.dataclass(frozen=True)
class Maps(Kernel):
    """The maps of a kernel in the place of its gradients, for the derivatives of a map itself."""

    inner: TransportKernel

    def decompose(self, x: First, y: Second) -> Decomposition:
        """What the kernel of the maps computes."""
        return self.inner.decompose(x, y)

    def value(self, x: First, y: Second, pieces: Decomposition) -> Float[Array, "..."]:
        """What the kernel of the maps computes."""
        return self.inner.value(x, y, pieces)

    def gradient(self, which: int, x: First, y: Second, pieces: Decomposition) -> Array:
        """M_x or M_y."""
        return self.inner.map(which, x, y, pieces)

    def hessian_product(
        self, x: First, y: Second, pieces: Decomposition, dx: First, dy: Second
    ) -> tuple[First, Second]:
        """J (dx, dy), the derivatives of M_x and M_y."""
        return self.inner.map_derivatives(x, y, pieces, dx, dy)

    def adjoint_product(
        self, x: First, y: Second, pieces: Decomposition, px: First, py: Second
    ) -> tuple[First, Second]:
        """Jᴴ (px, py).

        With c = diag(c_x, c_y), c J is symmetric, as minus the part of the Hessian of D that is not constant. Hence
        Jᴴ = c J c⁻¹.
        """
        first, second = self.inner.weights
        mx, my = self.inner.map_derivatives(x, y, pieces, px / first, py / second)
        return first * mx, second * my


def _identity_like(a: Array) -> Array:
    """The identity of the last axis of `a`."""
    xp, size = array_namespace(a), a.shape[-1]
    return xp.reshape(xp.eye(size, dtype=a.dtype, device=device_of(a)), (1,) * (a.ndim - 2) + (size, size))
