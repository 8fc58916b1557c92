"""What a section of a report is made of."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Figure(NamedTuple):
    svg: str
    caption: str
    wide: bool = True


class Section(NamedTuple):
    title: str
    figures: Sequence[Figure] = ()
    text: str = ""
    pair: bool = False
    columns: Sequence[Mapping[str, Any]] = ()
    rows: Sequence[Sequence[str]] = ()

    @property
    def has_content(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.figures or self.rows)

    @property
    def as_table(self) -> Mapping[str, Any]:
        """Columns and rows, as templates take tables."""
        return {"name": self.title, "columns": self.columns, "rows": self.rows}
