"""What users hold, as an array: the one place that knows of frames, masks, sparse matrices, tensors and byte orders.

Everything is recognized by what its type offers; no library is imported that the value does not come from.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj, is_dask_array, is_numpy_array

from deepbures._types import Array
from deepbures._words import told

_FORMS_OF_TENSORS = {
    "quantized": "{0}.dequantize()",
    "nested": "one matrix, or several of equal shape as one stack: torch.stack({0}.unbind())",
    "mkldnn": "{0}.to_dense()",
}
"""Tensors of PyTorch without plain entries, and what to pass instead."""
_SPARSE = ("scipy.sparse", "cupyx.scipy.sparse", "jax.experimental.sparse", "sparse")


def as_any_array(value: Any, name: str) -> Array:
    """`value` as an array of numbers: of its own library where it is one of PyTorch, JAX, CuPy, …; else of NumPy.

    Raises
    ------
    TypeError
        If it is none: the message names the column of a frame, or the first entry, and what to do.
    ValueError
        If entries are missing: masked, or missing in a frame.
    """
    refuse_what_is_no_array(value, name)
    is_of_numpy = is_numpy_array(value) or is_dask_array(value) or not is_array_api_obj(value)
    return _numpy_array(value, name, "numbers") if is_of_numpy else value


def is_read_by_blocks(value: Any) -> bool:
    """Whether this is an array of real numbers of NumPy, in memory or in a file, which need not be converted whole."""
    return type(value) in (np.ndarray, np.memmap) and value.dtype.kind in "iubf"


def as_numpy_array(value: Any, name: str) -> np.ndarray:
    """`value` as a NumPy array of real numbers, tensors of PyTorch without gradients; raises as `as_any_array`."""
    refuse_what_is_no_array(value, name)
    return _numpy_array(_on_host(value), name, "real numbers")


def _numpy_array(value: Any, name: str, what: str) -> np.ndarray:
    array = _of_columns(value, name) if _is_frame(value) else _plain(value, name)
    if array.dtype.kind == "O" and array.ndim == 0:
        raise TypeError(f"{name} must be an array of {what}, but a {type(value).__name__} was given.")
    if array.dtype.kind not in ("biuf" if what == "real numbers" else "biufc"):
        complex_ = ", not complex" if array.dtype.kind == "c" else ""
        raise TypeError(
            f"{name} must be an array of {what}{complex_}, but has dtype {array.dtype} ({type(value).__name__} was "
            f"given). {remedy_for_dtype(array)}"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def refuse_what_is_no_array(value: Any, name: str) -> None:
    """Refuse names of files, sparse and lazy arrays, and collections of several, each with what to pass instead."""
    kind = type(value)
    if kind is np.ndarray:
        return
    if isinstance(value, (str, bytes)) or hasattr(kind, "__fspath__"):
        raise TypeError(
            f"{name} must be an array of numbers, but the text {value!r} was given. A file is read by "
            "deepbures.datasets.load_dataset(path), whose record has the samples or the covariance."
        )
    if _is_sparse(value):
        shape = tuple(value.shape)
        dense = "to_dense" if hasattr(kind, "to_dense") else "toarray" if hasattr(kind, "toarray") else "todense"
        raise TypeError(
            f"{name} must be a dense array, but a sparse {kind.__name__} of shape {shape} was given. If it fits into "
            f"memory as {math.prod(shape) * 8 / 2**30:.2g} GiB, pass {name}.{dense}(); a target that is known through "
            "products only is built by Target.from_operator."
        )
    form = next((form for form in _FORMS_OF_TENSORS if getattr(value, f"is_{form}", False) is True), None)
    if form is not None:
        raise TypeError(
            f"{name} must be a dense array, but a {kind.__name__} in the form {form!r} was given. Pass "
            f"{_FORMS_OF_TENSORS[form].format(name)}."
        )
    if hasattr(kind, "is_meta") and value.is_meta:
        raise TypeError(
            f"{name} must be an array of numbers, but a {kind.__name__} of shape {tuple(value.shape)} on the device "
            "'meta' was given, which has none. Make it on another device, such as device='cpu'."
        )
    if hasattr(kind, "data_vars"):
        raise TypeError(
            f"{name} must be one array, but a {kind.__name__} of the variables {list(value.data_vars)} was given. "
            f"Choose one, such as {name}[{next(iter(value.data_vars), '…')!r}], or join them: {name}.to_dataarray()."
        )
    method = next((verb for verb in ("collect", "compute") if hasattr(kind, verb)), None)
    is_frame = hasattr(kind, "columns") and not hasattr(kind, "to_numpy") and not hasattr(kind, "itercolumns")
    if is_frame and method is not None:
        raise TypeError(f"{name} must be in memory, but a lazy {kind.__name__} was given. Pass {name}.{method}().")


def refuse_rounded(integers: np.ndarray, name: str, start: int = 0, *, digits: int = 53) -> None:
    """Refuse whole numbers that a float with so many binary digits does not hold; `start` is the first row's number."""
    first = first_rounded(integers, digits)
    if first is not None:
        index = (first[0] + start, *first[1:]) if first else first
        raise ValueError(f"{name} has {rounded_message(integers[first], f'at index {index}', digits)}")


