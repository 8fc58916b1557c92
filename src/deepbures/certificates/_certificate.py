"""What a theorem says of one start."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_number
from deepbures._types import Floats
from deepbures.certificates._assumption import Assumption
from deepbures.certificates._check import Check
from deepbures.certificates._logarithms import exp
from deepbures.certificates._start import Start
from deepbures.certificates._theorem import AbstractTheorem, Kind, Method

_STEP_ERROR = 1e-6
"""Relative error that a step size may have: one rounded to single precision is still the one that was certified."""


@dataclass(frozen=True)
class Certificate:
    """What is promised, or predicted, of gradient flow or descent from one start: a theorem and the start's numbers.

    Constants are kept as natural logarithms where they can leave the range of floating point: `log_rate` is finite at
    depth 100, where `rate` may underflow to zero. Certificates are values: they can be compared, hashed, pickled and
    printed.

    Attributes
    ----------
    theorem : AbstractTheorem
        What is said of every start.
    start : Start
        The numbers of this one.

    Examples
    --------
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 1.0], key=0), db.BuresWasserstein()
    >>> start = db.initialize((2, 2), "close", target=target, key=1)
    >>> exact = {c.name: c for c in db.certify(start, target, loss)}["flow-exact"]
    >>> exact.holds, exact.rate, float(exact.bound(0.5) / exact.excess).__round__(12)     # exp(−2)
    (True, 4.0, 0.135335283237)
    >>> print(exact)
    flow-exact: guarantee, holds with rate 4: L(t) ≤ L(0) exp(−4 N c^p t), from L = ¼ ‖∇L‖²; equality at depth 1
    """

    theorem: AbstractTheorem
    start: Start

    @property
    def name(self) -> str:
        """Short and unique, as "flow-exact"."""
        return self.theorem.name

    @property
    def method(self) -> Method:
        """What it is about."""
        return self.theorem.method

    @property
    def kind(self) -> Kind:
        """What it is worth: a theorem, a local prediction, or a formula reproduced, which promises nothing."""
        return self.theorem.kind

    @property
    def is_guarantee(self) -> bool:
        """Whether it is a theorem, if its assumptions hold."""
        return self.kind == "guarantee"

    @property
    def statement(self) -> str:
        """The formula."""
        return self.theorem.statement

    @property
    def source(self) -> str:
        """Where it comes from."""
        return self.theorem.source

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """All hypotheses, each with by how much it is met or missed."""
        return self.theorem.assumptions(self.start)

    @property
    def holds(self) -> bool:
        """Whether every assumption is met."""
        return all(assumption.holds for assumption in self.assumptions)

    @property
    def missed(self) -> tuple[Assumption, ...]:
        """The assumptions that are not met."""
        return tuple(assumption for assumption in self.assumptions if not assumption.holds)

    @property
    def constants(self) -> Mapping[str, float]:
        """What the formula is made of; names that begin with "log_" are natural logarithms."""
        return self.theorem.constants(self.start)

    @property
    def excess(self) -> float:
        """e(0) = L − L* at the start."""
        return self.start.excess

    @property
    def log_rate(self) -> float:
        """Ln of the rate of decay at the start, per unit of time (flow) or per step of the largest size (descent)."""
        found = self.theorem.log_rate(self.start)
        if math.isnan(found) and self.is_guarantee and self.holds:
            raise ValueError(
                f"The theorem {self.name} ({type(self.theorem).__name__}) is a guarantee whose assumptions hold at "
                "this start, but its log_rate is NaN there. Let an assumption fail where the rate is not defined, mend "
                'log_rate, or make the kind "prediction".'
            )
        return found

    @property
    def rate(self) -> float:
        """exp(log_rate): NaN where the assumptions leave it undefined, 0 where it underflows."""
        return exp(self.log_rate)

    @property
    def asymptotic_rate(self) -> float:
        """The rate late in the run; larger than `rate` where the bound tightens on the way."""
        return exp(self.theorem.log_asymptotic_rate(self.start))

    @property
    def log_max_step_size(self) -> float | None:
        """Ln of the largest step size it speaks of (descent); None for the flow."""
        return self.theorem.log_max_step_size(self.start)

    @property
    def max_step_size(self) -> float | None:
        """Largest step size it speaks of; None for the flow, 0 where it underflows."""
        log_size = self.log_max_step_size
        if log_size is None:
            return None
        return math.exp(log_size) if log_size < 709 else math.nan

    def __str__(self) -> str:
        if self.holds:
            rate = "" if math.isnan(self.log_rate) else f" with rate {self.rate:.4g}"
            return f"{self.name}: {self.kind}, holds{rate}: {self.statement}"
        missed = "; ".join(str(assumption) for assumption in self.missed)
        return f"{self.name}: {self.kind}, does not hold ({missed}): {self.statement}"

    def speaks_of(self, step_size: float) -> bool:
        """Whether a step size is none above the largest that it speaks of (descent)."""
        largest = self.max_step_size
        return largest is None or not step_size > largest * (1 + _STEP_ERROR)

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
        return self.theorem.bound(self.start, at, self._within_range(step_size))

    def time_to(self, tolerance: float, *, step_size: float | None = None) -> float:
        """By when the excess is certainly (a guarantee), or probably (a prediction), not above a tolerance.

        Parameters
        ----------
        tolerance : float
            Of the excess L − L*, in its units.
        step_size : float, optional
            Step size of a descent, at most `max_step_size`, its default.

        Returns
        -------
        float
            Time (flow) or number of steps (descent): 0 if the start is not above it, infinite if nothing is promised.

        Raises
        ------
        ValueError
            For a tolerance that is negative or not finite, or a step size out of range.
        """
        check_number(tolerance, "tolerance")
        if not self.holds or math.isnan(self.log_rate):
            return math.inf
        time = self.theorem.time_to(self.start, tolerance, self._within_range(step_size))
        if self.method == "flow" or not math.isfinite(time):
            return time
        return float(max(math.ceil(time), int(tolerance < self.excess)))

    def _within_range(self, step_size: float | None) -> float | None:
        """A step size, refused where the theorem does not speak of it."""
        if step_size is None:
            return None
        if self.max_step_size is None:
            raise ValueError(f"step_size = {step_size} was given, but {self.name} has no rate per step: leave it out.")
        check_number(step_size, "step_size", positive=True)
        if not self.speaks_of(step_size):
            raise ValueError(
                f"{self.name} speaks of step sizes up to {self.max_step_size:.4g}, but {step_size:.4g} was given."
            )
        return min(step_size, self.max_step_size)

    def check(self, positions: Any, excess: Any, *, step_size: float | None = None, tolerance: float = 1e-7) -> Check:
        """Hold the excess of a run, recorded at times or after numbers of steps, against the bound.

        A record counts as a violation if √e, a distance, exceeds √bound by more than 5 parts in 10⁷, the error of the
        run and rounding. Above the bound by more than rounding but less than `tolerance` it is neither held nor
        violated: the check says by how much it was exceeded.

        Parameters
        ----------
        positions, excess : array (R,)
            Times (flow) or steps (descent), ascending from 0, and L − L* there.
        step_size : float, optional
            Of a descent.
        tolerance : float
            Error of the run in distance, relative to √(L(0) + tr Σ0) for a flow (Frobenius: √(L(0) + (tr Σ0)²)),
            which is integrated with an absolute error, and to √e(0) for descent.

        Returns
        -------
        Check

        Raises
        ------
        ValueError
            If shapes differ, an entry is not finite, or the run does not begin at the certificate's start.
        """
        at, e = np.asarray(positions, np.float64), np.asarray(excess, np.float64)
        self._refuse_other_runs(at, e)
        if self.missed:
            return Check(self, applies=False, reason="; ".join(str(assumption) for assumption in self.missed))
        # A prediction of where descent stays stable has no curve to be held against.
        if math.isnan(self.log_rate):
            return Check(self, applies=False, reason="it predicts a step size, not a rate")
        bound = self.bound(at, step_size=step_size)
        size = self.excess if self.method == "descent" else max(self.theorem.size(self.start), self.excess)
        rounding = self.start.rounding
        over = np.sqrt(np.maximum(e, 0)) - (np.sqrt(bound) * (1 + 5e-7) + math.sqrt(rounding))
        above, past_rounding = over > tolerance * math.sqrt(size), over > 0
        floor = max((10 * tolerance) ** 2 * self.excess, tolerance**2 * size, 100 * rounding)
        seen = (e > floor) & (bound > 0)
        with np.errstate(over="ignore"):  # a bound that has all but underflowed
            ratios = e[seen] / bound[seen]
        observed, certified = self._rates(at, e, seen, self._within_range(step_size))
        return Check(
            self,
            applies=True,
            violated=bool(self.is_guarantee and above.any()),
            first_violation=float(at[above][0]) if self.is_guarantee and above.any() else None,
            exceeded_by=float((e - bound)[past_rounding].max()) if self.is_guarantee and past_rounding.any() else 0.0,
            largest_ratio=float(ratios.max()) if seen.any() else math.nan,
            observed_rate=observed,
            tightness=observed / certified if certified > 0 else math.inf,
        )

    def _refuse_other_runs(self, at: Floats, e: Floats) -> None:
        """Refuse what is no run, or begins elsewhere."""
        if at.ndim != 1 or at.shape != e.shape or not at.size:
            raise ValueError(
                f"positions and excess must be vectors of equal length, but have shapes {at.shape} and {e.shape}."
            )
        if not (np.isfinite(at).all() and np.isfinite(e).all()):
            raise ValueError("positions and excess must be finite, but hold NaN or infinite values: not a sound run.")
        if at[0] != 0:
            return
        apart = abs(math.sqrt(max(e[0], 0)) - math.sqrt(self.excess))
        if apart > 5e-7 * math.sqrt(e[0]) + math.sqrt(self.start.rounding):
            raise ValueError(
                f"The run begins with an excess of {e[0]:.8g}, but the certificate is for a start with "
                f"{self.excess:.8g}: certify the network, target and loss that the run began with."
            )

    def _rates(self, at: Floats, e: Floats, seen: NDArray[np.bool_], step_size: float | None) -> tuple[float, float]:
        """The rate at which a run decays over the records that are seen, and that of the bound there.

        Of a prediction over the last third of the decay.
        """
        decaying = self.theorem.transform(self.start, e)
        seen = seen & np.isfinite(decaying)
        at, logs = at[seen], np.log(decaying[seen])
        if at.size < 2:
            return math.nan, self.rate if step_size is None else self.theorem.rate_of_step(self.start, step_size)
        first = 0 if self.is_guarantee else int(np.searchsorted(-logs, -(logs[0] + 2 * logs[-1]) / 3))
        first = min(first, at.size - 2)
        span = at[-1] - at[first]
        if not span > 0:
            return math.nan, math.nan
        certified = self.theorem.mean_rate(self.start, float(at[first]), float(at[-1]), step_size)
        return float((logs[first] - logs[-1]) / span), certified
