"""Certificates in words and plain values."""

import math
from typing import Any

from deepbures.certificates._assumption import Assumption
from deepbures.certificates._certificate import Certificate
from deepbures.certificates._check import Check


def in_words(assumption: Assumption) -> str:
    """An assumption and by how much it is met or missed, or that it has no meaning from this start."""
    if math.isnan(assumption.value) or math.isnan(assumption.limit):
        return f"{assumption.statement}: undefined here"
    return str(assumption).removeprefix("not met: ").removeprefix("met: ")


def violation(check: Check) -> str:
    """What to say of a guarantee that a run violated."""
    return (
        f"{check}. Its assumptions hold, so this is an error of deepbures or of the theorem as stated there: please "
        "report it, with the data, the options and the seed."
    )


def time_to_millionth(certificate: Certificate) -> float:
    """The time, or steps of the largest size, to 10⁻⁶ of the excess of the start; NaN where that is not known."""
    return certificate.time_to(1e-6 * certificate.excess) if math.isfinite(certificate.excess) else math.nan


def as_plain(certificate: Certificate, check: Check | None = None) -> dict[str, Any]:
    """A certificate, and the run held against it, as strings, numbers and lists."""
    step = certificate.log_max_step_size
    entry: dict[str, Any] = {
        "name": certificate.name,
        "kind": certificate.kind,
        "holds": certificate.holds,
        "missed": [in_words(assumption) for assumption in certificate.missed],
        "rate": certificate.rate,
        "log10_rate": certificate.log_rate / math.log(10),
        "asymptotic_rate": certificate.asymptotic_rate,
        "time_to_millionth": time_to_millionth(certificate),
        "max_step_size": certificate.max_step_size,
        "log10_max_step_size": None if step is None else step / math.log(10),
    }
    if check is not None:
        entry |= {
            "applies": check.applies,
            "reason": check.reason if certificate.holds else "its assumptions are not met",
            "violated": check.violated,
            "outcome": check.outcome,
            "exceeded_by": check.exceeded_by,
            "tightness": check.tightness,
        }
    return entry
