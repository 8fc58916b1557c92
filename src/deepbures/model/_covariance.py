"""How a target covariance is known: by its eigenvalues, as a matrix, or through products only.

Three leaves with one interface. `Target` holds one of them; no other room needs to know which.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Optional

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._precision import any_traced, is_tracer, times_power_of_two
from deepbures._types import Array, Float, Shaped
from deepbures.linalg import leading_eigenpairs, namespace, transpose, without_noise
from deepbures.model._coordinates import Coordinates, coordinates
from deepbures.model._reduction import eigenpairs_of_matrix


class AbstractCovariance(eqx.Module):
    """A covariance Σ0 of n dimensions, and what can be asked of it."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of dimensions n."""

    @property
    @abstractmethod
    def batch_shape(self) -> tuple[int, ...]:
        """Leading dimensions, those of a batch of covariances."""

    @property
    @abstractmethod
    def rank_bound(self) -> int:
        """Dimensions of the coordinates in which Σ0 is diagonal; 0 where there are none."""

    @property
    def calls_host(self) -> bool:
        """Whether its products are those of a function that JAX cannot trace: compiled code calls back for them."""
        return False

    @property
    @abstractmethod
    def trace(self) -> Float[Array, "..."]:
        """The trace of Σ0."""

    @abstractmethod
    def matmul(self, w: Float[Array, "... n m"]) -> Float[Array, "... n m"]:
        """Σ0 w, for w of shape (n, m)."""

    @abstractmethod
    def in_units(self, exponent: int) -> "AbstractCovariance":
        """The covariance of data in units of 2^exponent."""

    @abstractmethod
    def spectrum(self, k: int) -> tuple[Float[Array, "... {k}"], Float[Array, "... n {k}"]]:
        """The k largest eigenvalues, descending, and orthonormal eigenvectors (n, k)."""

    @abstractmethod
    def squared_norm(self) -> Float[Array, "..."]:
        """‖Σ0‖²."""

    @abstractmethod
    def eigenvalues(self) -> Float[Array, "... n"] | None:
        """All n eigenvalues, descending; None where they are not at hand."""

    @abstractmethod
    def coordinates(self, *matrices: Float[Array, "... n _"]) -> Coordinates | None:
        """Matrices of shape (n, m) in coordinates in which Σ0 is diagonal; None where there are none."""

    @abstractmethod
    def decomposed(self) -> Optional["SpectralCovariance"]:
        """The same covariance with all its eigenvalues; None where that cannot be had."""

    @abstractmethod
    def factor(self) -> Float[Array, "... n r"] | None:
        """A factor F (n, r) of Σ0, or of Σ0 − floor · I where there is a floor; None where it is not at hand."""


class SpectralCovariance(AbstractCovariance):
    """Σ0 = Ω diag(λ) Ωᵀ + floor · (I − Ω Ωᵀ), with Ω (n, r) orthonormal and λ (r,) descending.

    Covers dense matrices (r = n), factors and samples (r < n, floor None), and spiked covariances
    (floor a scalar array; λ includes it). In these coordinates every loss is that of a diagonal target.
    """

    basis: Float[Array, "... n r"]
    values: Float[Array, "... r"]
    floor: Float[Array, "..."] | None = None

    @property
    def dim(self) -> int:
        return int(self.basis.shape[-2])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.basis.shape[:-2])

    @property
    def rank_bound(self) -> int:
        """Number of eigenvectors held, r."""
        return int(self.basis.shape[-1])

    @property
    def trace(self) -> Float[Array, "..."]:
        total = self.values.sum(-1)
        return total if self.floor is None else total + (self.dim - self.rank_bound) * self.floor

    def squared_norm(self) -> Float[Array, "..."]:
        total = (self.values**2).sum(-1)
        return total if self.floor is None else total + (self.dim - self.rank_bound) * self.floor**2

    def matmul(self, w: Float[Array, "... n m"]) -> Float[Array, "... n m"]:
        inner = transpose(self.basis) @ w
        if self.floor is None:
            return self.basis @ (self.values[..., :, None] * inner)
        spikes = self.values - self.floor[..., None]
        return self.basis @ (spikes[..., :, None] * inner) + self.floor[..., None, None] * w

    def factor(self) -> Float[Array, "... n r"]:
        xp = namespace(self.basis)
        values = self.values if self.floor is None else self.values - self.floor[..., None]
        return self.basis * xp.sqrt(xp.maximum(values, 0))[..., None, :]

    def in_units(self, exponent: int) -> "SpectralCovariance":
        floor = None if self.floor is None else times_power_of_two(self.floor, -2 * exponent)
        return SpectralCovariance(self.basis, times_power_of_two(self.values, -2 * exponent), floor)

    def eigenvalues(self) -> Float[Array, "... {self.dim}"]:
        xp = namespace(self.values)
        missing = self.dim - self.rank_bound
        if missing == 0:
            return self.values
        floor = xp.zeros(self.values.shape[:-1], self.values.dtype) if self.floor is None else self.floor
        rest = xp.broadcast_to(floor[..., None], (*self.values.shape[:-1], missing))
        return xp.concatenate([self.values, rest], axis=-1)

    def spectrum(self, k: int) -> tuple[Float[Array, "... {k}"], Float[Array, "... {self.dim} {k}"]]:
        values = self.eigenvalues()[..., :k]
        return values, self.basis[..., :, :k] if k <= self.rank_bound else _complete_basis(self.basis, k)

    def coordinates(self, *matrices: Float[Array, "... n _"]) -> Coordinates:
        return coordinates(self.basis, self.values, self.floor, *matrices)

    def decomposed(self) -> "SpectralCovariance":
        return self


