"""What the metric accepts: arrays of one library and one floating dtype, of shapes that fit, with finite entries.

Shapes, libraries and dtypes are always checked. Values are checked where they can be looked at: those of arrays that
nothing is tracing, constants inside a transformation too.
"""

import math

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from deepbures._arrays import as_any_array, refuse_rounded
from deepbures._types import Array, ArrayLike, Float, Inexact, Shaped
from deepbures._words import not_finite_message
from deepbures.linalg import adjoint
from deepbures.metric._libraries import (
    constants_of_jax,
    detached,
    device_of,
    is_autocast,
    is_differentiated,
    is_jax,
    is_torch,
    is_traced,
    values_of,
)

# The eigenvalues of matrices up to this size are there within seconds.
_QUICKLY_DECOMPOSED = 2048

_FLOATING = ("float32", "float64", "complex64", "complex128")


def rounding(array: Inexact[Array, "..."], size: int) -> float:
    """100 n eps: the size, relative to the largest entry of an n×n matrix, of what is put down to rounding.

    Forming a covariance from N rows leaves errors of a few √N eps relative to its diagonal, and an eigenvalue
    sums n entries of them; the factor 100 leaves room for the caller's own arithmetic.
    """
    return 100 * size * float(array_namespace(array).finfo(array.dtype).eps)


def floating_arrays(**given: ArrayLike) -> tuple[Inexact[Array, "..."], ...]:
    """The arguments as arrays of one library and one floating dtype.

    Integers are promoted, lists are NumPy's, and NumPy's arrays beside those of JAX become JAX's, by its own rules: in
    its precision, and promoted with the others as it promotes them.
    """
    arrays = {name: _numeric_array(value, name) for name, value in given.items()}
    if any(is_jax(array) for array in arrays.values()) and any(is_numpy_array(array) for array in arrays.values()):
        arrays = _in_jax(arrays)
    arrays = {name: _with_floats(array, name) for name, array in arrays.items()}
    (first, reference), *others = arrays.items()
    for name, array in others:
        if array_namespace(array) is not array_namespace(reference):
            raise TypeError(
                f"All arguments must be arrays of one library, but {first} is {_kind(reference)} and {name} is "
                f"{_kind(array)}. Convert one of them."
            )
        if array.dtype != reference.dtype:
            raise TypeError(
                f"All arguments must have one dtype, but {first} has {_dtype(reference, given[first])} and {name} has "
                f"{_dtype(array, given[name])}. Convert one of them."
            )
        if device_of(array) != device_of(reference):
            raise TypeError(
                f"All arguments must be on one device, but {first} is on {device_of(reference)} and {name} is on "
                f"{device_of(array)}. Move one of them."
            )
    return tuple(arrays.values())


def _numeric_array(value: ArrayLike, name: str) -> Shaped[Array, "..."]:
    """The argument as an array, of its own dtype, in which there is linear algebra or which can be promoted to one."""
    array = as_any_array(value, name)
    xp = array_namespace(array)
    if is_autocast(array) and array.dtype in (xp.float16, xp.bfloat16):
        return xp.astype(array, xp.float32)  # as PyTorch does for operations that need the digits
    if _is_floating(array) and not any(array.dtype == getattr(xp, dtype) for dtype in _FLOATING):
        wanted = "float32 or float64" if xp.isdtype(array.dtype, "real floating") else "complex64 or complex128"
        raise TypeError(f"{name} has dtype {array.dtype}, in which there is no linear algebra. Convert it to {wanted}.")
    return array


def _in_jax(arrays: dict[str, Shaped[Array, "..."]]) -> dict[str, Shaped[Array, "..."]]:
    """Arrays of JAX and of NumPy as arrays of JAX, of the dtype that JAX promotes them to."""
    xp = array_namespace(*(array for array in arrays.values() if is_jax(array)))
    with constants_of_jax():
        common = xp.result_type(*arrays.values())
        if len({array.dtype for array in arrays.values() if is_jax(array)}) > 1:
            common = None  # two dtypes within JAX are refused, as ever
        return {name: xp.asarray(array, dtype=common) for name, array in arrays.items()}


def _with_floats(array: Shaped[Array, "*shape"], name: str) -> Inexact[Array, "*shape"]:
    """Integers in the library's own default: float64 for NumPy, for JAX whatever precision it is set to."""
    if _is_floating(array):
        return array
    xp = array_namespace(array)
    dtype = xp.asarray(0.0).dtype
    with values_of(array) as can_look:
        if can_look:
            integers = detached(array).cpu() if is_torch(array) else array
            refuse_rounded(np.asarray(integers), name, digits=53 if xp.finfo(dtype).bits == 64 else 24)
    return xp.astype(array, dtype)


