"""From the array of a file to a checked data set."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._arrays import first_rounded, looks_like_covariance, remedy_for_dtype, rounded_message
from deepbures._warn import warn
from deepbures._words import not_finite_message
from deepbures.datasets import _files
from deepbures.datasets._dataset import Dataset, row_blocks
from deepbures.datasets._table import Table

Array = NDArray[Any]

AS_COVARIANCE = "covariance=True (on the command line: --covariance; of distance, --covariances)"
"""How to say that a file holds a covariance matrix."""


def dataset_of(table: Table, name: str, source: str, *, covariance: bool) -> Dataset:
    """The data set of a table read from a source, checked."""
    array = table.array
    check_dtype(array, source)
    check_exact(array, source, table.names)
    if covariance:
        _check_square(array, source)
        matrix = in_memory_unless_large(array)
        check_finite(matrix, source, table.names)
        return Dataset(
            name=name,
            covariance=matrix,
            description=f"Covariance matrix read from {name}.",
            feature_names=table.names,
            feature_dtypes=_dtypes(table, matrix.shape[1]),
        )
    image_shape = _check_shape(array, source) or table.image_shape
    samples = in_memory_unless_large(array)
    if samples.ndim > 2:
        samples = samples.reshape(len(samples), -1)
    check_finite(samples, source, table.names)
    if array.ndim == 2 and looks_like_covariance(samples):
        warn(
            f"{source!r} holds a symmetric matrix of shape {array.shape}, as covariances are, and is taken for samples "
            f"in rows. If it is a covariance, say so: {AS_COVARIANCE}."
        )
    if table.is_listed:
        _warn_of_row_numbers(samples, source, table.names)
    kind = "Samples" if image_shape is None else "Images"
    return Dataset(
        name=name,
        samples=samples,
        image_shape=image_shape,
        description=f"{kind} read from {name}.",
        feature_names=table.names,
        feature_dtypes=_dtypes(table, samples.shape[1]),
    )


def _dtypes(table: Table, dim: int) -> tuple[str, ...] | None:
    return (table.dtypes,) * dim if isinstance(table.dtypes, str) else table.dtypes


def check_dtype(array: Array, source: str) -> None:
    """Refuse what is not made of real numbers."""
    if array.dtype.kind not in "biuf":
        real = "real " if array.dtype.kind == "c" else ""
        raise ValueError(f"{source!r} must hold {real}numbers, but has dtype {array.dtype}. {remedy_for_dtype(array)}")


def check_exact(array: Array, source: str, names: tuple[str, ...] | None = None) -> None:
    """Refuse integers that float64 does not hold, block by block."""
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or array.ndim < 2:
        return
    for start, block in row_blocks(array):
        first = first_rounded(block)
        if first is not None:
            column = f"column {first[1]}" if array.ndim == 2 else f"at {first[1:]}"
            name = "" if names is None else f", {names[first[1]]!r}"
            place = f"in row {start + first[0]}, {column} (counted from 0{name})"
            raise ValueError(f"{source!r} has {rounded_message(block[first], place)}")


def _check_square(array: Array, source: str) -> None:
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(
            f"{source!r} must hold a square matrix to be read as a covariance, but has shape {array.shape}. If it "
            f"holds samples in rows, leave {AS_COVARIANCE} out."
        )


def _check_shape(array: Array, source: str) -> tuple[int, ...] | None:
    """Refuse what are not at least two samples; the image shape where the array is a stack of images."""
    shape = array.shape
    is_stack = array.ndim == 3 or (array.ndim == 4 and shape[3] in (1, 3, 4))
    if array.ndim != 2 and not is_stack:
        reshape = "reshape(-1, 1) if these are samples of one number" if array.ndim < 2 else "reshape(len(x), -1)"
        raise ValueError(
            f"{source!r} must hold a matrix with one sample a row, or images as (N, h, w) or (N, h, w, 3), but has "
            f"shape {shape}. Reshape it first: x.{reshape}."
        )
    if 0 in shape:
        raise ValueError(f"{source!r} is empty: it has shape {shape}. Give at least two samples.")
    if shape[0] < 2:
        raise ValueError(
            f"{source!r} holds one sample only (shape {shape}), which has no covariance. Give at least two, one a row."
        )
    if not is_stack:
        return None
    return shape[1:3] if array.ndim == 3 or shape[3] == 1 else shape[1:]


def in_memory_unless_large(array: Array) -> Array:
    """float64 in memory; or the memory map itself if it is large and of a dtype that is computed with as it is."""
    is_usable = array.dtype.isnative and (array.dtype.kind in "biu" or array.dtype.itemsize in (4, 8))
    is_viewable = array.ndim == 2 or array.flags.c_contiguous  # flattening images would copy otherwise
    is_large = isinstance(array, np.memmap) and array.nbytes > _files.MEMORY_MAP_BYTES
    if is_large and is_usable and is_viewable:
        return array
    with np.errstate(over="ignore"):  # extended precision beyond the range of float64: found by the finite check
        return np.array(array, dtype=np.float64, order="C", subok=False)


def _warn_of_row_numbers(samples: Array, source: str, names: tuple[str, ...] | None) -> None:
    """Say so where the first of several columns counts the rows, from 0 or 1."""
    first = samples[:, 0]
    if samples.shape[1] > 1 and len(first) >= 10 and first[0] in (0, 1) and (np.diff(first) == 1).all():
        name = "" if names is None else f" ({names[0]!r})"
        warn(
            f"the first column{name} of {source!r} counts the rows, and is taken for a feature. If it is a row index, "
            "leave it out."
        )


def check_finite(matrix: Array, source: str, names: tuple[str, ...] | None = None) -> None:
    """Refuse NaN and infinities, block by block."""
    if matrix.dtype.kind != "f":
        return
    count, first = 0, None
    for start, block in row_blocks(matrix):
        finite = np.isfinite(block)
        if not finite.all():
            count += int(finite.size - finite.sum())
            if first is None:
                row, column = (int(i) for i in np.argwhere(~finite)[0])
                first = (start + row, column)
    if first is not None:
        name = "" if names is None else f", {names[first[1]]!r}"
        place = f"in row {first[0]}, column {first[1]} (counted from 0{name})"
        raise ValueError(not_finite_message(repr(source), count, place))
