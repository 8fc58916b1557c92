"""Tables in .parquet files."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from deepbures._arrays import first_rounded, rounded_message
from deepbures._words import told
from deepbures.datasets._extras import import_extra
from deepbures.datasets._kinds import first_bytes, refuse_other_kind
from deepbures.datasets._table import Table


def read_parquet(path: Path) -> Table:
    """All columns of a .parquet file as float64; a stored pandas row index is left out."""
    start = first_bytes(path)
    if not start.startswith(b"PAR1"):
        refuse_other_kind(path, start, ".parquet")
    pyarrow = import_extra("pyarrow", f"reading {path}")
    parquet = import_extra("pyarrow.parquet", f"reading {path}")
    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} is not a readable .parquet file ({reason}). Write it again.") from None
    index = _index_columns(table.schema.metadata)
    columns = [i for i, name in enumerate(table.column_names) if name not in index and not _is_unnamed_index(name)]
    array, dtypes = np.empty((table.num_rows, len(columns))), []
    for position, i in enumerate(columns):
        _check_column(path, pyarrow, table.column_names[i], table.column(i))
        values, dtype = _numbers(pyarrow, table.column(i))
        first = first_rounded(values)
        if first is not None:
            place = f"in row {first[0]} (counted from 0)"
            name = table.column_names[i]
            raise ValueError(f"{path}: column {name!r} has {rounded_message(values[first], place)}")
        array[:, position] = values
        dtypes.append(dtype)
    return Table(array, tuple(table.column_names[i] for i in columns), tuple(dtypes), is_listed=True)


def _index_columns(metadata: dict[bytes, bytes] | None) -> set[str]:
    """The columns in which pandas keeps the row index; an index of consecutive numbers is no column."""
    try:
        told = json.loads((metadata or {}).get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, KeyError, TypeError):
        return set()
    return {name for name in told if isinstance(name, str)} if isinstance(told, list) else set()


def _is_unnamed_index(name: str) -> bool:
    return re.fullmatch(r"__index_level_\d+__", name) is not None


def _check_column(path: Path, pyarrow: Any, name: str, column: Any) -> None:
    kind, types = column.type, pyarrow.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        raise ValueError(
            f"{path}: column {name!r} holds lists ({kind}), not numbers. Make a column of each entry, or save them as "
            "the rows of a .npy file: numpy.stack(frame[name])."
        )
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)):
        raise ValueError(f"{path}: column {name!r} is not numeric but {kind}. Drop or encode it first.")
    if column.null_count:
        place = f"in row {int(column.is_null().to_numpy().argmax())} (counted from 0)"
        what = told(column.null_count, "missing value", "missing values", place)
        raise ValueError(f"{path}: column {name!r} has {what}. Drop or impute what is missing first.")


def _numbers(pyarrow: Any, column: Any) -> tuple[Any, str]:
    """A column as an array, and the type in which it was stored."""
    if pyarrow.types.is_decimal(column.type):
        return column.cast(pyarrow.float64()).to_numpy(), "float64"
    return column.to_numpy(), np.dtype(column.type.to_pandas_dtype()).name
