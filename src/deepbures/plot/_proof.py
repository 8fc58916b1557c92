"""What is proved of a run: its excess, and the bound from the record on at which a guarantee begins to hold."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepbures.plot._style import MUTED, RUN, THEORY, Floats, draw, drawing, log_scale, positive, remark
from deepbures.plot._time import positions_of, series, time_axis
from deepbures.training import Proof, Trajectory


def plot_proof(trajectory: Trajectory, proof: Proof, *, units: str = "squared data units") -> Figure:
    """Excess over the theoretical minimum, L − L*, on a log scale, and what it certainly is below from a record on.

    The bound begins at the record that `proof` begins at, which is marked; the excess cannot leave the shaded region
    below it.

    Parameters
    ----------
    trajectory : Trajectory
        A single run. Records at or below zero (rounding) cannot be shown on a log scale.
    proof : Proof
        What is proved of this run, as `Trajectory.certified` and `Fit.proof` give it. Where that is nothing, only the
        excess is drawn, and a title says so.
    units : str
        Units of the loss, for the axis.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a batch of runs, or a proof that begins after the last record.

    Examples
    --------
    >>> import deepbures as db
    >>> from deepbures.plot import plot_proof
    >>> fitted = db.fit(db.Target.from_spectrum([4.0, 2.0, 1.0]), rank=2, depth=2)
    >>> axes = plot_proof(fitted.trajectory, fitted.proof).axes[0]
    >>> [line.get_label() for line in axes.lines][:2]
    ['the run', 'bound flow-below-saddle']
    """
    positions, excess = positions_of(trajectory), series(trajectory, "excess")
    if proof.record >= positions.size:
        raise ValueError(
            f"proof begins at record {proof.record}, but the run has {positions.size} records: give the proof of this "
            "run, trajectory.certified(…)."
        )
    values = positive(excess)
    with drawing((8.6, 3.6)) as figure:
        axes = figure.add_subplot()
        draw(axes, positions, values, color=RUN, label="the run")
        time_axis(axes, trajectory, "linear")
        axes.set_ylabel(f"excess L − L* ({units})")
        if not np.isfinite(values).any():
            remark(axes, "not known" if np.isnan(excess).all() else "at or below rounding at every record")
        else:
            log_scale(axes, "y", values)
        if not proof or proof.certificate is None:
            axes.set_title("nothing is proved of this run", color=MUTED, fontsize=9)
            return figure
        bound = positive(proof.bound(np.asarray(trajectory.positions)[proof.record :]))
        _draw_proved(axes, positions[proof.record :], bound, f"bound {proof.certificate.name}")
        axes.legend(loc="upper right", frameon=False, fontsize=9, handlelength=2.8)
    return figure


def _draw_proved(axes: Axes, positions: Floats, bound: Floats, label: str) -> None:
    """The bound, the region below it, and a mark where it begins."""
    bottom, top = axes.get_ylim()
    top = max(top, 1.5 * float(np.nanmax(bound, initial=0.0)))
    axes.fill_between(positions, bottom, bound, color=THEORY, alpha=0.1, linewidth=0)
    draw(axes, positions, bound, color=THEORY, linestyle="--", label=label)
    axes.axvline(positions[0], color=THEORY, linestyle=":", linewidth=1.2)
    axes.plot(positions[:1], bound[:1], color=THEORY, marker="o", markersize=7, linestyle="none")
    axes.set_ylim(bottom, top)
    axes.annotate(
        "the proof begins",
        (positions[0], 0.03),
        xycoords=axes.get_xaxis_transform(),
        xytext=(5, 0),
        textcoords="offset points",
        color=THEORY,
        va="bottom",
    )
