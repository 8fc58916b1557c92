"""The two losses compared: extremes and condition numbers, paths, second-order models, and the blow-up."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from deepbures.experiments import Hessians
from deepbures.model import LossName
from deepbures.plot._style import (
    GRID,
    INK,
    MUTED,
    RUN,
    TARGET,
    THEORY,
    Floats,
    drawing,
    format_number,
    log_scale,
)

_NAMES: dict[str, tuple[str, str, str]] = {
    LossName.bw: ("BW, τ = {tau:g}", RUN, "-"),
    LossName.frobenius: ("Frobenius", THEORY, "--"),
}
_QUANTITIES = {
    "smallest": "λ_min",
    "largest": "λ_max",
    "relative_condition": "relative condition number λ_max / |λ_min|",
    "absolute_condition": "absolute condition number λ_max / min |λ| ≠ 0",
}
_DIRECTIONS = ("exchange of the last mode", "scale of the largest mode")


def plot_curvatures(record: Hessians, *, order: str = "swap") -> Figure:
    """Extremes and condition numbers of the Hessian at the critical points of a sequence, both losses.

    Parameters
    ----------
    record : Hessians
        What `hessians` found.
    order : "swap" or "loss"
        Which sequence of critical points.

    Returns
    -------
    matplotlib.figure.Figure
        Means over the targets, with bands of ±1 standard deviation (on a log scale not below the least value found),
        and medians as dots, which a few targets with nearly equal eigenvalues cannot move. Infinite values, those of
        the relative condition number where λ_min is zero, are left out.

    Raises
    ------
    ValueError
        If there is no such sequence.

    Examples
    --------
    >>> from deepbures.experiments import hessians
    >>> from deepbures.plot import plot_curvatures
    >>> figure = plot_curvatures(hessians(quick=True, dim=4, rank=2, depth=2, num_targets=2))
    >>> len(figure.axes), figure.axes[1].get_title(loc="left")
    (4, 'λ_max')
    """
    orders = sorted({each for each, _ in record.curvatures})
    if order not in orders:
        raise ValueError(f"order must be one of {', '.join(orders)}, but {order!r} was given.")
    with drawing((10.4, 6.6)) as figure:
        panels = figure.subplots(2, 2, sharex=True)
        for axes, (quantity, title) in zip(panels.ravel(), _QUANTITIES.items(), strict=True):
            drawn = [_draw_band(axes, record, order, loss, quantity) for loss in _NAMES]
            values = np.abs(np.concatenate(drawn))
            axes.set_title(title)
            if quantity == "smallest":
                _symmetric_scale(axes, values)
            else:
                log_scale(axes, "y", values)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        k = record.rank
        kept = "" if k == 1 else "1, " if k == 2 else f"1 … {k - 1}, "
        name = f"with modes {kept}{k} + i" if order == "swap" else "in order of the loss"
        for axes in panels[1]:
            axes.set_xlabel(f"critical point i, {name}")
        panels[0, 1].legend(frameon=False, fontsize=9)
    return figure


def plot_critical_paths(record: Hessians, *, target: int = 0) -> Figure:
    """The loss along the paths from each critical point of the "swap" sequence to the next, one after the other.

    Parameters
    ----------
    record : Hessians
        What `hessians` found.
    target : int
        Which of the targets shown.

    Returns
    -------
    matplotlib.figure.Figure
        A column for each loss, the geodesics once more below; dots are the critical points.

    Raises
    ------
    ValueError
        If the target is not one of those shown.

    Examples
    --------
    >>> from deepbures.experiments import hessians
    >>> from deepbures.plot import plot_critical_paths
    >>> figure = plot_critical_paths(hessians(quick=True, dim=4, rank=2, depth=2, num_targets=2))
    >>> figure.axes[0].get_title(loc="left")
    'loss, BW, τ = 0.1'
    """
    _check_target(record, target)
    with drawing((10.4, 5.6)) as figure:
        panels = figure.subplots(2, 2, sharex=True)
        for (above, below), (loss, name, _, _) in zip(panels.T, _losses(record), strict=True):
            paths = record.paths[loss]
            straight, bures = paths.losses[target]
            steps = len(bures)
            positions = (np.arange(steps)[:, None] + paths.positions).ravel()
            critical = np.append(bures[:, 0], bures[-1, -1])
            above.plot(
                positions, straight.ravel(), "--", color=MUTED, lw=1.3, label="straight, to the next point turned"
            )
            for axes in (above, below):
                axes.plot(positions, bures.ravel(), "-", color=RUN, label="Bures geodesic")
                axes.plot(np.arange(steps + 1), critical, "o", color=INK, ms=4, label="critical points")
            above.set_title(f"loss, {name}")
            below.set_title("the geodesics alone")
            below.set_xlabel("critical point i")
            below.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def plot_quadratic_models(record: Hessians, *, target: int = 0) -> Figure:
    """Loss and second-order model along eigenvectors of the Hessian, at critical points of the "swap" sequence.

    Parameters
    ----------
    record : Hessians
        What `hessians` found.
    target : int
        Which of the targets shown.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each direction, a panel for each point. Changes of the loss are in units of |λ|/2 · length², so that
        the model of every loss is the parabola ± x².

    Raises
    ------
    ValueError
        If the target is not one of those shown.

    Examples
    --------
    >>> from deepbures.experiments import hessians
    >>> from deepbures.plot import plot_quadratic_models
    >>> figure = plot_quadratic_models(hessians(quick=True, dim=4, rank=2, depth=2, num_targets=2))
    >>> len(figure.axes)
    6
    """
    _check_target(record, target)
    points = next(iter(record.models.values())).points
    with drawing((0.8 + 2.5 * len(points), 5.2)) as figure:
        grid = figure.subplots(len(_DIRECTIONS), len(points), sharex=True, sharey="row", squeeze=False)
        for row, direction in enumerate(_DIRECTIONS):
            for column, i in enumerate(points):
                axes = grid[row, column]
                at = (target, column, row)
                for loss, name, color, style in _losses(record):
                    models = record.models[loss]
                    axes.plot(models.fractions, models.rise[at], style, color=color, lw=1.7, label=name)
                models = record.models[LossName.bw]
                axes.plot(models.fractions, models.model[at], ":", color=INK, lw=1.5, label="second-order model")
                if row == 0:
                    axes.set_title("minimizer, i = 0" if i == 0 else f"i = {i}")
            grid[row, 0].set_ylabel(direction)
            # Much beyond the model's own range the curves say only that the model has failed.
            grid[row, 0].set_ylim((-1.2, 2.2) if row == 0 else (-0.4, 3.0))
            grid[row, 0].xaxis.set_major_locator(FixedLocator([-1, -0.5, 0, 0.5, 1]))
        for axes in grid[-1]:
            axes.set_xlabel("part of the mode's length")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def plot_hessian_blow_up(record: Hessians) -> Figure:
    """The least Hessian eigenvalue where smoothing, or a singular value, goes to zero.

    Parameters
    ----------
    record : Hessians
        What `hessians` found.

    Returns
    -------
    matplotlib.figure.Figure
        Its absolute value on logarithmic axes: lines are closed forms, dots automatic differentiation. At the right,
        only where it is negative.

    Examples
    --------
    >>> from deepbures.experiments import hessians
    >>> from deepbures.plot import plot_hessian_blow_up
    >>> figure = plot_hessian_blow_up(hessians(quick=True, dim=4, rank=2, depth=2, num_targets=2))
    >>> [axes.get_yscale() for axes in figure.axes]
    ['log', 'log']
    """
    b = record.blow_up
    with drawing((10.4, 3.8)) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(b.taus, -b.by_tau, color=RUN, label="2 (√(λ_k/τ) − 1)")
        left.plot(b.taus, -b.by_tau_found, "o", color=INK, ms=4.5, label="automatic differentiation")
        left.set_title("−λ_min at a critical point of rank k − 1")
        left.set_xlabel("smoothing τ")
        log_scale(left, "x", b.taus)
        log_scale(left, "y", -b.by_tau)
        left.legend(frameon=False, fontsize=9)
        styles = zip((RUN, THEORY, TARGET, INK), ("-", "--", "-.", ":"), strict=True)
        shown: list[Floats] = []
        for level, closed, found, (color, style) in zip(b.levels, b.by_scale, b.by_scale_found, styles, strict=True):
            depth = np.where(closed < 0, -closed, np.nan)
            shown.append(depth[np.isfinite(depth)])
            name = "τ = 0" if level == 0 else f"τ = {format_number(level)}"
            right.plot(b.scales, depth, style, color=color, label=name)
            right.plot(b.scales, np.where(closed < 0, -found, np.nan), "o", color=color, ms=3)
        right.set_title("−λ_min at rank k, last singular value lowered")
        right.set_xlabel("singular value, s / √λ_k")
        log_scale(right, "x", b.scales)
        log_scale(right, "y", np.concatenate(shown))
        right.legend(frameon=False, fontsize=9)
    return figure


def _losses(record: Hessians) -> Iterator[tuple[str, str, str, str]]:
    for loss, (name, color, style) in _NAMES.items():
        yield loss, name.format(tau=record.tau), color, style


def _check_target(record: Hessians, target: int) -> None:
    num = len(next(iter(record.paths.values())).losses)
    if not 0 <= target < num:
        raise ValueError(f"target must be one of the {num} shown, 0 to {num - 1}, but {target} was given.")


def _draw_band(axes: Axes, record: Hessians, order: str, loss: str, quantity: str) -> Floats:
    """Mean, band and medians of one quantity; returns what the scale must cover."""
    curvatures = record.curvatures[order, loss]
    values = np.asarray(getattr(curvatures, quantity), np.float64)
    kept = np.isfinite(values).all(0)
    positions = np.arange(values.shape[1])[kept]
    mean, std, median = (np.asarray(each)[kept] for each in curvatures.statistics(quantity))
    low = mean - std
    if quantity != "smallest":
        low = np.maximum(low, values[:, kept].min(0))
    name, color, style = _NAMES[loss]
    axes.fill_between(positions, low, mean + std, color=color, alpha=0.18, lw=0)
    axes.plot(positions, mean, style, color=color, label=name.format(tau=record.tau))
    axes.plot(positions, median, "o", color=color, ms=3.5, mew=0)
    return np.concatenate([low, mean + std])


def _symmetric_scale(axes: Axes, values: Floats) -> None:
    """For values of either sign: logarithmic from the smallest decade on, linear to zero."""
    largest = float(values.max(initial=1.0))
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.6)
    decades = 10.0 ** np.arange(0, np.ceil(np.log10(max(largest, 10.0))) + 1)
    axes.yaxis.set_major_locator(FixedLocator([*(-decades[::-1]), 0.0, *decades]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_number(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(0.0, color=GRID, lw=1.2, zorder=0)
