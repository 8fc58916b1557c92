"""Mean and covariance of samples; the covariance as a factor, so that nothing is squared on the way.

Three steps, each for arrays of every library, and each differentiable:

*Centering.* A plain sum over N rows has an error of up to N eps; the mean of what is left is that error, found out.
Means are kept in two parts, whose sum has twice the digits, so that the difference of two means has all of its own.

*Leaving out a row.* The columns of centered rows x_i sum to zero. So in an orthonormal basis whose first vector is
1/√N, one coordinate vanishes; without it, N − 1 rows are left. The reflection that maps 1/√N to −e_1 makes of the
others x_i − x_1 / (√N + 1), i = 2 … N.

*Merging.* For two sets of samples of numbers (or weights) a and b with means that differ by d, the sums of squares
about the means obey (Chan, Golub, LeVeque 1983)

    S = S_a + S_b + ab/(a + b) d dᴴ:

the rows of both, and one more, √(ab/(a + b)) d.
"""

import math
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace

from deepbures._arrays import as_numpy_array, first_in_other_order, is_read_by_blocks, labels_of, refuse_rounded
from deepbures._types import Array, ArrayLike, Float, Inexact, Shaped
from deepbures.linalg import adjoint, svd_noise, triangle, without_noise
from deepbures.metric._libraries import detached

_ROWS_PER_BLOCK = 16_384


