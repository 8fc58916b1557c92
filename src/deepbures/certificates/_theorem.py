"""The interface of theorems."""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, get_args

import equinox as eqx
import numpy as np

from deepbures._types import Floats
from deepbures.certificates._assumption import Assumption
from deepbures.certificates._logarithms import exp
from deepbures.certificates._start import Start

Method = Literal["flow", "descent"]
Kind = Literal["guarantee", "prediction", "comparison"]


class AbstractTheorem(eqx.Module):
    """What is promised, or predicted, of gradient flow or descent from the numbers of a start.

    A theorem of your own is a subclass with five attributes (of the class, or properties), the assumptions and
    the rate; its bound is e(0) exp(−rate · t) unless it says another. `theorems_of.register` makes `certify`
    tell it of your loss.

    Raises
    ------
    ValueError
        If `method` is neither "flow" nor "descent", or `kind` none of "guarantee", "prediction" and "comparison".

    Examples
    --------
    >>> import math
    >>> import deepbures as db
    >>> class Halving(db.AbstractTheorem):
    ...     name, method, kind = "flow-halving", "flow", "guarantee"
    ...     statement, source = "e(t) ≤ e(0) 2^−t for N = 1", "made up"
    ...     def assumptions(self, start):
    ...         return (db.Assumption("depth N", start.depth, "=", 1),)
    ...     def log_rate(self, start):
    ...         return math.log(math.log(2))
    >>> net, target = db.initialize((2, 2), key=0), db.Target.from_spectrum([4.0, 1.0])
    >>> start = db.certify(net, target, db.BuresWasserstein())[0].start
    >>> halved = db.Certificate(Halving(), start)
    >>> halved.holds, float(halved.bound(3.0) / halved.excess).__round__(12)
    (True, 0.125)
    """

    def __check_init__(self) -> None:
        for attribute, allowed in (("method", get_args(Method)), ("kind", get_args(Kind))):
            value = getattr(self, attribute)
            if value not in allowed:
                names = " or ".join(map(repr, allowed))
                raise ValueError(f"{type(self).__name__}.{attribute} must be {names}, but is {value!r}.")

    @property
    @abstractmethod
    def name(self) -> str:
        """Short and unique, as "flow-exact"."""

    @property
    @abstractmethod
    def method(self) -> Method:
        """What it is about: "flow" or "descent"."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What it is worth.

        "guarantee": a theorem, if its assumptions hold. "prediction": local, for late times or small perturbations.
        "comparison": a formula reproduced, which promises nothing.
        """

    @property
    @abstractmethod
    def statement(self) -> str:
        """The formula."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Where it comes from."""

    @abstractmethod
    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        """All hypotheses, each with by how much the start meets or misses it."""

    @abstractmethod
    def log_rate(self, start: Start) -> float:
        """Ln of the rate, per unit of time (flow) or per step of the largest size (descent).

        NaN where the assumptions leave it undefined, or only a step size is predicted. Of a guarantee whose assumptions
        hold it must be a number: `Certificate` raises a ValueError else.
        """

    def log_asymptotic_rate(self, start: Start) -> float:
        """Ln of the rate late in the run, where the bound tightens on the way."""
        return self.log_rate(start)

    def constants(self, start: Start) -> Mapping[str, float]:
        """What the formula is made of; names that begin with "log_" are natural logarithms."""
        return {}

    def log_max_step_size(self, start: Start) -> float | None:
        """Ln of the largest step size it speaks of (descent); None for the flow."""
        return None

    def rate_of_step(self, start: Start, step_size: float) -> float:
        """The rate per step of a size that it speaks of (descent)."""
        return math.nan

    def transform(self, start: Start, excess: Any) -> Any:
        """What decays exponentially: the excess, or an increasing function of it, NaN where that is undefined."""
        return excess

    def excess_of(self, start: Start, transformed: Any) -> Any:
        """The inverse of `transform`."""
        return transformed

    def bound(self, start: Start, positions: Floats, step_size: float | None = None) -> Floats:
        """What the excess is at most at times t ≥ 0 or after numbers of steps, where the assumptions hold."""
        rate = self._rate(start, step_size)
        decay = np.where(positions == 0, 1.0, np.exp(-rate * np.where(positions == 0, 1.0, positions)))
        return np.asarray(self.excess_of(start, self.transform(start, start.excess) * decay))

    def time_to(self, start: Start, excess: float, step_size: float | None = None) -> float:
        """The time or number of steps (not rounded) after which the bound is no more than an excess."""
        if not excess < start.excess:
            return 0.0
        ratio = self.transform(start, start.excess) / self.transform(start, excess) if excess > 0 else math.inf
        rate = self._rate(start, step_size)
        return math.log(ratio) / rate if 0 < rate < math.inf else 0.0 if rate > 0 else math.inf

    def mean_rate(self, start: Start, first: float, last: float, step_size: float | None = None) -> float:
        """The rate of decay of the bound from one position to another."""
        return self._rate(start, step_size)

    def size(self, start: Start) -> float:
        """What the error of an integrated flow is relative to: about the losses of start and zero network."""
        return start.loss + start.trace

    def _rate(self, start: Start, step_size: float | None) -> float:
        return exp(self.log_rate(start)) if step_size is None else self.rate_of_step(start, step_size)


