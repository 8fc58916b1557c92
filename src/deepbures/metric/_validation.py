"""What the metric accepts: arrays of one library and one floating dtype, of shapes that fit, with finite entries.

Shapes, libraries and dtypes are always checked. Values are checked where they can be looked at, which is
everywhere but inside a JAX transformation.
"""

import sys
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array

from deepbures.metric._procrustes import adjoint

Array = Any

_FLOATING = ("float32", "float64", "complex64", "complex128")


def is_traced(*arrays: Array) -> bool:
    """Whether a JAX transformation is tracing any of the arrays, so that its values cannot be looked at."""
    jax = sys.modules.get("jax")  # no array can be traced by a library that was never imported
    return jax is not None and any(isinstance(array, jax.core.Tracer) for array in arrays)


def rounding(array: Array, size: int) -> float:
    """100 n eps: the size, relative to the largest entry of an n×n matrix, of what is put down to rounding.

    Forming a covariance from N rows leaves errors of a few √N eps relative to its diagonal, and an eigenvalue
    sums n entries of them; the factor 100 leaves room for the caller's own arithmetic.
    """
    return 100 * size * float(array_namespace(array).finfo(array.dtype).eps)


def floating_arrays(**given: Any) -> tuple[Array, ...]:
    """The arguments as arrays of one library and one floating dtype; integers are promoted, lists are NumPy's."""
    arrays = {name: _floating_array(value, name) for name, value in given.items()}
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
                f"{_dtype(array, given[name])}. Convert one of them with .astype()."
            )
    return tuple(arrays.values())


def _floating_array(value: Any, name: str) -> Array:
    if is_numpy_array(value) or not is_array_api_obj(value):
        try:
            array = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name} must be a rectangular array of numbers: {error}.") from None
        if array.dtype.kind not in "biufc":
            raise TypeError(
                f"{name} must be an array of numbers, but has dtype {array.dtype} ({type(value).__name__} was given). "
                "Convert it to one of float32, float64, complex64 or complex128."
            )
    else:
        array = value
    xp = array_namespace(array)
    if not xp.isdtype(array.dtype, ("real floating", "complex floating")):
        # The library's own default: float64 for NumPy, for JAX whatever precision it is set to.
        return xp.astype(array, xp.asarray(0.0).dtype)
    if not any(array.dtype == getattr(xp, dtype) for dtype in _FLOATING):
        raise TypeError(
            f"{name} has dtype {array.dtype}, in which there is no linear algebra. Convert it to one of float32, "
            "float64, complex64 or complex128."
        )
    return array


def _kind(array: Array) -> str:
    return f"{type(array).__module__.partition('.')[0]}.{type(array).__name__}"


def _dtype(array: Array, given: Any) -> str:
    before = getattr(given, "dtype", array.dtype)
    return f"{array.dtype}" if before == array.dtype else f"{array.dtype} (promoted from {before})"


def check_finite(**arrays: Array) -> None:
    """Refuse NaN and infinities."""
    for name, array in arrays.items():
        if is_traced(array):
            continue
        xp = array_namespace(array)
        finite = xp.isfinite(array)
        if not bool(xp.all(finite)):
            count = int(xp.sum(xp.astype(~finite, xp.int32)))
            index = tuple(int(axis[0]) for axis in xp.nonzero(~finite))
            raise ValueError(
                f"{name} has {count} entries that are not finite (NaN or infinite), the first at index {index}. "
                "Remove or impute them first."
            )


def check_matrices(shape: str, **arrays: Array) -> None:
    """Refuse what has no rows, or fewer than two axes; `shape` says what was expected."""
    for name, array in arrays.items():
        if array.ndim < 2:
            raise ValueError(f"{name} must have shape {shape}, but has shape {array.shape}.")


def check_covariances(**arrays: Array) -> None:
    """Refuse matrices that are not square, empty, or not Hermitian beyond rounding."""
    check_matrices("(..., n, n)", **arrays)
    for name, array in arrays.items():
        if array.shape[-1] != array.shape[-2] or array.shape[-1] == 0:
            raise ValueError(
                f"{name} must be a square matrix of shape (..., n, n), but has shape {array.shape}. For a factor F of "
                "F Fᴴ use the functions that end in _factors; for samples in rows, squared_frechet_distance."
            )
    check_finite(**arrays)
    for name, array in arrays.items():
        if is_traced(array):
            continue
        xp = array_namespace(array)
        tolerance = rounding(array, array.shape[-1])
        largest = xp.max(xp.abs(array), axis=(-2, -1))
        # Halved, so that the difference of two finite entries is finite.
        gap = xp.max(xp.abs(array / 2 - adjoint(array) / 2), axis=(-2, -1))
        if bool(xp.any(gap > tolerance / 2 * largest)):
            raise ValueError(
                f"{name} must be symmetric (Hermitian if complex), but entries differ from their mirror images by up "
                f"to {2 * float(xp.max(gap)):.3g} where the largest entry is {float(xp.max(largest)):.3g} (allowed: "
                f"{tolerance:.1e} of it). If that is meant, symmetrize it first: ({name} + {name}ᴴ) / 2."
            )


def check_eigenvalues(smallest: Array, largest_entry: Array, tolerance: float, name: str) -> None:
    """Refuse a covariance with an eigenvalue that is negative beyond rounding."""
    if is_traced(smallest, largest_entry):
        return
    xp = array_namespace(smallest)
    ratio = smallest / xp.where(largest_entry > 0, largest_entry, xp.ones_like(largest_entry))
    if bool(xp.any(ratio < -tolerance)):
        raise ValueError(
            f"{name} must be positive semidefinite, but has an eigenvalue of {float(xp.min(ratio)):.3g} times its "
            f"largest entry (allowed: -{tolerance:.1e}). It is no covariance: check where it comes from, or set its "
            "negative eigenvalues to zero."
        )


def check_same_dimension(axis: int, **arrays: Array) -> None:
    """Refuse two arrays whose data dimension (one axis of each) differs."""
    (first, a), (second, b) = arrays.items()
    if a.shape[axis] != b.shape[axis]:
        raise ValueError(
            f"{first} and {second} must have the same dimension n, but {first} has shape {a.shape} "
            f"(n = {a.shape[axis]}) and {second} has shape {b.shape} (n = {b.shape[axis]})."
        )


def align(**arrays: Array) -> tuple[Array, ...]:
    """The arrays with leading axes of length one, so that all have as many; they are not copied or repeated."""
    depth = max(array.ndim - 2 for array in arrays.values())
    xp = array_namespace(*arrays.values())
    try:
        np.broadcast_shapes(*(array.shape[:-2] for array in arrays.values()))
    except ValueError:
        shapes = " and ".join(f"{name} of shape {array.shape}" for name, array in arrays.items())
        raise ValueError(
            f"The leading (batch) dimensions of {shapes} do not broadcast: from the right, each pair must be "
            "equal or 1."
        ) from None
    return tuple(
        xp.reshape(array, (1,) * (depth - array.ndim + 2) + tuple(array.shape)) if array.ndim - 2 < depth else array
        for array in arrays.values()
    )
