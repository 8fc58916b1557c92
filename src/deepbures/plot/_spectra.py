"""Eigenvalues of target and model."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from deepbures.plot._style import MUTED, RUN, TARGET, THEORY, Floats, drawing, log_scale, positive, remark

_MOST = 512
"""Eigenvalues of the target that are drawn."""


def plot_spectra(
    target: ArrayLike,
    model: ArrayLike,
    *,
    rank: int,
    minimizer: ArrayLike | None = None,
    dim: int | None = None,
) -> Figure:
    """Eigenvalues of the target and of the model, and how far the model's are from the best ones.

    Parameters
    ----------
    target : array (r,)
        Eigenvalues of the target, descending: all of them or the leading ones.
    model : array (k,)
        Leading eigenvalues of W Wᵀ: squared singular values of W, descending.
    rank : int
        Bottleneck, marked by a line.
    minimizer : array (k,), optional
        Eigenvalues at the theoretical minimum, λ_j − τ or zero. With it, a second panel shows the relative deviation of
        the model's.
    dim : int, optional
        Number of all eigenvalues, if `target` has only leading ones.

    Returns
    -------
    matplotlib.figure.Figure
        Zeros are counted in a note: a log scale does not show them.

    Examples
    --------
    >>> from deepbures.plot import plot_spectra
    >>> figure = plot_spectra([4.0, 2.0, 1.0, 0.0], [3.9, 2.0], rank=2, minimizer=[4.0, 2.0])
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['eigenvalue (squared data units)', 'relative deviation']
    """
    all_values, values = np.asarray(target, np.float64), np.asarray(model, np.float64)
    best = None if minimizer is None else np.asarray(minimizer, np.float64)
    deviation = None if best is None else _deviation(values, best)
    panels = 1 if deviation is None else 2
    with drawing((10.8, 3.6)) as figure:
        widths = [1.0] if panels == 1 else [1.7, 1.0]
        grid = figure.add_gridspec(1, panels, width_ratios=widths)
        axes = figure.add_subplot(grid[0, 0])
        _draw_spectra(axes, all_values[: max(_MOST, rank)], values, best, rank)
        axes.set_title(_spectrum_note(all_values, dim), color=MUTED, fontsize=9)
        if deviation is not None:
            _draw_deviation(figure.add_subplot(grid[0, 1]), deviation)
    return figure


def _draw_spectra(axes: Axes, target: Floats, model: Floats, best: Floats | None, rank: int) -> None:
    numbers = np.arange(1, max(target.size, model.size) + 1)
    many = target.size > 100
    axes.plot(
        numbers[: target.size],
        positive(target),
        "o-",
        color=TARGET,
        markersize=3 if many else 5,
        linewidth=1,
        label="target λⱼ",
    )
    if best is not None:
        axes.plot(
            numbers[: best.size],
            positive(best),
            "_",
            color=THEORY,
            markersize=11,
            markeredgewidth=1.6,
            label="theoretical minimum",
        )
    axes.plot(numbers[: model.size], positive(model), "o", color=RUN, markersize=4, label="model, W Wᵀ")
    shown = np.concatenate([positive(target), positive(model)])
    if np.isfinite(shown).any():
        log_scale(axes, "y", shown)
    if many:
        log_scale(axes, "x", numbers.astype(np.float64))
    axes.axvline(rank + 0.5, color=MUTED, linestyle=":", linewidth=1.2)
    if not many:
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    last = max(int((target > 0).sum()), model.size, 2)
    axes.set_xlim(0.9 if many else 0.3, last * 1.12 if many else numbers.size + 0.7)
    # Below the descending spectrum there is room: to the right of the line, unless that is where the figure ends.
    right = axes.transAxes.inverted().transform(axes.transData.transform((rank + 0.5, 1.0)))[0] < 0.85
    axes.annotate(
        f"rank {rank}",
        (rank + 0.5, 0.03),
        xycoords=axes.get_xaxis_transform(),
        xytext=(5 if right else -5, 0),
        textcoords="offset points",
        ha="left" if right else "right",
        va="bottom",
        color=MUTED,
    )
    axes.legend(loc="upper right", frameon=False, handletextpad=0.5)
    axes.set_xlabel("mode j" + (", log scale" if many else ""))
    axes.set_ylabel("eigenvalue (squared data units)")


def _spectrum_note(target: Floats, dim: int | None) -> str:
    zeros = int((target <= 0).sum())
    notes = [f"{zeros} of {target.size} eigenvalues of the target are zero (not shown)"] if zeros else []
    if dim is not None and dim > target.size:
        notes.append(f"leading {target.size} of {dim} eigenvalues")
    elif target.size - zeros > _MOST:
        notes.append(f"leading {_MOST} of {target.size} shown")
    return "; ".join(notes)


def _deviation(model: Floats, best: Floats) -> Floats:
    """|μ_j − best_j| / best_j; relative to the largest of the best where the best is zero."""
    size = min(model.size, best.size)
    scale = np.where(best[:size] > 0, best[:size], best.max(initial=0.0))
    gaps: Floats = np.abs(model[:size] - best[:size]) / np.where(scale > 0, scale, 1)
    return gaps


def _draw_deviation(axes: Axes, deviation: Floats) -> None:
    shown = positive(deviation)
    zeros = int((deviation == 0).sum())
    axes.set_title("Model against the minimum" + (f" ({zeros} exact)" if zeros else ""))
    axes.set_xlabel("mode j")
    axes.set_ylabel("relative deviation")
    if np.isfinite(shown).any():
        axes.plot(np.arange(1, deviation.size + 1), shown, "o", color=RUN, markersize=4)
        log_scale(axes, "y", shown)
    else:
        remark(axes, "zero in every mode")
    axes.set_xlim(0.3, deviation.size + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
