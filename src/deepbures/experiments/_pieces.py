"""Experiments as pieces of work that can be kept, so that an interrupted one goes on where it stopped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Piece = dict[str, np.ndarray[Any, Any]]
"""What one piece of an experiment computes: named arrays of numbers or text."""


class Keeper(Protocol):
    """How the pieces of an experiment are computed: one after the other, or kept in a folder and only then computed.

    Pieces do not depend on each other, each is determined by its key and the arguments of its experiment, and takes
    seconds rather than minutes. Keys are made of lower-case letters, digits and "-", "=", ".".
    """

    def __call__(self, pieces: Mapping[str, Callable[[], Piece]]) -> dict[str, Piece]:
        """The result of every piece, in the order given."""


def compute_all(pieces: Mapping[str, Callable[[], Piece]]) -> dict[str, Piece]:
    """The simplest `Keeper`: compute one piece after the other, keep nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbures.experiments import compute_all
    >>> compute_all({"depth=1": lambda: {"rate": np.array(2.0)}})
    {'depth=1': {'rate': array(2.)}}
    """
    return {key: compute() for key, compute in pieces.items()}


@dataclass(frozen=True)
class Finding:
    """A statement, by the paper or by theory, held against what an experiment found.

    Attributes
    ----------
    statement : str
        What was claimed, in one sentence.
    held : bool or None
        Whether it held here; None where there is too little to judge, or nothing to decide.
    evidence : str
        The numbers, in one sentence.
    is_shown_only : bool
        Whether the experiment shows by design, without deciding: `held` is None then, and nothing is missing.

    Examples
    --------
    >>> from deepbures.experiments import Finding
    >>> Finding("The loss falls.", True, "In 200 of 200 runs.").held
    True
    """

    statement: str
    held: bool | None
    evidence: str
    is_shown_only: bool = False

    def __post_init__(self) -> None:
        if self.is_shown_only and self.held is not None:
            raise ValueError(f"a finding that is shown only has held = None, but {self.held} was given.")
