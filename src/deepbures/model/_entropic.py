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

from deepbures._loss_names import LossName
from deepbures._precision import times_power_of_two
from deepbures._types import Array, Float
from deepbures.linalg import namespace, squared_norm
from deepbures.model._losses import AbstractSpectralLoss, as_number, check_parameter
from deepbures.model._modes import AbstractModes, Numbers
from deepbures.model._target import Target


class _Entropy(eqx.Module):
    """φ and φ' of one σ², elementwise, as functions of y = √x, with divided differences.

    Only y and d are formed, never x or σ⁴, which leave the range of floating point long before what is made of them.
    """

    noise: Array

    def root(self, y: Array) -> Array:
        """The root d = √(4y² + σ⁴)."""
        return namespace(y, self.noise).hypot(2 * y, self.noise)

    def value(self, y: Array) -> Array:
        """φ, as σ² ln(1 + u) − 2σ²u with u = (d − σ²)/(2σ²) = 2y² / (σ² (d + σ²))."""
        xp = namespace(y, self.noise)
        sums = self.root(y) + self.noise
        scaled = 2 * y * (y / sums)  # σ²u
        # ln(1 + u) = ln((d + σ²)/(2σ²)) is taken as it stands where u is large: y/σ² may be out of range there.
        is_large = 1e-8 * y > self.noise
        u = 2 * (xp.where(is_large, 0, y) / self.noise) * (y / sums)
        logarithm = xp.where(is_large, xp.log(sums) - xp.log(2 * self.noise), xp.log1p(u))
        return xp.where(u + is_large > 1e-20, self.noise * logarithm, scaled) - 2 * scaled

    def slope(self, y: Array) -> Array:
        """φ'."""
        return -2 / (self.root(y) + self.noise)

    def divided(self, y: Array, z: Array) -> Array:
        """φ'[y², z²] = (φ'(y²) − φ'(z²)) / (y² − z²), φ'' for y = z."""
        a, b = self.root(y), self.root(z)
        return 8 / (a + b) / (a + self.noise) / (b + self.noise)

    def own_slope(self, m: Array) -> Array:
        """κ(m) = m φ'(m²), half the derivative of φ(m²)."""
        return m * self.slope(m)

    def own_divided(self, x: Array, y: Array) -> Array:
        """κ[x, y], κ'(x) for x = y.

        From x (d_y + σ²) − y (d_x + σ²) = (x − y) (σ² + σ⁴ / (t d_y + (1 − t) d_x)), t = x/(x + y), d_x being d(x²).
        """
        xp = namespace(x, y, self.noise)
        a, b = self.root(x), self.root(y)
        sums = x + y
        share = xp.where(sums > 0, x / xp.where(sums > 0, sums, 1), 0.5)
        ratio = self.noise / (share * b + (1 - share) * a)
        return -2 * (self.noise / (a + self.noise)) * ((1 + ratio) / (b + self.noise))


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


def _rooted(gram: Float[Array, "... m m"]) -> tuple[Float[Array, "... m"], Float[Array, "... m m"]]:
    """The roots of the eigenvalues, and the eigenvectors."""
    values, vectors = _eigen(gram)
    return jnp.sqrt(values), vectors


class AbstractEntropicLoss(AbstractSpectralLoss):
    """A loss of entropic transport, with its regularization ε: a variance."""

    degree = 1
    parameters_are_arguments = True

    epsilon: float | Array = eqx.field(converter=as_number)

    def __check_init__(self) -> None:
        check_parameter(self.epsilon, "epsilon", positive=True)

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
        y, _ = _rooted(w.mT @ target.matmul(w))
        return squared_norm(w) + target.trace + entropy.value(y).sum(-1)

    def _gradient(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "... n m"]:
        entropy = self._entropy(w)
        product = jnp.asarray(target.matmul(w))
        y, v = _rooted(w.mT @ product)
        return 2 * (w + product @ _function(entropy.slope(y), v))

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
        y, _ = _rooted(w.mT @ target.matmul(w))
        own, _ = _eigen(w.mT @ w)
        values = jnp.asarray(target.eigenvalues)
        rest = entropy.value(own).sum(-1) + entropy.value(values).sum(-1)
        return jnp.maximum(entropy.value(y).sum(-1) - rest / 2, 0)

    def _gradient(self, w: Float[Array, "... n m"], target: Target) -> Float[Array, "... n m"]:
        entropy = self._entropy(w)
        product = jnp.asarray(target.matmul(w))
        y, v = _rooted(w.mT @ product)
        own, u = _eigen(w.mT @ w)
        return 2 * (product @ _function(entropy.slope(y), v) - w @ _function(entropy.own_slope(own), u))

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
    y, v = _rooted(w.mT @ product)
    cross = product.mT @ direction
    # φ''(0) = 1/σ⁶ is out of range for tiny ε; there it meets derivatives of the Gram matrix that are zero.
    divided = jnp.minimum(entropy.divided(*_pairs(y)), jnp.finfo(w.dtype).max)
    change = _derivative(divided, v, cross + cross.mT)
    return 2 * (moved @ _function(entropy.slope(y), v) + product @ change)


def _mean(eigenvalue: Numbers, square: Numbers) -> Numbers:
    """√(λm), whose square may be out of range; of modes below the threshold, which have no m*, that at m = 0."""
    xp = namespace(eigenvalue, square)
    return xp.sqrt(eigenvalue) * xp.sqrt(xp.where(square > 0, square, 0))


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
        return square + eigenvalue + _Entropy(self.noise).value(_mean(eigenvalue, square))

    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The slope h' = 1 + λ φ'(λm)."""
        return 1 + eigenvalue * _Entropy(self.noise).slope(_mean(eigenvalue, square))

    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The curvature h'' = λ² φ''(λm)."""
        y = _mean(eigenvalue, square)
        return eigenvalue**2 * _Entropy(self.noise).divided(y, y)

    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The coupling q = λ_i λ_j φ'[λ_i m_i, λ_j m_j]."""
        return first * second * _Entropy(self.noise).divided(_mean(first, first_square), _mean(second, second_square))

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
        return entropy.value(_mean(eigenvalue, square)) - (entropy.value(square) + entropy.value(eigenvalue)) / 2

    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The slope h' = λ φ'(λm) − κ(m)."""
        entropy = _Entropy(self.noise)
        return eigenvalue * entropy.slope(_mean(eigenvalue, square)) - entropy.own_slope(square)

    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The curvature h'' = λ² φ''(λm) − κ'(m)."""
        entropy, y = _Entropy(self.noise), _mean(eigenvalue, square)
        return eigenvalue**2 * entropy.divided(y, y) - entropy.own_divided(square, square)

    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The coupling q = λ_i λ_j φ'[λ_i m_i, λ_j m_j] − κ[m_i, m_j]."""
        entropy = _Entropy(self.noise)
        attraction = first * second * entropy.divided(_mean(first, first_square), _mean(second, second_square))
        return attraction - entropy.own_divided(first_square, second_square)

    def used(self, eigenvalue: Numbers) -> Numbers:
        """A used mode rests at m* = λ."""
        return eigenvalue

    def threshold(self) -> Float[Array, ""] | float:
        """Modes must exceed 0."""
        return 0.0 * self.noise

    def exchange(self, outside: Numbers, inside: Numbers) -> Numbers:
        """The Hessian eigenvalue 4 (λ_j − λ_i) / (d(λ_j²) + σ²): the general formula with κ(0) = 0."""
        return 2 * (outside - inside) * _Entropy(self.noise).slope(inside)
