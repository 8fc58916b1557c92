"""Critical points: their values, their spectra, and the way from one to the next."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepbures.landscape import CriticalPoints, HessianSpectrum, PathProfile
from deepbures.plot._style import GRID, INK, MUTED, RUN, TARGET, THEORY, drawing

_MARKS = {
    "minimizer": ("o", RUN),
    "strict saddle": ("^", THEORY),
    "degenerate saddle": ("s", TARGET),
    "maximum": ("v", INK),
}


def plot_critical_points(points: CriticalPoints, *, units: str = "squared data units") -> Figure:
    """The loss of critical points against their Morse index.

    Parameters
    ----------
    points : CriticalPoints
        What `critical_points` found.
    units : str
        Of the loss.

    Returns
    -------
    matplotlib.figure.Figure
        One mark for each point, its form and color by kind.

    Examples
    --------
    >>> import deepbures as db
    >>> from deepbures.plot import plot_critical_points
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    >>> figure = plot_critical_points(db.critical_points(target, 2, db.BuresWasserstein()))
    >>> figure.axes[0].get_xlabel()
    'Morse index'
    """
    with drawing((7.2, 3.8)) as figure:
        axes = figure.add_subplot()
        for kind, (mark, color) in _MARKS.items():
            of_kind = points.kind == kind
            if of_kind.any():
                label = f"{kind} ({int(of_kind.sum())})"
                index, value = points.morse_index[of_kind], points.value[of_kind]
                axes.plot(index, value, mark, color=color, ms=6, mew=0, alpha=0.75, label=label)
        axes.set_xlabel("Morse index")
        axes.set_ylabel(f"loss ({units})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        shown = f"{len(points):,} of {points.total:,}" if len(points) < points.total else f"all {points.total:,}"
        axes.set_title(f"{shown} critical points, lowest first", color=MUTED, fontsize=9)
        axes.legend(frameon=False, fontsize=9)
    return figure


def plot_hessian_spectra(spectra: Mapping[str, HessianSpectrum]) -> Figure:
    """Hessian eigenvalues at several critical points, a row of marks for each.

    Parameters
    ----------
    spectra : mapping from labels to HessianSpectrum
        From top to bottom.

    Returns
    -------
    matplotlib.figure.Figure
        Eigenvalues on a symmetric logarithmic scale; zeros are counted beside the row.

    Examples
    --------
    >>> import deepbures as db
    >>> from deepbures.plot import plot_hessian_spectra
    >>> points = db.critical_points(db.Target.from_spectrum([4.0, 2.0, 1.0]), 2, db.BuresWasserstein())
    >>> figure = plot_hessian_spectra({str(point.eigen_indices): point.spectrum() for point in points})
    >>> len(figure.axes[0].get_yticks())
    3
    """
    if not spectra:
        raise ValueError("spectra must hold at least one spectrum, but is empty.")
    nonzero = np.concatenate([np.abs(s.values[s.values != 0]) for s in spectra.values()])
    with drawing((7.6, 1.3 + 0.33 * len(spectra))) as figure:
        axes = figure.add_subplot()
        # Linear up to a whole decade, so that its tick and the one at zero stay apart.
        threshold = 10.0 ** np.ceil(np.log10(nonzero.min())) if nonzero.size else 1.0
        axes.set_xscale("symlog", linthresh=threshold, linscale=1.0)
        for row, spectrum in enumerate(spectra.values()):
            for sign, color in ((1, RUN), (-1, THEORY)):
                values = spectrum.values[sign * spectrum.values > 0]
                axes.plot(values, np.full(len(values), row), "|", color=color, ms=11, mew=1.4)
            note = f"{spectrum.morse_index} negative, {spectrum.nullity} zero"
            axes.annotate(note, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=MUTED)
        axes.axvline(0.0, color=GRID, lw=1.2, zorder=0)
        axes.set_yticks(range(len(spectra)), list(spectra))
        axes.set_ylim(len(spectra) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Hessian eigenvalue")
    return figure


def plot_paths(profiles: Mapping[str, PathProfile], *, units: str = "squared data units") -> Figure:
    """The loss along paths.

    Parameters
    ----------
    profiles : mapping from labels to PathProfile
        Curves, by label.
    units : str
        Of the loss.

    Returns
    -------
    matplotlib.figure.Figure
        One curve for each, with its ends marked.

    Examples
    --------
    >>> import deepbures as db
    >>> from deepbures.plot import plot_paths
    >>> target, loss = db.Target.from_spectrum([4.0, 1.0]), db.BuresWasserstein()
    >>> low, high = db.critical_points(target, 1, loss)
    >>> figure = plot_paths({"1 → 0": db.loss_along_path(high, low, target, loss)})
    >>> len(figure.axes[0].lines)
    2
    """
    if not profiles:
        raise ValueError("profiles must hold at least one path, but is empty.")
    colors = [RUN, THEORY, TARGET, INK]
    styles = ["-", "--", "-.", ":"]
    with drawing((8.6, 3.8)) as figure:
        axes = figure.add_subplot()
        for number, (label, profile) in enumerate(profiles.items()):
            color, style = colors[number % 4], styles[number // 4 % 4]
            axes.plot(profile.positions, profile.losses, style, color=color, label=label)
            axes.plot(profile.positions[[0, -1]], profile.losses[[0, -1]], "o", color=color, ms=5)
        axes.set_xlabel("position along the path")
        axes.set_ylabel(f"loss ({units})")
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