class Moments:
    """Mean and covariance of samples that come in blocks of rows.

        m = (1/N) Σ_i x_i,    C = (1/N) Σ_i (x_i − m)(x_i − m)ᵀ.

    Blocks of any number of rows are added by `update`, what others have collected by `merge`, in any order: N, m and a
    factor of C are kept, at most max(n, 16384) + n rows of n numbers. All of it is computed in float64, whatever the
    type of the data, from centered rows by orthogonal transformations only: XᵀX is never formed, nothing is squared. So
    a mean that is a million times the standard deviation costs no digits, and standard deviations down to about
    min(N, n) eps of the largest are right, eps = 2.2e-16.

    Attributes
    ----------
    count : int
        Number of samples N.

    Raises
    ------
    ValueError
        From the mean and whatever follows from it, as long as there are no samples.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> samples = np.random.default_rng(0).standard_normal((1000, 3)) + 1e6
    >>> moments = db.Moments()
    >>> for start in range(0, 900, 300):
    ...     _ = moments.update(samples[start : start + 300])
    >>> rest = db.Moments().update(samples[900:])
    >>> moments.merge(rest)
    Moments(count=1000, dim=3)
    >>> bool(np.allclose(moments.covariance(), np.cov(samples.T, bias=True), rtol=1e-9))
    True
    """

    def __init__(self) -> None:
        self.count: Any = 0
        self._mean: tuple[Array, Array] | None = None
        self._triangle: Array | None = None
        self._rows: list[Array] = []
        self._labels: list[str] | None = None  # of a frame that samples came in

    def __repr__(self) -> str:
        return f"Moments(count={self.count}, dim={self.dim})"

    @property
    def dim(self) -> int | None:
        """Number of features n; None as long as there were no samples."""
        return None if self._mean is None else int(self._mean[0].shape[-1])

    @property
    def mean(self) -> Inexact[Array, "... n"]:
        """The mean m, of shape (n,)."""
        mean, more = self._centers()
        return (mean + more)[..., 0, :]

    def update(self, samples: ArrayLike) -> Self:
        """Add samples.

        Parameters
        ----------
        samples : array (N, n)
            Samples in rows, N ≥ 0: an array, a frame with columns of numbers, or a tensor (taken without its gradient).
            Arrays of NumPy, memory-mapped or not, are read block by block.

        Returns
        -------
        Moments
            These moments, changed.

        Raises
        ------
        TypeError
            If the samples are no real numbers.
        ValueError
            If they are no matrix, have another number of columns than those before, or entries that are not finite; or
            if their spread is beyond the range of float64. Then nothing is added.
        """
        rows = samples if is_read_by_blocks(samples) else as_numpy_array(samples, "samples")
        if rows.ndim != 2 or rows.shape[1] == 0:
            raise ValueError(
                f"samples must be a matrix with one sample a row and at least one column, but have shape {rows.shape}."
            )
        new = Moments()
        for start in range(0, rows.shape[0], _ROWS_PER_BLOCK):
            new._merge(_moments_on_host(rows[start : start + _ROWS_PER_BLOCK], start))
            new._reduce()
        return self._take_in("samples", new, rows.shape[1], labels_of(samples, "columns"))

    def merge(self, other: "Moments") -> Self:
        """Add the samples that other moments were made of.

        Parameters
        ----------
        other : Moments
            Of as many features; left as they are.

        Returns
        -------
        Moments
            These moments, changed.

        Raises
        ------
        TypeError
            If `other` is something else.
        ValueError
            If its number of features is another.
        """
        if not isinstance(other, Moments):
            raise TypeError(f"other must be Moments, but a {type(other).__name__} was given. Samples go to update.")
        return self._take_in("other", other, other.dim, other._labels)

    def factor(self, *, unbiased: bool = False) -> Inexact[Array, "... n r"]:
        """A factor F (n, r) of the covariance, F Fᵀ = C, with r ≤ min(N, n) columns.

        Parameters
        ----------
        unbiased : bool
            Divide by N − 1 instead of N.

        Raises
        ------
        ValueError
            If there are no samples, or just one where `unbiased`.
        """
        return triangle(self._all_rows()).mT / self._root_of_count(unbiased)

    def covariance(self, *, unbiased: bool = False) -> Inexact[Array, "... n n"]:
        """The covariance C (n, n).

        Parameters
        ----------
        unbiased : bool
            Divide by N − 1 instead of N.

        Raises
        ------
        ValueError
            If there are no samples, or just one where `unbiased`; or if a variance is beyond the range of the numbers,
            in float64 that of samples from about 1e154 on. (`factor` and `principal_axes` square nothing.)
        """
        factor = self.factor(unbiased=unbiased)
        with np.errstate(over="ignore", invalid="ignore"):
            covariance = factor @ adjoint(factor)
        if isinstance(covariance, np.ndarray) and not np.isfinite(covariance).all():
            raise ValueError(
                f"The covariance is beyond the range of {covariance.dtype}, as standard deviations of "
                f"{np.abs(factor).max():.2g} have squares above {np.finfo(covariance.dtype).max:.2g}. Use factor() or "
                "principal_axes(), which square nothing, or scale the samples down."
            )
        return covariance

    def principal_axes(self, *, unbiased: bool = False) -> tuple[Float[Array, "... r"], Inexact[Array, "... n r"]]:
        """Standard deviations along the principal axes, descending, and these axes.

        Their squares are the eigenvalues of the covariance. What is within the rounding of the decomposition,
        (min(N, n) + √max(N, n)) eps times the largest, is exactly zero.

        Parameters
        ----------
        unbiased : bool
            Divide by N − 1 instead of N.

        Returns
        -------
        deviations : array of shape (r,)
            r ≤ min(N, n).
        axes : array of shape (n, r)
            Orthonormal columns, one for each deviation.

        Raises
        ------
        ValueError
            If there are no samples, or just one where `unbiased`.
        """
        rows, root = triangle(self._all_rows()), self._root_of_count(unbiased)
        xp = array_namespace(rows)
        _, s, vh = xp.linalg.svd(rows, full_matrices=False)
        level = svd_noise(self.count, rows.shape[-1]) * float(xp.finfo(s.dtype).eps)
        return without_noise(s, level) / root, vh.mT

    # ------------------------------------------------------------------ for the other rooms

    def columns(self, unbiased: bool = False) -> Inexact[Array, "... n rows"]:
        """A factor of the covariance as it is kept, of shape (..., n, R): with R > n if there are more samples."""
        return self._all_rows().mT / self._root_of_count(unbiased)

    def distance_of_means(self, other: "Moments") -> Inexact[Array, "... 1 n"]:
        """The row, of shape (..., 1, n), by which the mean differs from that of others: with all its digits."""
        (mean, more), (other_mean, other_more) = self._centers(), other._centers()
        return (mean - other_mean) + (more - other_more)

    # ------------------------------------------------------------------ how they are kept

    def _centers(self) -> tuple[Inexact[Array, "... 1 n"], Inexact[Array, "... 1 n"]]:
        if self._mean is None:
            raise ValueError("There are no samples yet, so there are no moments: add some by update.")
        return self._mean

    def _root_of_count(self, unbiased: bool) -> Any:
        if unbiased and self.count == 1:
            raise ValueError("There is one sample, and unbiased=True divides by N - 1 = 0. Add more samples.")
        return (self.count - 1 if unbiased else self.count) ** 0.5

    def _all_rows(self) -> Inexact[Array, "... rows n"]:
        self._centers()
        rows = self._rows if self._triangle is None else [self._triangle, *self._rows]
        return rows[0] if len(rows) == 1 else array_namespace(*rows).concat(rows, axis=-2)

    def _take_in(self, name: str, other: "Moments", width: int | None, labels: list[str] | None) -> Self:
        if self.dim is not None and width not in (None, self.dim):
            raise ValueError(f"{name} must have {self.dim} features, as the samples before, but have {width}.")
        at = first_in_other_order(labels, self._labels)
        if labels is not None and self._labels is not None and at is not None:
            raise ValueError(
                f"The columns of {name} are those of the samples before in another order: number {at + 1} is "
                f"{labels[at]!r} instead of {self._labels[at]!r}. Reorder them as before."
            )
        self._labels = self._labels or labels
        self._merge(other)
        self._reduce()
        return self

    def _reduce(self) -> None:
        """Keep the triangle of the rows only, once these are so many that it is worth a decomposition."""
        if self._rows and sum(rows.shape[-2] for rows in self._rows) >= max(
            self._rows[0].shape[-1], _ROWS_PER_BLOCK - 1
        ):
            self._triangle, self._rows = triangle(self._all_rows()), []

    def _merge(self, other: "Moments") -> None:
        if other._mean is None:
            return
        if self._mean is None:
            self.count, self._mean = other.count, other._mean
            self._triangle, self._rows = other._triangle, other._rows
            return
        whole, row = self.count + other.count, _row_between(self, other)
        others = other._rows if other._triangle is None else [other._triangle, *other._rows]
        self._rows = [*self._rows, *others, row]
        self._mean = _moved(self._mean, other._mean, other.count / whole)
        self.count = whole


