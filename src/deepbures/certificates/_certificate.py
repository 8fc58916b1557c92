"""What a convergence theorem says of one start: assumptions, constants, bound; and a run held against it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_number

Floats = NDArray[np.float64]

STEP_SLACK = 1e-6
"""Relative error that a step size may have: one rounded to single precision is still the one that was certified."""

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, limit: value < limit,
    "≤": lambda value, limit: value <= limit,
    "=": lambda value, limit: value == limit,
    ">": lambda value, limit: value > limit,
}


@dataclass(frozen=True)
class Assumption:
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

    @property
    def holds(self) -> bool:
        """Whether it is met (not, if the value is NaN)."""
        return _RELATIONS[self.relation](self.value, self.limit)

    @property
    def slack(self) -> float:
        """By how much it is met; negative: by how much it is missed."""
        if self.relation == "=":
            return -abs(self.value - self.limit)
        return self.value - self.limit if self.relation == ">" else self.limit - self.value

    def __str__(self) -> str:
        if self.holds:
            return f"met: {self.statement}: {self.value:.4g} {self.relation} {self.limit:.4g}"
        by = f", missed by {abs(self.slack):.4g}" if self.slack != 0 else ""
        need = f"needed {self.relation} {self.limit:.4g}{by}"
        return f"not met: {self.statement}: {self.value:.4g} ({need})"


@dataclass(frozen=True)
class Check:
    """A run held against a certificate.

    Attributes
    ----------
    certificate : Certificate
        What was promised.
    applies : bool
        Whether the certificate says anything of this run: its assumptions hold, and the run is of its kind.
    reason : str
        Why it does not apply; empty if it does.
    violated : bool
        Whether the run was above the bound of a guarantee that applies, by more than rounding and integration error.
    first_violation : float or None
        Time (flow) or step (descent) of the first record above the bound.
    largest_ratio : float
        Largest excess over bound among the records whose excess is above rounding; NaN if there is no bound.
    observed_rate : float
        ln(e(0)/e(T))/T, T the last record whose excess is above rounding; for a prediction, over the last third of
        the decay. Per unit of time (flow) or per step (descent).
    tightness : float
        Observed rate over certified rate: 1 where the certificate is exact.

    Examples
    --------
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 1.0], key=0), db.BuresWasserstein()
    >>> start = db.initialize((2, 2), "close", target=target, key=1)
    >>> run = db.gradient_flow(start, target, loss, 2.0)
    >>> checks = run.check(db.certify(start, target, loss))
    >>> {check.certificate.name: check.violated for check in checks if check.applies}
    {'flow-derived': False, 'flow-exact': False, 'flow-asymptotic': False}
    """

    certificate: "Certificate"
    applies: bool
    reason: str = ""
    violated: bool = False
    first_violation: float | None = None
    largest_ratio: float = math.nan
    observed_rate: float = math.nan
    tightness: float = math.nan

    def __str__(self) -> str:
        if not self.applies:
            return f"{self.certificate.name}: does not apply ({self.reason})"
        rates = f"observed rate {self.observed_rate:.4g}, {self.tightness:.3g} times the certified one"
        if not self.certificate.is_guarantee:
            return f"{self.certificate.name}: prediction; {rates}"
        if self.violated:
            where = f"first at {self.first_violation:.6g}, excess up to {self.largest_ratio:.6g} times the bound"
            return f"{self.certificate.name}: VIOLATED, {where}"
        return f"{self.certificate.name}: held; {rates}"


@dataclass(frozen=True)
class Certificate:
    """What is promised, or predicted, of gradient flow or descent from one start.

    Constants are kept as natural logarithms where they can leave the range of floating point: `log_rate` is finite at
    depth 100, where `rate` may underflow to zero.

    Attributes
    ----------
    name : str
        Short and unique, as "flow-exact".
    method : "flow" or "descent"
        What it is about.
    is_guarantee : bool
        True: a theorem, if its assumptions hold. False: a local prediction for late times or small perturbations, or
        a formula reproduced for comparison, which guarantees nothing.
    statement, source : str
        The formula, and where it comes from.
    assumptions : tuple of Assumption
        All of them.
    constants : mapping from names to floats
        What the formula is made of; names that begin with "log_" are natural logarithms.
    log_rate : float
        ln of the exponential rate, per unit of time (flow) or per step of size exp(log_max_step_size) (descent).
    log_max_step_size : float or None
        ln of the largest step size it speaks of (descent).
    excess : float
        e(0) = L − L* at the start.

    Examples
    --------
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 1.0], key=0), db.BuresWasserstein()
    >>> start = db.initialize((2, 2), "close", target=target, key=1)
    >>> exact = {c.name: c for c in db.certify(start, target, loss)}["flow-exact"]
    >>> exact.holds, exact.rate, float(exact.bound(0.5) / exact.excess).__round__(12)     # exp(−2)
    (True, 4.0, 0.135335283237)
    """

    name: str
    method: Literal["flow", "descent"]
    is_guarantee: bool
    statement: str
    source: str
    assumptions: tuple[Assumption, ...]
    constants: Mapping[str, float]
    excess: float
    log_rate: float = math.nan
    log_max_step_size: float | None = None
    # e ↦ f(e): what decays exponentially, if it is not the excess itself; and its inverse.
    _transform: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = field(default=None, repr=False)
    # η ↦ rate per step of that size (descent).
    _rate_of_step: Callable[[float], float] | None = field(default=None, repr=False)
    # An excess that rounding alone may show at the minimum, and L(0) + tr Σ0, to which integration errors are relative.
    _rounding: float = field(default=0.0, repr=False)
    _size: float = field(default=0.0, repr=False)

    @property
    def holds(self) -> bool:
        """Whether every assumption is met."""
        return all(assumption.holds for assumption in self.assumptions)

    @property
    def rate(self) -> float:
        """exp(log_rate): NaN where the assumptions leave it undefined, 0 where it underflows."""
        return math.exp(self.log_rate) if not self.log_rate > 709 else math.inf

    @property
    def max_step_size(self) -> float | None:
        """Largest step size it speaks of; None for the flow, 0 where it underflows."""
        if self.log_max_step_size is None:
            return None
        return math.exp(self.log_max_step_size) if self.log_max_step_size < 709 else math.nan

    @property
    def missed(self) -> tuple[Assumption, ...]:
        """The assumptions that are not met."""
        return tuple(assumption for assumption in self.assumptions if not assumption.holds)

    def bound(self, positions: Any, *, step_size: float | None = None) -> Floats:
        """What L − L* is at most (a guarantee), or about (a prediction), at times t ≥ 0 or after numbers of steps.

        Parameters
        ----------
        positions : array
            Times (flow) or numbers of steps (descent).
        step_size : float, optional
            Step size of a descent, at most `max_step_size`, its default.

        Returns
        -------
        array
            Of the shape of `positions`; infinite where assumptions are not met, or only a step size is predicted,
            since nothing is promised then.

        Raises
        ------
        ValueError
            For positions that are negative or not finite, or a step size out of range.
        """
        check_number(positions, "positions")
        at = np.asarray(positions, np.float64)
        if not self.holds or math.isnan(self.log_rate):
            return np.full(at.shape, math.inf)
        rate = self._rate_at(step_size)
        decay = np.where(at == 0, 1.0, np.exp(-rate * np.where(at == 0, 1.0, at)))
        if self._transform is None:
            return np.asarray(self.excess * decay)
        there, back = self._transform
        return np.asarray(back(there(self.excess) * decay))

    def _rate_at(self, step_size: float | None) -> float:
        """The rate, per unit of time or per step of the given size."""
        if step_size is None:
            return self.rate
        if self._rate_of_step is None or self.max_step_size is None:
            raise ValueError(f"step_size = {step_size} was given, but {self.name} has no rate per step: leave it out.")
        check_number(step_size, "step_size", positive=True)
        if step_size > self.max_step_size * (1 + STEP_SLACK):
            raise ValueError(
                f"{self.name} speaks of step sizes up to {self.max_step_size:.4g}, but {step_size:.4g} was given."
            )
        return self._rate_of_step(min(step_size, self.max_step_size))

    def check(self, positions: Any, excess: Any, *, step_size: float | None = None, tolerance: float = 1e-7) -> Check:
        """Hold the excess of a run, recorded at times or after numbers of steps, against the bound.

        A record counts as a violation if √e, a distance, exceeds √bound by more than 5 parts in 10⁷, the error of the
        run and rounding.

        Parameters
        ----------
        positions, excess : array (R,)
            Times (flow) or steps (descent), ascending from 0, and L − L* there.
        step_size : float, optional
            Of a descent.
        tolerance : float
            Error of the run in distance, relative to √(L(0) + tr Σ0) for a flow, which is integrated with an absolute
            error, and to √e(0) for descent.

        Returns
        -------
        Check

        Raises
        ------
        ValueError
            If shapes differ, an entry is not finite, or the run does not begin at the certificate's start.
        """
        at, e = np.asarray(positions, np.float64), np.asarray(excess, np.float64)
        if at.ndim != 1 or at.shape != e.shape or not at.size:
            raise ValueError(
                f"positions and excess must be vectors of equal length, but have shapes {at.shape} and {e.shape}."
            )
        if not (np.isfinite(at).all() and np.isfinite(e).all()):
            raise ValueError("positions and excess must be finite, but hold NaN or infinite values: not a sound run.")
        rounding = math.sqrt(self._rounding)
        if at[0] == 0 and abs(math.sqrt(max(e[0], 0)) - math.sqrt(self.excess)) > 5e-7 * math.sqrt(e[0]) + rounding:
            raise ValueError(
                f"The run begins with an excess of {e[0]:.8g}, but the certificate is for a start with "
                f"{self.excess:.8g}: certify the network, target and loss that the run began with."
            )
        if self.missed:
            return Check(self, applies=False, reason="; ".join(str(assumption) for assumption in self.missed))
        # A prediction of where descent stays stable has no curve to be held against.
        if math.isnan(self.log_rate):
            return Check(self, applies=False, reason="it predicts a step size, not a rate")
        bound = self.bound(at, step_size=step_size)
        roots = np.sqrt(np.maximum(e, 0))
        size = max(self._size, self.excess) if self.method == "flow" else self.excess
        allowed = np.sqrt(bound) * (1 + 5e-7) + tolerance * math.sqrt(size) + rounding
        above = roots > allowed
        floor = max((10 * tolerance) ** 2 * self.excess, tolerance**2 * size, 100 * self._rounding)
        seen = (e > floor) & (bound > 0)
        with np.errstate(over="ignore"):  # a bound that has all but underflowed
            ratios = e[seen] / bound[seen]
        observed = self._observed_rate(at, e, seen)
        certified = self._rate_at(step_size)
        return Check(
            self,
            applies=True,
            violated=bool(self.is_guarantee and above.any()),
            first_violation=float(at[above][0]) if self.is_guarantee and above.any() else None,
            largest_ratio=float(ratios.max()) if seen.any() else math.nan,
            observed_rate=observed,
            tightness=observed / certified if certified > 0 else math.inf,
        )

    def _observed_rate(self, at: Floats, e: Floats, seen: NDArray[np.bool_]) -> float:
        if self._transform is not None:
            seen = seen & (e <= self.excess)
        at, e = at[seen], e[seen]
        if at.size < 2:
            return math.nan
        logs = np.log(e if self._transform is None else self._transform[0](e))
        first = 0 if self.is_guarantee else int(np.searchsorted(-logs, -(logs[0] + 2 * logs[-1]) / 3))
        first = min(first, at.size - 2)
        span = at[-1] - at[first]
        return float((logs[first] - logs[-1]) / span) if span > 0 else math.nan