def _is_floating(array: Shaped[Array, "..."]) -> bool:
    return bool(array_namespace(array).isdtype(array.dtype, ("real floating", "complex floating")))


def _kind(array: Shaped[Array, "..."]) -> str:
    return f"{type(array).__module__.partition('.')[0]}.{type(array).__name__}"


def _dtype(array: Shaped[Array, "..."], given: ArrayLike) -> str:
    before = getattr(given, "dtype", array.dtype)
    return f"{array.dtype}" if before == array.dtype else f"{array.dtype} (promoted from {before})"


def check_finite(**arrays: Inexact[Array, "..."]) -> None:
    """Refuse NaN and infinities."""
    for name, array in arrays.items():
        with values_of(array) as can_look:
            if can_look:
                _check_finite(array, name)


def _check_finite(array: Inexact[Array, "..."], name: str) -> None:
    xp = array_namespace(array)
    finite = xp.isfinite(array)
    if not bool(xp.all(finite)):
        count = int(xp.sum(xp.astype(~finite, xp.int32)))
        index = tuple(int(axis[0]) for axis in xp.nonzero(~finite))
        raise ValueError(not_finite_message(name, count, f"at index {index}"))


def check_matrices(shape: str, **arrays: Inexact[Array, "..."]) -> None:
    """Refuse what has no rows, or fewer than two axes; `shape` says what was expected."""
    for name, array in arrays.items():
        if array.ndim < 2:
            raise ValueError(f"{name} must have shape {shape}, but has shape {tuple(array.shape)}.")


def tolerance_of(array: Inexact[Array, "..."], rtol: float | None) -> float:
    """What is put down to rounding in a covariance, as a share of its largest entry: `rtol`, or else 100 n eps."""
    if rtol is None:
        return rounding(array, array.shape[-1])
    if isinstance(rtol, bool) or not isinstance(rtol, (int, float, np.integer, np.floating)):
        raise TypeError(f"rtol must be a number, a share of the largest entry such as 1e-5, but {rtol!r} was given.")
    if not 0 <= rtol < float("inf"):
        raise ValueError(f"rtol must be finite and not negative, but {rtol} was given.")
    return float(rtol)


def hermitian_parts(rtol: float | None, **arrays: Inexact[Array, "..."]) -> tuple[Inexact[Array, "... _ _"], ...]:
    """Hermitian parts; refuses what is not square, empty, not finite, or not Hermitian beyond rounding."""
    check_square(**arrays)
    check_finite(**arrays)
    return tuple(_hermitian_part(array, name, tolerance_of(array, rtol)) for name, array in arrays.items())


def check_square(**arrays: Inexact[Array, "..."]) -> None:
    """Refuse matrices that are not square, or empty."""
    check_matrices("(..., n, n)", **arrays)
    for name, array in arrays.items():
        if array.shape[-1] != array.shape[-2] or array.shape[-1] == 0:
            raise ValueError(
                f"{name} must be a square matrix of shape (..., n, n), but has shape {tuple(array.shape)}. For a "
                "factor F of F Fᴴ use the functions that end in _factors; for samples in rows, "
                "squared_frechet_distance."
            )


def _hermitian_part(a: Inexact[Array, "... n n"], name: str, tolerance: float) -> Inexact[Array, "... n n"]:
    with values_of(a) as can_look:
        is_exact = can_look and _is_exactly_hermitian(a, name, tolerance)
    # Derivatives are those of the Hermitian part, whether or not there is anything to take away.
    return a if is_exact and not is_differentiated(a) else a / 2 + adjoint(a) / 2


def _is_exactly_hermitian(a: Inexact[Array, "... n n"], name: str, tolerance: float) -> bool:
    """Whether each entry is its mirror image; what differs by more than the tolerance is refused."""
    xp = array_namespace(a)
    values = detached(a)
    gap = asymmetry(values)
    # The largest entry of a covariance is on its diagonal; what is none is measured by its largest entry.
    largest = xp.max(xp.abs(xp.linalg.diagonal(values)), axis=-1)
    if bool(xp.any(gap > tolerance * largest)):
        largest = xp.max(xp.abs(values), axis=(-2, -1))
        if bool(xp.any(gap > tolerance * largest)):
            raise ValueError(not_hermitian(name, values, tolerance))
    return bool(xp.all(gap == 0))


