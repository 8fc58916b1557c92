"""What the curvature at the balanced minimizer predicts of any loss: for late times, and near it."""

import math
from collections.abc import Mapping

from deepbures.certificates._assumption import Assumption
from deepbures.certificates._logarithms import log
from deepbures.certificates._start import Start
from deepbures.certificates._theorem import AbstractTheorem

_SOURCE = "derived for this project"


def _sharp(start: Start) -> Assumption:
    return Assumption("sharpness λ_max of the balanced minimizer", start.sharpness, ">", 0.0)


class FlowAsymptotic(AbstractTheorem):
    """The rate of the final approach."""

    name = "flow-asymptotic"
    method = "flow"
    kind = "prediction"
    statement = (
        "e(t) ~ exp(−r t) late in the run, r twice the smallest positive Hessian eigenvalue at the balanced minimizer"
    )
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        rate = 2 * start.smallest_curvature
        return (Assumption("rate of the approach at the balanced minimizer", rate, ">", 0.0),)

    def constants(self, start: Start) -> Mapping[str, float]:
        return {"smallest_curvature": start.smallest_curvature, "sharpness": start.sharpness}

    def log_rate(self, start: Start) -> float:
        return log(2 * start.smallest_curvature)


class DescentSharpness(AbstractTheorem):
    """The contraction of the flattest mode per step, for steps up to half the stability limit."""

    name = "descent-sharpness"
    method = "descent"
    kind = "prediction"
    statement = "e shrinks by (1 − η μ)² per step, η ≤ 1/λ_max, late in the run, μ the smallest positive curvature"
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        slowest = Assumption("smallest positive curvature μ there", start.smallest_curvature, ">", 0.0)
        return (_sharp(start), slowest)

    def constants(self, start: Start) -> Mapping[str, float]:
        return {"sharpness": start.sharpness, "smallest_curvature": start.smallest_curvature}

    def log_rate(self, start: Start) -> float:
        return log(self.rate_of_step(start, 1 / start.sharpness)) if start.sharpness > 0 else math.nan

    def log_max_step_size(self, start: Start) -> float:
        return -log(start.sharpness)

    def rate_of_step(self, start: Start, step_size: float) -> float:
        share = step_size * start.smallest_curvature
        return -2 * math.log1p(-share) if share < 1 else math.inf


class DescentStability(AbstractTheorem):
    """The step size above which descent leaves the balanced minimizer."""

    name = "descent-stability"
    method = "descent"
    kind = "prediction"
    statement = "descent stays at the balanced minimizer for η < 2/λ_max and leaves it above"
    source = _SOURCE

    def assumptions(self, start: Start) -> tuple[Assumption, ...]:
        return (_sharp(start),)

    def constants(self, start: Start) -> Mapping[str, float]:
        return {"sharpness": start.sharpness}

    def log_rate(self, start: Start) -> float:
        return math.nan

    def log_max_step_size(self, start: Start) -> float:
        return math.log(2) - log(start.sharpness)
