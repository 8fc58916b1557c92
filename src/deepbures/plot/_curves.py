"""Loss and excess of a run against time."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepbures.plot._style import (
    MUTED,
    RUN,
    THEORY,
    Floats,
    draw,
    drawing,
    finite,
    format_number,
    log_scale,
    positive,
    remark,
)
from deepbures.plot._time import positions_of, series, time_axis
from deepbures.training import Trajectory


def plot_loss(trajectory: Trajectory, *, units: str = "squared data units") -> Figure:
    """Loss against time, with the theoretical minimum, where it is known, as a line.

    Time is on a log scale, as the records are: plateaus, where the run passes a saddle, show as steps.

    Parameters
    ----------
    trajectory : Trajectory
        A single run. Values that are not finite are left out.
    units : str
        Units of the loss, for the axis.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a batch of runs.

    Examples
    --------
    >>> import deepbures as db
    >>> from deepbures.plot import plot_loss
    >>> target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0]), db.BuresWasserstein()
    >>> run = db.gradient_descent(db.initialize((2, 3), "gaussian", key=0), target, loss, 200)
    >>> figure = plot_loss(run)
    >>> figure.axes[0].get_ylabel()
    'loss L (squared data units)'
    """
    values = finite(series(trajectory, "loss"))
    least = float(np.asarray(trajectory.minimal_loss))
    with drawing((5.4, 3.5)) as figure:
        axes = figure.add_subplot()
        draw(axes, positions_of(trajectory), values, color=RUN)
        time_axis(axes, trajectory)
        axes.set_ylabel(f"loss L ({units})")
        if np.isnan(least):
            return figure
        largest = np.nanmax(values, initial=least)
        if largest > 100 * least > 0 or largest > 1e4 * max(values[0], least) > 0:
            log_scale(axes, "y", np.append(values, least))
        if least > 0 or axes.get_yscale() == "linear":
            axes.axhline(least, color=THEORY, linestyle="--", linewidth=1.5)
            _make_room_below(axes, least)
            axes.annotate(
                f"theoretical minimum {format_number(least, 5)}",
                (0.02, least),
                xycoords=axes.get_yaxis_transform(),
                xytext=(0, -4),
                textcoords="offset points",
                va="top",
                color=THEORY,
            )
    return figure


def plot_excess(
    trajectory: Trajectory,
    *,
    rate: float | None = None,
    bounds: Mapping[str, Floats] | None = None,
    units: str = "squared data units",
) -> Figure:
    """Excess over the theoretical minimum, L − L*, on a log scale, with the predicted asymptotic slope and bounds.

    Against linear time an exponential approach is a straight line. The prediction exp(−rate·t) is anchored at the late
    part of the run (the last third of the decay, in decades): its slope is theory, its height is not, and it bounds
    nothing. Where the rate is zero, the approach is a power of t, and both axes are logarithmic.

    Parameters
    ----------
    trajectory : Trajectory
        A single run. Records at or below zero (rounding) cannot be shown on a log scale; a note says how many.
    rate : float, optional
        As `deepbures.asymptotic_rate` gives it. Not drawn where the run has no time (varying step sizes).
    bounds : mapping from labels to arrays (R,), optional
        What the excess is at most at each record, as `Certificate.bound` gives it. Drawn down to the lowest excess.
    units : str
        Units of the loss, for the axis.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a batch of runs, or a bound that has not one value for each record.

    Examples
    --------
    >>> import deepbures as db
    >>> from deepbures.plot import plot_excess
    >>> target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0]), db.BuresWasserstein()
    >>> run = db.gradient_descent(db.initialize((2, 3), "gaussian", key=0), target, loss, 200)
    >>> figure = plot_excess(run, rate=float(db.asymptotic_rate(target, 2, loss)))
    >>> figure.axes[0].get_yscale()
    'log'

    With everything that is guaranteed of the run:

    >>> fitted = db.fit(target, 2, depth=2, init="close")
    >>> held = [check.certificate for check in fitted.checks if check.applies and check.certificate.is_guarantee]
    >>> bounds = {certificate.name: certificate.bound(fitted.trajectory.times) for certificate in held}
    >>> list(bounds), len(plot_excess(fitted.trajectory, bounds=bounds).axes[0].lines)
    (['flow-bottleneck', 'flow-below-saddle'], 3)
    """
    excess = series(trajectory, "excess")
    values = positive(excess)
    positions = positions_of(trajectory)
    with drawing((5.4, 3.5)) as figure:
        axes = figure.add_subplot()
        draw(axes, positions, values, color=RUN)
        time_axis(axes, trajectory, "log" if rate == 0 else "linear")
        axes.set_ylabel(f"excess L − L* ({units})")
        if not np.isfinite(values).any():
            remark(axes, "not known" if np.isnan(excess).all() else "at or below rounding at every record")
            return figure
        log_scale(axes, "y", values)
        _draw_bounds(axes, positions, values, bounds or {})
        if rate is not None and rate > 0 and trajectory.times is not None:
            _draw_prediction(axes, positions, values, float(rate), labelled=not bounds)
        if bounds:  # beside them no place for words is free for certain
            figure.legend(
                loc="outside lower left", frameon=False, fontsize=8.5, ncols=2, handlelength=2.8, columnspacing=1.2
            )
        hidden = int((excess <= 0).sum())
        if hidden:
            axes.set_title(
                f"{hidden} of {excess.size} records at or below zero (rounding) not shown", color=MUTED, fontsize=9
            )
    return figure


def prediction_height(trajectory: Trajectory, rate: float) -> float | None:
    """The ln A at which A exp(−rate·t) follows the late part of a run, the last third of the decay in decades.

    Parameters
    ----------
    trajectory : Trajectory
        A single run.
    rate : float
        The predicted asymptotic rate.

    Returns
    -------
    float or None
        None where there is nothing to compare with: a rate of zero, a run without times or without positive excess, or
        one that does not end in its late part after at least one time scale 1/rate.
    """
    if trajectory.times is None or not rate > 0:
        return None
    return _height(positions_of(trajectory), positive(series(trajectory, "excess")), rate)


def _height(positions: Floats, values: Floats, rate: float) -> float | None:
    seen = np.isfinite(values)
    if not seen.any():
        return None
    logs, times = np.log(values[seen]), positions[seen]
    late = logs <= logs.min() + (logs.max() - logs.min()) / 3
    entered = max(int(late.argmax()) - 1, 0)
    if not late[-1] or rate * (times[-1] - times[entered]) < 1:
        return None
    return float(np.median(logs[late] + rate * times[late]))


def _make_room_below(axes: Axes, level: float) -> None:
    """Room for a line of text below a level near the lower end of the vertical axis."""
    _, top = axes.get_ylim()
    if axes.get_yscale() == "log":
        axes.set_ylim(level * (level / top) ** 0.14, top)
    elif top > level:
        axes.set_ylim(level - 0.14 * (top - level), top)


_BOUND_STYLES = (":", "-.", (0, (5, 1.2, 1, 1.2, 1, 1.2)), (0, (1, 3)))


def _draw_bounds(axes: Axes, positions: Floats, values: Floats, bounds: Mapping[str, Floats]) -> None:
    """A line for each bound, down to the lowest value of the run."""
    for i, (label, bound) in enumerate(bounds.items()):
        line = np.asarray(bound, np.float64)
        if line.shape != positions.shape:
            raise ValueError(
                f"bounds[{label!r}] must have one value for each of the {positions.size} records, but has shape "
                f"{line.shape}."
            )
        shown = positive(line)
        bottom, top = axes.get_ylim()
        axes.plot(
            positions, shown, color=THEORY, linestyle=_BOUND_STYLES[i % len(_BOUND_STYLES)], linewidth=1.5, label=label
        )
        axes.set_ylim(bottom, max(top, 1.5 * float(np.nanmax(shown, initial=0.0))))


def _draw_prediction(axes: Axes, positions: Floats, values: Floats, rate: float, *, labelled: bool) -> None:
    """exp(−rate·t) at its `prediction_height`, if it has one; in a legend if it is not `labelled`."""
    height = _height(positions, values, rate)
    if height is None:
        return
    seen = np.isfinite(values)
    logs, times = np.log(values[seen]), positions[seen]
    bottom, top = axes.get_ylim()
    grid = np.linspace(times[0], times[-1], 400)
    line = height - rate * grid
    shown = (line <= logs.max()) & (line >= math.log(bottom))
    text = f"exp(−{format_number(rate, 3)} t)"
    label = None if labelled else f"predicted slope {text}"
    axes.plot(grid[shown], np.exp(line[shown]), color=THEORY, linestyle="--", linewidth=1.5, label=label)
    axes.set_ylim(bottom, top)
    if not labelled:
        return
    # Above a convex decay there is room at the right; where plateaus fill that, there is room below them.
    drawn = np.maximum(logs, np.interp(times, grid[shown], line[shown], left=-np.inf, right=-np.inf))
    heights = (drawn - math.log(bottom)) / (math.log(top) - math.log(bottom))
    crowded = bool((heights[times > (times[0] + times[-1]) / 2.2] > 0.78).any())
    axes.text(
        0.03 if crowded else 0.98,
        0.05 if crowded else 0.96,
        f"predicted slope (not a bound)\n{text}",
        transform=axes.transAxes,
        color=THEORY,
        ha="left" if crowded else "right",
        va="bottom" if crowded else "top",
    )
