"""Entropic transport between Gaussians: the regularized loss, and the divergence that takes its bias away.

With σ² = ε/2, d(x) = √(4x + σ⁴) and

    φ(x) = σ² − d(x) + σ² ln((d(x) + σ²) / (2σ²)),    φ'(x) = −2 / (d(x) + σ²),

the entropic cost of Janati et al. (2020) is OT_ε(M, Σ0) = tr M + tr Σ0 + tr φ(Σ0^½ M Σ0^½), φ(0) = 0. For M = W Wᵀ the
nonzero eigenvalues are those of the Gram matrix G = Wᵀ Σ0 W, m×m, so that products with Σ0 are all that is needed:

    L(W) = ‖W‖² + tr Σ0 + tr φ(G),    ∇L = 2 (W + Σ0 W φ'(G)),
    ∇²L[A] = 2 (A + Σ0 A φ'(G) + Σ0 W Dφ'(G)[Wᵀ Σ0 A + Aᵀ Σ0 W]).

Dφ' is taken by the divided differences φ'[x, y] = 8 / ((d_x + d_y)(d_x + σ²)(d_y + σ²)), in which nothing cancels and
no eigenvector is differentiated.
"""

import equinox as eqx
import jax.numpy as jnp

from deepbures._checks import check_number
from deepbures._loss_names import LossName
from deepbures._precision import times_power_of_two
from deepbures._types import Array, Float
from deepbures.linalg import namespace, squared_norm
from deepbures.model._losses import AbstractSpectralLoss, as_number
from deepbures.model._modes import AbstractModes, Numbers
from deepbures.model._target import Target


class _Entropy(eqx.Module):
    """φ and φ' of one σ², elementwise, with divided differences."""

    noise: Array

    def root(self, x: Array) -> Array:
        """d(x)."""
        return namespace(x, self.noise).sqrt(4 * x + self.noise**2)

    def value(self, x: Array) -> Array:
        """φ(x), as σ² (ln(1 + u) − 2u) with u = (d − σ²)/(2σ²) = 2x / (σ² (d + σ²))."""
        u = 2 * x / (self.noise * (self.root(x) + self.noise))
        return self.noise * (namespace(u).log1p(u) - 2 * u)

    def slope(self, x: Array) -> Array:
        """φ'(x)."""
        return -2 / (self.root(x) + self.noise)

    def divided(self, x: Array, y: Array) -> Array:
        """φ'[x, y] = (φ'(x) − φ'(y)) / (x − y), φ''(x) for x = y."""
        a, b = self.root(x), self.root(y)
        return 8 / ((a + b) * (a + self.noise) * (b + self.noise))

    def own_slope(self, m: Array) -> Array:
        """κ(m) = m φ'(m²), half the derivative of φ(m²)."""
        return m * self.slope(m * m)

    def own_divided(self, x: Array, y: Array) -> Array:
        """κ[x, y], κ'(x) for x = y.

        From x (d_y + σ²) − y (d_x + σ²) = (x − y) (σ² + σ⁴ (x + y) / (x d_y + y d_x)), d_x being d(x²).
        """
        xp = namespace(x, y, self.noise)
        a, b = self.root(x * x), self.root(y * y)
        mixed = x * b + y * a
        ratio = xp.where(mixed > 0, (x + y) / xp.where(mixed > 0, mixed, 1), 1 / self.noise)
        return -2 * self.noise * (1 + self.noise * ratio) / ((a + self.noise) * (b + self.noise))


def _function(values: Float[Array, "... m"], vectors: Float[Array, "... m m"]) -> Float[Array, "... m m"]:
    """V diag(values) Vᵀ."""
    return (vectors * values[..., None, :]) @ vectors.mT


def _derivative(
    divided: Float[Array, "... m m"], vectors: Float[Array, "... m m"], direction: Float[Array, "... m m"]
) -> Float[Array, "... m m"]:
    """The derivative of a function of a symmetric matrix V diag(x) Vᵀ, from its divided differences at all x_i, x_j."""
    return vectors @ (divided * (vectors.mT @ direction @ vectors)) @ vectors.mT


def _pairs(x: Float[Array, "... m"]) -> tuple[Float[Array, "... m _"], Float[Array, "... _ m"]]:
    return x[..., :, None], x[..., None, :]


def _eigen(gram: Float[Array, "... m m"]) -> tuple[Float[Array, "... m"], Float[Array, "... m m"]]:
    values, vectors = jnp.linalg.eigh(gram)
    return jnp.maximum(values, 0), vectors


class AbstractEntropicLoss(AbstractSpectralLoss):
    """A loss of entropic transport, with its regularization ε: a variance."""

    degree = 1
    parameters_are_arguments = True

    epsilon: float | Array = eqx.field(converter=as_number)

    def __check_init__(self) -> None:
        check_number(self.epsilon, "epsilon", positive=True)

    def in_units(self, exponent: int) -> "AbstractEntropicLoss":
        """The loss of data in units of 2^exponent: ε is a variance."""
        return type(self)(times_power_of_two(self.epsilon, -2 * exponent))

    def _entropy(self, w: Array) -> _Entropy:
        return _Entropy(jnp.asarray(self.epsilon, w.dtype) / 2)


