"""Bounds against reality, and smoothing against speed."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from deepbures.experiments import Bounds, Smoothing
from deepbures.plot._style import INK, MUTED, RUN, TARGET, THEORY, Floats, drawing, log_scale

_COLORS = (RUN, THEORY, TARGET, INK)
_LEAST_SHOWN = 0.1
_MARKS = ("o", "s", "^", "v")


def plot_tightness(record: Bounds) -> Figure:
    """Observed over certified rate of every instance, one row for each certificate.

    Parameters
    ----------
    record : Bounds
        What `experiments.bounds` returned.

    Returns
    -------
    matplotlib.figure.Figure
        Points left of 1 are slower than promised, at 0.1 those below it; crosses are runs above the bound. Violations
        of gray certificates count for nothing: these are no guarantees.

    Examples
    --------
    >>> from deepbures.experiments import bounds
    >>> from deepbures.plot import plot_tightness
    >>> plot_tightness(bounds(num_instances=3, dims=(2,))).axes[0].get_xscale()
    'log'
    """
    seen = {name: record.applies[name] & np.isfinite(values) for name, values in record.tightness.items()}
    names = [name for name, at in seen.items() if at.any()]
    with drawing((8.4, 0.9 + 0.42 * len(names))) as figure:
        axes = figure.add_subplot()
        jitter = np.random.default_rng(0)
        drawn = [np.maximum(record.tightness[name][seen[name]], _LEAST_SHOWN) for name in names]
        for row, (name, values) in enumerate(zip(names, drawn, strict=True)):
            heights = row + jitter.uniform(-0.22, 0.22, values.size)
            color = RUN if name in record.guarantees else MUTED
            broken = record.violated[name][seen[name]]
            axes.plot(values[~broken], heights[~broken], ".", color=color, ms=4, alpha=0.55, mew=0)
            axes.plot(values[broken], heights[broken], "X", color=THEORY, ms=6, mew=0)
            axes.plot([np.median(values)] * 2, [row - 0.34, row + 0.34], color=INK, lw=2)
        log_scale(axes, "x", np.concatenate([np.ones(1), *drawn]))
        axes.axvline(1.0, color=THEORY, linestyle="--", lw=1.4)
        axes.set_yticks(range(len(names)), [f"{name} ({v.size})" for name, v in zip(names, drawn, strict=True)])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("observed rate / certified rate (bar: median; gray: no guarantee; cross: above the bound)")
    return figure


def plot_margins(record: Bounds) -> Figure:
    """The smallest singular value along the flow against the margin that should bound it from below.

    Parameters
    ----------
    record : Bounds
        What `experiments.bounds` returned.

    Returns
    -------
    matplotlib.figure.Figure
        Rigorous margin and that of the authors' code (with smoothing); points below the line break the bound.

    Examples
    --------
    >>> from deepbures.experiments import bounds
    >>> from deepbures.plot import plot_margins
    >>> len(plot_margins(bounds(num_instances=3, dims=(2,))).axes)
    2
    """
    panels = (
        ("rigorous margin", record.margin, np.isfinite(record.margin)),
        ("authors' margin, τ > 0", record.authors_margin, np.isfinite(record.authors_margin) & (record.tau > 0)),
    )
    with drawing((8.8, 4.2)) as figure:
        for column, (title, margin, at) in enumerate(panels):
            axes = figure.add_subplot(1, 2, column + 1)
            broken = at & (record.smallest < margin * (1 - 1e-6))
            axes.plot(margin[at & ~broken], record.smallest[at & ~broken], "o", color=RUN, ms=4, mew=0, alpha=0.7)
            axes.plot(margin[broken], record.smallest[broken], "X", color=THEORY, ms=6, mew=0)
            axes.axline((0, 0), slope=1, color=INK, lw=1)
            axes.set_title(f"{title}: {int(broken.sum())} of {int(at.sum())} broken")
            axes.set_xlabel("margin c")
            axes.set_ylabel("smallest σₖ(W(t)) of the run")
            axes.set_xlim(left=0)
            axes.set_ylim(bottom=0)
    return figure


def plot_smoothing(record: Smoothing) -> Figure:
    """Bias, condition number, time and escape from a saddle against τ, one line for each depth.

    Parameters
    ----------
    record : Smoothing
        What `experiments.smoothing` returned.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from deepbures.experiments import smoothing
    >>> from deepbures.plot import plot_smoothing
    >>> len(plot_smoothing(smoothing(taus=(0.0, 0.1), depths=(2,))).axes)
    4
    """
    depths = np.unique(record.depth)
    panels: tuple[tuple[str, Floats, bool], ...] = (
        ("bias of the minimizer (every depth): distance/least − 1", record.bias - 1, False),
        ("condition number at the minimizer", record.condition, True),
        ("λ_max × time to 10⁻⁶ from a random start", record.time, True),
        ("time until a missing mode is half learned", record.escape, True),
    )
    with drawing((10.2, 6.8)) as figure:
        for number, (title, values, by_depth) in enumerate(panels):
            axes = figure.add_subplot(2, 2, number + 1)
            for index, depth in enumerate(depths if by_depth else depths[:1]):
                at = np.flatnonzero(record.depth == depth)
                color, mark = _COLORS[index % 4], _MARKS[index % 4]
                joined = "" if number == 3 else "-"
                style: dict[str, Any] = {"color": color, "ms": 4.5, "lw": 1.5, "label": f"depth {depth}"}
                axes.plot(_positions(record.tau[at]), values[at], f"{mark}{joined}", **style)
                if number == 3:
                    axes.plot(_positions(record.tau[at]), record.aligned[at], "-", color=color, lw=1.3)
                    axes.plot(_positions(record.tau[at]), record.predicted[at], ":", color=color, lw=1.8)
            _tau_axis(axes, record.tau)
            if by_depth:
                log_scale(axes, "y", values)
            axes.set_title(title)
        figure.axes[-1].set_ylim(top=6 * np.nanmax(record.escape, initial=1e-300))  # room for the legend
        _explain(figure.axes[-1])
        handles, labels = figure.axes[-2].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _explain(axes: Axes) -> None:
    handles = [
        Line2D([], [], color=MUTED, marker="o", ls="", ms=4.5, label="flow of the whole matrix"),
        Line2D([], [], color=MUTED, lw=1.3, label="scalar equation of the mode"),
        Line2D([], [], color=MUTED, lw=1.8, ls=":", label="leading order"),
    ]
    axes.legend(handles=handles, loc="upper left", frameon=False, fontsize=9)


def _positions(tau: Floats) -> Floats:
    """log10 τ, with τ = 0 half a decade left of the smallest positive one."""
    least = tau[tau > 0].min() if (tau > 0).any() else 1.0
    return np.log10(np.where(tau > 0, tau, least / np.sqrt(10)))


def _tau_axis(axes: Axes, tau: Floats) -> None:
    values = np.unique(tau)
    axes.set_xticks(_positions(values), [f"{value:g}" for value in values])
    axes.set_xlabel("smoothing τ")
