"""Arrays from files: .npy, .npz, .csv and .parquet. Nothing is ever unpickled."""

import csv
import dataclasses
import re
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.datasets._extras import import_extra

Array = NDArray[Any]

MEMORY_MAP_BYTES = 64 * 2**20
"""Arrays in .npy files larger than this stay on disk, memory-mapped."""


@dataclasses.dataclass(frozen=True)
class Table:
    """What a file holds: an array, and the names and types of its columns where it tells them.

    One type stands for that of all columns.
    """

    array: Array
    names: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | str | None = None


_PREFERRED_KEYS = ("samples", "x", "X", "data")
_PREFERRED_KEYS_COVARIANCE = ("covariance", "cov")


def read_npy(path: Path) -> Table:
    """The array of a .npy file, memory-mapped (even where it is small: then a truncated file is an error)."""
    start = _first_bytes(path)
    if start.startswith(b"PK"):
        raise ValueError(f"{path} is a .npz archive under the name of a .npy file. Rename it.")
    if len(start) < 8 and b"\x93NUMPY".startswith(start[:6]):
        raise ValueError(f"{path} is truncated or damaged ({len(start)} bytes). Write it again.")
    if not start.startswith(b"\x93NUMPY"):
        raise ValueError(f"{path} is not a .npy file{_pickle_hint(start)}. Write it with numpy.save.")
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        if "Python objects" in str(error):
            raise ValueError(_object_message(str(path))) from None
        raise ValueError(f"{path} is truncated or damaged ({error}). Write it again.") from None
    return Table(array, dtypes=array.dtype.name)


def read_npz(path: Path, key: str | None, *, covariance: bool) -> Table:
    """One array of a .npz archive: the one named, the only one, or the one with a customary name."""
    start = _first_bytes(path)
    if not zipfile.is_zipfile(path):
        state = "truncated or damaged" if start.startswith(b"PK") else f"not a .npz archive{_pickle_hint(start)}"
        raise ValueError(f"{path} is {state}. Write it with numpy.savez.")
    with zipfile.ZipFile(path) as archive:
        keys = [name.removesuffix(".npy") for name in archive.namelist()]
    chosen = _choose_key(path, keys, key, covariance=covariance)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            array = arrays[chosen]
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        # RuntimeError: an encrypted archive, or a compression that Python does not know.
        if "Object arrays" in str(error):
            raise ValueError(_object_message(f"{path}::{chosen}")) from None
        raise ValueError(f"{path}::{chosen} is truncated or damaged ({error}). Write it again.") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}::{chosen} is not an array. Write the archive with numpy.savez.")
    return Table(array, dtypes=array.dtype.name)


def _choose_key(path: Path, keys: list[str], key: str | None, *, covariance: bool) -> str:
    listing = ", ".join(keys)
    if not keys:
        raise ValueError(f"{path} holds no arrays.")
    if key is not None:
        if key not in keys:
            raise ValueError(f"{path} has no array {key!r}; its arrays are {listing}.")
        return key
    if len(keys) == 1:
        return keys[0]
    customary = [name for name in (_PREFERRED_KEYS_COVARIANCE if covariance else _PREFERRED_KEYS) if name in keys]
    if len(customary) == 1:
        return customary[0]
    raise ValueError(f"{path} holds several arrays ({listing}). Name one, as in '{path}::{keys[0]}'.")


