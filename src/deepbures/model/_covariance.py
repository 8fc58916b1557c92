"""How a target covariance is known: through its spectrum, or only through products.

Two leaves with one interface (`dim`, `trace`, `matmul`, `spectrum`); `Target` holds one of them, and no
other room needs to know which constructor it came from.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg

from deepbures._precision import any_traced, is_tracer, times_power_of_two
from deepbures.model._eigsh import seeded_eigsh

Array = Any


def namespace(*arrays: Any) -> Any:
    """`jax.numpy` if any array is JAX's, else `numpy`."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def transpose(x: Array) -> Array:
    """Transpose of the last two axes."""
    return x.swapaxes(-1, -2)


class SpectralCovariance(eqx.Module):
    """Σ0 = Ω diag(λ) Ωᵀ + floor · (I − Ω Ωᵀ), with Ω (n, r) orthonormal and λ (r,) descending.

    Covers dense matrices (r = n), factors and samples (r < n, floor None), and spiked covariances
    (floor a scalar array; λ includes it). In these coordinates every loss is that of a diagonal target.
    """

    basis: Array
    eigenvalues: Array
    floor: Array | None = None

    @property
    def dim(self) -> int:
        return int(self.basis.shape[-2])

    @property
    def rank_bound(self) -> int:
        """Number of eigenvectors held, r."""
        return int(self.basis.shape[-1])

    @property
    def trace(self) -> Array:
        total = self.eigenvalues.sum(-1)
        return total if self.floor is None else total + (self.dim - self.rank_bound) * self.floor

    @property
    def squared_norm(self) -> Array:
        total = (self.eigenvalues**2).sum(-1)
        return total if self.floor is None else total + (self.dim - self.rank_bound) * self.floor**2

    def matmul(self, w: Array) -> Array:
        inner = transpose(self.basis) @ w
        if self.floor is None:
            return self.basis @ (self.eigenvalues[..., :, None] * inner)
        spikes = self.eigenvalues - self.floor[..., None]
        return self.basis @ (spikes[..., :, None] * inner) + self.floor[..., None, None] * w

    def factor(self) -> Array:
        xp = namespace(self.basis)
        eigenvalues = self.eigenvalues if self.floor is None else self.eigenvalues - self.floor[..., None]
        return self.basis * xp.sqrt(xp.maximum(eigenvalues, 0))[..., None, :]

    def in_units(self, exponent: int) -> "SpectralCovariance":
        """The covariance of data in units of 2^exponent."""
        floor = None if self.floor is None else times_power_of_two(self.floor, -2 * exponent)
        return SpectralCovariance(self.basis, times_power_of_two(self.eigenvalues, -2 * exponent), floor)

    def all_eigenvalues(self) -> Array:
        """All n eigenvalues, descending."""
        xp = namespace(self.eigenvalues)
        missing = self.dim - self.rank_bound
        if missing == 0:
            return self.eigenvalues
        floor = xp.zeros(self.eigenvalues.shape[:-1], self.eigenvalues.dtype) if self.floor is None else self.floor
        rest = xp.broadcast_to(floor[..., None], (*self.eigenvalues.shape[:-1], missing))
        return xp.concatenate([self.eigenvalues, rest], axis=-1)

    def spectrum(self, k: int) -> tuple[Array, Array]:
        eigenvalues = self.all_eigenvalues()[..., :k]
        if k <= self.rank_bound:
            return eigenvalues, self.basis[..., :, :k]
        return eigenvalues, _complete_basis(self.basis, k)


def _complete_basis(basis: Array, k: int) -> Array:
    """Orthonormal columns of `basis` (n, r) and k − r more, the same ones every time."""
    xp = namespace(basis)
    n, r = basis.shape[-2:]
    draws = np.random.default_rng(0).standard_normal((n, k - r)).astype(basis.dtype)
    extra = xp.asarray(draws) - basis @ (transpose(basis) @ draws)
    orthonormal = xp.linalg.qr(extra)[0]
    orthonormal = xp.linalg.qr(orthonormal - basis @ (transpose(basis) @ orthonormal))[0]
    return xp.concatenate([basis, orthonormal], axis=-1)


class ProductCovariance(eqx.Module):
    """Σ0 known through products only: a matrix too large to decompose, or a callable `w ↦ Σ0 w`."""

    operator: Array | Callable[[Array], Array]
    trace: Array
    squared_norm: Array | None
    dim: int = eqx.field(static=True)

    def matmul(self, w: Array) -> Array:
        return self.operator(w) if callable(self.operator) else self.operator @ w

    def in_units(self, exponent: int) -> "ProductCovariance":
        """The covariance of data in units of 2^exponent."""
        trace = times_power_of_two(self.trace, -2 * exponent)
        if not callable(self.operator):
            matrix = times_power_of_two(self.operator, -2 * exponent)
            return ProductCovariance(matrix, trace, (matrix * matrix).sum(), self.dim)
        unit = 2.0**-exponent
        return ProductCovariance(lambda w: self.matmul(unit * w) * unit, trace, None, self.dim)

    def spectrum(self, k: int) -> tuple[Array, Array]:
        """Leading eigenpairs by Lanczos, on products alone; a full `eigh` when most of them are asked for."""
        if any_traced(self):
            raise ValueError(
                "The spectrum of a target known through products cannot be computed inside a JAX transformation "
                "(Lanczos needs concrete values): compute what depends on it before, or build the target with "
                "Target.from_factor or Target.from_spectrum."
            )
        return _lanczos(self, k)


def _lanczos(covariance: ProductCovariance, k: int) -> tuple[Array, Array]:
    n = covariance.dim
    dtype = np.asarray(covariance.trace).dtype
    if 2 * k >= n:
        dense = np.asarray(covariance.matmul(np.eye(n, dtype=dtype)))
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        return np.maximum(values[::-1][:k], 0), vectors[:, ::-1][:, :k]
    products = scipy.sparse.linalg.LinearOperator(
        (n, n),
        matvec=lambda v: np.asarray(covariance.matmul(v.reshape(n, 1))).reshape(n),
        matmat=lambda v: np.asarray(covariance.matmul(v)),
        dtype=dtype,
    )
    start = np.random.default_rng(0).standard_normal(n).astype(dtype)
    values, vectors = seeded_eigsh(products, k, which="LA", v0=start, ncv=min(n, max(3 * k, 40)))
    order = np.argsort(values)[::-1]
    return np.maximum(values[order], 0), vectors[:, order]


def host_operator(function: Callable[[Any], Any], n: int, dtype: Any) -> Callable[[Array], Array]:
    """`function` if JAX can trace it, else a callback to it, so that NumPy and SciPy operators serve as well."""
    try:
        shape = jax.eval_shape(function, jax.ShapeDtypeStruct((n, 1), dtype)).shape
    except (TypeError, ValueError, jax.errors.JAXTypeError):

        def through_host(w: Array) -> Array:
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
        return through_host
    if shape != (n, 1):
        raise ValueError(f"matmul must map an array of shape ({n}, 1) to the same shape, but returned {shape}.")
    return function
