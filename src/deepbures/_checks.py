"""Checks shared by the public functions: one clear error that says what was given and what to do."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from deepbures._arrays import as_numpy_array, refuse_rounded
from deepbures._precision import is_tracer
from deepbures._words import not_finite_message


def as_array(value: Any, name: str) -> Any:
    """`value` as a real floating NumPy or JAX array.

    NumPy's integers, booleans and floats of other sizes become float64; JAX's and PyTorch's half precision, float32.
    Integers that would be rounded are refused.
    """
    if isinstance(value, jax.Array):
        if jax.numpy.issubdtype(value.dtype, np.complexfloating):
            raise TypeError(f"{name} must be real, but has dtype {value.dtype}.")
        if not jax.numpy.issubdtype(value.dtype, np.floating):
            promoted = value.astype(float)
            if not is_tracer(value):
                refuse_rounded(np.asarray(value), name, digits=np.finfo(promoted.dtype).nmant + 1)
            return promoted
        return value if value.dtype.itemsize >= 4 else value.astype(np.float32)
    array = as_numpy_array(value, name)
    if array.dtype.kind == "f" and 4 <= array.dtype.itemsize <= 8:
        return array
    refuse_rounded(array, name)
    return array.astype(np.float64)


def check_finite(array: Any, name: str) -> None:
    """Refuse NaN and infinities (where the values can be looked at)."""
    if is_tracer(array):
        return
    finite = np.isfinite(np.asarray(array))
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(not_finite_message(name, int(finite.size - finite.sum()), f"at index {index}"))


def check_matrix(array: Any, name: str, *, square: bool = False) -> None:
    """Refuse what is not a non-empty matrix (leading batch dimensions allowed)."""
    if array.ndim < 2:
        raise ValueError(f"{name} must be a matrix, but has shape {array.shape}.")
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty, but has shape {array.shape}.")
    if square and array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} must be square, but has shape {array.shape}.")


def check_integer(value: Any, name: str, minimum: int, maximum: int | None = None, why: str = "") -> int:
    """`value` as a Python int within [minimum, maximum]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, but {value!r} was given.")
    if value < minimum or (maximum is not None and value > maximum):
        upper = "" if maximum is None else f" and at most {maximum}"
        raise ValueError(f"{name} must be at least {minimum}{upper}{why}, but {value} was given.")
    return int(value)


def check_number(value: Any, name: str, *, positive: bool = False) -> None:
    """Refuse a number (or array of numbers) that is negative, not finite, or zero where `positive`."""
    if is_tracer(value):
        return
    try:
        numbers = None if np.asarray(value).dtype.kind in "bcUS" else np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        raise TypeError(f"{name} must be a number, but {value!r} was given.")
    bad = ~np.isfinite(numbers) | ((numbers <= 0) if positive else (numbers < 0))
    if bad.any():
        kind = "positive" if positive else "not negative"
        raise ValueError(f"{name} must be finite and {kind}, but {value} was given.")


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Widths (d_0, …, d_N) as a tuple of at least two positive ints."""
    try:
        sizes = tuple(widths)
    except TypeError:
        raise TypeError(f"widths must be a sequence (latent_dim, hidden…, dim), but {widths!r} was given.") from None
    if len(sizes) < 2:
        raise ValueError(f"widths must name at least latent_dim and dim, but {sizes} was given.")
    return tuple(check_integer(size, f"widths[{i}]", 1) for i, size in enumerate(sizes))


def format_list(numbers: Sequence[int], limit: int = 8) -> str:
    """The first few of many numbers, for a message."""
    shown = ", ".join(str(number) for number in numbers[:limit])
    return shown if len(numbers) <= limit else f"{shown}, … ({len(numbers)} in all)"


def rounding(dtype: Any, size: int) -> float:
    """The relative size, for n×n matrices of a dtype, of what is put down to rounding: 100 n eps."""
    return 100 * size * float(np.finfo(dtype).eps)