class EntropicWasserstein(AbstractEntropicLoss):
    """Entropic squared 2-Wasserstein loss L(W) = OT_ε(W Wᵀ, Σ0) between centered Gaussians.

    OT_ε is the least cost E‖x − y‖² + ε KL(π ‖ N(0, M) ⊗ N(0, Σ0)) of a coupling π of N(0, M) and N(0, Σ0):

        OT_ε(M, Σ0) = tr M + tr Σ0 − tr D + n σ² (1 − ln 2σ²) + σ² ln det(D + σ² I),
        D = (4 Σ0^½ M Σ0^½ + σ⁴ I)^½,  σ² = ε/2,

    smooth everywhere. Its minimizer is biased: it takes the eigenvalues λ_j − ε/2, as the smoothed Bures-Wasserstein
    loss with τ = ε/2 does. Computed from the Gram matrix Wᵀ Σ0 W, for every kind of target.

    Parameters
    ----------
    epsilon : float
        Regularization ε > 0, in the units of Σ0 (a variance). A number, or a JAX array.

    Raises
    ------
    ValueError
        If `epsilon` is not finite and positive.

    References
    ----------
    Janati, Muzellec, Peyré, Cuturi (2020), "Entropic optimal transport between unbalanced Gaussian measures has a
    closed form". Landscape and derivatives are derived for this project.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_covariance(np.diag([4.0, 1.0]))
    >>> loss = db.EntropicWasserstein(2.0)
    >>> float(loss.value(np.zeros((2, 1)), target))     # nothing generated: the whole variance
    5.0
    >>> np.abs(loss.grad(np.array([[3.0**0.5], [0.0]]), target)).max() < 1e-12     # λ_1 − ε/2 = 3
    np.True_
    """

    name = LossName.entropic.value

    @property
    def words(self) -> str:
        """What it is called in a sentence, before "loss"."""
        return "entropic squared Wasserstein"

    @property
    def modes(self) -> "EntropicModes":
        """The scalar functions of its landscape."""
        return EntropicModes(self.epsilon / 2)

    def _value(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "..."]:
        entropy = self._entropy(w)
        x, _ = _eigen(w.mT @ target.matmul(w))
        return squared_norm(w) + target.trace + entropy.value(x).sum(-1)

    def _gradient(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "... n m"]:
        entropy = self._entropy(w)
        product = jnp.asarray(target.matmul(w))
        x, v = _eigen(w.mT @ product)
        return 2 * (w + product @ _function(entropy.slope(x), v))

    def _hvp(
        self, w: Float[Array, "... n m"], target: Target, direction: Float[Array, "... n m"]
    ) -> Float[Array, "... n m"]:
        entropy = self._entropy(w)
        return 2 * direction + _attraction_hvp(entropy, w, target, direction)


class SinkhornDivergence(AbstractEntropicLoss):
    """Sinkhorn divergence L(W) = OT_ε(M, Σ0) − ½ OT_ε(M, M) − ½ OT_ε(Σ0, Σ0), M = W Wᵀ, between centered Gaussians.

    The entropic cost with its bias taken away: zero iff M = Σ0, smooth everywhere, and its minimizer takes the
    eigenvalues λ_j themselves. With φ as for `EntropicWasserstein`,

        L(W) = tr φ(Wᵀ Σ0 W) − ½ tr φ((WᵀW)²) − ½ tr φ(Σ0²).

    The trace of φ(Σ0²) needs the spectrum of the target.

    Parameters
    ----------
    epsilon : float
        Regularization ε > 0, in the units of Σ0 (a variance). A number, or a JAX array.

    Raises
    ------
    ValueError
        If `epsilon` is not finite and positive; if the value of the loss is asked of a target known through products.

    References
    ----------
    Genevay, Peyré, Cuturi (2018), "Learning generative models with Sinkhorn divergences"; Janati, Muzellec, Peyré,
    Cuturi (2020) for Gaussians. Landscape and derivatives are derived for this project.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_covariance(np.diag([4.0, 1.0]))
    >>> abs(float(db.SinkhornDivergence(0.5).value(np.diag([2.0, 1.0]), target))) < 1e-14
    True
    """

    name = LossName.sinkhorn.value

    @property
    def words(self) -> str:
        """What it is called in a sentence, before "loss"."""
        return "Sinkhorn divergence"

    @property
    def modes(self) -> "SinkhornModes":
        """The scalar functions of its landscape."""
        return SinkhornModes(self.epsilon / 2)

    def _value(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "..."]:
        if target.eigenvalues is None:
            raise ValueError(
                "The Sinkhorn divergence of a target known through products only would need its full spectrum. Use "
                "EntropicWasserstein, or build the target with Target.from_factor, from_samples or from_spectrum."
            )
        entropy = self._entropy(w)
        x, _ = _eigen(w.mT @ target.matmul(w))
        own, _ = _eigen(w.mT @ w)
        values = jnp.asarray(target.eigenvalues)
        rest = entropy.value(own**2).sum(-1) + entropy.value(values**2).sum(-1)
        return jnp.maximum(entropy.value(x).sum(-1) - rest / 2, 0)

    def _gradient(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "... n m"]:
        entropy = self._entropy(w)
        product = jnp.asarray(target.matmul(w))
        x, v = _eigen(w.mT @ product)
        own, u = _eigen(w.mT @ w)
        return 2 * (product @ _function(entropy.slope(x), v) - w @ _function(entropy.own_slope(own), u))

    def _hvp(
        self, w: Float[Array, "... n m"], target: Target, direction: Float[Array, "... n m"]
    ) -> Float[Array, "... n m"]:
        entropy = self._entropy(w)
        own, u = _eigen(w.mT @ w)
        change = _derivative(entropy.own_divided(*_pairs(own)), u, w.mT @ direction + direction.mT @ w)
        repulsion = direction @ _function(entropy.own_slope(own), u) + w @ change
        return _attraction_hvp(entropy, w, target, direction) - 2 * repulsion


