"""The hypotheses of theorems."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from deepbures.certificates._comparison import ComparedByContents

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, limit: value < limit,
    "≤": lambda value, limit: value <= limit,
    "=": lambda value, limit: value == limit,
    ">": lambda value, limit: value > limit,
}


@dataclass(frozen=True, eq=False)
class Assumption(ComparedByContents):
    """One hypothesis of a theorem, and by how much it is met.

    Attributes
    ----------
    statement : str
        What is compared.
    value, limit : float
        What was found, and what it is held against.
    relation : "<", "≤", "=" or ">"
        How `value` has to stand to `limit`.

    Examples
    --------
    >>> from deepbures.certificates import Assumption
    >>> margin = Assumption("margin c², a variance", 0.25, ">", 0.0)
    >>> margin.holds, margin.slack, str(margin)
    (True, 0.25, 'met: margin c², a variance: 0.25 > 0')
    """

    statement: str
    value: float
    relation: Literal["<", "≤", "=", ">"]
    limit: float

    def __post_init__(self) -> None:
        if self.relation not in _RELATIONS:
            raise ValueError(f"relation must be one of {', '.join(_RELATIONS)}, but {self.relation!r} was given.")

    @property
    def holds(self) -> bool:
        """Whether it is met (not, if the value is NaN)."""
        return _RELATIONS[self.relation](self.value, self.limit)

    @property
    def slack(self) -> float:
        """The amount by which it is met; where negative, by which it is missed."""
        if self.relation == "=":
            return -abs(self.value - self.limit)
        return self.value - self.limit if self.relation == ">" else self.limit - self.value

    def __str__(self) -> str:
        if self.holds:
            return f"met: {self.statement}: {self.value:.4g} {self.relation} {self.limit:.4g}"
        by = f", missed by {abs(self.slack):.4g}" if self.slack != 0 else ""
        need = f"needed {self.relation} {self.limit:.4g}{by}"
        return f"not met: {self.statement}: {self.value:.4g} ({need})"
