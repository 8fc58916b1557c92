"""What is proved of a run: a sentence, one figure, and folded away the table of all that theory says."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from deepbures import plot
from deepbures.certificates import Certificate, Check, in_words
from deepbures.plot import format_number
from deepbures.report._section import Figure
from deepbures.training import Fit


class Proved(NamedTuple):
    """What a report says of proofs."""

    sentence: str
    figures: Sequence[Figure]
    counted: str
    statements: Sequence[dict[str, Any]]
    violated: bool


def proved_of(fit: Fit) -> Proved | None:
    """What is proved of the training; None where there was none."""
    proof, sentence = fit.proof, fit.proved
    if fit.trajectory is None or proof is None or sentence is None:
        return None
    caption = (
        "The excess of the run over the theoretical minimum (solid), and what it certainly is below from the mark on "
        "(dashed): a theorem on the rest of the run, from the numbers of that record."
    )
    svg = plot.to_svg(plot.plot_proof(fit.trajectory, proof, units=fit.loss.units)) if proof else ""
    return Proved(
        _for_readers(sentence),
        [Figure(svg, caption)] if proof else [],
        _counted(fit.checks),
        [_statement(*pair) for pair in zip(fit.certificates, fit.checks, strict=True)],
        any(check.violated for check in fit.checks),
    )


def _for_readers(sentence: str) -> str:
    """A sentence with a capital and a full stop, its powers of ten written as in the rest of the page."""
    text = re.sub(r"[\d.]+e[-+]\d+", lambda found: format_number(float(found[0]), 3), sentence)
    return f"{text[0].upper()}{text[1:]}."


def _counted(checks: Sequence[Check]) -> str:
    """How many statements there are, and how many of them promise something of this run from its start."""
    applying = sum(check.applies and check.certificate.is_guarantee for check in checks)
    all_ = "1 statement" if len(checks) == 1 else f"{len(checks)} statements"
    which = {0: "none of them a guarantee that applies", 1: "1 of them a guarantee that applies"}
    return f"{all_}, {which.get(applying, f'{applying} of them guarantees that apply')}"


def _statement(certificate: Certificate, check: Check) -> dict[str, Any]:
    step = certificate.log_max_step_size
    holds = certificate.holds
    return {
        "name": certificate.name,
        "statement": certificate.statement,
        "missed": "; ".join(in_words(assumption) for assumption in certificate.missed),
        "kind": certificate.kind,
        "holds": holds,
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
    is_short = bool(np.isnan(check.tightness))
    rate = f"observed rate {format_number(check.tightness, 3)} times this one"
    speed = "too short a run to compare rates" if is_short else rate
    if check.is_exceeded:
        return f"exceeded by {format_number(check.exceeded_by, 3)}, within the tolerance; {speed}"
    return f"kept; {speed}" if check.certificate.is_guarantee and not is_short else speed