def not_hermitian(name: str, a: Inexact[Array, "... n n"], tolerance: float) -> str:
    """The message for a matrix that is not Hermitian."""
    xp = array_namespace(a)
    gap, largest, size = float(xp.max(asymmetry(a))), float(xp.max(xp.abs(a))), a.shape[-1]
    # Whether it is semidefinite but for that takes long to find out where it is large.
    lowest = xp.linalg.eigvalsh(a / 2 + adjoint(a) / 2)[..., 0] if size <= _QUICKLY_DECOMPOSED else 0 * asymmetry(a)
    return (
        f"{name} must be symmetric (Hermitian if complex), but entries differ from their mirror images by up "
        f"to {gap:.3g} where the largest entry is {largest:.3g} (allowed: {tolerance:.1e} of it). "
        f"{_remedy(a, lowest)} If it is meant, symmetrize it first: ({name} + {name}ᴴ) / 2."
    )


def _remedy(a: Inexact[Array, "... n n"], lowest: Float[Array, "..."]) -> str:
    """What to do about a covariance that is none, with a tolerance, rounded up to one digit, that would accept it."""
    xp, gap = array_namespace(a), asymmetry(a)
    needed = float(xp.max(xp.where(-lowest > gap, -lowest, gap) / largest_entry(a)))
    digit = 10.0 ** math.floor(math.log10(needed))
    # A percent more, since eigenvalues are computed to rounding only.
    return (
        f"If that is rounding, pass rtol={math.ceil(1.01 * needed / digit) * digit:.1g}, which takes it away; moments "
        "that were summed or stored in float32 need about 1e-5, more where the mean is large against the standard "
        "deviation."
    )


def largest_entry(a: Inexact[Array, "... n n"]) -> Float[Array, "..."]:
    """The largest absolute entry, per matrix; 1 for a zero matrix."""
    xp = array_namespace(a)
    largest = xp.max(xp.abs(a), axis=(-2, -1))
    return xp.where(largest > 0, largest, xp.ones_like(largest))


def asymmetry(a: Inexact[Array, "... n n"]) -> Float[Array, "..."]:
    """The largest difference of an entry and its mirror image, per matrix; by blocks that stay in the cache."""
    xp = array_namespace(a)
    size, block = a.shape[-1], 128
    gap = None
    for start in range(0, size, block):
        stop = min(start + block, size)
        rows, columns = a[..., start:stop, :stop], a[..., :stop, start:stop]
        largest = xp.max(xp.abs(rows - adjoint(columns)), axis=(-2, -1))
        gap = largest if gap is None else xp.maximum(gap, largest)
    return gap


def check_eigenvalues(smallest: Float[Array, "..."], a: Inexact[Array, "... n n"], tolerance: float, name: str) -> None:
    """Refuse a Hermitian A whose smallest eigenvalue is negative beyond rounding."""
    if is_traced(smallest, a):
        return
    xp = array_namespace(a)
    ratio = smallest / largest_entry(a)
    if bool(xp.any(ratio < -tolerance)):
        raise ValueError(
            f"{name} must be positive semidefinite, but has an eigenvalue of {float(xp.min(ratio)):.3g} times its "
            f"largest entry (allowed: -{tolerance:.1e}). {_remedy(a, smallest)} If it is "
            "not, this is no covariance: check where it comes from."
        )


def check_same_dimension(axis: int, **arrays: Inexact[Array, "..."]) -> None:
    """Refuse two arrays whose data dimension (one axis of each) differs."""
    (first, a), (second, b) = arrays.items()
    if a.shape[axis] != b.shape[axis]:
        raise ValueError(
            f"{first} and {second} must have the same dimension n, but {first} has shape {tuple(a.shape)} "
            f"(n = {a.shape[axis]}) and {second} has shape {tuple(b.shape)} (n = {b.shape[axis]})."
        )


def align(**arrays: Inexact[Array, "... _ _"]) -> tuple[Inexact[Array, "... _ _"], ...]:
    """The arrays with leading axes of length one, so that all have as many; they are not copied or repeated."""
    depth = max(array.ndim - 2 for array in arrays.values())
    xp = array_namespace(*arrays.values())
    try:
        np.broadcast_shapes(*(array.shape[:-2] for array in arrays.values()))
    except ValueError:
        shapes = " and ".join(f"{name} of shape {tuple(array.shape)}" for name, array in arrays.items())
        raise ValueError(
            f"The leading (batch) dimensions of {shapes} do not broadcast: from the right, each pair must be "
            "equal or 1."
        ) from None
    return tuple(
        xp.reshape(array, (1,) * (depth - array.ndim + 2) + tuple(array.shape)) if array.ndim - 2 < depth else array
        for array in arrays.values()
    )