def moments_of(x: Inexact[Array, "... N n"]) -> Moments:
    """The moments of samples (..., N, n), N ≥ 1, in the library and precision of the array, differentiable."""
    # From a row of their own on, constant samples are exactly zero. What is taken away is constant, as no derivative
    # depends on it.
    return _moments_about(detached(x[..., :1, :]), x)


def _moments_about(origin: Inexact[Array, "... 1 n"], x: Shaped[Array, "... N n"]) -> Moments:
    """The moments of samples, measured from a row near to them, in whose precision they are computed."""
    x = x - origin
    xp, num = array_namespace(x), x.shape[-2]
    mean = xp.mean(x, axis=-2, keepdims=True)
    x = _less(x, mean)
    more = xp.mean(x, axis=-2, keepdims=True)
    moments = Moments()
    moments.count = num
    high, low = _sum_in_two_parts(origin, mean)
    moments._mean = high, low + more
    if num == 1:
        moments._rows = [0 * x]
    else:
        first = x[..., :1, :] - more
        moments._rows = [_less(x[..., 1:, :], first / (math.sqrt(num) + 1) + more)]
    return moments


def _less(x: Inexact[Array, "... N n"], row: Inexact[Array, "... 1 n"]) -> Inexact[Array, "... N n"]:
    """X without a row in each row; in NumPy in its place, which saves half of the time."""
    return np.subtract(x, row, out=x) if isinstance(x, np.ndarray) else x - row


