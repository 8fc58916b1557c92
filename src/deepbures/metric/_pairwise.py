"""All distances between the members of two stacks, or within one."""

import functools
import math
from collections.abc import Callable

from array_api_compat import array_namespace

from deepbures._types import Array, ArrayLike, Float, Inexact, Shaped
from deepbures.metric._covariances import bures_wasserstein_distance, squared_bures_wasserstein
from deepbures.metric._factors import bures_wasserstein_distance_factors, squared_bures_wasserstein_factors
from deepbures.metric._frechet import squared_frechet_distance
from deepbures.metric._libraries import device_of
from deepbures.metric._nearest import checked_covariances
from deepbures.metric._validation import check_finite, check_matrices, floating_arrays

Distance = Callable[[Array, Array], Array]

# Pairs are computed in blocks of about this many entries (64 MiB in float64).
_BLOCK_ENTRIES = 2**23

# Exactly zero between equals, and the same in both directions up to rounding.
_SYMMETRIC = (
    squared_bures_wasserstein,
    bures_wasserstein_distance,
    squared_bures_wasserstein_factors,
    bures_wasserstein_distance_factors,
    squared_frechet_distance,
)


def pairwise(
    distance: Callable[[Array, Array], Array],
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    symmetric: bool | None = None,
) -> Shaped[Array, "K L"]:
    """All distances between the members of two stacks, or within one.

        D_ij = distance(x_i, y_j).

    Parameters
    ----------
    distance : callable
        A function of two arrays that broadcasts their leading axes: of arrays of shape (K, 1, ...) and (1, L, ...) it
        gives one of shape (K, L). All distances of this package do, also with options given by `functools.partial`, and
        what `numpy.vectorize` or `jax.numpy.vectorize`, with a signature, makes of a function of single members.
    x : array of shape (K, ...)
        x_1 … x_K, each as `distance` takes it: covariances, factors, data sets, …
    y : array of shape (L, ...), optional
        y_1 … y_L. Without it, y = x.
    symmetric : bool, optional
        Whether `distance` is symmetric, and zero between equals, so that without `y` each pair is computed once.
        Default: where that is known, for distances of this package between two arguments of one kind.

    Returns
    -------
    array of shape (K, L)
        D. Without `y`, and where `distance` is symmetric, it is exactly so, with zeros on the diagonal. Pairs are
        computed in blocks: what `distance` is given at a time has a few hundred MiB at most, or one pair.

    Raises
    ------
    TypeError, ValueError
        If `distance` is no function, or returns another shape; if x or y has no members, or an entry is not finite; and
        as `distance` does.

    Notes
    -----
    Differentiable where `distance` is. What `distance` does to x_i alone, such as factoring it, is done once for x_i in
    each block of two stacks, and for each pair of one.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> covariances = np.array([[[1.0]], [[4.0]], [[9.0]]])
    >>> db.pairwise(db.bures_wasserstein_distance, covariances).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    >>> db.pairwise(db.bures_wasserstein_distance_mixed, covariances, np.array([[[2.0]], [[0.0]]])).tolist()
    [[1.0, 1.0], [0.0, 2.0], [1.0, 3.0]]

    Any function of two arrays that broadcasts will do:

    >>> db.pairwise(lambda a, b: abs(a - b).max(axis=(-2, -1)), covariances).tolist()
    [[0.0, 3.0, 8.0], [3.0, 0.0, 5.0], [8.0, 5.0, 0.0]]
    """
    if not callable(distance):
        raise TypeError(
            f"distance must be a function of two arrays, such as deepbures.bures_wasserstein_distance, but "
            f"{type(distance).__name__} was given."
        )
    given = {"x": x} if y is None else {"x": x, "y": y}
    arrays = floating_arrays(**given)
    for name, array in zip(given, arrays, strict=True):
        if array.ndim == 0 or array.shape[0] == 0:
            raise ValueError(f"{name} must have at least one member, but has shape {tuple(array.shape)}.")
    check_finite(**dict(zip(given, arrays, strict=True)))  # here, where an index is that of a member
    if len(arrays) == 2:
        return _between(distance, *arrays)
    if _is_symmetric(distance) if symmetric is None else symmetric:
        return _within(distance, *arrays)
    return _between(distance, arrays[0], arrays[0])


def pairwise_squared_bures_wasserstein(
    a: ArrayLike, b: ArrayLike | None = None, *, rtol: float | None = None
) -> Float[Array, "K L"]:
    """Squared Bures-Wasserstein distances between all members of two stacks of covariances.

        D_ij = B²(A_i, B_j),

    short for `pairwise(squared_bures_wasserstein, a, b)`.

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
    return _of_matrices(squared_bures_wasserstein, "(K, n, n)", rtol, a=a, b=b)


def pairwise_bures_wasserstein_distance(
    a: ArrayLike, b: ArrayLike | None = None, *, rtol: float | None = None
) -> Float[Array, "K L"]:
    """Bures-Wasserstein distances between all members of two stacks of covariances.

    Short for `pairwise(bures_wasserstein_distance, a, b)`.

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
    return _of_matrices(bures_wasserstein_distance, "(K, n, n)", rtol, a=a, b=b)


