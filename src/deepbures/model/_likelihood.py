"""The likelihood loss: the Kullback-Leibler divergence of the target from the model with isotropic noise.

With S = W Wᵀ + τ I = U diag(s² + τ) Uᵀ + τ (I − U Uᵀ), from the thin SVD W = U diag(s) Vᵀ,

    S⁻¹ X = U diag(1/(s² + τ)) Uᵀ X + (X − U Uᵀ X)/τ,

so that products with Σ0 and the thin SVD are all that is needed. With P = S⁻¹ W and R = S⁻¹ Σ0 P,

    L(W) = ½ (tr S⁻¹ Σ0 − n + ln det S − ln det Σ0),    ∇L = P − R,
    ∇²L[A] = S⁻¹ (A − E) − S⁻¹ (Σ0 S⁻¹ (A − E) − E'),    E = dS P, E' = dS R, dS = A Wᵀ + W Aᵀ.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from deepbures._loss_names import LossName
from deepbures._precision import any_traced, is_tracer, times_power_of_two
from deepbures._types import Array, Float
from deepbures.linalg import namespace, thin_svd
from deepbures.model._losses import AbstractSpectralLoss, as_number, check_parameter
from deepbures.model._modes import AbstractModes, Numbers
from deepbures.model._target import Target


class _Noisy(NamedTuple):
    """S = W Wᵀ + τ I, with W = U diag(s) Vᵀ."""

    u: Float[Array, "... n k"]
    squares: Float[Array, "... k"]
    tau: Float[Array, ""]

    def solve(self, x: Float[Array, "... n _"]) -> Float[Array, "... n _"]:
        """S⁻¹ X."""
        inner = self.u.mT @ x
        outside = x - self.u @ inner
        return self.u @ (inner / (self.squares + self.tau)[..., :, None]) + outside / self.tau


class GaussianLikelihood(AbstractSpectralLoss):
    """Kullback-Leibler divergence of the target from the noisy model, L(W) = KL(N(0, Σ0) ‖ N(0, W Wᵀ + τ I)).

        L(W) = ½ (tr S⁻¹ Σ0 − n + ln det S − ln det Σ0),  S = W Wᵀ + τ I:

    the expected negative log-likelihood of probabilistic principal component analysis with noise τ, up to the entropy
    of the target. Its minimizer takes the eigenvalues λ_j − τ. Where the target is singular, −½ ln det Σ0 is infinite
    for every W; what a missing mode adds is then counted from the best that the model can do, ½ ln(s/τ) for λ = 0.

    Parameters
    ----------
    tau : float
        Variance τ > 0 of the noise, in the units of Σ0. A number, or a JAX array.

    Raises
    ------
    ValueError
        If `tau` is not finite and positive; if the value of the loss is asked of a target known through products.

    References
    ----------
    Tipping, Bishop (1999), "Probabilistic principal component analysis". Landscape and Hessian are derived for this
    project.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_covariance(np.diag([4.0, 1.0]))
    >>> loss = db.GaussianLikelihood(1.0)
    >>> abs(float(loss.value(np.array([[3.0**0.5], [0.0]]), target))) < 1e-14     # W Wᵀ + I = Σ0
    True
    """

    degree = 0
    name = LossName.likelihood.value
    parameters_are_arguments = True

    tau: float | Array = eqx.field(converter=as_number)

    def __check_init__(self) -> None:
        check_parameter(self.tau, "tau", positive=True)

    def in_units(self, exponent: int) -> "GaussianLikelihood":
        """The loss of data in units of 2^exponent: τ is a variance."""
        return GaussianLikelihood(times_power_of_two(self.tau, -2 * exponent))

    @property
    def words(self) -> str:
        """What it is called in a sentence, before "loss"."""
        return "Gaussian likelihood"

    @property
    def noise_variance(self) -> float:
        """The variance τ of the noise."""
        return float(self.tau)

    @property
    def modes(self) -> "LikelihoodModes":
        """The scalar functions of its landscape."""
        return LikelihoodModes(self.tau)

    def _check_target(self, target: Target) -> None:
        """Curvatures are of the size λ/τ², what they are summed from up to λ²/τ³: both are to be numbers."""
        _check_scale(self.tau, target)

    def _value(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "..."]:
        if target.eigenvalues is None:
            raise ValueError(
                "The likelihood of a target known through products only would need its full spectrum. Build the "
                "target with Target.from_factor, from_samples or from_spectrum."
            )
        noisy = self._noisy(w)
        modes, values = LikelihoodModes(noisy.tau), jnp.asarray(target.eigenvalues)
        # tr S⁻¹Σ0 and ln det S relative to W = 0: sums over the modes of W alone.
        inside = (noisy.u * jnp.asarray(target.matmul(noisy.u))).sum(-2)
        ratio = noisy.squares / noisy.tau
        change = jnp.log1p(ratio) - inside / noisy.tau * (noisy.squares / (noisy.squares + noisy.tau))
        return modes.cost(values).sum(-1) + change.sum(-1) / 2

    def _gradient(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "... n m"]:
        noisy = self._noisy(w)
        p = noisy.solve(w)
        return p - noisy.solve(jnp.asarray(target.matmul(p)))

    def _hvp(
        self, w: Float[Array, "... n m"], target: Target, direction: Float[Array, "... n m"]
    ) -> Float[Array, "... n m"]:
        noisy = self._noisy(w)
        p = noisy.solve(w)
        r = noisy.solve(jnp.asarray(target.matmul(p)))

        def moved(x: Array) -> Array:  # dS X
            return direction @ (w.mT @ x) + w @ (direction.mT @ x)

        dp = noisy.solve(direction - moved(p))
        return dp - noisy.solve(jnp.asarray(target.matmul(dp)) - moved(r))

    def _noisy(self, w: Array) -> _Noisy:
        u, s, _ = thin_svd(w)
        return _Noisy(u, s**2, jnp.asarray(self.tau, w.dtype))


def _check_scale(tau: Any, target: Target) -> None:
    """Refuse noise so far below the variance of the target that curvatures leave the range of its precision."""
    finfo = np.finfo(target.dtype)
    if is_tracer(tau) or any_traced(target) or float(np.min(tau)) > float(finfo.eps) ** 2:
        return
    total, smallest = float(np.max(target.trace)), float(np.min(tau))
    least = total ** (2 / 3) * float(finfo.max) ** -0.32  # λ²/τ³ < max^0.96
    if smallest < least:
        raise ValueError(
            f"tau = {smallest:g} is too small for a target of total variance {total:.3g}: curvatures of the "
            f"likelihood, summed from terms of the size variance² / tau³, leave the range of {finfo.dtype}. Use "
            f"tau ≥ {least:.1e}, or BuresWasserstein."
        )


class LikelihoodModes(AbstractModes):
    """h = ½ (λ/s − 1 − ln(λ/s)), h' = ½ (1/s − λ/s²), h'' = λ/s³ − ½/s², m* = λ − τ; s = m + τ."""

    tau: Array
    threshold_name = "tau"
    used_formula = "λⱼ − τ"

    @property
    def is_smooth(self) -> bool:
        """Smooth at m = 0 too."""
        return True

    def value(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The value h = ½ (λ/s − 1 − ln(λ/s)), and ½ ln(s/τ) for λ = 0."""
        xp = namespace(eigenvalue, square, self.tau)
        level = square + self.tau
        positive = eigenvalue > 0
        ratio = xp.where(positive, eigenvalue, level) / level
        excess = (xp.where(positive, eigenvalue, level) - level) / level
        # ln(1 + x) near x = 0, and the logarithm itself near −1: each loses digits where the other keeps them.
        logarithm = xp.where(ratio > 0.5, xp.log1p(xp.where(ratio > 0.5, excess, 0)), xp.log(ratio))
        return (xp.where(positive, excess - logarithm, xp.log1p(square / self.tau))) / 2

    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The slope h' = ½ (1/s − λ/s²)."""
        level = square + self.tau
        return (level - eigenvalue) / level / (2 * level)

    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The curvature h'' = λ/s³ − ½/s²."""
        level = square + self.tau
        return (eigenvalue - level / 2) / level / level / level

    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The coupling q = (½ (λ_i/s_i + λ_j/s_j) − ½) / (s_i s_j)."""
        a, b = first_square + self.tau, second_square + self.tau
        return (first / a + second / b - 1) / a / (2 * b)

    def used(self, eigenvalue: Numbers) -> Numbers:
        """A used mode rests at m* = λ − τ."""
        return eigenvalue - self.tau

    def threshold(self) -> Float[Array, ""] | float:
        """Modes must exceed τ."""
        return self.tau

    def rest(self, eigenvalue: Numbers) -> Numbers:
        """The value of a used mode, 0."""
        return 0 * eigenvalue

    def exchange(self, outside: Numbers, inside: Numbers) -> Numbers:
        """The Hessian eigenvalue (λ_j − λ_i) / (τ λ_j)."""
        return (inside - outside) / inside / self.tau
