"""The experiments that `deepbures reproduce` knows: what they are called, what they show, where their functions are.

Functions are named by import path and imported when they are needed: a list of the experiments has to be there at once.
To add an experiment, add an `Experiment` to `EXPERIMENTS`; its place there is its place on the page.
"""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from deepbures._loss_names import LossName
from deepbures.reproduce._names import check_file_name


class Record(Protocol):
    """What an experiment returns: every record of `deepbures.experiments` is one."""

    @property
    def findings(self) -> Sequence[Any]:
        """`deepbures.experiments.Finding`, each a statement held against the numbers."""

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of plain values for each table; the name of a table is that of its file, without suffix."""


@dataclass(frozen=True)
class Drawing:
    """A figure of an experiment.

    Attributes
    ----------
    file : str
        The file it is written to, ending in ".svg".
    caption : str
        What it shows, in one line.
    function : str
        Import path, "module:name", of a function from the record to a matplotlib figure.
    arguments : mapping
        Keyword arguments that it is given beside the record.

    Examples
    --------
    >>> from deepbures.reproduce import Drawing
    >>> Drawing("loss.svg", "The loss over time.", "deepbures.plot:plot_loss").file
    'loss.svg'
    """

    file: str
    caption: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_file_name(self.file.removesuffix(".svg"), "a figure")
        if not self.file.endswith(".svg"):
            raise ValueError(f"figures are written as .svg, but the file {self.file!r} was given.")


@dataclass(frozen=True)
class Experiment:
    """An experiment that can be run by name.

    Attributes
    ----------
    name : str
        What it is called on the command line, and the folder of its results.
    title : str
        Its heading on the page.
    description : str
        What it is about, in one line.
    function : str
        Import path, "module:name", of a function ``(*, quick, seed, keep)`` that returns a `Record`.
    drawings : tuple of Drawing
        Its figures, in order.
    arguments : mapping
        Keyword arguments that it is given beside those three.
    faces : str or None
        The argument that is the `deepbures.datasets.Dataset` of ``--faces`` where that is given.

    Examples
    --------
    >>> from deepbures.reproduce import Drawing, Experiment
    >>> plot = Drawing("eigen_images.svg", "Leading modes as images.", "deepbures.plot:plot_eigen_images")
    >>> images = "deepbures.experiments:images"
    >>> Experiment("faces", "Faces", "Generators of faces.", images, (plot,), {"data": "faces"}, faces="data").name
    'faces'
    """

    name: str
    title: str
    description: str
    function: str
    drawings: tuple[Drawing, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    faces: str | None = None

    def __post_init__(self) -> None:
        check_file_name(self.name, "an experiment")


_OWN = "deepbures.experiments:"
_PLOT = "deepbures.plot:"


def _images(name: str, title: str, what: str, faces: str | None = None) -> Experiment:
    return Experiment(
        name,
        title,
        f"Generators of {what}: eigen-images and samples against the data.",
        f"{_OWN}images",
        (
            Drawing("eigen_images.svg", "Eigenvectors of the data and of the generators.", f"{_PLOT}plot_eigen_images"),
            Drawing("samples.svg", "Data, and draws from the generators.", f"{_PLOT}plot_generated_images"),
        ),
        {"data": f"builtin:{name}"},  # also where a folder has the name
        faces=faces,
    )


EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment(
        "grid",
        "The grid",
        "Slopes of convergence over smoothing, smallest eigenvalue, depth and loss.",
        f"{_OWN}grid",
        (
            Drawing(
                "slopes_bw.svg",
                "Bures-Wasserstein: slopes by depth and λₙ. Framed: τ clipped to λₙ. Crossed out: no slope.",
                f"{_PLOT}plot_slopes",
            ),
            Drawing(
                "slopes_frobenius.svg",
                "Frobenius: the same; τ matters for the start only.",
                f"{_PLOT}plot_slopes",
                {"loss": LossName.frobenius.value},
            ),
            Drawing(
                "ratio_bw.svg",
                "Bures-Wasserstein: slope over the asymptotic one that the Hessian at the minimizer predicts.",
                f"{_PLOT}plot_slopes",
                {"ratio": True},
            ),
            Drawing("by_depth.svg", "Slopes against depth, τ = 0, with predictions.", f"{_PLOT}plot_slopes_by_depth"),
        ),
    ),
    Experiment(
        "descent",
        "Descent against flow",
        "Whether the flow stands for gradient descent at the paper's step size.",
        f"{_OWN}descent",
        (Drawing("descent.svg", "Slope of descent over slope of the flow − 1.", f"{_PLOT}plot_descent_against_flow"),),
    ),
    Experiment(
        "curves",
        "The curves behind the grid",
        "Excess and its bounds, balancedness, ranks, alignment; saddles on the way.",
        f"{_OWN}curves",
        (
            Drawing("bounds.svg", "Excess of the flow and the bounds that hold.", f"{_PLOT}plot_bounds_on_curves"),
            Drawing("records.svg", "What else was recorded, from close starts.", f"{_PLOT}plot_curve_records"),
            Drawing("saddles.svg", "From small starts: stays near saddles, shaded.", f"{_PLOT}plot_saddles"),
        ),
    ),
    Experiment(
        "hessians",
        "Hessians",
        "Curvatures at critical points of both losses, paths between them, second-order models, blow-up.",
        f"{_OWN}hessians",
        (
            Drawing(
                "curvatures.svg",
                "Extremes and condition numbers at critical points, by loss: mean ± standard deviation.",
                f"{_PLOT}plot_curvatures",
            ),
            Drawing("paths.svg", "Loss along paths between critical points.", f"{_PLOT}plot_critical_paths"),
            Drawing("models.svg", "Second-order models and the loss.", f"{_PLOT}plot_quadratic_models"),
            Drawing("blow_up.svg", "The Hessian blows up at low rank.", f"{_PLOT}plot_hessian_blow_up"),
        ),
    ),
    _images("digits", "Digits", "handwritten digits"),
    _images("faces", "Faces", "faces", faces="data"),
    Experiment(
        "smoothing",
        "Smoothing against speed",
        "What smoothing costs in bias, and does to conditioning and to the escape from saddles.",
        f"{_OWN}smoothing",
        (Drawing("smoothing.svg", "Bias, condition, time and escape by τ and depth.", f"{_PLOT}plot_smoothing"),),
    ),
    Experiment(
        "losses",
        "Five losses side by side",
        "What differs from the square loss: sharpness, condition, bias, escape from saddles, rates.",
        f"{_OWN}losses",
        (
            Drawing(
                "losses.svg",
                "Five losses: points measured, lines from theory; τ = λₖ/10 but where it is swept.",
                f"{_PLOT}plot_losses",
            ),
        ),
    ),
    Experiment(
        "bounds",
        "Bounds against reality",
        "Every certificate of random instances held against their runs.",
        f"{_OWN}bounds",
        (
            Drawing("tightness.svg", "Observed over certified rate, by certificate.", f"{_PLOT}plot_tightness"),
            Drawing("margins.svg", "Smallest singular value of the run against the margin.", f"{_PLOT}plot_margins"),
        ),
    ),
)
"""The experiments, in the order of the page."""


def choose(names: Sequence[str], registry: Sequence[Experiment]) -> tuple[Experiment, ...]:
    """The experiments of these names, in the order of the registry; all of them where no name is given.

    Raises
    ------
    ValueError
        If a name is unknown, with the known ones.

    Examples
    --------
    >>> from deepbures.reproduce import Experiment, choose
    >>> registry = [Experiment(name, name.title(), "", "math:sqrt") for name in ("grid", "curves")]
    >>> [experiment.name for experiment in choose([], registry)]
    ['grid', 'curves']
    >>> choose(["gird"], registry)
    Traceback (most recent call last):
        ...
    ValueError: There is no experiment 'gird'; the experiments are grid, curves. Did you mean 'grid'?
    """
    known = [experiment.name for experiment in registry]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"There is no experiment {name!r}; the experiments are {', '.join(known)}.{hint}")
    return tuple(experiment for experiment in registry if not names or experiment.name in names)


def resolve(path: str) -> Any:
    """What an import path, "module:name", stands for.

    Examples
    --------
    >>> from deepbures.reproduce._registry import resolve
    >>> resolve("math:sqrt")(4.0)
    2.0
    """
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