def _complete_basis(basis: Float[Array, "... n r"], k: int) -> Float[Array, "... n {k}"]:
    """Orthonormal columns of `basis` (n, r) and k − r more, the same ones every time."""
    xp = namespace(basis)
    n, r = basis.shape[-2:]
    draws = np.random.default_rng(0).standard_normal((n, k - r)).astype(basis.dtype)
    extra = xp.asarray(draws) - basis @ (transpose(basis) @ draws)
    orthonormal = xp.linalg.qr(extra)[0]
    orthonormal = xp.linalg.qr(orthonormal - basis @ (transpose(basis) @ orthonormal))[0]
    return xp.concatenate([basis, orthonormal], axis=-1)


class AbstractProductCovariance(AbstractCovariance):
    """Σ0 known through products only, and its trace."""

    total: eqx.AbstractVar[Array]

    @property
    def rank_bound(self) -> int:
        return 0

    @property
    def trace(self) -> Float[Array, "..."]:
        return self.total

    def spectrum(self, k: int) -> tuple[Float[Array, "{k}"], Float[Array, "n {k}"]]:
        return _lanczos(self, k)

    def eigenvalues(self) -> None:
        return None

    def coordinates(self, *matrices: Float[Array, "... n _"]) -> None:
        return None

    def factor(self) -> None:
        return None


class MatrixCovariance(AbstractProductCovariance):
    """Σ0 as a dense matrix, too large to be decomposed unasked; its trace and squared norm are known."""

    matrix: Float[Array, "... n n"]
    total: Float[Array, "..."]
    square: Float[Array, "..."]

    @property
    def dim(self) -> int:
        return int(self.matrix.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return tuple(self.matrix.shape[:-2])

    def matmul(self, w: Float[Array, "... n m"]) -> Float[Array, "... n m"]:
        return self.matrix @ w

    def in_units(self, exponent: int) -> "MatrixCovariance":
        matrix = times_power_of_two(self.matrix, -2 * exponent)
        return MatrixCovariance(matrix, times_power_of_two(self.total, -2 * exponent), (matrix * matrix).sum())

    def squared_norm(self) -> Float[Array, "..."]:
        return self.square

    def decomposed(self) -> SpectralCovariance:
        """Decompose the n×n matrix; eigenvalues below its rounding are zero."""
        matrix = np.asarray(self.matrix)
        values, vectors = eigenpairs_of_matrix(matrix)
        kept = without_noise(values, self.dim * float(np.finfo(matrix.dtype).eps))
        return SpectralCovariance(vectors.astype(matrix.dtype), kept.astype(matrix.dtype))


class OperatorCovariance(AbstractProductCovariance):
    """Σ0 as a function w ↦ Σ0 w."""

    operator: Callable[[Array], Array]
    total: Float[Array, ""]
    size: int = eqx.field(static=True)
    is_on_host: bool = eqx.field(static=True, default=False)

    @property
    def calls_host(self) -> bool:
        return self.is_on_host

    @property
    def dim(self) -> int:
        return self.size

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return ()

    def matmul(self, w: Float[Array, "{self.size} m"]) -> Float[Array, "{self.size} m"]:
        return self.operator(w)

    def in_units(self, exponent: int) -> "OperatorCovariance":
        unit, operator = 2.0**-exponent, self.operator
        total = times_power_of_two(self.total, -2 * exponent)
        return OperatorCovariance(lambda w: operator(unit * w) * unit, total, self.size, self.is_on_host)

    def squared_norm(self) -> Float[Array, ""]:
        """Sum squares over n products, taken for a block of unit vectors at a time."""
        total = jnp.zeros((), self.total.dtype)
        for start in range(0, self.size, 256):
            block = jnp.eye(self.size, min(256, self.size - start), -start, dtype=self.total.dtype)
            total = total + (jnp.asarray(self.operator(block)) ** 2).sum()
        return total

    def decomposed(self) -> None:
        return None


def _lanczos(covariance: AbstractCovariance, k: int) -> tuple[Float[Array, "{k}"], Float[Array, "n {k}"]]:
    """Leading eigenpairs by Lanczos, on products alone; a full `eigh` when most of them are asked for."""
    if any_traced(covariance):
        raise ValueError(
            "The spectrum of a target known through products cannot be computed inside a JAX transformation (Lanczos "
            "needs concrete values): compute what depends on it before, or build the target with Target.from_factor "
            "or Target.from_spectrum."
        )
    dtype = np.asarray(covariance.trace).dtype
    return leading_eigenpairs(covariance.matmul, covariance.dim, k, dtype)


def host_operator(function: Callable[[Any], Any], n: int, dtype: Any) -> tuple[Callable[[Array], Array], bool]:
    """`function` if JAX can trace it, else a callback to it (NumPy's and SciPy's operators), and whether it is one."""
    try:
        shape = jax.eval_shape(function, jax.ShapeDtypeStruct((n, 1), dtype)).shape
    except (TypeError, ValueError, jax.errors.JAXTypeError):

        def through_host(w: Shaped[Array, "n m"]) -> Array:
            if not is_tracer(w):
                return function(np.asarray(w))
            result = jax.ShapeDtypeStruct(w.shape, w.dtype)
            return jax.pure_callback(
                lambda x: np.asarray(function(np.asarray(x)), dtype=result.dtype), result, w, vmap_method="sequential"
            )

        answer = np.shape(through_host(np.zeros((n, 1), dtype)))
        if answer != (n, 1):
            raise ValueError(
                f"matmul must map an array of shape ({n}, 1) to the same shape, but returned {answer}."
            ) from None
        return through_host, True
    if shape != (n, 1):
        raise ValueError(f"matmul must map an array of shape ({n}, 1) to the same shape, but returned {shape}.")
    return function, False
