"""Five losses side by side."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from deepbures.experiments import Losses
from deepbures.model import LossName
from deepbures.plot._style import INK, MUTED, RUN, TARGET, THEORY, Floats, drawing, log_scale


class _Look(NamedTuple):
    label: str
    short: str
    color: str
    marker: str
    size: float


# Losses that coincide are seen one inside the other.
_LOOKS: dict[str, _Look] = {
    LossName.bw: _Look("Bures-Wasserstein τ", "BW τ", RUN, "o", 7.5),
    LossName.frobenius: _Look("Frobenius", "Frob.", THEORY, "s", 5.0),
    LossName.likelihood: _Look("likelihood τ", "likel.", "#009e73", "^", 7.5),
    LossName.entropic: _Look("entropic ε = 2τ", "entr.", INK, "D", 4.2),
    LossName.sinkhorn: _Look("Sinkhorn ε = 2τ", "Sinkh.", TARGET, "v", 3.0),
}


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
    >>> len(plot_losses(losses(quick=True, depths=(1,), names=("frobenius",))).axes)
    6
    """
    first = record.depths[0]
    with drawing((11.4, 7.0)) as figure:
        axes = [figure.add_subplot(2, 3, number + 1) for number in range(6)]
        _sharpness(axes[0], record)
        _lines(axes[1], record, record.spreads, record.by_spread, record.by_spread)
        _frame(axes[1], "condition at the minimizer", "λ₁/λₖ, depth 1")
        _lines(axes[2], record, record.shares, np.abs(record.by_share_found), np.abs(record.by_share))
        _frame(axes[2], "pull of a missing mode: |λ_min|/λ_max", "τ/λₖ, depth 1")
        _bias(axes[3], record)
        _escape(axes[4], record)
        _frame(axes[4], "λ_max × time to leave the lowest saddle", f"distance δ of the start, depth {first}")
        _rates(axes[5], record)
        _frame(axes[5], "asymptotic rate / λ_max", "depth")
        looks = [_LOOKS[name] for name in record.names]
        style: dict[str, Any] = {"lw": 1.4}
        handles = [Line2D([], [], color=x.color, marker=x.marker, ms=x.size, label=x.label, **style) for x in looks]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9.5)
    return figure


def _frame(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(below)


def _lines(axes: Axes, record: Losses, positions: NDArray[Any], found: Floats, theory: Floats) -> None:
    """Points and lines of each loss, in logarithms."""
    for name, points, line in zip(record.names, found, theory, strict=True):
        look = _LOOKS[name]
        axes.plot(positions, line, color=look.color, lw=1.4)
        axes.plot(positions, points, look.marker, color=look.color, ms=look.size)
    log_scale(axes, "x", positions)
    log_scale(axes, "y", np.concatenate([found.ravel(), theory.ravel()]))


def _sharpness(axes: Axes, record: Losses) -> None:
    """λ_max over that of the target itself."""
    found = record.by_scale[:, 0]
    degrees = np.array([claim.degree for claim in record.claims])
    lines = record.scales ** (degrees[:, None] - 1 / record.depths[0])
    _lines(axes, record, record.scales, found / found[:, record.scales == 1], lines)
    _frame(axes, "sharpness λ_max, over that at c = 1", f"variances times c, depth {record.depths[0]}")


def _bias(axes: Axes, record: Losses) -> None:
    small, digits = f"λ = 6, 1, ½, …, rank {record.small.rank}", f"digits, rank {record.digits.rank}"
    sides: Any = ((record.small, -0.13, "full", small), (record.digits, 0.13, "none", digits))
    for side, shift, fill, _ in sides:
        for i, name in enumerate(record.names):
            look, percent = (
                _LOOKS[name],
                100 * (np.array([side.minimizer[i], side.reached[i]]) / side.least - 1),
            )
            axes.plot(i + shift, percent[0], look.marker, color=look.color, fillstyle=fill, ms=7)
            axes.plot(i + shift, percent[1], "_", color=MUTED, ms=13, mew=1.2)
    axes.set_xticks(range(len(record.names)), [_LOOKS[name].short for name in record.names])
    axes.margins(x=0.12)
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
    _lines(axes, record, record.deltas, found, lines)


def _rates(axes: Axes, record: Losses) -> None:
    small = record.small
    _lines(axes, record, record.depths, record.observed / small.sharpness, small.rate / small.sharpness)
    axes.set_xticks(record.depths, [str(depth) for depth in record.depths])
