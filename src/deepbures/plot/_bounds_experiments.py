"""Bounds against reality, and smoothing against speed."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepbures.experiments import Bounds, Smoothing
from deepbures.plot._style import INK, MUTED, RUN, TARGET, THEORY, Floats, drawing, log_scale

_COLORS = (RUN, THEORY, TARGET, INK)
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
        Points left of 1 are slower than promised: violations, if the certificate is a guarantee.

    Examples
    --------
    >>> from deepbures.experiments import bounds
    >>> from deepbures.plot import plot_tightness
    >>> plot_tightness(bounds(num_instances=3, dims=(2,))).axes[0].get_xscale()
    'log'
    """
    shown = {
        name: values[record.applies[name] & np.isfinite(values)]
        for name, values in record.tightness.items()
        if (record.applies[name] & np.isfinite(values)).any()
    }
    with drawing((8.4, 0.9 + 0.42 * len(shown))) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        jitter = np.random.default_rng(0)
        for row, (name, values) in enumerate(shown.items()):
            heights = row + jitter.uniform(-0.22, 0.22, values.size)
            color = MUTED if name in ("flow-asymptotic", "flow-authors-code") else RUN
            axes.plot(values, heights, ".", color=color, ms=4, alpha=0.55, mew=0)
            axes.plot([np.median(values)] * 2, [row - 0.34, row + 0.34], color=INK, lw=2)
        log_scale(axes, "x", np.concatenate(list(shown.values())))
        axes.axvline(1.0, color=THEORY, linestyle="--", lw=1.4)
        axes.set_yticks(range(len(shown)), [f"{name} ({values.size})" for name, values in shown.items()])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("observed rate / certified rate (bar: median; gray: no guarantee)")
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
    panels: tuple[tuple[str, Callable[[], Floats], bool], ...] = (
        ("bias of the minimizer (every depth): distance/least − 1", lambda: record.bias - 1, False),
        ("condition number at the minimizer", lambda: record.condition, True),
        ("λ_max × time to 10⁻⁶ from a random start", lambda: record.time, True),
        ("time to leave a saddle (dashed: scalar equation)", lambda: record.escape, True),
    )
    with drawing((10.2, 6.8)) as figure:
        for number, (title, value, by_depth) in enumerate(panels):
            axes = figure.add_subplot(2, 2, number + 1)
            for index, depth in enumerate(depths if by_depth else depths[:1]):
                at = record.depth == depth
                at_tau, mark = _positions(record.tau[at]), f"{_MARKS[index % 4]}-"
                axes.plot(at_tau, value()[at], mark, color=_COLORS[index % 4], ms=4.5, lw=1.5, label=f"depth {depth}")
                if number == 3:
                    axes.plot(at_tau, record.aligned[at], "--", color=INK, lw=0.9)
            _tau_axis(axes, record.tau)
            if by_depth:
                log_scale(axes, "y", value())
            axes.set_title(title)
        handles, labels = figure.axes[-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _positions(tau: Floats) -> Floats:
    """log10 τ, with τ = 0 half a decade left of the smallest positive one."""
    least = tau[tau > 0].min() if (tau > 0).any() else 1.0
    return np.log10(np.where(tau > 0, tau, least / np.sqrt(10)))


def _tau_axis(axes: Axes, tau: Floats) -> None:
    values = np.unique(tau)
    axes.set_xticks(_positions(values), [f"{value:g}" for value in values])
    axes.set_xlabel("smoothing τ")