def first_rounded(integers: np.ndarray, digits: int = 53) -> tuple[int, ...] | None:
    """The index of the first whole number that a float with so many binary digits does not hold exactly, if any."""
    if integers.dtype.kind not in "iu" or 8 * integers.dtype.itemsize <= digits or integers.size == 0:
        return None
    if -(2**digits) <= int(integers.min()) and int(integers.max()) <= 2**digits:
        return None
    sizes = np.abs(integers).astype(np.uint64)  # |−2⁶³| overflows to itself, which as uint64 is 2⁶³
    # Exact is what has fewer than `digits` bits above its lowest one: size < 2^digits · lowest.
    lowest, above = sizes & (~sizes + np.uint64(1)), sizes >> np.uint64(digits)
    rounded = (above > 0) & (above >= lowest)
    return tuple(int(i) for i in np.argwhere(rounded)[0]) if rounded.any() else None


def rounded_message(value: Any, place: str, digits: int = 53) -> str:
    """What to say of a whole number that would be rounded."""
    dtype, wider = ("float64", "") if digits == 53 else ("float32", " Convert it to float64; where that is not enough:")
    return (
        f"the whole number {int(value)} {place}, which {dtype} cannot hold exactly (it holds all up to 2**{digits}): "
        f"rounding would change the results.{wider} Subtract a constant first, or leave the column out if it is an "
        "identifier."
    )


def looks_like_covariance(matrix: np.ndarray) -> bool:
    """Whether a matrix is exactly symmetric with no negative diagonal, as covariances are, and samples hardly ever."""
    if matrix.ndim != 2 or not 1 < matrix.shape[0] == matrix.shape[1]:
        return False
    if (matrix[0] != matrix[:, 0]).any() or (np.diagonal(matrix) < 0).any():  # tells of nearly all samples
        return False
    blocks = (slice(start, start + 256) for start in range(0, len(matrix), 256))
    return all((matrix[rows] == matrix[:, rows].T).all() for rows in blocks)


def _is_sparse(value: Any) -> bool:
    if getattr(value, "layout", None) is not None and "torch.sparse" in str(value.layout):
        return True
    modules = (cls.__module__ for cls in type(value).__mro__)
    found = any(module == sparse or module.startswith(f"{sparse}.") for module in modules for sparse in _SPARSE)
    return found and hasattr(value, "shape") and (hasattr(value, "toarray") or hasattr(value, "todense"))


