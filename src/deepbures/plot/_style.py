"""What all figures share: colors, type, axes with readable ticks, SVG."""

import contextlib
import io
import math
import re
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of the colorblind-safe palette of Okabe and Ito; neutral tones for everything that is not data.
INK, MUTED, GRID = "#1f2a33", "#65717b", "#dbe0e5"
RUN, THEORY, TARGET = "#0072b2", "#d55e00", "#8a949d"
PALETTE = {"ink": INK, "muted": MUTED, "grid": GRID, "run": RUN, "theory": THEORY, "target": TARGET}
"""Names and colors of the figures, so that a page can replace them (by those of a dark theme, say)."""

STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "deepbures",
    "svg.image_inline": True,
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_number(value: float, digits: int = 4) -> str:
    """A number for readers: 180.9, 0.0312, 6.6 × 10⁻⁸.

    Examples
    --------
    >>> format_number(180.9397), format_number(6.5586e-8, 2), format_number(0.0)
    ('180.9', '6.6 × 10⁻⁸', '0')
    """
    value = float(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:.{max(digits, len(str(int(abs(value)))))}g}"
        return text.replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace("-", "−")


def to_svg(figure: Figure) -> str:
    """A figure as SVG text. The same figure gives the same bytes: no date, no random identifiers.

    Text stays text, in the font of the page that shows it.

    Examples
    --------
    >>> from deepbures.plot import plot_images, to_svg
    >>> svg = to_svg(plot_images({"data": [[0.0, 1.0, 1.0, 0.0]]}, (2, 2)))
    >>> svg.startswith("<svg"), svg == to_svg(plot_images({"data": [[0.0, 1.0, 1.0, 0.0]]}, (2, 2)))
    (True, True)
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")


@contextlib.contextmanager
def drawing(size: tuple[float, float]) -> Iterator[Figure]:
    """An empty figure, and the style of this module while it is drawn on."""
    with mpl.rc_context(STYLE):
        yield Figure(figsize=size, layout="constrained")


def finite(values: Floats) -> Floats:
    """Values that an axis can show: near the end of the range of floats, its margins would overflow."""
    return np.where(np.abs(values) < 1e150, values, np.nan)


def positive(values: Floats) -> Floats:
    """Values that a log scale can show; NaN, which leaves a gap, for the others."""
    return np.where((values > 1e-200) & (values < 1e150), values, np.nan)


def draw(axes: Axes, positions: Floats, values: Floats, **style: Any) -> None:
    """A line; with markers where there are so few points that there is hardly one."""
    few = np.isfinite(values).sum() < 4
    axes.plot(positions, values, marker="o" if few else "", markersize=5, **style)


def log_scale(axes: Axes, which: Literal["x", "y"], values: Floats) -> None:
    """A log scale with readable ticks; as it was where no value is positive."""
    kept = values[np.isfinite(values) & (values > 0)]
    if not kept.size:
        return
    if which == "x":
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    style_log_axis(axes.xaxis if which == "x" else axes.yaxis, kept)


def style_log_axis(axis: Axis, values: Floats, *, zero: bool = False) -> None:
    """Readable ticks for positive values on a log scale, whether they span decades or less than one."""
    low, high = float(values.min()), float(values.max())
    decades = math.log10(high) - math.log10(low)
    subs = (1.0,) if decades > 2.2 else (1.0, 2.0, 5.0)
    if zero:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        every = 1 + len(exponents) // 8
        ticks = [sub * 10.0**exponent for exponent in exponents if exponent % every == 0 for sub in subs]
        # None too close to zero, which has a label of its own.
        axis.set_major_locator(FixedLocator([0.0, *(tick for tick in ticks if 1.2 * low <= tick <= high * 1.001)]))
    elif decades < 0.4:
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _format_tick(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def _format_tick(value: float) -> str:
    if value <= 0:
        return "0" if value == 0 else ""
    return re.sub(r"^1 × (?=10)", "", format_number(float(f"{value:.6g}"), 6))


def remark(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)
    axes.set_yticks([])