def moments_from(weight: Any, mean: Inexact[Array, "n"], factor: Inexact[Array, "n r"]) -> Moments:
    """Moments that are known: of samples of that weight, with a mean (n,) and a factor (n, r) of the covariance."""
    moments = Moments()
    moments.count = weight
    moments._mean = mean[None, :], 0 * mean[None, :]
    moments._rows = [factor.mT * weight**0.5]
    return moments


def remembered(memory: Moments, now: Moments) -> Moments:
    """Moments of a memory and the samples of the present, with derivatives with respect to the latter.

    The difference of their means is held fixed. Had all samples been made by a generator as it is now, they would move
    alike when it moves: the difference would stay, and m and C change by what those of the present change. The term
    that the difference adds to C would otherwise make up for lacking variance by moving the mean to and fro.
    """
    row, whole = detached(_row_between(memory, now)), memory.count + now.count
    joint, share = Moments(), now.count / whole
    joint.count = whole
    high, low = (
        (1 - share) * before + share * new for before, new in zip(memory._centers(), now._centers(), strict=True)
    )
    joint._mean = high, low
    joint._rows = [array_namespace(row).concat([memory._all_rows(), now._all_rows(), row], axis=-2)]
    return joint


def _row_between(one: Moments, other: Moments) -> Inexact[Array, "... 1 n"]:
    """√(ab/(a + b)) d, the row that means which differ by d add to those of both."""
    return (one.count / (one.count + other.count) * other.count) ** 0.5 * other.distance_of_means(one)


def _moments_on_host(block: Shaped[Array, "N n"], start: int) -> Moments:
    """Compute moments in float64, of a block whose rows are numbered from `start` on."""
    refuse_rounded(np.asarray(block), "samples", start)
    if block.dtype.itemsize > np.dtype(np.float64).itemsize:
        block = block.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        moments = _moments_about(np.asarray(block[:1], np.float64), np.asarray(block))
    # What is not finite leaves no finite mean in its column.
    if not all(np.isfinite(part).all() for part in moments._centers()):
        _check_finite(block, start)
        raise ValueError("The spread of the samples is beyond the range of float64: scale the data down.")
    return moments


def _check_finite(block: Shaped[Array, "N n"], start: int) -> None:
    finite = np.isfinite(block)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"samples have entries that are not finite (NaN or infinite), the first at index ({start + row}, "
            f"{column}). Remove or impute them first."
        )


def _moved(
    mean: tuple[Inexact[Array, "... 1 n"], Inexact[Array, "... 1 n"]],
    other: tuple[Inexact[Array, "... 1 n"], Inexact[Array, "... 1 n"]],
    share: Any,
) -> tuple[Inexact[Array, "... 1 n"], Inexact[Array, "... 1 n"]]:
    """The mean, moved towards another one by a share of the way; onto it, exactly, by a share of one."""
    away, lost = _sum_in_two_parts(other[0], -mean[0])
    high, low = _sum_in_two_parts(mean[0], share * away)
    return high, low + mean[1] + share * (lost + (other[1] - mean[1]))


def _sum_in_two_parts(
    a: Inexact[Array, "... 1 n"], b: Inexact[Array, "... 1 n"]
) -> tuple[Inexact[Array, "... 1 n"], Inexact[Array, "... 1 n"]]:
    """A + b as rounded, and what rounding took away, exactly (Knuth); the latter has no derivative."""
    total = a + b
    a, b, high = detached(a), detached(b), detached(total)
    rounded = high - a
    return total, (a - (high - rounded)) + (b - rounded)
