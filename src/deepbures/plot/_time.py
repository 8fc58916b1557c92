"""The records of a run, and the axis of time that they are drawn against."""

import numpy as np
from matplotlib.axes import Axes

from deepbures.plot._style import Floats, style_log_axis
from deepbures.training import Trajectory


def series(trajectory: Trajectory, name: str) -> Floats:
    """One record of a single run."""
    values = np.asarray(trajectory[name], np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"trajectory must be a single run, but holds a batch of shape {values.shape[:-1]}: "
            "draw one of them, jax.tree.map(lambda x: x[i], …)."
        )
    return values


def positions_of(trajectory: Trajectory) -> Floats:
    """Where the records are: times, or steps where the run has no time."""
    return np.asarray(trajectory.steps if trajectory.times is None else trajectory.times, np.float64)


def time_axis(axes: Axes, trajectory: Trajectory, scale: str = "symlog", *, label: bool = True) -> None:
    """Label and scale of the horizontal axis.

    "symlog" is logarithmic from the first record after the start on and linear before it, so that time 0 has its place.
    """
    positions = positions_of(trajectory)
    positive = positions[positions > 0]
    name = "time t (step size × steps)" if trajectory.step_size is not None else "flow time t"
    if trajectory.times is None:
        name = "steps"
    if scale != "linear" and positive.size > 1 and positive[-1] > positive[0]:
        first, last = float(positive[0]), float(positive[-1])
        if scale == "symlog":
            axes.set_xscale("symlog", linthresh=first, linscale=0.35)
            name += ", log scale after the first record"
        else:
            axes.set_xscale("log")
            name += ", log scale"
        style_log_axis(axes.xaxis, positive, zero=scale == "symlog")
        axes.set_xlim(0 if scale == "symlog" else first, last * (last / first) ** 0.01)
    if label:
        axes.set_xlabel(name)
