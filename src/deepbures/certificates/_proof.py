"""What is proved of a run on its way: the first record from which a guarantee holds."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepbures._types import Floats
from deepbures.certificates._certificate import Certificate
from deepbures.certificates._check import Check, lost_at
from deepbures.certificates._comparison import ComparedByContents
from deepbures.certificates._words import in_words

_NEEDED = ("loss", "excess")
_USED = ("smallest_singular_value", "balancedness_gap")


@dataclass(frozen=True, eq=False)
class Proof(ComparedByContents):
    """From which record of a run on a guarantee holds, and what it promises from there; false where none does.

    Attributes
    ----------
    certificate : Certificate or None
        The guarantee, its `start` the record that it begins at; None if none holds at any record.
    check : Check or None
        How the rest of the run kept it.
    record : int
        Which record that is; −1 if none.
    position : float
        Its time (flow) or number of steps (descent); infinite if there is none.
    step_size : float or None
        Of a descent.
    missed : tuple of str
        Where nothing is proved, why, in words.

    Examples
    --------
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0), db.BuresWasserstein()
    >>> start = db.initialize((2, 2, 3), "balanced", key=0, target=target)
    >>> run = db.gradient_flow(start, target, loss, 20.0)
    >>> proof = run.certified(db.certify(start, target, loss))
    >>> bool(proof), proof.certificate.name, proof.record > 0, bool(proof.position < proof.time_to(1e-3) < 20)
    (True, 'flow-below-saddle', True, True)
    >>> proof.bound([0.0, proof.position]).tolist() == [float("inf"), proof.certificate.excess]
    True
    """

    certificate: Certificate | None = None
    check: Check | None = None
    record: int = -1
    position: float = math.inf
    step_size: float | None = None
    missed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether a guarantee holds from a record on."""
        return self.certificate is not None

    def bound(self, positions: Any) -> Floats:
        """What the excess is at most at times (flow) or after steps (descent) of the run; infinite before the record.

        Raises
        ------
        ValueError
            For positions that are negative or not finite.
        """
        at = np.asarray(positions, np.float64)
        if self.certificate is None:
            return np.full(at.shape, math.inf)
        promised = self.certificate.bound(
            np.where(at < self.position, 0.0, at - self.position), step_size=self.step_size
        )
        return np.where(at < self.position, math.inf, promised)

    def time_to(self, tolerance: float) -> float:
        """The time, or number of steps, of the run from which on the excess is certainly not above a tolerance."""
        if self.certificate is None:
            return math.inf
        return self.position + self.certificate.time_to(tolerance, step_size=self.step_size)

    def sentence(self, positions: Any, excess: Any) -> str:
        """What is proved of a run with this excess at its times or steps, and how that compares; or what is missed."""
        if self.certificate is None or self.check is None:
            return f"nothing is proved of this run: {'; '.join(self.missed)}"
        at, last = float(np.asarray(positions)[-1]), float(np.asarray(excess)[-1])
        unit = "time" if self.certificate.method == "flow" else "step"
        kept = "which it kept" if self.check.outcome == "held" else f"which the run {self.check.outcome}"
        start = f"from {unit} {self.position:.3g} on, at an excess of {self.certificate.excess:.3g}"
        falls = f"a bound that falls to {float(self.bound(at)):.3g} by {unit} {at:.4g}, {kept}"
        proved = f"{start}, the excess is certainly below {falls} ({self.certificate.name})"
        if not math.isfinite(last):
            return proved
        return f"{proved}; below the {last:.3g} observed then before {unit} {self.time_to(max(last, 0.0)):.4g}"


def prove(
    certificates: Iterable[Certificate],
    positions: Any,
    records: Mapping[str, Any],
    *,
    step_size: float | None = None,
    tolerance: float = 1e-7,
) -> Proof:
    """The first record from which a guarantee holds, of those that do there the one that promises most.

    Parameters
    ----------
    certificates : iterable of Certificate
        Of the start of the run, those for its way of training: `step_size` is that of a descent, None of a flow. The
        flow, and descent with a constant step, go on from any record as they would if they began there.
    positions : array (R,)
        Times (flow) or steps (descent).
    records : mapping
        loss and excess at each record; of smallest_singular_value and balancedness_gap what is known.
    """
    excess = np.asarray(records["excess"], np.float64)
    at = np.asarray(positions, np.float64)
    lost = ~np.isfinite(excess)
    count = int(lost.argmax()) if lost.any() else excess.size
    guarantees = [certificate for certificate in certificates if certificate.is_guarantee]
    if not guarantees:
        return Proof(missed=("no theorem on this way of training is known for this loss",))
    if not count:
        return Proof(missed=("the loss is not finite at the start",))
    for record in range(count):
        holding = [
            certificate
            for certificate in _at_record(guarantees, records, record)
            if certificate.holds and (step_size is None or certificate.speaks_of(step_size))
        ]
        if not holding:
            continue
        best = min(holding, key=lambda c: (c.time_to(1e-6 * c.excess, step_size=step_size), -c.rate))
        check = best.check(
            at[record:count] - at[record], excess[record:count], step_size=step_size, tolerance=tolerance
        )
        check = _shifted(check, float(at[record]))
        if lost.any():
            check = lost_at(check, float(at[count]))
        return Proof(best, check, record, float(at[record]), step_size)
    return Proof(missed=_missed(guarantees, list(_at_record(guarantees, records, count - 1)), step_size))


def _at_record(certificates: Iterable[Certificate], records: Mapping[str, Any], record: int) -> Iterator[Certificate]:
    """The certificates of a start with the numbers of a record."""
    loss, excess = (float(np.asarray(records[name])[record]) for name in _NEEDED)
    smallest, gap = (float(np.asarray(records[name])[record]) if name in records else None for name in _USED)
    for certificate in certificates:
        yield dataclasses.replace(certificate, start=certificate.start.at_record(loss, excess, smallest, gap))


def _shifted(check: Check, position: float) -> Check:
    """A check of the rest of a run, in positions of the whole."""
    first = check.first_violation
    return check if first is None else dataclasses.replace(check, first_violation=first + position)


def _missed(begun: list[Certificate], ended: list[Certificate], step_size: float | None) -> tuple[str, ...]:
    """What the theorem that misses least misses at the last record: first of what the training did not change."""

    def misses(pair: tuple[Certificate, Certificate]) -> tuple[int, int]:
        before, now = pair
        return sum(assumption in before.missed for assumption in now.missed), len(now.missed)

    _, nearest = min(reversed(list(zip(begun, ended, strict=True))), key=misses)
    if nearest.missed:
        return tuple(in_words(assumption) for assumption in nearest.missed)
    return (f"the step size {step_size:.4g} is above {nearest.max_step_size:.4g}, the largest that is certified there",)