def _attraction_hvp(
    entropy: _Entropy, w: Float[Array, "... n m"], target: Target, direction: Float[Array, "... n m"]
) -> Float[Array, "... n m"]:
    """The derivative of 2 Σ0 W φ'(Wᵀ Σ0 W)."""
    product, moved = jnp.asarray(target.matmul(w)), jnp.asarray(target.matmul(direction))
    x, v = _eigen(w.mT @ product)
    cross = product.mT @ direction
    change = _derivative(entropy.divided(*_pairs(x)), v, cross + cross.mT)
    return 2 * (moved @ _function(entropy.slope(x), v) + product @ change)


class EntropicModes(AbstractModes):
    """h = m + λ + φ(λm), h' = 1 + λ φ'(λm), h'' = λ² φ''(λm), q = λ_i λ_j φ'[λ_i m_i, λ_j m_j], m* = λ − σ²."""

    noise: Array
    threshold_name = "epsilon / 2"
    used_formula = "λⱼ − ε/2"

    @property
    def is_smooth(self) -> bool:
        """Smooth at m = 0 too."""
        return True

    def value(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The cost of one mode, m + λ + φ(λm)."""
        return square + eigenvalue + _Entropy(self.noise).value(eigenvalue * square)

    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The slope h' = 1 + λ φ'(λm)."""
        return 1 + eigenvalue * _Entropy(self.noise).slope(eigenvalue * square)

    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The curvature h'' = λ² φ''(λm)."""
        x = eigenvalue * square
        return eigenvalue**2 * _Entropy(self.noise).divided(x, x)

    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The coupling q = λ_i λ_j φ'[λ_i m_i, λ_j m_j]."""
        return first * second * _Entropy(self.noise).divided(first * first_square, second * second_square)

    def used(self, eigenvalue: Numbers) -> Numbers:
        """A used mode rests at m* = λ − σ²."""
        return eigenvalue - self.noise

    def threshold(self) -> Float[Array, ""] | float:
        """Modes must exceed σ²."""
        return self.noise

    def exchange(self, outside: Numbers, inside: Numbers) -> Numbers:
        """The eigenvalue 2 (1 − λ_i / λ_j): what is left of the general formula, as φ'(λ_j m_j) = −1/λ_j."""
        return 2 * (inside - outside) / inside


class SinkhornModes(AbstractModes):
    """h = φ(λm) − ½φ(m²) − ½φ(λ²), h' = λ φ'(λm) − κ(m), m* = λ; κ(m) = m φ'(m²)."""

    noise: Array
    used_formula = "λⱼ"

    @property
    def is_smooth(self) -> bool:
        """Smooth at m = 0 too."""
        return True

    def value(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The value h = φ(λm) − ½φ(m²) − ½φ(λ²)."""
        entropy = _Entropy(self.noise)
        return entropy.value(eigenvalue * square) - (entropy.value(square**2) + entropy.value(eigenvalue**2)) / 2

    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The slope h' = λ φ'(λm) − κ(m)."""
        entropy = _Entropy(self.noise)
        return eigenvalue * entropy.slope(eigenvalue * square) - entropy.own_slope(square)

    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The curvature h'' = λ² φ''(λm) − κ'(m)."""
        entropy, x = _Entropy(self.noise), eigenvalue * square
        return eigenvalue**2 * entropy.divided(x, x) - entropy.own_divided(square, square)

    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The coupling q = λ_i λ_j φ'[λ_i m_i, λ_j m_j] − κ[m_i, m_j]."""
        entropy = _Entropy(self.noise)
        attraction = first * second * entropy.divided(first * first_square, second * second_square)
        return attraction - entropy.own_divided(first_square, second_square)

    def used(self, eigenvalue: Numbers) -> Numbers:
        """A used mode rests at m* = λ."""
        return eigenvalue

    def threshold(self) -> Float[Array, ""] | float:
        """Modes must exceed 0."""
        return 0.0 * self.noise

    def exchange(self, outside: Numbers, inside: Numbers) -> Numbers:
        """The Hessian eigenvalue 4 (λ_j − λ_i) / (d(λ_j²) + σ²): the general formula with κ(0) = 0."""
        return 2 * (outside - inside) * _Entropy(self.noise).slope(inside**2)
