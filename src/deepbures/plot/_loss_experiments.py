"""Five losses side by side."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from deepbures.experiments import Losses
from deepbures.experiments._losses_record import DEGREES
from deepbures.plot._style import INK, MUTED, RUN, TARGET, THEORY, Floats, drawing, log_scale

_LABELS = ("Bures-Wasserstein τ", "Frobenius", "likelihood τ", "entropic ε = 2τ", "Sinkhorn ε = 2τ")
_SHORT = ("BW τ", "Frob.", "likel.", "entr.", "Sinkh.")
_COLORS = (RUN, THEORY, "#009e73", INK, TARGET)
_MARKS = ("o", "s", "^", "D", "v")
# Losses that coincide are seen one inside the other.
_SIZES = (7.5, 5.0, 5.0, 4.8, 3.0)


def plot_losses(record: Losses) -> Figure:
    """Sharpness, condition, missing modes, bias, escape and rate of five losses; points are measured, lines theory.

    Parameters
    ----------
    record : Losses
        What `experiments.losses` returned.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> from deepbures.experiments import losses
    >>> from deepbures.plot import plot_losses
    >>> len(plot_losses(losses(quick=True, depths=(1,))).axes)
    6
    """
    first = record.depths[0]
    with drawing((11.4, 7.0)) as figure:
        axes = [figure.add_subplot(2, 3, number + 1) for number in range(6)]
        _sharpness(axes[0], record)
        _lines(axes[1], record.spreads, record.by_spread, record.by_spread)
        _frame(axes[1], "condition at the minimizer", "λ₁/λₖ, depth 1")
        _lines(axes[2], record.shares, np.abs(record.by_share_found), np.abs(record.by_share))
        _frame(axes[2], "pull of a missing mode: |λ_min|/λ_max", "τ/λₖ, depth 1")
        _bias(axes[3], record)
        _escape(axes[4], record)
        _frame(axes[4], "λ_max × time to leave the lowest saddle", f"distance δ of the start, depth {first}")
        _rates(axes[5], record)
        _frame(axes[5], "asymptotic rate / λ_max", "depth")
        handles = [_handle(i) for i in range(len(_LABELS))]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9.5)
    return figure


def _handle(i: int) -> Line2D:
    return Line2D([], [], color=_COLORS[i], marker=_MARKS[i], ms=_SIZES[i], lw=1.4, label=_LABELS[i])


def _frame(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(below)


def _lines(axes: Axes, positions: NDArray[Any], found: Floats, theory: Floats) -> None:
    """Points and lines of each loss, in logarithms."""
    for i in range(len(found)):
        axes.plot(positions, theory[i], color=_COLORS[i], lw=1.4)
        axes.plot(positions, found[i], _MARKS[i], color=_COLORS[i], ms=_SIZES[i])
    log_scale(axes, "x", positions)
    log_scale(axes, "y", np.concatenate([found.ravel(), theory.ravel()]))


def _sharpness(axes: Axes, record: Losses) -> None:
    """λ_max over that of the target itself."""
    found = record.by_scale[:, 0]
    lines = record.scales ** (DEGREES[:, None] - 1 / record.depths[0])
    _lines(axes, record.scales, found / found[:, record.scales == 1], lines)
    _frame(axes, "sharpness λ_max, over that at c = 1", f"variances times c, depth {record.depths[0]}")


def _bias(axes: Axes, record: Losses) -> None:
    small, digits = f"λ = 6, 1, ½, …, rank {record.small.rank}", f"digits, rank {record.digits.rank}"
    sides: Any = ((record.small, -0.13, "full", small), (record.digits, 0.13, "none", digits))
    for side, shift, fill, _ in sides:
        for i in range(len(_LABELS)):
            percent = 100 * (np.array([side.minimizer[i], side.reached[i]]) / side.least - 1)
            axes.plot(i + shift, percent[0], _MARKS[i], color=_COLORS[i], fillstyle=fill, ms=7)
            axes.plot(i + shift, percent[1], "_", color=MUTED, ms=13, mew=1.2)
    axes.set_xticks(range(len(_SHORT)), _SHORT)
    axes.grid(visible=False, axis="x")
    axes.set_title("bias: true distance above the best, in %")
    axes.set_ylim(top=1.45 * axes.get_ylim()[1])  # room for the legend
    style: dict[str, Any] = {"color": MUTED, "marker": "o", "ls": "", "ms": 6}
    handles = [Line2D([], [], fillstyle=fill, label=name, **style) for _, _, fill, name in sides]
    handles.append(Line2D([], [], color=MUTED, marker="_", ls="", ms=10, label="end of a flow"))
    axes.legend(handles=handles, loc="upper right", frameon=False, fontsize=8.5)


def _escape(axes: Axes, record: Losses) -> None:
    """Lines have the slope 1/|λ_min|, and go through the last point."""
    found = record.escape[:, 0] * record.small.sharpness[:, :1]
    slope = (record.small.sharpness / np.abs(record.small.saddle))[:, :1]
    lines = found[:, -1:] - slope * np.log(record.deltas / record.deltas[-1])
    for i in range(len(found)):
        axes.plot(record.deltas, lines[i], color=_COLORS[i], lw=1.4)
        axes.plot(record.deltas, found[i], _MARKS[i], color=_COLORS[i], ms=_SIZES[i])
    log_scale(axes, "x", record.deltas)
    log_scale(axes, "y", found)


def _rates(axes: Axes, record: Losses) -> None:
    small = record.small
    _lines(axes, record.depths, record.observed / small.sharpness, small.rate / small.sharpness)
    axes.set_xticks(record.depths, [str(depth) for depth in record.depths])
