"""The largest step size of descent that is guaranteed to bring it on."""

import math

import numpy as np

from deepbures._warn import warn
from deepbures.certificates._certificate import Certificate
from deepbures.certificates._certify import certificates_of
from deepbures.certificates._words import in_words
from deepbures.landscape import Problem
from deepbures.model import DeepLinearNetwork

VISIBLE_CONTRACTION = 1e-11
"""Contractions per step below this cannot be seen in double precision."""


class NoCertifiedStepError(ValueError):
    """There is no certified step size from a start.

    Attributes
    ----------
    reason : str
        What is the case, to follow the name of the option: "has no certificate from this start (…)".
    is_too_far : bool
        Whether a start nearer to the target would have one.
    """

    def __init__(self, reason: str, *, is_too_far: bool) -> None:
        self.reason, self.is_too_far = reason, is_too_far
        closer = 'Start closer to the target (initialize(…, "close", target=…)), or pass' if is_too_far else "Pass"
        super().__init__(f'step_size = "certified" {reason}. {closer} "sharpness" or a number.')


def certificate_of_largest_step(net: DeepLinearNetwork, problem: Problem) -> Certificate:
    """Of the guarantees for descent that hold from this start, that with the largest step size.

    Raises
    ------
    NoCertifiedStepError
        If none is known of the loss, none has all its assumptions met, or the step underflows.
    """
    known = [c for c in certificates_of(net, problem) if c.method == "descent" and c.is_guarantee]
    if not known:
        raise NoCertifiedStepError(f"has no theorem on descent under a {type(problem.loss).__name__}", is_too_far=False)
    held = [certificate for certificate in known if certificate.holds]
    if not held:
        nearest = min(reversed(known), key=lambda certificate: len(certificate.missed))
        reasons = "; ".join(in_words(assumption) for assumption in nearest.missed)
        raise NoCertifiedStepError(
            f"has no certificate from this start ({nearest.name} misses: {reasons})",
            is_too_far=nearest.start.kept_eigenvalue > max(nearest.start.left_out_eigenvalue, nearest.start.tau),
        )
    best = max(held, key=_log_step)
    # The run is in the precision of the network or of the target, whichever is higher.
    tiny = min(float(np.finfo(array.dtype).tiny) for array in (net.weights[0], problem.target.mean))
    if not _log_step(best) > math.log(tiny):
        exponent = f"10^{_log_step(best) / math.log(10):.0f}"
        raise NoCertifiedStepError(f"is {exponent} for this start, below the range of floating point", is_too_far=False)
    return best


def _log_step(certificate: Certificate) -> float:
    log_size = certificate.log_max_step_size
    return -math.inf if log_size is None else log_size


def certified_step_size(net: DeepLinearNetwork, problem: Problem) -> float:
    """The largest step size with a guarantee for descent from this start.

    Raises
    ------
    NoCertifiedStepError
        As `certificate_of_largest_step` does.

    Warns
    -----
    UserWarning
        If the contraction per step is too small to be seen.
    """
    best = certificate_of_largest_step(net, problem)
    step = math.exp(_log_step(best))
    if best.log_rate < math.log(VISIBLE_CONTRACTION):
        warn(
            f"At the certified step size, {step:.3g}, the excess shrinks by a share of "
            f"10^{best.log_rate / math.log(10):.0f} a step: less than double precision can show. Expect no progress; "
            '"sharpness" is the step to train with.'
        )
    return step
