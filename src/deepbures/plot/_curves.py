"""Loss, excess and other records of a run against time."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
    style_log_axis,
)
from deepbures.training import Trajectory

RECORD_TITLES = {
    "gradient_norm": "Norm of the gradient, all layers",
    "balancedness_gap": "Balancedness gap (squared layer units)",
    "rank": "Rank and effective rank",
    "smallest_singular_value": "Smallest singular value (data units)",
}
_ON_LOG_SCALE = ("gradient_norm", "balancedness_gap")


def plot_loss(trajectory: Trajectory, *, units: str = "squared data units") -> Figure:
    """Loss against time, with the theoretical minimum as a line.

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
    values = finite(_series(trajectory, "loss"))
    least = float(np.asarray(trajectory.minimal_loss))
    with drawing((5.4, 3.5)) as figure:
        axes = figure.add_subplot()
        draw(axes, _positions(trajectory), values, color=RUN)
        _time_axis(axes, trajectory)
        axes.set_ylabel(f"loss L ({units})")
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
    (['flow-bottleneck'], 2)
    """
    excess = _series(trajectory, "excess")
    values = positive(excess)
    positions = _positions(trajectory)
    with drawing((5.4, 3.5)) as figure:
        axes = figure.add_subplot()
        draw(axes, positions, values, color=RUN)
        _time_axis(axes, trajectory, "log" if rate == 0 else "linear")
        axes.set_ylabel(f"excess L − L* ({units})")
        if not np.isfinite(values).any():
            remark(axes, "at or below rounding at every record")
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


def plot_records(trajectory: Trajectory, *, references: Mapping[str, float] | None = None) -> Figure:
    """What else a run recorded, one panel each: gradient norm, balancedness gap, ranks, smallest singular value, ….

    Parameters
    ----------
    trajectory : Trajectory
        A single run. Loss and excess have figures of their own; records that are not numbers are left out.
    references : mapping from names of records to floats, optional
        Values at the theoretical minimum, drawn as lines.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a batch of runs, or if nothing but loss and excess was recorded.

    Examples
    --------
    >>> import deepbures as db
    >>> from deepbures.plot import plot_records
    >>> target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0]), db.BuresWasserstein()
    >>> run = db.gradient_descent(db.initialize((2, 3), "gaussian", key=0), target, loss, 200)
    >>> figure = plot_records(run, references={"smallest_singular_value": 2**0.5})
    >>> len(figure.axes)
    4
    """
    names = panel_names(trajectory)
    if not names:
        raise ValueError("trajectory has no records besides loss and excess: there is nothing to draw.")
    rows = -(-len(names) // 2)
    with drawing((10.8, 2.75 * rows)) as figure:
        figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)  # type: ignore[union-attr, call-arg]
        for i, name in enumerate(names):
            axes = figure.add_subplot(rows, 2, i + 1)
            _draw_record(axes, trajectory, name, (references or {}).get(name))
            _time_axis(axes, trajectory, label=i >= len(names) - 2)
            if name == "rank" and "effective_rank" in trajectory.records:
                curve = (_positions(trajectory), finite(_series(trajectory, "effective_rank")))
                _label_where_free(axes, curve, finite(_series(trajectory, "rank")), "effective rank", MUTED)
    return figure


def panel_names(trajectory: Trajectory) -> tuple[str, ...]:
    """Records that `plot_records` gives a panel: those of one number each, the two ranks together."""
    size = np.asarray(trajectory.steps).shape[-1]
    numbers = [
        name
        for name, values in trajectory.records.items()
        if name not in ("loss", "excess") and not isinstance(values, tuple) and np.shape(values) == (size,)
    ]
    known = [name for name in RECORD_TITLES if name in numbers]
    return (
        *known,
        *(name for name in sorted(numbers) if name not in known and not ("rank" in known and name == "effective_rank")),
    )


def _series(trajectory: Trajectory, name: str) -> Floats:
    values = np.asarray(trajectory[name], np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"trajectory must be a single run, but holds a batch of shape {values.shape[:-1]}: "
            "draw one of them, jax.tree.map(lambda x: x[i], …)."
        )
    return values


def _positions(trajectory: Trajectory) -> Floats:
    return np.asarray(trajectory.steps if trajectory.times is None else trajectory.times, np.float64)


def _time_axis(axes: Axes, trajectory: Trajectory, scale: str = "symlog", *, label: bool = True) -> None:
    """Label and scale of the horizontal axis.

    "symlog" is logarithmic from the first record after the start on and linear before it, so that time 0 has its place.
    """
    positions = _positions(trajectory)
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
    """exp(−rate·t), at the height at which it follows the late part of the run; in a legend if it is not `labelled`.

    Nothing where there is no late part to compare with: the run must end in it, after at least one time scale 1/rate.
    """
    seen = np.isfinite(values)
    logs, times = np.log(values[seen]), positions[seen]
    late = logs <= logs.min() + (logs.max() - logs.min()) / 3
    entered = max(int(late.argmax()) - 1, 0)
    if not late[-1] or rate * (times[-1] - times[entered]) < 1:
        return
    height = float(np.median(logs[late] + rate * times[late]))
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


def _draw_record(axes: Axes, trajectory: Trajectory, name: str, reference: float | None) -> None:
    positions, values = _positions(trajectory), finite(_series(trajectory, name))
    axes.set_title(RECORD_TITLES.get(name, name.replace("_", " ")))
    if name in _ON_LOG_SCALE:
        shown = positive(values)
        if np.isfinite(shown).any():
            draw(axes, positions, shown, color=RUN)
            log_scale(axes, "y", shown)
        else:
            remark(axes, "zero at every record" if np.isfinite(values).all() else "no finite value")
        return
    draw(axes, positions, values, color=RUN)
    if name == "rank":
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        if "effective_rank" in trajectory.records:
            effective = finite(_series(trajectory, "effective_rank"))
            draw(axes, positions, effective, color=MUTED, linestyle=(0, (4, 1.5)))
            both = np.append(values, effective)
            low, high = float(np.nanmin(both, initial=np.inf)), float(np.nanmax(both, initial=-np.inf))
            if low <= high:
                axes.set_ylim(math.floor(low) - 0.2, math.ceil(high) + max(0.4, 0.16 * (high - low)))
            axes.annotate(
                "rank",
                (0.02, values[0]),
                xycoords=axes.get_yaxis_transform(),
                xytext=(0, 5),
                textcoords="offset points",
                color=RUN,
            )
    if np.nanmax(values, initial=0.0) > 1e5 and np.nanmin(values, initial=np.inf) > 0:
        log_scale(axes, "y", values)
    if reference is not None and (reference > 0 or axes.get_yscale() == "linear"):
        axes.axhline(reference, color=THEORY, linestyle="--", linewidth=1.5)
        # The label goes to the end of the line, on the side where the curve does not come from.
        late = values[positions >= np.sqrt(positions[-1] * positions[min(1, positions.size - 1)])]
        below = bool(np.nanmean(np.append(late, reference)) > reference)
        axes.annotate(
            f"at the minimum {format_number(reference)}",
            (0.98, reference),
            xycoords=axes.get_yaxis_transform(),
            xytext=(0, -4 if below else 4),
            textcoords="offset points",
            ha="right",
            va="top" if below else "bottom",
            color=THEORY,
        )
        axes.margins(y=0.15)


def _label_where_free(axes: Axes, curve: tuple[Floats, Floats], others: Floats, text: str, color: str) -> None:
    """A label beside the start or the end of a curve: where neither this curve nor another passes through it."""
    points = [np.column_stack([curve[0], values]) for values in (curve[1], others)]
    places = [
        axes.transAxes.inverted().transform(axes.transData.transform(xy[np.isfinite(xy).all(1)])) for xy in points
    ]
    if not len(places[0]):
        return
    for at_end in (False, True):
        level = float(places[0][-1 if at_end else 0, 1])
        left = 0.7 if at_end else 0.02
        for low in (level - 0.15, level + 0.03):
            inside = [
                (xy[:, 0] >= left) & (xy[:, 0] <= left + 0.3) & (xy[:, 1] > low) & (xy[:, 1] < low + 0.12)
                for xy in places
            ]
            if 0 <= low <= 0.88 and not any(hit.any() for hit in inside):
                x = 0.98 if at_end else 0.02
                axes.text(
                    x,
                    low + 0.06,
                    text,
                    transform=axes.transAxes,
                    color=color,
                    ha="right" if at_end else "left",
                    va="center",
                )
                return
    axes.text(0.98, 0.04, text, transform=axes.transAxes, color=color, ha="right")
