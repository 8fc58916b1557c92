"""The experiments that `deepbures reproduce` knows: what they are called, what they show, where their functions are.

Functions are named by import path and imported when they are needed: a list of the experiments has to be there at once.
To add an experiment, add an `Experiment` to `EXPERIMENTS`; its place there is its place on the page.
"""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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


EXPERIMENTS: tuple[Experiment, ...] = ()
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
