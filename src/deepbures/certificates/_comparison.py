"""Equality of records of numbers, of which some may be undefined."""

from dataclasses import fields
from typing import Any, cast


class ComparedByContents:
    """Dataclasses that are equal, and hash alike, where all fields are; NaN is equal to NaN.

    A record and its unpickled copy, which holds NaNs of its own, are the same.
    To be used with ``@dataclass(frozen=True, eq=False)``.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _contents(self) == _contents(other)

    def __hash__(self) -> int:
        return hash(_contents(self))


def _contents(record: ComparedByContents) -> tuple[Any, ...]:
    values = (getattr(record, field.name) for field in fields(cast(Any, record)))
    return tuple("NaN" if isinstance(value, float) and value != value else value for value in values)
