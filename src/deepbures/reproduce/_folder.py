"""The folder of a reproduction: whose it is, what it was asked for, and which experiments are complete in it."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepbures import __version__
from deepbures._claim import REQUEST as REQUEST
from deepbures._claim import contents
from deepbures.experiments import Finding
from deepbures.reproduce._keeper import remove_pieces, write_text
from deepbures.reproduce._names import is_file_name
from deepbures.reproduce._registry import Experiment
from deepbures.runs import RunFolder

INDEX = "index.html"
FINDINGS, TIMING, PIECES = "findings.json", "timing.json", "pieces"

_COMMAND = "deepbures reproduce"


@dataclass(frozen=True)
class Options:
    """The options that determine results: all pieces in a folder are of one request.

    Attributes
    ----------
    quick : bool
        A tenth of the work.
    seed : int
        Of everything random.
    faces : str or None
        Digest of the data of ``--faces``.
    version : str
        Of the package.
    """

    quick: bool
    seed: int
    faces: str | None = None
    version: str = __version__


@dataclass(frozen=True)
class Complete:
    """What an experiment left in its folder, read from the files.

    Attributes
    ----------
    experiment : Experiment
        Which one.
    findings : tuple of Finding
        Its statements.
    tables : dict of str to list of list of str
        The cells of each table, names of columns first; by the name of its file.
    figures : tuple of str
        The SVG of each drawing.
    """

    experiment: Experiment
    findings: tuple[Finding, ...]
    tables: dict[str, list[list[str]]]
    figures: tuple[str, ...]


class Folder:
    """A folder of results.

    Parameters
    ----------
    path : Path
        The folder.
    registry : sequence of Experiment
        What may be in it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from deepbures.reproduce import Folder, Options
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = Folder(Path(parent) / "results", registry=())
    ...     folder.prepare(Options(quick=True, seed=0), overwrite=False)
    ...     folder.begin(Options(quick=True, seed=0), again=())
    ...     folder.prepare(Options(quick=True, seed=1), overwrite=False)
    Traceback (most recent call last):
        ...
    ValueError: .../results holds results of other options (seed was 0, now 1): repeat those to go on, choose another \
--out, or pass --overwrite to start again.
    """

    def __init__(self, path: Path, registry: Sequence[Experiment]) -> None:
        self.path, self.registry = Path(path), registry

    def of(self, experiment: Experiment) -> Path:
        """Where the results of an experiment are."""
        return self.path / experiment.name

    # ------------------------------------------------------------------ before the work

    def prepare(self, request: Options, *, overwrite: bool) -> None:
        """Make the folder, or check that it is ours and may be used; nothing in it is changed.

        Two processes in one folder would mix their results: the caller has claimed it (`deepbures._claim`).

        Raises
        ------
        ValueError
            If it holds other things, or results of other options and `overwrite` is not set, or cannot be written to.
        """
        if self.path.is_dir():
            try:
                self._check(request, overwrite=overwrite)
            except OSError as error:
                raise ValueError(
                    f"{self.path} cannot be read ({error.strerror or error}): choose another --out."
                ) from None
        # Which says so if it is a file, or cannot be written to.
        RunFolder(self.path).prepare(overwrite=True, resume=False)

    def _check(self, request: Options, *, overwrite: bool) -> None:
        others = [name for name in contents(self.path) if name != f".{REQUEST}.tmp"]
        if not others:
            return
        kept = self._request()
        if kept is None:
            shown = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
            raise ValueError(
                f"{self.path} holds other things ({shown}), and no {REQUEST} of this command: choose another --out, or "
                "an empty folder."
            )
        told = "; ".join(f"{name} was {old!r}, now {new!r}" for name, old, new in _differing(kept, request))
        if told and not overwrite:
            raise ValueError(
                f"{self.path} holds results of other options ({told}): repeat those to go on, choose another --out, or "
                "pass --overwrite to start again."
            )

    def _request(self) -> dict[str, Any] | None:
        """The options of the results in this folder; None if there are none."""
        content = _read_json(self.path / REQUEST)
        return content if content is not None and content.pop("command", None) == _COMMAND else None

    def begin(self, request: Options, *, again: Sequence[Experiment]) -> None:
        """Remove what is to be computed again, which is everything where the options differ, and say what is asked."""
        kept = self._request()
        if kept is not None and _differing(kept, request):
            (self.path / INDEX).unlink(missing_ok=True)
            again = self.registry
        for experiment in again:
            self._remove(experiment)
        if kept is None or _differing(kept, request):
            text = json.dumps({"command": _COMMAND, **asdict(request)}, indent=2)
            write_text(self.path / REQUEST, f"{text}\n")

    def _remove(self, experiment: Experiment) -> None:
        """Remove the files of an experiment, and its folder if nothing else is in it."""
        folder = self.of(experiment)
        if not folder.is_dir():
            return
        content = _read_json(folder / FINDINGS) or {}
        drawn = [drawing.file for drawing in experiment.drawings]
        for name in [FINDINGS, TIMING, *_listed(content, "tables"), *_listed(content, "figures"), *drawn]:
            for path in (folder / name, folder / f".{name}.tmp"):
                path.unlink(missing_ok=True)
        remove_pieces(folder / PIECES)
        if not any(folder.iterdir()):
            folder.rmdir()

    # ------------------------------------------------------------------ after the work

    def complete(self) -> list[Complete]:
        """The experiments whose results are all there, in the order of the registry."""
        return [found for experiment in self.registry if (found := self._read(experiment)) is not None]

    def _read(self, experiment: Experiment) -> Complete | None:
        folder = self.of(experiment)
        content = _read_json(folder / FINDINGS)
        if content is None:
            return None
        try:
            return Complete(
                experiment,
                tuple(Finding(**finding) for finding in content["findings"]),
                {name: _read_table(folder / name) for name in _listed(content, "tables")},
                tuple((folder / drawing.file).read_text(encoding="utf-8") for drawing in experiment.drawings),
            )
        except (OSError, KeyError, TypeError, ValueError):
            return None


def _differing(kept: dict[str, Any], request: Options) -> list[tuple[str, Any, Any]]:
    """(name, what it was, what it is now) of each option that is not the same."""
    asked = asdict(request)
    return [(name, kept.get(name), value) for name, value in asked.items() if kept.get(name) != value]


def _listed(content: dict[str, Any], what: str) -> list[str]:
    """Names of files in a list that may have been tampered with."""
    names = content.get(what)
    return [name for name in names if is_file_name(name)] if isinstance(names, list) else []


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _read_table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
