"""The table of certificates."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepbures.certificates import Certificate, Check, in_words
from deepbures.plot import format_number
from deepbures.report._section import Section
from deepbures.training import Fit


def certificate_section(fit: Fit) -> Section:
    """What theory promised of this run, whether it was kept, and what is missing for the rest."""
    missed: dict[str, list[str]] = {}
    for certificate in fit.certificates:
        for assumption in certificate.missed:
            missed.setdefault(in_words(assumption), []).append(certificate.name)
    text = (
        "What theory says of training from this start: guarantees are theorems wherever their assumptions are met, "
        "predictions are local, for late times or small perturbations. Rates are per unit of time (flow), or per step "
        "of the largest size (descent); of bounds that tighten on the way, that at the start."
    )
    return Section(
        "Certificates",
        text=text,
        table=[_certificate_row(*pair, list(missed)) for pair in zip(fit.certificates, fit.checks, strict=True)],
        notes=[f"{words} (in {', '.join(names)})" for words, names in missed.items()],
    )


def _certificate_row(certificate: Certificate, check: Check, missed: Sequence[str]) -> dict[str, Any]:
    step = certificate.log_max_step_size
    holds = certificate.holds
    notes = ", ".join(f"[{missed.index(in_words(assumption)) + 1}]" for assumption in certificate.missed)
    return {
        "name": certificate.name,
        "statement": certificate.statement,
        "kind": certificate.kind,
        "holds": "yes" if holds else f"no: {notes}",
        "rate": _power(certificate.log_rate) if holds else "",
        "step": _power(step) if holds and step is not None else "",
        "run": _outcome(check) if holds else "",
        "violated": check.violated,
    }


def _power(log: float) -> str:
    """A positive number of a given natural logarithm, also where it is beyond the range of floating point."""
    if np.isnan(log):
        return ""
    if abs(log) < 690 or np.isinf(log):
        return format_number(float(np.exp(log)))
    return f"10^{log / np.log(10):.1f}".replace("-", "−")


def _outcome(check: Check) -> str:
    if not check.applies:
        return check.reason
    if check.violated:
        return (
            f"VIOLATED: first at {format_number(float(check.first_violation or 0.0))}, excess up to "
            f"{format_number(check.largest_ratio)} times the bound"
        )
    if np.isnan(check.tightness):
        return "too short a run to compare rates"
    speed = f"observed rate {format_number(check.tightness, 3)} times this one"
    return f"kept; {speed}" if check.certificate.is_guarantee else speed