def _on_host(value: Any) -> Any:
    """A tensor of PyTorch as an array of NumPy; half precision, which has no linear algebra, in single precision."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu()
    return (
        (value.float() if value.dtype in (torch.bfloat16, torch.float16) else value)
        .resolve_conj()
        .resolve_neg()
        .numpy()
    )


def _plain(value: Any, name: str) -> np.ndarray:
    """What NumPy makes of a value that is no frame, without a mask."""
    if isinstance(value, np.ma.MaskedArray):
        _refuse_masked(value, name)
    elif _is_column(value):
        return _of_column(value, name)
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a rectangular array of numbers: {str(error).rstrip('.')}.") from None


def _refuse_masked(value: np.ma.MaskedArray, name: str) -> None:
    mask = np.ma.getmaskarray(value)
    if mask.any():
        index = tuple(int(i) for i in np.argwhere(mask)[0])
        what = told(int(mask.sum()), "masked entry", "masked entries", f"at index {index}")
        raise ValueError(f"{name} has {what}. Leave out such rows, or impute what is masked: {name}.filled(…).")


def remedy_for_dtype(array: np.ndarray) -> str:
    """What to do about an array that holds no numbers, or none that are taken."""
    match array.dtype.kind:
        case "c":
            return "Give the real and the imaginary part as features of their own."
        case "M":
            return "Make times of the dates: (x - x.min()) / numpy.timedelta64(1, 's') are seconds."
        case "m":
            return "Make numbers of the durations: x / numpy.timedelta64(1, 's') are seconds."
        case "O" if array.size:
            return _remedy_for_objects(array)
        case "S" | "U" | "T" if array.size:
            return f"Its entries are text, the first {str(array.flat[0])!r}: convert them with .astype(float)."
        case "V" if array.dtype.names:
            return (
                f"Its fields {array.dtype.names} become columns by numpy.lib.recfunctions.structured_to_unstructured."
            )
        case "V" if array.dtype.type is np.void:
            return (
                "It holds bytes of which the type is not known. If they are bfloat16, which numpy.save does not keep: "
                "x.view(ml_dtypes.bfloat16).astype(numpy.float32)."
            )
    return "Convert it with .astype(numpy.float32) or .astype(numpy.float64)."


def _remedy_for_objects(array: np.ndarray) -> str:
    for index, entry in np.ndenumerate(array):
        try:
            float(entry)
        except (TypeError, ValueError):
            return f"The first entry that is no number is {entry!r}, at index {index}."
    return "All of its entries are numbers: pass it with .astype(float)."


# ------------------------------------------------------------------------------------------------------------- frames


def _is_frame(value: Any) -> bool:
    kind = type(value)
    return (hasattr(kind, "columns") and hasattr(kind, "to_numpy")) or hasattr(kind, "itercolumns")


def _is_column(value: Any) -> bool:
    kind = type(value)
    return hasattr(kind, "to_numpy") and (hasattr(kind, "isna") or hasattr(kind, "null_count"))


def _columns(frame: Any) -> Iterable[tuple[Any, Any]]:
    """(name, column) of a frame of pandas (or what imitates it), Polars or Arrow."""
    kind = type(frame)
    if hasattr(kind, "items"):
        return list(frame.items())
    if hasattr(kind, "iter_columns"):
        return [(column.name, column) for column in frame.iter_columns()]
    return list(zip(frame.column_names, frame.itercolumns(), strict=True))


def _of_columns(frame: Any, name: str) -> np.ndarray:
    """The columns of a frame side by side, in the one dtype that holds them all."""
    columns = [_of_column(column, name, label) for label, column in _columns(frame)]
    if not columns:
        return np.zeros((len(frame) if hasattr(type(frame), "__len__") else 0, 0))
    if len({column.dtype for column in columns}) > 1:
        dtype = np.result_type(*columns)
        if dtype.kind in "fc":
            for (label, _), column in zip(_columns(frame), columns, strict=True):
                refuse_rounded(column, f"column {label!r} of {name}")
        columns = [column.astype(dtype) for column in columns]
    return np.stack(columns, axis=1)


def _of_column(column: Any, name: str, label: Any = None) -> np.ndarray:
    """A column as an array of numbers; refuses what holds none, or not everywhere, by its label."""
    where = name if label is None else f"column {label!r} of {name}"
    dtype = getattr(column, "dtype", getattr(column, "type", None))
    if getattr(dtype, "kind", "f") in "biufc":  # a word of NumPy and pandas; others are converted and looked at
        missing = np.asarray(column.isna() if hasattr(column, "isna") else column.is_null()).astype(bool)
        _refuse_missing(column, missing, where, are_nan=False)
        # The nullable dtypes of pandas, and its sparse ones, name the plain one.
        plain = getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", None))
        array = np.asarray(column) if plain is None else column.to_numpy(dtype=plain)
        if array.ndim == 1 and array.dtype.kind in "biufc":
            if array.dtype.kind in "fc":
                _refuse_missing(column, np.isnan(array), where, are_nan=True)
            return array
    convert = "pandas.to_numeric or .astype(float)" if hasattr(type(column), "astype") else ".cast to a floating type"
    raise TypeError(
        f"{where} must hold numbers, but has dtype {dtype}. Leave it out, or make numbers of it: {convert} for numbers "
        "kept as objects or text, one column for each category, a time since some date."
    )


_LEAVE_OUT = {False: ("dropna", "drop_nulls", "drop_null"), True: ("dropna", "drop_nans")}
_IMPUTE = {False: ("fillna", "fill_null"), True: ("fillna", "fill_nan")}
"""What libraries call that: of what is missing, and of NaN."""


def _refuse_missing(column: Any, missing: np.ndarray, where: str, *, are_nan: bool) -> None:
    if missing.any():
        what = told(
            int(missing.sum()), "missing value", "missing values", f"in row {int(missing.argmax())} (counted from 0)"
        )
        drop, fill = (
            next((f" ({name})" for name in names[are_nan] if hasattr(type(column), name)), "")
            for names in (_LEAVE_OUT, _IMPUTE)
        )
        raise ValueError(f"{where} has {what}. Leave out such rows{drop}, or impute what is missing{fill}.")


_AXES_OF_FEATURES = {
    "samples": ("columns",),
    "covariances": ("columns", "index"),
    "factors": ("index",),
    "means": ("index",),
}


def refuse_other_order(**given: Mapping[str, Any]) -> None:
    """Refuse frames whose features have the same names in another order; `given` are arguments by kind and name.

    Arrays are compared by position: features would be taken for each other.
    """
    seen: dict[str, list[str]] = {}
    for kind, arguments in given.items():
        for name, value in arguments.items():
            for axis in _AXES_OF_FEATURES[kind]:
                labels = labels_of(value, axis)
                if labels is not None:
                    _compare_order(f"{name}.{_attribute(value, axis)}", labels, seen, _reorder(name, value, kind))


def _compare_order(place: str, labels: list[str], seen: dict[str, list[str]], remedy: str) -> None:
    for other, known in seen.items():
        at = first_in_other_order(labels, known)
        if at is not None:
            name = place.partition(".")[0]
            raise ValueError(
                f"{place} are {other} in another order: {labels[at]!r} is number {at + 1} of {name}, but number "
                f"{known.index(labels[at]) + 1} of {other}. Arrays are compared by position: reorder the one as the "
                f"other, {remedy.format(other)}."
            )
    seen[place] = labels


def _attribute(value: Any, axis: str) -> str:
    """What a frame calls the names along an axis: of its columns, Arrow does in another way."""
    return "column_names" if axis == "columns" and hasattr(type(value), "column_names") else axis


def _reorder(name: str, value: Any, kind: str) -> str:
    """How to bring the features of a frame into the order of {}."""
    is_of_pandas = hasattr(type(value), "loc")
    match kind:
        case "samples":
            return f"{name}[{{}}]" if is_of_pandas else f"{name}.select({{}})"
        case "covariances":
            return f"{name}.loc[{{0}}, {{0}}]" if is_of_pandas else f"rows and columns of {name} by {{}}"
        case _:
            return f"{name}.loc[{{}}]"


def first_in_other_order(labels: list[str] | None, known: list[str] | None) -> int | None:
    """Where labels that are known ones in another order first differ from them; None where they are not that."""
    if labels is None or known is None or labels == known or set(labels) != set(known):
        return None
    return next(i for i, label in enumerate(labels) if label != known[i])


def labels_of(value: Any, axis: str) -> list[str] | None:
    """The distinct names along an axis of a frame or column; None where there are none."""
    if type(value) is np.ndarray or not (_is_frame(value) or _is_column(value)):
        return None
    found = getattr(value, _attribute(value, axis), None)
    if found is None or callable(found):
        return None
    labels = list(found)
    return labels if all(isinstance(label, str) for label in labels) and len(set(labels)) == len(labels) else None
