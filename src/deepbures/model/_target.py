"""The target Gaussian N(mean, Σ0), in every form it can be known in."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from deepbures._arrays import is_read_by_blocks, refuse_other_order
from deepbures._checks import as_array, check_finite, check_integer, check_matrix, check_number, rounding
from deepbures._precision import is_tracer, numpy_in_numpy_out, times_power_of_two
from deepbures._types import Array, ArrayLike, Float, Shaped
from deepbures.linalg import namespace, without_noise
from deepbures.metric import check_eigenvalues, checked_covariances
from deepbures.model._covariance import (
    AbstractCovariance,
    MatrixCovariance,
    OperatorCovariance,
    SpectralCovariance,
    host_operator,
)
from deepbures.model._random import random_orthogonal
from deepbures.model._reduction import (
    eigenpairs_of_factor,
    eigenpairs_of_matrix,
    eigenpairs_of_samples,
    in_range,
)
from deepbures.model._validation import (
    check_no_negative_eigenvalue,
    check_orthonormal,
)

LARGEST_DECOMPOSED = 1024
"""Dense covariances up to this size are decomposed once; larger ones are used through products only."""


class Target(eqx.Module):
    """The Gaussian N(mean, Σ0) to be approximated; all that losses and solvers may ask of it.

    Made by one of the constructors `from_covariance`, `from_factor`, `from_samples`, `from_spectrum` and
    `from_operator`. Whatever the form, a target answers `matmul(w)` (the product Σ0 w), `trace`,
    `factor()` (if it has one) and `spectrum(k)` (the leading eigenpairs). An n×n matrix exists only where
    one was given.

    A target is an equinox module: a pytree whose leaves are its arrays. Stacked targets (leaves with a leading
    batch dimension) describe a batch.

    Attributes
    ----------
    mean : array (n,)
        Mean of the target; zero unless given or estimated from samples.
    covariance : AbstractCovariance
        How Σ0 is known.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> samples = np.random.default_rng(0).standard_normal((500, 4)) * np.array([3.0, 2.0, 1.0, 0.0])
    >>> target = db.Target.from_samples(samples)
    >>> target.dim, bool(np.isclose(target.trace, samples.var(axis=0).sum()))
    (4, True)
    """

    mean: Float[Array, "... n"]
    covariance: AbstractCovariance

    # ------------------------------------------------------------------ what a target answers

    @property
    def dim(self) -> int:
        """Data dimension n."""
        return self.covariance.dim

    @property
    def dtype(self) -> np.dtype:
        """Floating-point type of the target's arrays."""
        return np.dtype(self.mean.dtype)

    @property
    def trace(self) -> Float[Array, "..."]:
        """Total variance tr Σ0."""
        return self.covariance.trace

    @numpy_in_numpy_out
    def matmul(self, w: ArrayLike) -> Float[Array, "... n m"]:
        """The product Σ0 w, for w of shape (n, m)."""
        return self.covariance.matmul(w)

    def factor(self) -> Float[Array, "... n r"]:
        """The factor F = Ω diag(λ − floor)^½ (n, r), so that Σ0 = F Fᵀ + floor·I.

        Raises
        ------
        ValueError
            If the target is known through products only (`from_operator`, or a dense matrix larger than 1024).
        """
        factor = self.covariance.factor()
        if factor is None:
            raise ValueError(
                f"This target of dimension {self.dim} is known through products only and has no factor. Build it with "
                "Target.from_factor, from_samples or from_spectrum."
            )
        return factor

    def spectrum(self, k: int) -> tuple[Float[Array, "... {k}"], Float[Array, "... {self.dim} {k}"]]:
        """The k largest eigenvalues (k,), descending, and their orthonormal eigenvectors (n, k).

        Targets known through products are answered by a truncated solver (Lanczos), never by a full
        decomposition unless at least half of the eigenvalues are asked for.

        Raises
        ------
        ValueError
            If k is not in 1..n.
        """
        return self.covariance.spectrum(check_integer(k, "k", 1, self.dim, why=" (the dimension of the target)"))

    @property
    def eigenvalues(self) -> Float[Array, "... n"] | None:
        """All n eigenvalues of Σ0, descending; None for a target known through products only."""
        return self.covariance.eigenvalues()

    def in_units(self, exponent: int) -> "Target":
        """The target of the data in units of 2^exponent: exactly the same numbers, but for their exponents."""
        return Target(times_power_of_two(self.mean, -exponent), self.covariance.in_units(exponent))

    # ------------------------------------------------------------------ constructors

    @classmethod
    def from_covariance(
        cls, covariance: ArrayLike, *, mean: ArrayLike | None = None, rtol: float | None = None
    ) -> "Target":
        """A target from its covariance matrix.

        Matrices up to 1024×1024 are decomposed once; larger ones are kept as they are and used through products.

        Parameters
        ----------
        covariance : array (..., n, n)
            Symmetric positive semidefinite; may be singular. Leading dimensions (n ≤ 1024) make a batch of targets.
        mean : array (..., n), optional
            Zero if not given.
        rtol : float, optional
            Asymmetry and negative eigenvalues up to rtol times the largest entry are put down to rounding and taken
            away, as by `nearest_covariance`. Default: 100 n eps of the dtype. A float64 matrix that was computed in
            float32 needs about ``rtol=1e-5``; the message says how much. (Inside a JAX transformation whatever is
            negative is taken away.)

        Raises
        ------
        ValueError
            If the matrix is not square, not finite, not symmetric or has a negative eigenvalue beyond `rtol`.
        TypeError
            If it is not an array of real numbers.

        Examples
        --------
        >>> import deepbures as db
        >>> db.Target.from_covariance([[2.0, 1.0], [1.0, 2.0]]).eigenvalues.round(12).tolist()
        [3.0, 1.0]
        """
        refuse_other_order(covariances={"covariance": covariance}, means={"mean": mean})
        s = as_array(covariance, "covariance")
        check_matrix(s, "covariance", square=True)
        check_finite(s, "covariance")
        (s,) = checked_covariances(rtol, covariance=s)
        location = _mean(mean, s.shape[:-1], s)
        if s.shape[-1] > LARGEST_DECOMPOSED:
            if s.ndim > 2:
                raise ValueError(
                    f"A batch of covariances of shape {s.shape} is too large to decompose (limit "
                    f"{LARGEST_DECOMPOSED}): build one target for each."
                )
            if not is_tracer(s):
                check_no_negative_eigenvalue(np.asarray(s))
            xp = namespace(s)
            return cls(location, MatrixCovariance(s, xp.trace(s), (s * s).sum()))
        values, vectors = eigenpairs_of_matrix(s)
        check_eigenvalues(values[..., -1], s, rounding(s.dtype, s.shape[-1]), "covariance")
        # Entries that are rounded to the dtype leave errors of about n eps λ_1 in every eigenvalue.
        kept = without_noise(_like(s, values), s.shape[-1] * float(np.finfo(s.dtype).eps))
        return cls(location, SpectralCovariance(_like(s, vectors), in_range(kept)))

    @classmethod
    def from_factor(
        cls, factor: ArrayLike, floor: float | ArrayLike = 0.0, *, mean: ArrayLike | None = None
    ) -> "Target":
        """A target from a factor: Σ0 = F Fᵀ + floor·I (a spiked covariance where floor > 0). Never forms n×n.

        Parameters
        ----------
        factor : array (n, r)
            Any F with F Fᵀ = Σ0 − floor·I; r may exceed n.
        floor : float
            Variance σ² ≥ 0 of the isotropic part, in the units of Σ0.
        mean : array (n,), optional
            Zero if not given.

        Raises
        ------
        ValueError
            If the factor is not a finite matrix, or the floor negative or not finite.

        Examples
        --------
        >>> import numpy as np
        >>> import deepbures as db
        >>> target = db.Target.from_factor(np.ones((5, 1)), floor=0.5)
        >>> target.eigenvalues.round(12).tolist()
        [5.5, 0.5, 0.5, 0.5, 0.5]
        """
        refuse_other_order(factors={"factor": factor}, means={"mean": mean})
        f = as_array(factor, "factor")
        check_matrix(f, "factor")
        check_finite(f, "factor")
        check_number(floor, "floor")
        xp = namespace(f, floor)
        values, u = (_like(f, part) for part in eigenpairs_of_factor(f))
        location = _mean(mean, (*f.shape[:-2], f.shape[-2]), f)
        if not is_tracer(floor) and not np.any(np.asarray(floor)):
            return cls(location, SpectralCovariance(u, values))
        level = xp.broadcast_to(xp.asarray(floor, dtype=f.dtype), f.shape[:-2])
        return cls(location, SpectralCovariance(u, values + level[..., None], level))

    @classmethod
    def from_samples(cls, samples: ArrayLike) -> "Target":
        """The Gaussian with the mean and the covariance (1/N moments) of samples.

        The centered data are a factor, F = Xᵀ/√N. They are reduced by orthogonal transformations only (blocks of
        rows by QR, then one SVD of at most n×n), never through XᵀX: nothing is squared. All of that is computed in
        float64, whatever the dtype of the data, and the results are rounded to float32 at the end if the data have that
        dtype; they are float64 otherwise. So eigenvalues down to about (min(N, n) eps)² times the largest are right,
        eps = 2.2e-16, and smaller ones are set to zero. (Samples traced by a JAX transformation stay in their dtype.)

        Parameters
        ----------
        samples : array (N, n)
            Samples in rows, N ≥ 2: an array, a frame with columns of numbers, or a tensor (taken without its gradient).
            Arrays of NumPy, memory-mapped or not, are read block by block.

        Raises
        ------
        ValueError
            If the data are not a finite matrix of at least two rows, or the variance is out of the range of the dtype.

        Examples
        --------
        >>> import numpy as np
        >>> import deepbures as db
        >>> x = np.random.default_rng(0).standard_normal((100, 3))
        >>> target = db.Target.from_samples(x)
        >>> bool(np.allclose(target.matmul(np.eye(3)), np.cov(x.T, bias=True)))
        True
        """
        x = samples_of(samples, "samples")
        if x.ndim != 2:
            raise ValueError(
                f"samples must be a matrix with one sample a row, but have shape {x.shape}. Reshape them to "
                "(number of samples, number of features)."
            )
        check_matrix(x, "samples")
        if x.shape[0] < 2:
            raise ValueError("samples must have at least two rows to have a covariance, but 1 was given.")
        dtype = x.dtype if isinstance(x, jax.Array) else np.dtype(np.float32 if x.dtype.str[1:] == "f4" else np.float64)
        mean, values, vectors = (namespace(x).asarray(part, dtype=dtype) for part in eigenpairs_of_samples(x, dtype))
        return cls(mean, SpectralCovariance(vectors, values))

    @classmethod
    def from_spectrum(
        cls, eigenvalues: ArrayLike, basis: ArrayLike | None = None, key: Any = None, *, mean: ArrayLike | None = None
    ) -> "Target":
        """A target with given eigenvalues.

        Parameters
        ----------
        eigenvalues : array (r,)
            Not negative, in any order; r ≤ n, the others are zero.
        basis : array (n, r), optional
            Orthonormal eigenvectors in columns. Default: a random orthogonal matrix (Haar) if `key` is given, else
            the identity.
        key : jax.random key or int, optional
            Seed of the random basis.
        mean : array (n,), optional
            Zero if not given.

        Raises
        ------
        ValueError
            If an eigenvalue is negative or not finite, the basis not orthonormal, or both basis and key are given.

        Examples
        --------
        >>> import deepbures as db
        >>> target = db.Target.from_spectrum([1.0, 4.0, 2.0], key=0)
        >>> target.spectrum(2)[0].round(12).tolist()
        [4.0, 2.0]
        """
        values = as_array(eigenvalues, "eigenvalues")
        if values.ndim < 1 or values.shape[-1] == 0:
            raise ValueError(f"eigenvalues must be a non-empty list of numbers, but have shape {values.shape}.")
        check_finite(values, "eigenvalues")
        if not is_tracer(values) and np.any(np.asarray(values) < 0):
            raise ValueError(f"eigenvalues must not be negative, but the smallest given is {float(np.min(values))}.")
        if basis is not None and key is not None:
            raise ValueError("Give either a basis or a key (for a random basis), not both.")
        r = values.shape[-1]
        xp = namespace(values)
        if basis is not None:
            vectors = as_array(basis, "basis")
            check_matrix(vectors, "basis")
            check_finite(vectors, "basis")
            if vectors.shape[-1] != r or vectors.shape[-2] < r:
                raise ValueError(f"basis must have shape (n, {r}) with n ≥ {r}, but has shape {vectors.shape}.")
            check_orthonormal(vectors)
        elif key is not None:
            vectors = random_orthogonal(key, r, values.dtype, jax_array=isinstance(values, jax.Array))
        else:
            vectors = xp.eye(r, dtype=values.dtype)
        order = xp.argsort(-values, axis=-1)
        values = xp.take_along_axis(values, order, axis=-1)
        vectors = xp.take_along_axis(vectors, xp.broadcast_to(order[..., None, :], vectors.shape), axis=-1)
        return cls(_mean(mean, vectors.shape[:-1], vectors), SpectralCovariance(vectors, values))

    @classmethod
    def from_operator(
        cls, matmul: Callable[[Array], Array], dim: int, trace: float | ArrayLike, *, mean: ArrayLike | None = None
    ) -> "Target":
        """A target known only through the product with its covariance.

        Parameters
        ----------
        matmul : callable
            Maps w (n, m) to Σ0 w (n, m) for every m. Functions that JAX cannot trace (of NumPy or SciPy) are called
            back on the host.
        dim : int
            Data dimension n.
        trace : float
            tr Σ0; its type decides the dtype (Python floats: float64).
        mean : array (n,), optional
            Zero if not given.

        Raises
        ------
        ValueError
            If the trace is negative or not finite, or `matmul` does not keep the shape (n, 1).
        TypeError
            If `matmul` is not callable.

        Examples
        --------
        >>> import numpy as np
        >>> import deepbures as db
        >>> variances = np.arange(1.0, 101.0)
        >>> target = db.Target.from_operator(lambda w: variances[:, None] * w, 100, variances.sum())
        >>> target.spectrum(3)[0].round(9).tolist()
        [100.0, 99.0, 98.0]
        """
        if not callable(matmul):
            raise TypeError(f"matmul must be a function w ↦ Σ0 w, but {matmul!r} was given.")
        n = check_integer(dim, "dim", 1)
        check_number(trace, "trace")
        total = as_array(trace, "trace")
        with jax.enable_x64(bool(jax.config.read("jax_enable_x64")) or not isinstance(total, jax.Array)):
            operator, is_on_host = host_operator(matmul, n, total.dtype)
        return cls(_mean(mean, (n,), total), OperatorCovariance(operator, total, n, is_on_host))


def samples_of(given: ArrayLike, name: str) -> Shaped[Array, "..."]:
    """An array as it is given where that holds numbers, in memory or in a file: it is never converted whole."""
    return given if is_read_by_blocks(given) else as_array(given, name)


def _like(array: Float[Array, "..."], result: Float[Array, "..."]) -> Float[Array, "..."]:
    """A result as an array of the library and dtype of the one that it comes from."""
    with np.errstate(over="ignore"):  # found by `in_range`
        return namespace(array).asarray(result, dtype=array.dtype)


def _mean(mean: ArrayLike | None, shape: tuple[int, ...], like: Float[Array, "..."]) -> Float[Array, "..."]:
    if mean is None:
        return namespace(like).zeros(shape, like.dtype)
    location = as_array(mean, "mean")
    if location.shape != shape:
        raise ValueError(f"mean must have shape {shape}, but has shape {location.shape}.")
    check_finite(location, "mean")
    return location.astype(like.dtype)
