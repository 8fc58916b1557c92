"""Tables in text: .csv and .tsv, also compressed with gzip."""

import contextlib
import csv
import dataclasses
import itertools
import re
import warnings
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from deepbures._arrays import rounded_message
from deepbures._words import counted, not_finite_message
from deepbures.datasets._encoding import check_text, open_text, reading_text
from deepbures.datasets._header import (
    MISSING,
    MOST_ROWS,
    TRUTH,
    first_row_is_header,
    is_number,
    is_punctuated_number,
    to_number,
)
from deepbures.datasets._table import Table

Array = NDArray[Any]

TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

_MOST_CHARACTERS = 2**21
"""Text that is looked at to find out how a file is written."""

_DELIMITERS = ("\t", ";", ",")
"""Delimiters are tried in this order: numbers may have a comma in them, but neither of the others."""


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How a file is written: how many lines come before the first row, its delimiter, and its first rows."""

    skip: int
    delimiter: str
    rows: list[list[str]]
    lines: list[int]
    """Number of lines of the file up to the end of each row."""
    remark: str | None
    """The last comment before the first row."""
    is_quoted: bool = False
    """Whether the first row alone is in quotation marks."""


def read_text(path: Path, header: bool | None, *, covariance: bool) -> Table:
    """The numbers of a table in text, with the names of a header."""
    check_text(path)
    with reading_text(path):
        layout = _layout(path)
        if not layout.rows:
            raise ValueError(_no_rows_message(path))
        _check_separators(path, layout)
        _check_ends(path, layout)
        names, skip = _names(path, layout, header, covariance=covariance)
        _check_widths(path, layout, names, skip)
        values, dtypes = _values(path, layout, names, skip)
        _check_finite(path, layout, names, skip, values)
        if (np.abs(values) >= 2**53).any():  # 2**53 itself is what 2**53 + 1 is rounded to
            _check_exact(path, layout, names, skip)
    if covariance and header is None and names is None and values.shape == (values.shape[1] + 1, values.shape[1]):
        return Table(values[1:], tuple(layout.rows[0]), dtypes, is_listed=True)
    return Table(values, names, dtypes, is_listed=True)


# ---------------------------------------------------------------------- how it is written


def _layout(path: Path) -> _Layout:
    skip, remark, delimiter = 0, None, None
    with open_text(path) as file:
        for line in file:
            text = line.strip()
            if skip == 0 and re.fullmatch(r'"?sep=.?"?', line.rstrip("\r\n")):  # told by Excel
                delimiter = line.rstrip("\r\n").strip('"').removeprefix("sep=") or "\t"
            elif text.startswith("#"):
                remark = text.lstrip("#").strip()
            elif text:
                break
            skip += 1
        else:
            return _Layout(skip, ",", [], [], remark)
        head = [line, *_some(file)]
    delimiter = delimiter or _sniff(head)
    reader = csv.reader(_without_nul(head), delimiter=delimiter)
    rows, lines = [], []
    for row in reader:
        if row:
            rows.append(row)
            lines.append(skip + reader.line_num)
    is_quoted = bool(rows) and head[0].count('"') >= 2 * len(rows[0]) and not any('"' in line for line in head[1:])
    return _Layout(skip, delimiter, rows, lines, remark, is_quoted and len(head) > 1)


def _some(file: TextIO) -> Iterator[str]:
    """The lines that are looked at: so many, or fewer where they are long."""
    size = 0
    for line in itertools.islice(file, MOST_ROWS):
        yield line
        size += len(line)
        if size > _MOST_CHARACTERS:
            return


def _sniff(head: Sequence[str]) -> str:
    """The delimiter that gives each of the first lines as many fields, more than one; or the most frequent one."""
    lines = [line for line in head[:20] if line.strip()]
    for delimiter in _DELIMITERS:
        with contextlib.suppress(csv.Error):  # a line that is one field may be longer than a field can be
            sizes = {len(row) for row in csv.reader(_without_nul(lines), delimiter=delimiter)}
            if len(sizes) == 1 and sizes != {1}:
                return delimiter
    return max(reversed(_DELIMITERS), key=lines[0].count)


def _without_nul(lines: Sequence[str] | TextIO | Iterator[str]) -> Iterator[str]:
    return (line.replace("\0", "\ufffd") for line in lines)


def _check_separators(path: Path, layout: _Layout) -> None:
    """Refuse rows of one field that are several numbers, with spaces or bars between them."""
    for line, row in zip(layout.lines[:2], layout.rows[:2], strict=True):
        parts = re.split(r"\s*\|\s*|\s+", row[0].strip())
        if len(row) == 1 and len(parts) > 1 and all(map(is_number, parts)):
            raise ValueError(
                f"{path}: line {line} is {row[0][:40]!r}. Separate numbers by commas, semicolons or tabs, not by "
                "spaces or bars."
            )


def _check_ends(path: Path, layout: _Layout) -> None:
    """Refuse rows that begin or end with the delimiter; the header above may do without, and then has a name less."""
    first, *others = layout.rows
    below = others or [first]
    for end, verb in ((0, "begin"), (-1, "end")):
        are_ended = all(len(row) > 1 and row[end].strip() == "" for row in below)
        if are_ended and (first[end].strip() == "" or (end and len(first) == len(below[0]) - 1)):
            raise ValueError(
                f"{path}: rows {verb} with the delimiter {layout.delimiter!r}, as line {layout.lines[-1]} does, which "
                f"would make a column of nothing. Remove it from the {verb if end else 'beginning'} of all lines."
            )


def _names(path: Path, layout: _Layout, header: bool | None, *, covariance: bool) -> tuple[tuple[str, ...] | None, int]:
    """The names of the columns, and the number of lines before the first row of numbers."""
    first, rest = layout.rows[0], layout.rows[1:]
    is_numeric = all(map(is_number, first))
    if header is not False and is_numeric and layout.remark is not None:
        told = next(csv.reader([layout.remark], delimiter=layout.delimiter), [])
        if len(told) == len(first) > 1:  # as numpy.savetxt writes a header
            return tuple(name.strip() for name in told), layout.skip
    if header is None and covariance and is_numeric:
        return None, layout.skip  # the number of rows will tell
    try:
        is_header = first_row_is_header(first, rest, is_quoted=layout.is_quoted) if header is None else header
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if is_header:
        return tuple(name.strip() for name in first), layout.lines[0]
    return None, layout.skip


def _check_widths(path: Path, layout: _Layout, names: tuple[str, ...] | None, skip: int) -> None:
    """Refuse a header that does not belong to the columns."""
    below = [(line, row) for line, row in zip(layout.lines, layout.rows, strict=True) if line > skip]
    if names is None or not below or len(below[0][1]) == len(names):
        return
    line, row = below[0]
    labels = " The first column may be labels of the rows: leave it out, or name it." if len(row) > len(names) else ""
    raise ValueError(
        f"{path}: the header has {counted(len(names), 'name')}, but line {line} has {counted(len(row), 'column')}."
        f"{labels} Give one name for each column, and write decimal points, not commas."
    )


# ---------------------------------------------------------------------- the numbers


def _values(
    path: Path, layout: _Layout, names: tuple[str, ...] | None, skip: int
) -> tuple[Array, tuple[str, ...] | None]:
    """The rows after the first `skip` lines, and the types of the columns if some are truth values."""
    try:
        with warnings.catch_warnings(), open_text(path) as file:
            warnings.filterwarnings("error", message=".*input contained no data", category=UserWarning)
            lines = itertools.islice(file, skip, None)
            return np.loadtxt(lines, delimiter=layout.delimiter, comments=None, quotechar='"', ndmin=2), None
    except UserWarning:
        raise ValueError(_no_rows_message(path)) from None
    except UnicodeDecodeError:
        raise
    except ValueError:
        return _parse(path, layout, names, skip)


def _parse(path: Path, layout: _Layout, names: tuple[str, ...] | None, skip: int) -> tuple[Array, tuple[str, ...]]:
    """Field by field: takes truth values, and says what else is not a number."""
    values, width = array("d"), 0
    truths: set[int] = set()
    others: dict[int, tuple[int, str]] = {}
    with open_text(path) as file:
        reader = csv.reader(_without_nul(itertools.islice(file, skip, None)), delimiter=layout.delimiter)
        for fields in filter(None, reader):
            width = width or len(fields)
            for column, field in enumerate(fields):
                try:
                    value = to_number(field)
                except ValueError:
                    line = skip + reader.line_num
                    what = _complaint(field, column, fields, layout, is_first=line == layout.lines[0])
                    raise ValueError(f"{path}: line {line}, {_column(column, names)} {what}") from None
                if value not in (0, 1):
                    others.setdefault(column, (skip + reader.line_num, field))
                elif field.strip().lower() in TRUTH:
                    truths.add(column)
                values.append(value)
            if len(fields) != width:
                line = skip + reader.line_num
                raise ValueError(
                    f"{path}: line {line} has {counted(len(fields), 'column')} where those before it have {width}. "
                    "Give the same number of numbers in every row."
                )
    mixed = sorted(truths & set(others))
    if mixed:
        line, field = others[mixed[0]]
        raise ValueError(
            f"{path}: {_column(mixed[0], names)} has both truth values and numbers ({field!r} in line {line}). Encode "
            "it in one way; or, if the first row names the columns, pass header=True (on the command line: --header)."
        )
    kinds = tuple("bool" if column in truths else "float64" for column in range(width))
    return np.array(values, np.float64).reshape(-1, width), kinds


def _check_finite(path: Path, layout: _Layout, names: tuple[str, ...] | None, skip: int, values: Array) -> None:
    """Refuse NaN and infinities, where an editor shows them."""
    finite = np.isfinite(values)
    if finite.all():
        return
    index, column = (int(i) for i in np.argwhere(~finite)[0])
    with open_text(path) as file:
        reader = csv.reader(_without_nul(itertools.islice(file, skip, None)), delimiter=layout.delimiter)
        next(itertools.islice(filter(None, reader), index, None))
        place = f"in line {skip + reader.line_num}, {_column(column, names)}, counted from 1"
    raise ValueError(not_finite_message(str(path), int(finite.size - finite.sum()), place))


def _check_exact(path: Path, layout: _Layout, names: tuple[str, ...] | None, skip: int) -> None:
    """Refuse numbers written as integers that float64 does not hold."""
    with open_text(path) as file:
        reader = csv.reader(_without_nul(itertools.islice(file, skip, None)), delimiter=layout.delimiter)
        for fields in reader:
            for column, field in enumerate(fields):
                # 16 digits or more; with more than 40 it is no identifier, but a float that was written out.
                if re.fullmatch(r"[+-]?\d{16,40}", field.strip()) and int(field) != int(float(field)):
                    place = f"in line {skip + reader.line_num}, {_column(column, names)}"
                    raise ValueError(f"{path} has {rounded_message(field, place)}")


def _column(column: int, names: tuple[str, ...] | None) -> str:
    name = f" ({names[column]!r})" if names is not None and column < len(names) else ""
    return f"column {column + 1}{name}"


def _complaint(field: str, column: int, fields: list[str], layout: _Layout, *, is_first: bool) -> str:
    """What is wrong with a field that is not a number, and what to do about it."""
    text = field.strip()
    of_column = [row[column].strip() for row in layout.rows[1:] if column < len(row)]
    if text == "" and len(of_column) > 1 and not any(of_column):
        return "is empty, as that column is in every row. Leave the column out."
    if text.lower() in MISSING:
        what = "is empty" if text == "" else f"is {text!r}, a missing value"
        return f"{what}. Drop the rows that are not complete, or impute what is missing (pandas: dropna, fillna)."
    if "\n" in text:
        return f"is {text[:40]!r}, which goes over the end of a line. Close the quotation mark, or remove it."
    if text.startswith("#") and column == 0:
        return f"is {text!r}, a comment. Remove comments that come after the first row."
    if is_punctuated_number(text):
        return (
            f"is {text!r}, not a number. Write a decimal point, and nothing between thousands (pandas.read_csv has the "
            "arguments decimal and thousands; write again with to_csv)."
        )
    if is_first:
        return f"is {text!r}, not a number. If the first row names the columns, leave header=False (--no-header) out."
    labels = " (labels of rows)" if column == 0 else ""
    return f"is {text!r}, not a number. Leave out columns that are not numbers{labels}, or encode them first."


def _no_rows_message(path: Path) -> str:
    return f"{path} holds no rows of numbers. Give at least two rows."
