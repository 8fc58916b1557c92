"""Run experiments one after the other, and write what they found into a folder."""

import csv
import functools
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401 — its BLAS has to be loaded before it can be limited
from threadpoolctl import threadpool_limits

from deepbures.datasets import Dataset
from deepbures.experiments import Finding
from deepbures.plot import to_svg
from deepbures.reproduce._folder import FINDINGS, INDEX, PIECES, TIMING, Folder, Options
from deepbures.reproduce._keeper import FolderKeeper, PartsFailedError, UnwritableError, Watcher, write_text
from deepbures.reproduce._names import check_file_name
from deepbures.reproduce._page import render_index
from deepbures.reproduce._registry import Experiment, Record, resolve
from deepbures.runs import environment, plain


@dataclass(frozen=True)
class Ending:
    """How one experiment ended.

    Attributes
    ----------
    name : str
        Of the experiment.
    findings : tuple of Finding
        Its statements; none if it failed before them.
    files : tuple of str
        What was written into its folder, beside the pieces.
    num_pieces, num_computed : int
        How many pieces are there, and how many of them this run computed.
    seconds : float
        Of all pieces, whenever they were computed, and of what followed on them.
    error : Exception or None
        Why it is not complete.
    """

    name: str
    findings: tuple[Finding, ...]
    files: tuple[str, ...]
    num_pieces: int
    num_computed: int
    seconds: float
    error: Exception | None = None


@dataclass(frozen=True)
class _Job:
    """An experiment with its functions, imported."""

    experiment: Experiment
    function: Callable[..., Record]
    drawings: Mapping[str, Callable[[Record], Any]]


@dataclass(frozen=True)
class Plan:
    """What is to be run, and how.

    Attributes
    ----------
    chosen : tuple of Experiment
        The experiments to run.
    request : Options
        The options that determine results.
    faces : Dataset or None
        For the experiments that take it.
    workers : int
        How many pieces are computed at the same time.
    """

    chosen: tuple[Experiment, ...]
    request: Options
    faces: Dataset | None
    workers: int


def run(
    plan: Plan,
    folder: Folder,
    watcher: Watcher,
    warn: Callable[[str], None],
    endings: list[Ending],
    *,
    overwrite: bool,
) -> None:
    """Run every experiment that was chosen, and write the page after each: one that fails does not cost the others.

    Parameters
    ----------
    plan : Plan
        What to run.
    folder : Folder
        Where; `Folder.prepare` has found it good.
    watcher : Watcher
        Is told what goes on.
    warn : callable
        Is told of damaged files.
    endings : list of Ending
        Is filled with one for each experiment that ended: whoever interrupts this has those before.
    overwrite : bool
        Compute again what is there.

    Raises
    ------
    UnwritableError
        If a file cannot be written.
    """
    jobs = [_job(experiment) for experiment in plan.chosen]  # before any work: what cannot be imported, cannot be run
    folder.begin(plan.request, again=plan.chosen if overwrite else ())
    # The pieces share the cores, so each has one; and what BLAS computes does not depend on who else computes.
    with threadpool_limits(1, user_api="blas"):
        for job in jobs:
            endings.append(_run_one(job, plan, folder.of(job.experiment), watcher, warn))
            text = render_index(folder.complete(), plan.request, folder.registry)
            write_text(folder.path / INDEX, text)


def _job(experiment: Experiment) -> _Job:
    drawings = {
        drawing.file: functools.partial(resolve(drawing.function), **drawing.arguments)
        for drawing in experiment.drawings
    }
    return _Job(experiment, functools.partial(resolve(experiment.function), **experiment.arguments), drawings)


def _run_one(job: _Job, plan: Plan, folder: Path, watcher: Watcher, warn: Callable[[str], None]) -> Ending:
    name = job.experiment.name
    watcher.stage(name)
    begun = time.perf_counter()
    keeper = FolderKeeper(folder / PIECES, name=name, workers=plan.workers, watcher=watcher, warn=warn)
    request = plan.request
    findings: tuple[Finding, ...] = ()
    files: list[str] = []
    error: Exception | None = None
    try:
        faces = job.experiment.faces
        given = {} if faces is None or plan.faces is None else {faces: plan.faces}
        record = job.function(quick=request.quick, seed=request.seed, keep=keeper, **given)
        watcher.stage(f"{name}: drawing")
        findings = tuple(_plain(finding) for finding in record.findings)
        _write_results(job, record, findings, folder, files)
    except UnwritableError:
        raise
    except Exception as failure:  # noqa: BLE001 — whatever an experiment raises, the others are run
        error = failure
    seconds = sum(keeper.seconds.values()) + time.perf_counter() - begun - keeper.elapsed
    if keeper.seconds:
        timing = {"seconds": seconds, "pieces": keeper.seconds, "workers": plan.workers, **environment()}
        write_text(folder / TIMING, _json(timing))
        files.append(TIMING)
    return Ending(name, findings, tuple(files), len(keeper.seconds), keeper.computed, seconds, error)


def _plain(finding: Finding) -> Finding:
    """Make `held` a bool of Python, which is compared with `True` and written as JSON."""
    held = None if finding.held is None else bool(finding.held)
    return Finding(str(finding.statement), held, str(finding.evidence), bool(finding.is_shown_only))


def _write_results(job: _Job, record: Record, findings: Sequence[Finding], folder: Path, files: list[str]) -> None:
    """Write findings, tables and figures; a figure that fails does not cost the others.

    The findings are first, as they list the other files: an experiment is complete once all of those are there, and
    what is listed can be removed again.
    """
    tables = record.tables()
    for name in tables:
        check_file_name(name, "a table")
    texts = {f"{name}.csv": _csv(rows) for name, rows in tables.items()}
    content = {
        "findings": [asdict(finding) for finding in findings],
        "tables": list(texts),
        "figures": list(job.drawings),
    }
    for name, text in {FINDINGS: _json(content), **texts}.items():
        write_text(folder / name, text)
        files.append(name)
    failed: dict[str, Exception] = {}
    for name, draw in job.drawings.items():
        try:
            svg = to_svg(draw(record))
        except Exception as error:  # noqa: BLE001 — whatever a figure raises, the others are drawn
            failed[name] = error
            (folder / name).unlink(missing_ok=True)  # one of an earlier run would make this one look complete
        else:
            write_text(folder / name, svg)
            files.append(name)
    if failed:
        raise PartsFailedError("figure", failed, len(job.drawings))


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as they are read by others: all digits of every number; columns in the order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if columns:
        writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, (np.ndarray, np.generic)):
        return _cell(value.tolist())
    if isinstance(value, (list, tuple)):
        return " ".join(_cell(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