def read_csv(path: Path) -> Table:
    """The numbers of a .csv file; a header row is skipped, delimiters are comma, semicolon or tab."""
    _first_bytes(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            skip, first = _first_line(file)
        delimiter = max(",;\t", key=first.count)
        fields = next(csv.reader([first], delimiter=delimiter), [])
    except UnicodeDecodeError as error:
        raise ValueError(_not_text_message(path, error)) from None
    except csv.Error as error:
        raise ValueError(f"{path} is not a readable .csv file ({error}). Write it again.") from None
    if not first:
        raise ValueError(_no_rows_message(path))
    header = _header(path, fields)
    array = _parse_numbers(path, delimiter, header, skip + (header is not None))
    return Table(array, None if header is None else tuple(header))


def _parse_numbers(path: Path, delimiter: str, header: list[str] | None, skip: int) -> Array:
    """The rows after the first `skip` lines."""
    try:
        with warnings.catch_warnings(), path.open(encoding="utf-8-sig", newline="") as file:
            warnings.filterwarnings("error", message=".*input contained no data", category=UserWarning)
            return np.loadtxt(file, delimiter=delimiter, comments=None, quotechar='"', skiprows=skip, ndmin=2)
    except UserWarning:
        raise ValueError(_no_rows_message(path)) from None
    except UnicodeDecodeError as error:
        raise ValueError(_not_text_message(path, error)) from None
    except ValueError as error:
        where = _first_bad_line(path, delimiter, header, skip) or str(error).rstrip(".")
        raise ValueError(f"{path}: {where}. Give the same number of numbers in every row.") from None


def _first_line(file: Any) -> tuple[int, str]:
    """(number of blank lines before it, the first line that is not blank)."""
    skip = 0
    for line in file:
        if line.strip():
            return skip, line.rstrip("\r\n")
        skip += 1
    return skip, ""


def _header(path: Path, fields: list[str]) -> list[str] | None:
    """The column names if the first row is a header, else None.

    A row is a header if none of its fields is a number, or if they are 0, 1, …, n−1 for n ≥ 3, which pandas writes for
    columns without names. A mixture is refused: it may as well be a row of data with a hole.
    """
    names = [field.strip() for field in fields]
    if len(names) >= 3 and names == [str(i) for i in range(len(names))]:
        return names
    are_numbers = [_is_number(name) for name in names]
    if all(are_numbers):
        return None
    are_column_numbers = names[1:] == [str(i) for i in range(len(names) - 1)]
    if names[0] == "" and (are_column_numbers or not any(are_numbers)):
        raise ValueError(
            f"{path}: the first column has no name, as pandas writes the row index. Write it with index=False, or "
            "name the column if it is data."
        )
    if any(are_numbers):
        column = are_numbers.index(False)
        raise ValueError(
            f"{path}: the first row is neither a header (no field a number) nor numbers only: column {column + 1} is "
            f"{names[column]!r}. Name all columns, or complete the row."
        )
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_bad_line(path: Path, delimiter: str, header: list[str] | None, skip: int) -> str | None:
    """What is wrong with the first row that is not made of numbers, in words; None if nothing is found."""
    expected = None
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader((line.replace("\0", "\ufffd") for line in file), delimiter=delimiter)
        for fields in reader:
            if reader.line_num <= skip or not fields:
                continue
            for column, field in enumerate(fields):
                if not _is_number(field):
                    name = f" ({header[column]!r})" if header and column < len(header) else ""
                    what = f"{field!r}, not a number" if field.strip() else "empty"
                    return f"line {reader.line_num}, column {column + 1}{name} is {what}"
            expected = len(fields) if expected is None else expected
            if len(fields) != expected:
                return f"line {reader.line_num} has {len(fields)} columns where those before it have {expected}"
    return None


def read_parquet(path: Path) -> Table:
    """All columns of a .parquet file as float64; a stored pandas row index is left out."""
    _first_bytes(path)
    pyarrow = import_extra("pyarrow", f"reading {path}")
    parquet = import_extra("pyarrow.parquet", f"reading {path}")
    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{path} is not a readable .parquet file ({reason}). Write it again.") from None
    columns = [i for i, name in enumerate(table.column_names) if not re.fullmatch(r"__index_level_\d+__", name)]
    for i in columns:
        name, kind, missing = table.column_names[i], table.column(i).type, table.column(i).null_count
        is_number = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)
        if not is_number:
            raise ValueError(f"{path}: column {name!r} is not numeric but {kind}. Drop or encode it first.")
        if missing:
            raise ValueError(f"{path}: column {name!r} has {missing} missing values. Drop or impute them first.")
    array = np.empty((table.num_rows, len(columns)))
    for position, i in enumerate(columns):
        array[:, position] = table.column(i).to_numpy()
    kinds = tuple(np.dtype(table.column(i).type.to_pandas_dtype()).name for i in columns)
    return Table(array, tuple(table.column_names[i] for i in columns), kinds)


# ---------------------------------------------------------------------- shared


def _first_bytes(path: Path) -> bytes:
    """The first bytes of a file that must not be empty."""
    with path.open("rb") as file:
        start = file.read(8)
    if not start:
        raise ValueError(f"{path} is empty (0 bytes). Write it again.")
    return start


def _pickle_hint(start: bytes) -> str:
    is_pickle = start.startswith(b"\x80")
    return " but looks like a pickle, which is never loaded because that can run any code" if is_pickle else ""


def _not_text_message(path: Path, error: UnicodeDecodeError) -> str:
    return f"{path} is not text in UTF-8 ({error.reason} at byte {error.start}). Convert it first."


def _no_rows_message(path: Path) -> str:
    return f"{path} holds no rows of numbers. Give at least two rows."


def _object_message(what: str) -> str:
    return (
        f"{what} holds Python objects (a pickle), which are never loaded because that can run any code. Save it as an "
        "array of numbers, for instance with array.astype(float)."
    )
