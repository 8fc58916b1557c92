"""The squared Bures-Wasserstein loss, smoothed or not.

In the coordinates of `_coordinates` the target is diag(λ); with D = diag(√λ), w the end-to-end matrix there and
G = [w, √τ I], the loss is that of the factors D and G in Procrustes form: from one SVD D G = U S Vᵀ, Q = U Vᵀ,

    L = ‖G − D Q‖² + ‖D (I − U Uᵀ)‖²,    ∇L = 2 (w − D Q[:, :m]),    ∇²L[A] = 2 (A − D dQ[:, :m]).

So L_τ is the exact loss of [W, √τ I], and smoothing needs no formula of its own.
"""

import equinox as eqx
import jax.numpy as jnp

from deepbures._loss_names import LossName
from deepbures._precision import is_tracer, times_power_of_two
from deepbures._types import Array, Float
from deepbures.linalg import (
    nonzero,
    polar_derivative,
    polar_factor,
    squared_norm,
    squared_procrustes_distance,
    thin_svd,
)
from deepbures.model._bures_modes import ExactModes, SmoothedModes
from deepbures.model._coordinates import Coordinates
from deepbures.model._covariance import AbstractCovariance
from deepbures.model._excess import exact_excess, smoothed_excess
from deepbures.model._losses import AbstractSpectralLoss, as_number, check_parameter
from deepbures.model._modes import AbstractModes
from deepbures.model._target import Target