class RescaledTheorem(AbstractTheorem):
    """A theorem on a loss L as one on factor · L, which is trained like L in factor times the time.

    Parameters
    ----------
    theorem : AbstractTheorem
        On L.
    factor : float
        Positive.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 1.0])
    >>> net = db.initialize((2, 2), "close", target=target, key=0)
    >>> exact = {c.name: c for c in db.certify(net, target, db.BuresWasserstein())}["flow-exact"]
    >>> twice = db.RescaledTheorem(exact.theorem, 2.0)
    >>> exact.rate, db.Certificate(twice, exact.start).rate.__round__(12)
    (4.0, 8.0)
    """

    theorem: AbstractTheorem
    factor: float

    @property
    def name(self) -> str:
        return self.theorem.name

    @property
    def method(self) -> Method:
        return self.theorem.method

    @property
    def kind(self) -> Kind:
        return self.theorem.kind

    @property
    def statement(self) -> str:
        return f"of the loss divided by {self.factor:g}, in {self.factor:g} times the time: {self.theorem.statement}"

    @property
    def source(self) -> str:
        return self.theorem.source

    def size(self, start: Start) -> float:
        return self.theorem.size(start)

    @property
    def _faster(self) -> float:
        # A step of the largest size is the same step for both.
        return math.log(self.factor) if self.method == "flow" else 0.0

    def _of_one(self, start: Start) -> Start:
        """The start as that of L."""
        by_value = ("loss", "excess", "sharpness", "smallest_curvature", "rounding")
        return dataclasses.replace(start, **{name: getattr(start, name) / self.factor for name in by_value})

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        return self.theorem.assumptions(self._of_one(start))

    def constants(self, start: Start) -> Mapping[str, float]:
        return self.theorem.constants(self._of_one(start))

    def log_rate(self, start: Start) -> float:
        return self.theorem.log_rate(self._of_one(start)) + self._faster

    def log_asymptotic_rate(self, start: Start) -> float:
        return self.theorem.log_asymptotic_rate(self._of_one(start)) + self._faster

    def log_max_step_size(self, start: Start) -> float | None:
        largest = self.theorem.log_max_step_size(self._of_one(start))
        return None if largest is None else largest - math.log(self.factor)

    def rate_of_step(self, start: Start, step_size: float) -> float:
        return self.theorem.rate_of_step(self._of_one(start), self.factor * step_size)

    def transform(self, start: Start, excess: Any) -> Any:
        return self.theorem.transform(self._of_one(start), excess / self.factor)

    def excess_of(self, start: Start, transformed: Any) -> Any:
        return self.factor * self.theorem.excess_of(self._of_one(start), transformed)

    def bound(self, start: Start, positions: Floats, step_size: float | None = None) -> Floats:
        one, speed, size = self._of_one(start), exp(self._faster), self._step_of_one(step_size)
        return self.factor * self.theorem.bound(one, positions * speed, size)

    def time_to(self, start: Start, excess: float, step_size: float | None = None) -> float:
        one, speed, size = self._of_one(start), exp(self._faster), self._step_of_one(step_size)
        return self.theorem.time_to(one, excess / self.factor, size) / speed

    def mean_rate(self, start: Start, first: float, last: float, step_size: float | None = None) -> float:
        one, speed, size = self._of_one(start), exp(self._faster), self._step_of_one(step_size)
        return self.theorem.mean_rate(one, first * speed, last * speed, size) * speed

    def _step_of_one(self, step_size: float | None) -> float | None:
        return None if step_size is None else step_size * self.factor
