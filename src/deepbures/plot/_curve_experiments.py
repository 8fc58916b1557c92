"""The curves behind the grid: excess and bounds, what else was recorded, saddles on the way."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepbures.experiments import Curve, Curves
from deepbures.plot._style import INK, MUTED, RUN, TARGET, THEORY, Floats, drawing, log_scale, positive

_BOUND_STYLES = {"flow-exact": "--", "flow-derived": "-.", "flow-paper": ":", "flow-bottleneck": "--"}
# Beyond this depth a panel looks like that of depth 10.
_DEEP = 20
_COLORS = (RUN, THEORY, TARGET, INK, "#009e73", "#cc79a7")


def plot_bounds_on_curves(record: Curves) -> Figure:
    """Excess L − L* of runs from close starts with the bounds that hold for them, one panel for each depth and τ.

    Parameters
    ----------
    record : Curves
        What `experiments.curves` returned.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from deepbures.experiments import curves
    >>> from deepbures.plot import plot_bounds_on_curves
    >>> figure = plot_bounds_on_curves(curves(runs=(("close", "bw", 1, 0.0),)))
    >>> figure.axes[0].get_title(loc="left")
    'depth 1, τ = 0'
    """
    chosen = [curve for curve in record.curves if curve.bounds and curve.depth < _DEEP]
    if not chosen:
        raise ValueError("record must hold a run from a close start with a bound that holds, but has none.")
    taus = sorted({curve.tau for curve in chosen})
    depths = sorted({curve.depth for curve in chosen})
    seen: dict[str, Any] = {}
    with drawing((2.9 * len(depths) + 0.8, 2.7 * len(taus) + 0.6)) as figure:
        for row, tau in enumerate(taus):
            for column, depth in enumerate(depths):
                own = [curve for curve in chosen if (curve.tau, curve.depth) == (tau, depth)]
                if own:
                    axes = figure.add_subplot(len(taus), len(depths), 1 + row * len(depths) + column)
                    seen |= _draw_with_bounds(axes, own[0])
                    axes.set_title(f"depth {depth}, τ = {tau:g}")
                    if column == 0:
                        axes.set_ylabel("excess L − L*")
                    axes.set_xlabel("time")
        figure.legend(list(seen.values()), list(seen), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw_with_bounds(axes: Axes, curve: Curve) -> dict[str, Any]:
    (line,) = axes.plot(curve.times, positive(curve.excess), color=RUN)
    seen: dict[str, Any] = {"gradient flow": line}
    for name, values in curve.bounds.items():
        style = _BOUND_STYLES[name]
        (seen[name],) = axes.plot(curve.times, positive(values), style, color=THEORY, linewidth=1.6)
    log_scale(axes, "y", curve.excess)
    axes.set_ylim(bottom=max(float(curve.excess[curve.excess > 0].min()) * 0.3, 1e-13 * float(curve.excess[0])))
    return seen


def plot_curve_records(record: Curves) -> Figure:
    """What else runs from close starts recorded: balancedness gap, effective rank, alignment, distance to the minimum.

    Parameters
    ----------
    record : Curves
        What `experiments.curves` returned.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from deepbures.experiments import curves
    >>> from deepbures.plot import plot_curve_records
    >>> len(plot_curve_records(curves(runs=(("close", "bw", 1, 0.0),))).axes)
    4
    """
    chosen = [curve for curve in record.curves if curve.start == "close"]
    if not chosen:
        raise ValueError("record must hold a run from a close start, but has none.")
    panels: tuple[tuple[str, Callable[[Curve], Floats], bool], ...] = (
        ("1 − mean |cos| with the eigenvectors", lambda curve: 1 - curve.alignment, True),
        ("effective rank", lambda curve: curve.effective_rank, False),
        ("squared distance to the minimizer, B²", lambda curve: curve.distance, True),
        ("balancedness gap", lambda curve: curve.balancedness_gap, True),
    )
    with drawing((10.2, 6.6)) as figure:
        for number, (title, value, is_log) in enumerate(panels):
            axes = figure.add_subplot(2, 2, number + 1)
            shown = [curve for curve in chosen if number < 3 or curve.depth > 1]
            for curve in shown:
                index = chosen.index(curve)
                style = ("-", "--", ":")[index // len(_COLORS) % 3]
                color = _COLORS[index % len(_COLORS)]
                values = positive(value(curve)) if is_log else value(curve)
                axes.plot(curve.times[1:], values[1:], style, color=color, linewidth=1.6, label=curve.label)
            axes.set_title(title)
            log_scale(axes, "x", np.concatenate([curve.times[1:] for curve in chosen]))
            if is_log and shown:
                log_scale(axes, "y", np.concatenate([positive(value(curve))[1:] for curve in shown]))
            axes.set_xlabel("time")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def plot_saddles(record: Curves) -> Figure:
    """Runs from small starts: the loss with the saddles it passes, and the singular values that are learned there.

    Parameters
    ----------
    record : Curves
        What `experiments.curves` returned.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels for each run: L − L* with shaded plateaus, and the singular values of W.

    Examples
    --------
    >>> from deepbures.experiments import curves
    >>> from deepbures.plot import plot_saddles
    >>> len(plot_saddles(curves(runs=(("small", "bw", 2, 0.0),))).axes)
    2
    """
    chosen = [curve for curve in record.curves if curve.start == "small"]
    if not chosen:
        raise ValueError("record must hold a run from a small start, but has none.")
    with drawing((10.2, 2.1 * len(chosen) + 0.4)) as figure:
        for row, curve in enumerate(chosen):
            left = figure.add_subplot(len(chosen), 2, 2 * row + 1)
            right = figure.add_subplot(len(chosen), 2, 2 * row + 2)
            begin, end = _learning(curve)
            at = (curve.times >= begin) & (curve.times <= end)
            left.plot(curve.times[at], curve.excess[at], color=RUN)
            right.plot(curve.times[at], curve.singular_values[at], color=RUN, linewidth=1.4)
            for axes in (left, right):
                axes.margins(y=0.14)  # room for the numbers
                _shade(axes, curve.plateaus, begin, end)
                axes.set_xlim(begin, end)
                log_scale(axes, "x", np.array([begin, end]))
            left.set_title(curve.label.removeprefix("small, "))
            left.set_ylabel("excess L − L*")
            right.set_ylabel("singular values")
        for axes in figure.axes[-2:]:
            axes.set_xlabel("time (shaded: near a saddle, numbers: its rank)")
    return figure


def _learning(curve: Curve) -> tuple[float, float]:
    """From before the first singular value has grown until after the last one has."""
    final = curve.singular_values[-1]
    first = np.flatnonzero(curve.singular_values[:, 0] > 0.1 * final[0])
    last = np.flatnonzero(curve.singular_values[:, -1] > 0.98 * final[-1])
    positive_times = curve.times[curve.times > 0]
    begin = curve.times[first[0]] if first.size and curve.times[first[0]] > 0 else positive_times[0]
    return 0.4 * float(begin), 1.6 * float(curve.times[last[0]])


def _shade(axes: Axes, plateaus: Floats, begin: float, end: float) -> None:
    for _, _, start, stop in plateaus:
        axes.axvspan(max(float(start), begin), min(float(stop), end), color=THEORY, alpha=0.18, linewidth=0)
    _number(axes, [(float(row[0]), max(float(row[2]), begin), min(float(row[3]), end)) for row in plateaus])


def _number(axes: Axes, spans: Sequence[tuple[float, float, float]]) -> None:
    for rank, start, stop in spans:
        axes.annotate(
            f"{rank:.0f}",
            (np.sqrt(start * stop), 0.98),
            xycoords=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize=8,
            color=MUTED,
        )
