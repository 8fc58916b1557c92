"""The scalar functions of the Bures-Wasserstein loss, smoothed or not."""

from deepbures._types import Array, Float
from deepbures.linalg import namespace
from deepbures.model._modes import AbstractModes, Numbers


def _squared_difference(eigenvalue: Numbers, level: Numbers) -> Numbers:
    """(√λ − √s)², as ((λ − s) / (√λ + √s))², in which nothing cancels."""
    xp = namespace(eigenvalue, level)
    sums = xp.sqrt(eigenvalue) + xp.sqrt(level)
    return ((eigenvalue - level) / xp.where(sums > 0, sums, 1)) ** 2


class ExactModes(AbstractModes):
    """τ = 0, on matrices of one rank: h = (√λ − √m)², m* = λ; a kink at m = 0 where λ > 0."""

    used_formula = "λⱼ"

    @property
    def is_smooth(self) -> bool:
        """No: the slope at zero is infinite."""
        return False

    def value(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The value h = (√λ − √m)²."""
        return _squared_difference(eigenvalue, square)

    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The slope h' = 1 − √(λ/m); 1 for λ = 0, and minus infinity for m = 0 < λ."""
        xp = namespace(eigenvalue, square)
        positive = square > 0
        at_zero = xp.where(eigenvalue > 0, -xp.inf, 1 + 0 * eigenvalue)
        root = xp.sqrt(xp.where(positive, square, 1))
        return xp.where(positive, (root - xp.sqrt(eigenvalue)) / root, at_zero)

    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The curvature h'' = ½ √λ m^{−3/2}."""
        return namespace(eigenvalue, square).sqrt(eigenvalue / square) / (2 * square)

    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The coupling q = √(λ_i λ_j) / (√(m_i m_j) (√(λ_i m_i) + √(λ_j m_j)))."""
        return _coupling(first, second, first_square, second_square)

    def cost(self, eigenvalue: Numbers) -> Numbers:
        """The value of a mode that is not used, λ."""
        return eigenvalue

    def used(self, eigenvalue: Numbers) -> Numbers:
        """A used mode rests at m* = λ."""
        return eigenvalue

    def threshold(self) -> Float[Array, ""] | float:
        """Modes must exceed 0."""
        return 0.0

    def rest(self, eigenvalue: Numbers) -> Numbers:
        """The value of a used mode, 0."""
        return 0 * eigenvalue

    def exchange(self, outside: Numbers, inside: Numbers) -> Numbers:
        """The eigenvalue 2 (1 − λ_i / λ_j): what the general formula, a difference of infinities here, tends to."""
        return 2 * (inside - outside) / inside

    def pair(self, first: Numbers, second: Numbers) -> Numbers:
        """The Hessian eigenvalue 2."""
        return 2 + 0 * (first + second)

    def scale(self, inside: Numbers) -> Numbers:
        """The Hessian eigenvalue 2."""
        return 2 + 0 * inside


class SmoothedModes(AbstractModes):
    """τ > 0: h = (√λ − √s)², h' = 1 − √(λ/s), h'' = ½ √λ s^{−3/2}, m* = λ − τ; s = m + τ."""

    tau: Array
    threshold_name = "tau"
    used_formula = "λⱼ − τ"

    @property
    def is_smooth(self) -> bool:
        """Smooth at m = 0 too."""
        return True

    def value(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The value h = (√λ − √s)²."""
        return _squared_difference(eigenvalue, square + self._tau(eigenvalue))

    def slope(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The slope h' = 1 − √(λ/s), as (s − λ) / (s + √(λs))."""
        level = square + self._tau(eigenvalue)
        sqrt = namespace(eigenvalue, level).sqrt
        return (level - eigenvalue) / (level + sqrt(eigenvalue) * sqrt(level))

    def curvature(self, eigenvalue: Numbers, square: Numbers) -> Numbers:
        """The curvature h'' = ½ √λ s^{−3/2}."""
        level = square + self._tau(eigenvalue)
        return namespace(eigenvalue, level).sqrt(eigenvalue / level) / (2 * level)

    def coupling(self, first: Numbers, second: Numbers, first_square: Numbers, second_square: Numbers) -> Numbers:
        """The coupling q = √(λ_i λ_j) / (√(s_i s_j) (√(λ_i s_i) + √(λ_j s_j)))."""
        tau = self._tau(first)
        return _coupling(first, second, first_square + tau, second_square + tau)

    def cost(self, eigenvalue: Numbers) -> Numbers:
        """The value of a mode that is not used, (√λ − √τ)²."""
        xp = namespace(eigenvalue, self.tau)
        return (xp.sqrt(eigenvalue) - xp.sqrt(self._tau(eigenvalue))) ** 2

    def used(self, eigenvalue: Numbers) -> Numbers:
        """A used mode rests at m* = λ − τ."""
        return eigenvalue - self._tau(eigenvalue)

    def threshold(self) -> Float[Array, ""] | float:
        """Modes must exceed τ."""
        return self.tau

    def rest(self, eigenvalue: Numbers) -> Numbers:
        """The value of a used mode, 0."""
        return 0 * eigenvalue

    def exchange(self, outside: Numbers, inside: Numbers) -> Numbers:
        """The eigenvalue 2 (λ_j − λ_i) / (λ_j + √(λ_i τ)): the general formula without cancellation for small τ."""
        # Not the root of λ_i τ, which leaves the range of floating point where neither root does.
        sqrt = namespace(outside, self.tau).sqrt
        return 2 * (inside - outside) / (inside + sqrt(outside) * sqrt(self._tau(outside)))

    def pair(self, first: Numbers, second: Numbers) -> Numbers:
        """The Hessian eigenvalue 2 (λ_j + λ_j' − 2τ) / (λ_j + λ_j')."""
        return 2 * (first + second - 2 * self._tau(first)) / (first + second)

    def scale(self, inside: Numbers) -> Numbers:
        """The Hessian eigenvalue 2 (λ_j − τ) / λ_j."""
        return self.pair(inside, inside)

    def _tau(self, like: Array) -> Array:
        return namespace(like, self.tau).asarray(self.tau, dtype=like.dtype)


def _coupling(first: Numbers, second: Numbers, first_level: Numbers, second_level: Numbers) -> Numbers:
    # Roots apart: their products stay in range where those of the numbers do not.
    sqrt = namespace(first, second, first_level, second_level).sqrt
    a, b, s, t = sqrt(first), sqrt(second), sqrt(first_level), sqrt(second_level)
    return (a / s) * (b / t) / (a * s + b * t)
