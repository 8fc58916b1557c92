"""A run held against the certificates of its start, and certificates in words and plain values."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from deepbures.training._certificate import Assumption, Certificate, Check
from deepbures.training._trajectory import Trajectory

_COMPARISONS = ("flow-authors-code",)


def kind(certificate: Certificate) -> str:
    """What it is worth: "guarantee", "prediction", or "comparison" (a formula reproduced, which promises nothing)."""
    if certificate.is_guarantee:
        return "guarantee"
    return "comparison" if certificate.name in _COMPARISONS else "prediction"


def in_words(assumption: Assumption) -> str:
    """An assumption and by how much it is met or missed, or that it has no meaning from this start."""
    if math.isnan(assumption.value) or math.isnan(assumption.limit):
        return f"{assumption.statement}: undefined here"
    return str(assumption).removeprefix("not met: ").removeprefix("met: ")


def hold_against(run: Trajectory, certificates: Iterable[Certificate]) -> tuple[Check, ...]:
    """`Trajectory.check`, also of runs that left the range of finite numbers, which is above every bound.

    A run in single precision is held against nothing: small steps are lost in the rounding of its weights, so that it
    falls behind a true bound (30 dimensions, depth 2, certified step: 3 % above after 200,000 steps).
    """
    certificates = tuple(certificates)
    excess = np.asarray(run.excess)
    if excess.dtype != np.float64:
        reason = f"the run was computed in {excess.dtype}, and bounds are checked in double precision only"
        return tuple(Check(certificate, applies=False, reason=reason) for certificate in certificates)
    lost = ~np.isfinite(excess)
    if not lost.any():
        return run.check(certificates)
    first = int(lost.argmax())
    if first == 0:
        return tuple(Check(c, applies=False, reason="the loss is not finite at the start") for c in certificates)
    at = run.steps if run.times is None or run.step_size is not None else run.times
    return tuple(_with_loss_of(check, float(np.asarray(at)[first])) for check in _until(run, first).check(certificates))


def _until(run: Trajectory, count: int) -> Trajectory:
    times = None if run.times is None else run.times[:count]
    records = {"excess": run.excess[:count]}
    return Trajectory(times, run.steps[:count], records, run.network, run.minimal_loss, run.step_size, run.result)


def _with_loss_of(check: Check, position: float) -> Check:
    """The check of a run whose excess is not finite from `position` on."""
    if not (check.applies and check.certificate.is_guarantee):
        return check
    first = position if check.first_violation is None else check.first_violation
    return dataclasses.replace(check, violated=True, first_violation=first, largest_ratio=math.inf)


def violation(check: Check) -> str:
    """What to say of a guarantee that a run violated."""
    return (
        f"{check}. Its assumptions hold, so this is an error of deepbures or of the theorem as stated there: please "
        "report it, with the data, the options and the seed."
    )


def as_plain(certificate: Certificate, check: Check | None = None) -> dict[str, Any]:
    """A certificate, and the run held against it, as strings, numbers and lists."""
    step = certificate.log_max_step_size
    entry: dict[str, Any] = {
        "name": certificate.name,
        "kind": kind(certificate),
        "holds": certificate.holds,
        "missed": [in_words(assumption) for assumption in certificate.missed],
        "rate": certificate.rate,
        "log10_rate": certificate.log_rate / math.log(10),
        "max_step_size": certificate.max_step_size,
        "log10_max_step_size": None if step is None else step / math.log(10),
    }
    if check is not None:
        entry |= {
            "applies": check.applies,
            "reason": check.reason if certificate.holds else "its assumptions are not met",
            "violated": check.violated,
            "tightness": check.tightness,
        }
    return entry