class BuresWasserstein(AbstractSpectralLoss):
    """Squared Bures-Wasserstein loss L_τ(W) = B²(W Wᵀ + τ I, Σ0), smoothed where τ > 0.

        B²(A, C) = tr A + tr C − 2 tr (A^½ C A^½)^½,

    the squared 2-Wasserstein distance of N(0, A) and N(0, C). For τ = 0, L = ‖W‖² + tr Σ0 − 2 ‖Σ0^½ W‖_*,
    differentiable iff rank(Σ0^½ W) = min(rank Σ0, m); elsewhere `grad` is the choice of least norm (zero singular
    values contribute zero to the polar factor). For τ > 0 it is smooth, and

        ∇L_τ(W) = 2 (I − T) W,  T the optimal transport map from N(0, W Wᵀ + τ I) to N(0, Σ0).

    Computed in Procrustes form: a sum of squares, accurate to rounding near zero too, never negative. Targets known
    through products use the gram form, G = Wᵀ Σ0 W: L = ‖W − P‖² + tr Σ0 − ‖P‖² with P = Σ0 W G^{−½}; values below
    about eps · tr Σ0 are rounding there.

    Parameters
    ----------
    tau : float
        Smoothing τ ≥ 0, in the units of Σ0 (a variance). A number, or a positive JAX array.

    Raises
    ------
    ValueError
        If `tau` is negative or not finite; if τ > 0 meets a target known through products only.

    References
    ----------
    Bréchet, Papagiannouli, An, Montúfar (2023), "Critical points and convergence analysis of generative deep linear
    networks trained with Bures-Wasserstein loss", for the loss and its smoothing. The Procrustes forms are derived
    for this project.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_covariance(np.diag([4.0, 1.0]))
    >>> loss = db.BuresWasserstein()
    >>> w = np.array([[3.0], [0.0]])
    >>> round(float(loss.value(w, target)), 12)     # (3 − 2)² for the first mode, 1 for the missing second
    2.0
    >>> loss.grad(w, target).round(12).tolist()
    [[2.0], [0.0]]
    """

    degree = 1
    name = LossName.bw.value
    upper_curvature = 2.0
    parameters_are_arguments = True

    tau: float | Array = eqx.field(default=0.0, converter=as_number)

    def __check_init__(self) -> None:
        check_parameter(self.tau, "tau")

    @property
    def is_smooth(self) -> bool:
        """Whether τ > 0 (a traced τ is taken to be positive)."""
        return is_tracer(self.tau) or bool(jnp.ndim(self.tau)) or float(self.tau) > 0

    def in_units(self, exponent: int) -> "BuresWasserstein":
        """The loss of data in units of 2^exponent: τ is a variance."""
        return BuresWasserstein(times_power_of_two(self.tau, -2 * exponent))

    @property
    def words(self) -> str:
        """What the loss is called in a sentence, which tells whether it is smoothed."""
        return "smoothed squared Bures-Wasserstein" if self.is_smooth else "squared Bures-Wasserstein"

    @property
    def noise_variance(self) -> float:
        """The smoothing τ."""
        return float(self.tau)

    @property
    def modes(self) -> AbstractModes:
        """The scalar functions of its landscape."""
        return SmoothedModes(self.tau) if self.is_smooth else ExactModes()

    def _check_target(self, target: Target) -> None:
        if self.is_smooth and target.eigenvalues is None:
            raise ValueError(
                f"The smoothed loss (tau = {self.tau}) of a target of dimension {target.dim} known through products "
                "only would need its full spectrum. Use tau=0, or build the target with Target.from_factor (low rank "
                "plus floor), from_samples or from_spectrum."
            )

    def _value(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "..."]:
        c = target.covariance.coordinates(w)
        if c is None:
            p, _ = self._gram(w, target.covariance)
            return squared_norm(w - p) + target.covariance.trace - squared_norm(p)
        root, g, (u, _, vh) = self._procrustes(c)
        d = root[..., :, None] * jnp.eye(root.shape[-1], dtype=root.dtype)
        value = squared_procrustes_distance(d, g, u, vh)
        tau = jnp.asarray(self.tau, w.dtype)
        if c.outside is not None:
            value = value + squared_norm(c.outside[0])
        floor = jnp.zeros((), w.dtype) if c.floor is None else c.floor
        return value + c.num_left * (jnp.sqrt(floor) - jnp.sqrt(tau)) ** 2

    def _gradient(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "... n m"]:
        c = target.covariance.coordinates(w)
        if c is None:
            return 2 * (w - self._gram(w, target.covariance)[0])
        root = jnp.sqrt(c.eigenvalues)[..., :, None]
        scaled = root * c.blocks[0]
        if self.is_smooth:
            # Q[:, :m] = (M Mᵀ)^{−½} D w for M = D [w, √τ I]: U and S are enough. Where the value is asked for as well,
            # its decomposition is this one, of which a compiled program makes one.
            u, s, _ = self._procrustes(c)[2]
            keep = nonzero(s, u.shape[-1], scaled.shape[-1] + u.shape[-1])
            inverse = jnp.where(keep, 1 / jnp.where(keep, s, 1), 0)
            q = u @ (inverse[..., :, None] * (u.mT @ scaled))
        else:
            q = polar_factor(*thin_svd(scaled))
        # Outside the span of the eigenvectors the transport map is zero: there the gradient is 2 W itself.
        return 2 * (w - c.lift(root * q))

    def _hvp(
        self, w: Float[Array, "... n m"], target: Target, direction: Float[Array, "... n m"]
    ) -> Float[Array, "... n m"]:
        c = target.covariance.coordinates(w, direction)
        if c is None:
            return self._gram_hvp(w, target.covariance, direction)
        root, g, (u, s, vh) = self._procrustes(c)
        move = root[..., :, None] * c.blocks[1]
        missing = g.shape[-1] - move.shape[-1]
        if missing:
            move = jnp.concatenate([move, jnp.zeros((*move.shape[:-1], missing), move.dtype)], axis=-1)
        dq = polar_derivative(u, s, vh, move)[..., :, : w.shape[-1]]
        result = direction - c.lift(root[..., :, None] * dq)
        if c.floor is not None:
            result = result - self._rest_hvp(c.floor, direction - c.lift(c.blocks[1]), s, vh[..., :, : w.shape[-1]])
        return 2 * result

    def _rest_hvp(
        self,
        floor: Float[Array, "..."],
        rest: Float[Array, "... n m"],
        s: Float[Array, "... k"],
        vh: Float[Array, "... k _"],
    ) -> Float[Array, "... n m"]:
        # The part R of the direction where w is zero and the target σ² I. There X = D G = U S Vᵀ gets a further block
        # of rows, √(σ²τ) I in columns of its own, whose derivative is σR in the columns of w. With H = X Xᵀ, block
        # diagonal, dQ = d(H^{−½}) X + H^{−½} dX is, by divided differences of h ↦ h^{−½} and c = √(σ²τ),
        #     dQ = σR (V diag(1/(s + c)) Vᵀ + (I − V Vᵀ)/c),
        # V the rows of the right singular vectors that belong to w. Without smoothing the second term is a kink.
        level = floor[..., None, None]
        tau = jnp.asarray(self.tau, rest.dtype)
        keep = nonzero(s, s.shape[-1], s.shape[-1])
        sums = s + (jnp.sqrt(floor) * jnp.sqrt(tau))[..., None]
        moved = rest @ vh.mT
        result = level * (moved * jnp.where(keep, 1 / jnp.where(keep, sums, 1), 0)[..., None, :]) @ vh
        return result + jnp.sqrt(level) / jnp.sqrt(tau) * (rest - moved @ vh) if self.is_smooth else result

    def _excess(
        self, w: Float[Array, "n m"], target: Target, rank: int, minimal_value: Float[Array, ""] | float
    ) -> Float[Array, ""] | float:
        """Sums of terms that vanish at the minimum, wherever the spectrum of the target is known."""
        c = target.covariance.coordinates(w)
        if c is None:
            return self._value(w, target) - minimal_value
        outside = 0.0 if c.outside is None else squared_norm(c.outside[0])
        if self.is_smooth:
            return outside + smoothed_excess(c, rank, jnp.asarray(self.tau, w.dtype))
        return outside + exact_excess(c, rank)

    def _resolution(self, target: Target, value: Float[Array, ""] | float) -> tuple[Float[Array, ""] | float, int]:
        """The excess is a sum of squares where the spectrum of the target is known."""
        return target.trace + value, 1 if target.eigenvalues is None else 2

    def _largest_decomposition(self, target: Target, latent_dim: int) -> int:
        covariance = target.covariance
        return latent_dim + (covariance.rank_bound if self.is_smooth else 0)

    def _procrustes(
        self, c: Coordinates
    ) -> tuple[
        Float[Array, "... q"],
        Float[Array, "... q p"],
        tuple[Float[Array, "... q k"], Float[Array, "... k"], Float[Array, "... k p"]],
    ]:
        """√λ, the factor G = [w, √τ I], and the thin SVD of diag(√λ) G."""
        root = jnp.sqrt(c.eigenvalues)
        g = c.blocks[0]
        if self.is_smooth:
            noise = jnp.sqrt(jnp.asarray(self.tau, g.dtype)) * jnp.eye(root.shape[-1], dtype=g.dtype)
            g = jnp.concatenate([g, jnp.broadcast_to(noise, (*g.shape[:-2], *noise.shape))], axis=-1)
        return root, g, thin_svd(root[..., :, None] * g)

    def _gram(
        self, w: Float[Array, "... n m"], covariance: AbstractCovariance
    ) -> tuple[Float[Array, "... n m"], tuple[Array, Array, Array]]:
        """P = Σ0 W G^{−½}, and (Σ0 W, V, 1/r) with G = V diag(r²) Vᵀ, zero singular values contributing zero."""
        product = jnp.asarray(covariance.matmul(w))
        values, v = jnp.linalg.eigh(w.mT @ product)
        # Rounding of G is eps · r_1²: singular values r below √eps · r_1 cannot be told from zero in this form.
        squares = jnp.maximum(values, 0)
        keep = nonzero(squares[..., ::-1], w.shape[-1], w.shape[-1])[..., ::-1]
        inverse = jnp.where(keep, 1 / jnp.sqrt(jnp.where(keep, squares, 1)), 0)
        return (product @ v) * inverse[..., None, :] @ v.mT, (product, v, inverse)

    def _gram_hvp(
        self, w: Float[Array, "... n m"], covariance: AbstractCovariance, direction: Float[Array, "... n m"]
    ) -> Float[Array, "... n m"]:
        # P = Σ0^½ Q with Q the polar factor of Σ0^½ W = U diag(r) Vᵀ. In its derivative (`polar_derivative`) U occurs
        # as Σ0^½ U = Σ0 W V/r =: y, and E = Uᵀ Σ0^½ A V as (Vᵀ Wᵀ Σ0 A V)_ij / r_i: products are enough. With x = 1/r
        # (zero for zero singular values), 1/(r_i + r_j) = x_i x_j / (x_i + x_j).
        _, (product, v, x) = self._gram(w, covariance)
        moved = jnp.asarray(covariance.matmul(direction)) @ v
        y = (product @ v) * x[..., None, :]
        e = x[..., :, None] * (v.mT @ (product.mT @ direction) @ v)
        known = e * (x > 0)[..., None, :]
        sums = x[..., :, None] + x[..., None, :]
        weight = x[..., :, None] * x[..., None, :] / jnp.where(sums > 0, sums, 1)
        inner = (known - known.mT) * weight + x[..., :, None] * (e - known)
        change = y @ inner + (moved - y @ e) * x[..., None, :]
        return 2 * (direction - change @ v.mT)
