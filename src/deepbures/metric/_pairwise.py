"""All distances between the members of two stacks, or within one."""

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace

from deepbures.metric._covariances import squared_bures_wasserstein
from deepbures.metric._factors import squared_bures_wasserstein_factors
from deepbures.metric._libraries import device_of
from deepbures.metric._nearest import checked_covariances
from deepbures.metric._scaling import rooted
from deepbures.metric._validation import check_matrices, floating_arrays

Array = Any

# Pairs are computed in blocks of about this many matrix entries (64 MiB in float64).
_BLOCK_ENTRIES = 2**23


def pairwise_squared_bures_wasserstein(a: Array, b: Array | None = None, *, rtol: float | None = None) -> Array:
    """Squared Bures-Wasserstein distances between all members of two stacks of covariances.

        D_ij = B²(A_i, B_j).

    Parameters
    ----------
    a : array of shape (K, n, n)
        A_1 … A_K, each as in `squared_bures_wasserstein`.
    b : array of shape (L, n, n), optional
        B_1 … B_L. Without it, B = A, and each pair is computed once.
    rtol : float, optional
        Asymmetry and negative eigenvalues up to rtol times the largest entry of a member are put down to rounding, and
        taken away first: the result is that of `nearest_covariance`. Default: 100 n eps of the dtype.

    Returns
    -------
    array of shape (K, L)
        D; without `b` symmetric, with exact zeros on the diagonal. Memory beside it stays below some hundred MiB.

    Raises
    ------
    TypeError, ValueError
        As `squared_bures_wasserstein`; also for anything but stacks with one leading axis.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> stack = np.array([[[1.0]], [[4.0]], [[9.0]]])
    >>> dbm.pairwise_squared_bures_wasserstein(stack).tolist()
    [[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]]
    """
    if rtol is not None:
        given = {"a": a} if b is None else {"a": a, "b": b}
        a, b = (*checked_covariances(rtol, **dict(zip(given, floating_arrays(**given), strict=True))), None)[:2]
    return _pairwise(squared_bures_wasserstein, a, b, ("a", "b"), "(K, n, n)")


def pairwise_bures_wasserstein_distance(a: Array, b: Array | None = None, *, rtol: float | None = None) -> Array:
    """Bures-Wasserstein distances between all members of two stacks of covariances.

    Parameters
    ----------
    a : array of shape (K, n, n)
        A_1 … A_K.
    b : array of shape (L, n, n), optional
        B_1 … B_L; without it, A.
    rtol : float, optional
        Asymmetry and negative eigenvalues up to rtol times the largest entry of a member are put down to rounding, and
        taken away first: the result is that of `nearest_covariance`. Default: 100 n eps of the dtype.

    Returns
    -------
    array of shape (K, L)
        The square root of `pairwise_squared_bures_wasserstein`.

    Raises
    ------
    TypeError, ValueError
        As there.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> dbm.pairwise_bures_wasserstein_distance(np.array([[[1.0]], [[9.0]]])).tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    return _rooted(pairwise_squared_bures_wasserstein(a, b, rtol=rtol))


def pairwise_squared_bures_wasserstein_factors(f: Array, g: Array | None = None) -> Array:
    """Squared Bures-Wasserstein distances between all members of two stacks of covariances, given by factors.

        D_ij = B²(F_i F_iᴴ, G_j G_jᴴ).

    Parameters
    ----------
    f : array of shape (K, n, r)
        F_1 … F_K, each as in `squared_bures_wasserstein_factors`.
    g : array of shape (L, n, k), optional
        G_1 … G_L. Without it, G = F, and each pair is computed once.

    Returns
    -------
    array of shape (K, L)
        D; without `g` symmetric, with exact zeros on the diagonal.

    Raises
    ------
    TypeError, ValueError
        As `squared_bures_wasserstein_factors`; also for anything but stacks with one leading axis.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> f = np.array([[[3.0], [0.0]], [[0.0], [4.0]]])
    >>> dbm.pairwise_squared_bures_wasserstein_factors(f).tolist()                 # orthogonal: 3² + 4²
    [[0.0, 25.0], [25.0, 0.0]]
    """
    return _pairwise(squared_bures_wasserstein_factors, f, g, ("f", "g"), "(K, n, columns)")


def pairwise_bures_wasserstein_distance_factors(f: Array, g: Array | None = None) -> Array:
    """Bures-Wasserstein distances between all members of two stacks of covariances, given by factors.

    Parameters
    ----------
    f : array of shape (K, n, r)
        F_1 … F_K.
    g : array of shape (L, n, k), optional
        G_1 … G_L; without it, F.

    Returns
    -------
    array of shape (K, L)
        The square root of `pairwise_squared_bures_wasserstein_factors`.

    Raises
    ------
    TypeError, ValueError
        As there.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures.metric as dbm
    >>> f = np.array([[[3.0], [0.0]], [[0.0], [4.0]]])
    >>> dbm.pairwise_bures_wasserstein_distance_factors(f).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    return _rooted(pairwise_squared_bures_wasserstein_factors(f, g))


def _rooted(squared: Array) -> Array:
    return rooted(squared, array_namespace(squared).ones_like(squared))


def _pairwise(
    function: Callable[[Array, Array], Array], x: Array, y: Array | None, names: tuple[str, str], shape: str
) -> Array:
    given = {names[0]: x} if y is None else {names[0]: x, names[1]: y}
    arrays = floating_arrays(**given)
    check_matrices(shape, **dict(zip(given, arrays, strict=True)))
    for name, array in zip(given, arrays, strict=True):
        if array.ndim != 3 or array.shape[0] == 0:
            raise ValueError(
                f"{name} must be a stack of shape {shape} with at least one member, but has shape {tuple(array.shape)}."
            )
    xp = array_namespace(*arrays)
    if len(arrays) == 1:
        if arrays[0].shape[0] == 1:
            function(arrays[0], arrays[0])  # there is no pair, but a member to be checked
        return _within(function, arrays[0], xp)
    first, second = arrays
    count = first.shape[0]
    rows = max(1, _BLOCK_ENTRIES // max(1, second.size if isinstance(second.size, int) else second.numel()))
    blocks = [
        function(first[start : min(start + rows, count), None, ...], second[None, ...])
        for start in range(0, count, rows)
    ]
    return xp.concat(blocks, axis=0)


def _within(function: Callable[[Array, Array], Array], x: Array, xp: Any) -> Array:
    count = x.shape[0]
    upper = [(i, j) for i in range(count) for j in range(i + 1, count)]
    place = device_of(x)
    zero = xp.zeros(1, dtype=xp.real(x[0, 0, :0]).dtype if _is_complex(x, xp) else x.dtype, device=place)
    per_block = max(1, _BLOCK_ENTRIES // max(1, x.shape[1] * x.shape[2]))
    values = [zero]
    for start in range(0, len(upper), per_block):
        i, j = (xp.asarray(index, device=place) for index in zip(*upper[start : start + per_block], strict=True))
        values.append(function(xp.take(x, i, axis=0), xp.take(x, j, axis=0)))
    # Entry (i, j) is found by the number of the pair, the diagonal at the zero in front.
    where = [[0] * count for _ in range(count)]
    for number, (i, j) in enumerate(upper, start=1):
        where[i][j] = where[j][i] = number
    index = xp.reshape(xp.asarray(where, device=place), (-1,))
    return xp.reshape(xp.take(xp.concat(values), index, axis=0), (count, count))


def _is_complex(x: Array, xp: Any) -> bool:
    return bool(xp.isdtype(x.dtype, "complex floating"))
