"""Records of a run beside loss and excess, a panel each."""

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
)
from deepbures.plot._time import positions_of, series, time_axis
from deepbures.training import Trajectory

RECORD_TITLES = {
    "gradient_norm": "Norm of the gradient, all layers",
    "balancedness_gap": "Balancedness gap (squared layer units)",
    "rank": "Rank and effective rank",
    "smallest_singular_value": "Smallest singular value (data units)",
}
_ON_LOG_SCALE = ("gradient_norm", "balancedness_gap")


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
            time_axis(axes, trajectory, label=i >= len(names) - 2)
            if name == "rank" and "effective_rank" in trajectory.records:
                curve = (positions_of(trajectory), finite(series(trajectory, "effective_rank")))
                _label_where_free(axes, curve, finite(series(trajectory, "rank")), "effective rank", MUTED)
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


def _draw_record(axes: Axes, trajectory: Trajectory, name: str, reference: float | None) -> None:
    positions, values = positions_of(trajectory), finite(series(trajectory, name))
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
            effective = finite(series(trajectory, "effective_rank"))
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