def pairwise_squared_bures_wasserstein_factors(f: ArrayLike, g: ArrayLike | None = None) -> Float[Array, "K L"]:
    """Squared Bures-Wasserstein distances between all members of two stacks of covariances, given by factors.

        D_ij = B²(F_i F_iᴴ, G_j G_jᴴ),

    short for `pairwise(squared_bures_wasserstein_factors, f, g)`.

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
    return _of_matrices(squared_bures_wasserstein_factors, "(K, n, columns)", f=f, g=g)


def pairwise_bures_wasserstein_distance_factors(f: ArrayLike, g: ArrayLike | None = None) -> Float[Array, "K L"]:
    """Bures-Wasserstein distances between all members of two stacks of covariances, given by factors.

    Short for `pairwise(bures_wasserstein_distance_factors, f, g)`.

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
    return _of_matrices(bures_wasserstein_distance_factors, "(K, n, columns)", f=f, g=g)


def _of_matrices(
    distance: Distance, shape: str, rtol: float | None = None, **given: ArrayLike | None
) -> Float[Array, "K L"]:
    """`pairwise`, checked under the names that the arguments were given by, and projected once each."""
    named = {name: stack for name, stack in given.items() if stack is not None}
    arrays = floating_arrays(**named)
    named = dict(zip(named, arrays, strict=True))
    check_matrices(shape, **named)
    for name, array in named.items():
        if array.ndim != 3 or array.shape[0] == 0:
            raise ValueError(
                f"{name} must be a stack of shape {shape} with at least one member, but has shape {tuple(array.shape)}."
            )
    check_finite(**named)
    return pairwise(distance, *(arrays if rtol is None else checked_covariances(rtol, **named)))


def _is_symmetric(distance: Distance) -> bool:
    while isinstance(distance, functools.partial):
        distance = distance.func
    return distance in _SYMMETRIC


def _between(distance: Distance, x: Inexact[Array, "K ..."], y: Inexact[Array, "L ..."]) -> Shaped[Array, "K L"]:
    """Blocks of whole rows, or of parts of a row where a block has no room for one."""
    xp = array_namespace(x, y)
    rows = max(1, _BLOCK_ENTRIES // max(1, math.prod(y.shape)))
    columns = y.shape[0] if rows > 1 else max(1, _BLOCK_ENTRIES // _largest_member(x, y))

    def row(members: Array) -> Array:
        parts = [y[None, start : min(start + columns, y.shape[0]), ...] for start in range(0, y.shape[0], columns)]
        blocks = [_block(distance, members, part, (members.shape[0], part.shape[1])) for part in parts]
        return xp.concat(blocks, axis=1)

    starts = range(0, x.shape[0], rows)
    return xp.concat([row(x[start : min(start + rows, x.shape[0]), None, ...]) for start in starts], axis=0)


def _within(distance: Distance, x: Inexact[Array, "K ..."]) -> Shaped[Array, "K K"]:
    """The pairs i < j only."""
    xp, count, place = array_namespace(x), x.shape[0], device_of(x)
    if count == 1:  # there is no pair, but a member to be checked
        return xp.zeros_like(_block(distance, x[:, None, ...], x[None, ...], (1, 1)))
    upper = [(i, j) for i in range(count) for j in range(i + 1, count)]
    per_block = max(1, _BLOCK_ENTRIES // _largest_member(x))
    values = []
    for start in range(0, len(upper), per_block):
        block = upper[start : start + per_block]
        i, j = (xp.asarray(index, device=place) for index in zip(*block, strict=True))
        values.append(_block(distance, xp.take(x, i, axis=0), xp.take(x, j, axis=0), (len(block),)))
    # Entry (i, j) is found by the number of the pair, the diagonal at the zero in front.
    where = [[0] * count for _ in range(count)]
    for number, (i, j) in enumerate(upper, start=1):
        where[i][j] = where[j][i] = number
    index = xp.reshape(xp.asarray(where, device=place), (-1,))
    zero = xp.zeros(1, dtype=values[0].dtype, device=place)
    return xp.reshape(xp.take(xp.concat([zero, *values]), index, axis=0), (count, count))


def _block(
    distance: Distance, x: Inexact[Array, "..."], y: Inexact[Array, "..."], shape: tuple[int, ...]
) -> Shaped[Array, "..."]:
    """The distances of arrays whose leading axes broadcast to `shape`."""
    value = distance(x, y)
    found = getattr(value, "shape", None)
    if found is None or tuple(found) != shape:
        raise ValueError(
            f"distance must broadcast the leading axes of two arrays: of arrays of shape {tuple(x.shape)} and "
            f"{tuple(y.shape)} it should return one of shape {shape}, but returned "
            f"{type(value).__name__ if found is None else f'shape {tuple(found)}'}. Of a function of single members, "
            "numpy.vectorize or jax.numpy.vectorize with a signature, such as '(m,n),(p,q)->()', makes such a one."
        )
    return value


def _largest_member(*stacks: Inexact[Array, "..."]) -> int:
    return max(1, *(math.prod(stack.shape[1:]) for stack in stacks))
