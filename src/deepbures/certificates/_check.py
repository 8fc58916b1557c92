"""A run held against a certificate."""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepbures.certificates._comparison import ComparedByContents

if TYPE_CHECKING:
    from deepbures.certificates._certificate import Certificate


@dataclass(frozen=True, eq=False)
class Check(ComparedByContents):
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
    exceeded_by : float
        Largest L − L* less the bound among the records that are above the bound of a guarantee by more than rounding,
        violated or only within the tolerance of the check; 0 if there is none.
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
    >>> kept = [check for check in checks if check.applies and check.certificate.is_guarantee]
    >>> {check.certificate.name: check.violated for check in kept}
    {'flow-derived': False, 'flow-exact': False, 'flow-global': False, 'flow-any-layers': False}
    """

    certificate: "Certificate"
    applies: bool
    reason: str = ""
    violated: bool = False
    first_violation: float | None = None
    exceeded_by: float = 0.0
    largest_ratio: float = math.nan
    observed_rate: float = math.nan
    tightness: float = math.nan

    @property
    def is_exceeded(self) -> bool:
        """Whether the run was above the bound, but within the tolerance: neither held nor violated."""
        return self.exceeded_by > 0 and not self.violated

    @property
    def outcome(self) -> str:
        """In words: does not apply, prediction, held, exceeded by …, within the tolerance, or VIOLATED."""
        if not self.applies:
            return "does not apply"
        if not self.certificate.is_guarantee:
            return "prediction"
        if self.violated:
            return "VIOLATED"
        return f"exceeded by {self.exceeded_by:.3g}, within the tolerance" if self.is_exceeded else "held"

    def __str__(self) -> str:
        if not self.applies:
            return f"{self.certificate.name}: {self.outcome} ({self.reason})"
        rates = f"observed rate {self.observed_rate:.4g}, {self.tightness:.3g} times the certified one"
        if self.violated:
            where = f"first at {self.first_violation:.6g}, excess up to {self.largest_ratio:.6g} times the bound"
            return f"{self.certificate.name}: {self.outcome}, {where}"
        return f"{self.certificate.name}: {self.outcome}; {rates}"


def lost_at(check: Check, position: float) -> Check:
    """The check of a run whose excess is not finite from a position on, which is above every bound."""
    if not (check.applies and check.certificate.is_guarantee):
        return check
    first = position if check.first_violation is None else check.first_violation
    return dataclasses.replace(
        check, violated=True, first_violation=first, exceeded_by=math.inf, largest_ratio=math.inf
    )
