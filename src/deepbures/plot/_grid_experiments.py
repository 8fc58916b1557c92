"""The paper's grid: slopes over depth, smallest eigenvalue and smoothing; and descent against the flow."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from deepbures.experiments import Descent, Grid
from deepbures.model import LossName
from deepbures.plot._style import GRID, INK, MUTED, RUN, TARGET, THEORY, Floats, drawing, log_scale

_NAMES: dict[str, str] = {LossName.bw: "Bures-Wasserstein", LossName.frobenius: "Frobenius"}
_COLORS = (RUN, THEORY, TARGET, INK)


def plot_slopes(record: Grid, *, loss: str = LossName.bw.value, ratio: bool = False) -> Figure:
    """Slopes −d log10(L − L*)/dt as maps over depth and smallest eigenvalue, one panel for each τ.

    Crossed out: cells that do not come down to 10^−3.5 by the horizon (or, where the ratio is shown, have no predicted
    slope). Where τ exceeds λ_n the cell is shown as the authors' code has it, with τ clipped to λ_n, and framed.

    Parameters
    ----------
    record : Grid
        What `experiments.grid` returned.
    loss : "bw" or "frobenius"
        Which loss.
    ratio : bool
        Slope over predicted slope instead; the largest tenth may be off the scale of colors.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the record has no run of this loss.

    Examples
    --------
    >>> from deepbures.experiments import grid
    >>> from deepbures.plot import plot_slopes
    >>> figure = plot_slopes(grid(losses=("bw",), taus=(0.0,), smins=(2.0, 4.0), depths=(1, 10)))
    >>> figure.axes[0].get_title(loc="left")
    'τ = 0'
    """
    chosen = (record.loss == loss) & (
        (record.tau <= record.smallest_eigenvalue) | record.clipped | (loss != LossName.bw)
    )
    if not chosen.any():
        raise ValueError(f"record must hold runs of the loss {loss!r}, but has none.")
    taus = np.unique(record.tau[chosen])
    values = record.slope / np.where(record.has_rate, record.predicted, np.nan) if ratio else -record.slope
    shown = values[chosen & np.isfinite(values)]
    norm = _norm(shown, ratio)
    with drawing((2.7 * len(taus) + 1.5, 3.9)) as figure:
        mesh: Any = None
        for column, tau in enumerate(taus):
            axes = figure.add_subplot(1, len(taus), column + 1)
            at = chosen & (record.tau == tau)
            mesh = _map(axes, record, values, at, norm)
            axes.set_title(f"τ = {tau:g}")
            axes.set_xlabel("depth")
            if column == 0:
                axes.set_ylabel("smallest eigenvalue λₙ")
            else:
                axes.tick_params(labelleft=False)
        label = "slope / predicted" if ratio else "decades per unit of time"
        is_beyond = norm is not None and bool((shown > norm.vmax * (1 + 1e-9)).any())
        bar = figure.colorbar(mesh, ax=figure.axes, pad=0.01, extend="max" if is_beyond else "neither")
        bar.set_label(f"{_NAMES[loss]}: {label}")
        marks: list[Any] = []
        if not np.isfinite(values[chosen]).all():
            marks.append(Line2D([], [], marker="x", ls="", color=MUTED, ms=4, mew=0.8, label="no slope"))
        if loss == LossName.bw and record.clipped[chosen].any():
            marks.append(Patch(fill=False, edgecolor=THEORY, linewidth=1.3, label="τ clipped to λₙ"))
        if marks:
            figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _norm(shown: Floats, ratio: bool) -> Any:
    if not shown.size:
        return None
    if ratio:
        return Normalize(min(1.0, float(shown.min())), max(1.05, float(np.quantile(shown, 0.9))))
    return LogNorm(float(shown.min()), float(shown.max()))


def _map(axes: Axes, record: Grid, values: Floats, at: Any, norm: Any) -> Any:
    depths, levels = np.unique(record.depth[at]), np.unique(record.smallest_eigenvalue[at])
    cells = np.full((levels.size, depths.size), np.nan)
    clipped = np.zeros(cells.shape, bool)
    for i in np.flatnonzero(at):
        row, column = np.searchsorted(levels, record.smallest_eigenvalue[i]), np.searchsorted(depths, record.depth[i])
        cells[row, column], clipped[row, column] = values[i], record.clipped[i] and record.loss[i] == LossName.bw
    mesh = axes.pcolormesh(np.arange(depths.size), np.arange(levels.size), cells, norm=norm, cmap="viridis", zorder=2)
    for row, column in np.argwhere(~np.isfinite(cells)):
        axes.plot(column, row, "x", color=MUTED, ms=4, mew=0.8, zorder=3)
    for row in np.flatnonzero(clipped.any(1)):
        frame = Rectangle((-0.5, row - 0.5), depths.size, 1, fill=False, edgecolor=THEORY, linewidth=1.3, zorder=4)
        axes.add_patch(frame)
    every = max(1, depths.size // 5)
    axes.set_xticks(np.arange(depths.size)[::every], [str(depth) for depth in depths[::every]])
    axes.set_yticks(np.arange(levels.size), [f"{level:g}" for level in np.round(levels, 3)])
    axes.grid(visible=False)
    return mesh


def plot_slopes_by_depth(record: Grid) -> Figure:
    """Slopes against depth for up to four targets at the smallest τ, with the predicted ones, both losses side by side.

    Parameters
    ----------
    record : Grid
        What `experiments.grid` returned.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from deepbures.experiments import grid
    >>> from deepbures.plot import plot_slopes_by_depth
    >>> len(plot_slopes_by_depth(grid(losses=("bw",), taus=(0.0,), smins=(2.0,), depths=(1, 10))).axes)
    1
    """
    losses = [loss for loss in _NAMES if (record.loss == loss).any()]
    with drawing((5.0 * len(losses) + 0.4, 4.0)) as figure:
        for column, loss in enumerate(losses):
            axes = figure.add_subplot(1, len(losses), column + 1)
            base = (record.loss == loss) & (record.tau == record.tau[record.loss == loss].min())
            base &= ~record.clipped | (loss != LossName.bw)
            levels = np.unique(record.smallest_eigenvalue[base])
            for number, level in enumerate(levels[np.linspace(0, levels.size - 1, min(4, levels.size)).astype(int)]):
                at = base & (record.smallest_eigenvalue == level)
                order = np.argsort(record.depth[at])
                depth = record.depth[at][order]
                color = _COLORS[number % len(_COLORS)]
                axes.plot(depth, -record.slope[at][order], "o-", color=color, ms=4, lw=1.4, label=f"λₙ = {level:.3g}")
                axes.plot(depth, -record.predicted[at][order], "--", color=color, lw=1.2)
            log_scale(axes, "y", np.concatenate([-record.slope[base], -record.predicted[base]]))
            axes.set_xlabel("depth")
            axes.set_ylabel("decades per unit of time")
            axes.set_title(f"{_NAMES[loss]}, τ = {record.tau[base].min():g} (dashed: predicted)")
            axes.legend(frameon=False, fontsize=9)
    return figure


def plot_descent_against_flow(record: Descent) -> Figure:
    """Slope of gradient descent at the paper's step over that of the flow, cell by cell, with a band of 1 %.

    Parameters
    ----------
    record : Descent
        What `experiments.descent` returned.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from deepbures.experiments import descent
    >>> from deepbures.plot import plot_descent_against_flow
    >>> figure = plot_descent_against_flow(descent(cells=((25, 5.0, 0.0),)))
    >>> figure.axes[0].get_ylabel()
    'descent / flow − 1, in %'
    """
    labels = [f"{d}\n{s:g}\n{t:g}" for d, s, t in zip(record.depth, record.smin, record.tau, strict=True)]
    with drawing((max(4.0, 0.62 * len(labels) + 1.6), 3.4)) as figure:
        axes = figure.add_subplot()
        axes.axhspan(-1, 1, color=GRID, zorder=0)
        axes.plot(np.arange(len(labels)), 100 * (record.ratio - 1), "o", color=RUN, ms=6)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlabel("depth, smin, τ (shaded: 1 %)")
        axes.set_ylabel("descent / flow − 1, in %")
        axes.grid(visible=False, axis="x")
    return figure
