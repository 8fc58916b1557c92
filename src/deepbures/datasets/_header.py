"""Whether the first row of a text file holds the names of the columns.

A row without numbers is a header. A row of numbers may be one as well (wavelengths, years, the column numbers that
pandas writes), and nothing but the rows below it can tell. It is in doubt where it differs from all of them in a way in
which headers do. Where rows of data come in no particular order, the first is the only one with a given property with a
probability of at most 1/(m + 1), m the number of rows below, as each of them is as likely to be that one; the further
conditions make doubts without reason much rarer than that where m is small.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 1000
"""Rows that are looked at."""

MISSING = ("", "na", "n/a", "#n/a", "null", "none", "nil", "missing", "-", "?", ".")
"""Words for what is missing; in small letters."""

TRUTH = {"true": 1.0, "false": 0.0}
"""Words that are numbers; in any case."""

SAY_WHICH = (
    "Say which it is: header=True (on the command line: --header) if it names the columns, or header=False "
    "(--no-header) if it is a row of data"
)

_PUNCTUATED = re.compile(r"[+-]?\d[\d.,'’\s]*(e[+-]?\d+)?", re.IGNORECASE)

_UNLIKELY = 1e-3
_FAR = 10.0
"""Widths of the range of a column beyond which a number is none of that column."""


def is_number(text: str) -> bool:
    """Whether a field is a number, or a truth value."""
    try:
        to_number(text)
    except ValueError:
        return False
    return True


def is_punctuated_number(text: str) -> bool:
    """Whether a field would be a number but for decimal commas, or signs between thousands."""
    return not is_number(text) and _PUNCTUATED.fullmatch(text.strip()) is not None


def to_number(text: str) -> float:
    """The number of a field; ValueError if it is none."""
    try:
        if "_" not in text:  # Python takes 1_000
            return float(text)
    except ValueError:
        pass
    try:
        return TRUTH[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text!r} is not a number.") from None


def first_row_is_header(fields: Sequence[str], rows: Sequence[Sequence[str]], *, is_quoted: bool = False) -> bool:
    """Whether the fields of the first row name the columns of the rows below it.

    `is_quoted` tells that the first row alone is in quotation marks, as programs write text and not numbers.

    Raises
    ------
    ValueError
        If it cannot be told.
    """
    names = [field.strip() for field in fields]
    are_numbers = [is_number(name) for name in names]
    counts = [str(i) for i in range(len(names))]
    if not all(are_numbers):
        _check_names(names, are_numbers, counts)
        return True
    reason = "it is in quotation marks, and the rows below are not" if is_quoted else _likeness(names, rows)
    if names == counts:  # as pandas writes for columns without names
        if reason is not None and len(names) > 1:
            return True
        if len(names) > 2 and 2 * sum(map(_steps_by_one, rows)) < len(rows):  # else all of the data count
            reason = f"it counts from 0 to {len(names) - 1}, as pandas writes for columns without names"
    if reason is not None:
        raise ValueError(f"the first row is made of numbers, but looks like a header: {reason}. {SAY_WHICH}.")
    return False


def _check_names(names: list[str], are_numbers: list[bool], counts: list[str]) -> None:
    if names[0] == "" and len(names) > 1 and (names[1:] == counts[:-1] or not any(are_numbers)):
        raise ValueError(
            "the first column has no name, as pandas writes the row index. Write it with index=False, or name the "
            "column if it is data (or pass header=True; on the command line: --header)."
        )
    if all(name.lower() in MISSING for name in names):
        raise ValueError(
            f"all of the first row is missing ({names[-1]!r}). Leave it out; or, if it names the columns, pass "
            "header=True (on the command line: --header)."
        )
    punctuated = [name for name in names if is_punctuated_number(name)]
    if punctuated and not any(are_numbers):
        raise ValueError(
            f"the first row holds {punctuated[0]!r}. If that is a number, write a decimal point, and nothing between "
            "thousands; if it is a name, pass header=True (on the command line: --header)."
        )
    if any(are_numbers):
        column = are_numbers.index(False)
        raise ValueError(
            f"the first row is neither a header (no field a number) nor numbers only: column {column + 1} is "
            f"{names[column]!r}. Name all columns, or complete the row; or, if these are names, pass header=True (on "
            "the command line: --header)."
        )


def _likeness(names: list[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Tell in which way the first row differs from all others as headers do; None if it does not."""
    others = [row for row in rows if len(row) == len(names) and all(map(is_number, row))]
    first = np.array([to_number(name) for name in names])
    if len(others) < 2 or len(set(first.tolist())) < len(first) or not np.isfinite(first).all():
        return None
    body = np.array([[to_number(field) for field in row] for row in others])
    m, n = body.shape
    if (n > 3 or (n == 3 and m >= 20)) and _is_even(first) and not any(map(_is_even, body)):
        return "its numbers are evenly spaced, and those of no other row are"
    if (
        n > 1
        and all(map(_is_whole, names))
        and _is_even(first)
        and _are_years(first)
        and not any(map(_are_years, body))
    ):
        return "its numbers are years in a row, and those of no other row are"
    if n > 5 and _is_monotone(first) and not any(map(_is_monotone, body)):
        return "its numbers are in order, and those of no other row are"
    if _is_written_apart(names, others):
        return "its numbers are whole and distinct, and the others are written with decimals"
    if m > 4 and (n > 1 or m >= 20) and _is_far(first, body):
        return "its numbers are far from the range of their columns"
    return None


def _is_monotone(row: NDArray[np.float64]) -> bool:
    steps = np.diff(row)
    return bool((steps > 0).all() or (steps < 0).all())


def _is_even(row: NDArray[np.float64]) -> bool:
    steps = np.diff(row)
    return _is_monotone(row) and float(np.ptp(steps)) <= 1e-6 * float(np.abs(steps).min())


def _are_years(row: NDArray[np.float64]) -> bool:
    return bool((row >= 1800).all() and (row <= 2100).all())


def _is_written_apart(names: list[str], rows: list[Sequence[str]]) -> bool:
    """Whether the first row alone is written in whole numbers, where a row of data would hardly be.

    With k_j of m rows whole in column j, that has the probability Π_j (k_j + 1)/(m + 2) (rule of succession), or is
    plain to see where the names are 0, 1, … and all else has decimals.
    """
    if not all(map(_is_whole, names)):
        return False
    whole = np.array([[_is_whole(field) for field in row] for row in rows])
    if whole.all(axis=1).any():
        return False
    likelihood = math.prod(((whole.sum(axis=0) + 1) / (len(rows) + 2)).tolist())
    is_count = names == [str(i) for i in range(len(names))]
    return likelihood <= _UNLIKELY or (is_count and len(rows) > 4 and not whole.any())


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", text.strip()) is not None


def _is_far(first: NDArray[np.float64], body: NDArray[np.float64]) -> bool:
    """Whether the first row is far from the range of every column that varies."""
    low, high = body.min(axis=0), body.max(axis=0)
    varies = high > low
    distance = np.maximum(first - high, low - first)
    return bool(varies.any() and (distance[varies] > _FAR * (high - low)[varies]).all())


def _steps_by_one(row: Sequence[str]) -> bool:
    return all(map(is_number, row)) and bool((np.diff([to_number(field) for field in row]) == 1).all())
