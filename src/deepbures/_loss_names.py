"""The names of the losses: one table, for Python, the command line and files. It loads nothing."""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Self


class LossName(StrEnum):
    """What a loss is called, the parameter that it takes, if any, whether that must be positive, and what it means.

    Examples
    --------
    >>> from deepbures.model import LossName
    >>> [name.value for name in LossName]
    ['bw', 'frobenius', 'likelihood', 'entropic', 'sinkhorn']
    >>> LossName.bw == "bw", LossName.sinkhorn.parameter
    (True, 'epsilon')
    """

    bw = "bw", "tau", False, "its smoothing"
    frobenius = "frobenius", None, False, ""
    likelihood = "likelihood", "tau", True, "the variance of the noise of the model"
    entropic = "entropic", "epsilon", True, "the regularization of the transport"
    sinkhorn = "sinkhorn", "epsilon", True, "the regularization of the transport"

    parameter: str | None
    is_needed: bool
    meaning: str

    def __new__(cls, value: str, parameter: str | None, is_needed: bool, meaning: str) -> Self:
        """A name with what else is known of it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.parameter, member.is_needed, member.meaning = parameter, is_needed, meaning
        return member

    def arguments(
        self, *, tau: float = 0.0, epsilon: float | None = None, spell: Callable[[str], str] = str
    ) -> dict[str, float]:
        """The parameters that this loss is made with, checked.

        Parameters
        ----------
        tau, epsilon : float
            What was given; 0 and None where nothing was.
        spell : callable
            What a message calls an argument: "--tau" on the command line.

        Raises
        ------
        TypeError
            For a parameter that is no number.
        ValueError
            For one that the loss does not take, or that is out of range; where it needs one that was not given.
        """
        given = {
            "tau": _number(tau, spell("tau")),
            "epsilon": None if epsilon is None else _number(epsilon, spell("epsilon")),
        }
        for name, number in given.items():
            if number and name != self.parameter:
                takers = ", ".join(other for other in LossName if other.parameter == name)
                raise ValueError(
                    f"{spell(name)} {number} was given, but {spell('loss')} {self} does not take it (of the losses, "
                    f"{takers} do): leave it out."
                )
        if self.parameter is None:
            return {}
        chosen = given[self.parameter] or 0.0
        if self.is_needed and chosen == 0:
            raise ValueError(
                f"{spell('loss')} {self} needs {spell(self.parameter)}, {self.meaning}, but it was not given, or is "
                f"zero: pass a positive {spell(self.parameter)}, in the units of the covariance."
            )
        return {self.parameter: chosen}


def _number(value: Any, what: str) -> float:
    try:  # as the losses take it: text and truth values are no numbers
        number = None if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise TypeError(f"{what} must be a number, but {value!r} was given.")
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{what} must be finite and not negative, but {value} was given.")
    return number
