"""The squared distance of arguments of any size, and its derivatives, by those of a kernel at an ordinary scale.

With a scale s, x = s^d x' and y = s^e y', where d is 2 for a covariance and 1 for a factor,

    D(x, y) = s² D(x', y'),    M_x(x, y) = s^(2−d) M_x(x', y').

Were s² multiplied onto D outside of its derivative rules, the chain rule would go through s² ∂D/∂x', which overflows
where neither D nor ∂D/∂x does: the optimal map to a covariance that is larger by 1e30 has entries of 1e15.
"""

import dataclasses
import functools

from array_api_compat import array_namespace

from deepbures._types import Array, Float, Inexact
from deepbures.metric._kernel import First, Second
from deepbures.metric._rules import distance
from deepbures.metric._scaling import common_scale, covariance_scale, divide, is_one, plain, rooted, times_squared
from deepbures.metric._transport import Decomposition, TransportKernel


@dataclasses.dataclass(frozen=True)
class ScaledKernel(TransportKernel):
    """The kernel that a kernel for arguments of ordinary scale makes of arguments of any."""

    inner: TransportKernel
    covariances: tuple[bool, bool]

    def value_alone(self, x: First, y: Second) -> Float[Array, "..."]:
        """s² D(x', y')."""
        scale = self.scale(x, y)
        return times_squared(self.inner.value_alone(*self.scaled(x, y, scale)), scale[..., 0, 0])

    def decompose(self, x: First, y: Second) -> Decomposition:
        """Decompose (x', y') as the inner kernel does, and keep s."""
        scale = self.scale(x, y)
        return *self.inner.decompose(*self.scaled(x, y, scale)), scale

    def value(self, x: First, y: Second, pieces: Decomposition) -> Float[Array, "..."]:
        """s² D(x', y') again."""
        *inner, scale = pieces
        return times_squared(self.inner.value(*self.scaled(x, y, scale), tuple(inner)), scale[..., 0, 0])

    def map(self, which: int, x: First, y: Second, pieces: Decomposition) -> Array:
        """M_x or M_y."""
        *inner, scale = pieces
        value = self.inner.map(which, *self.scaled(x, y, scale), tuple(inner))
        return value if self.covariances[which] or is_one(scale) else scale * value

    def map_derivatives(
        self, x: First, y: Second, pieces: Decomposition, dx: First, dy: Second
    ) -> tuple[First, Second]:
        """S^(2−d) dM_x(x', y')[s^−d dx, s^−e dy] and the same for M_y: linear, so the direction is taken times s."""
        *inner, scale = pieces
        x, y = self.scaled(x, y, scale)
        dx, dy = (self._once(z, scale, which) for which, z in enumerate((dx, dy)))
        moved = self.inner.map_derivatives(x, y, tuple(inner), dx, dy)
        first, second = (self._once(z, scale, which) for which, z in enumerate(moved))
        return first, second

    def scale(self, x: First, y: Second) -> Float[Array, "... 1 1"]:
        """The power of two s, per pair of matrices: shape (..., 1, 1)."""
        kinds = self._kinds(x, y)
        covariances, factors = ([z for z, kind in kinds if kind is wanted] for wanted in (True, False))
        scales = [
            scale(*of_kind) for scale, of_kind in ((covariance_scale, covariances), (common_scale, factors)) if of_kind
        ]
        return functools.reduce(array_namespace(x, y).maximum, scales)

    def scaled(self, x: First, y: Second, scale: Float[Array, "... 1 1"]) -> tuple[First, Second]:
        """X' and y'."""
        if is_one(scale):
            return x, y
        first, second = (divide(z, scale) if is_covariance else z / scale for z, is_covariance in self._kinds(x, y))
        return first, second

    def _kinds(self, x: First, y: Second) -> tuple[tuple[Array, bool], tuple[Array, bool]]:
        return (x, self.covariances[0]), (y, self.covariances[1])

    def _once(
        self, z: Inexact[Array, "... _ _"], scale: Float[Array, "... 1 1"], which: int
    ) -> Inexact[Array, "... _ _"]:
        return z / scale if self.covariances[which] and not is_one(scale) else z


def squared_at_any_scale(kernel: TransportKernel, x: First, y: Second) -> Float[Array, "..."]:
    """D(x, y) for arguments of any size; a scalar where there is no batch."""
    return plain(distance(ScaledKernel(kernel, kernel.covariances), x, y))


def rooted_at_any_scale(kernel: TransportKernel, x: First, y: Second) -> Float[Array, "..."]:
    """√D(x, y), also where D is beyond the range of numbers."""
    scaled = ScaledKernel(kernel, kernel.covariances)
    scale = scaled.scale(x, y)
    return rooted(distance(kernel, *scaled.scaled(x, y, scale)), scale[..., 0, 0])
