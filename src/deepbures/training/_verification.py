"""A run held against the certificates of its start."""

from collections.abc import Iterable

import numpy as np

from deepbures.certificates import Certificate, Check, lost_at
from deepbures.training._trajectory import Trajectory


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
    lost_from = float(np.asarray(run.positions)[first])
    return tuple(lost_at(check, lost_from) for check in _until(run, first).check(certificates))


def _until(run: Trajectory, count: int) -> Trajectory:
    times = None if run.times is None else run.times[:count]
    records = {"excess": run.excess[:count]}
    return Trajectory(times, run.steps[:count], records, run.network, run.minimal_loss, run.step_size, run.result)
