"""`deepbures reproduce`: from checked names to a folder of tables, figures and a page."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepbures.cli._messages import Invocation, WorkError
from deepbures.cli._progress import Display
from deepbures.cli._show import show_table
from deepbures.datasets import Dataset, load_dataset
from deepbures.experiments import Finding
from deepbures.reproduce import Experiment
from deepbures.reproduce._folder import INDEX, Folder, Request
from deepbures.reproduce._keeper import PartsFailedError, UnwritableError
from deepbures.reproduce._page import tally
from deepbures.reproduce._run import Outcome, Plan, run
from deepbures.runs import environment, plain


def run_reproduce(
    chosen: tuple[Experiment, ...],
    registry: Sequence[Experiment],
    *,
    quick: bool,
    seed: int,
    workers: int,
    faces: str | None,
    out: Path,
    overwrite: bool,
    call: Invocation,
    display: Display,
) -> dict[str, Any]:
    """Check what is left to check, run the experiments, and return the summary."""
    begun = time.perf_counter()
    display.stage("loading the experiments")
    images = _faces(faces, chosen, registry, display)
    request = Request(quick=quick, seed=seed, faces=None if images is None else images.digest())
    folder = Folder(out, registry)
    folder.prepare(request, overwrite=overwrite)
    outcomes: list[Outcome] = []

    def summary() -> dict[str, Any]:
        return {
            "request": asdict(request),
            "folder": str(out),
            "index": str(out / INDEX),
            "experiments": [_plain(outcome) for outcome in outcomes],
            "workers": workers,
            "seconds": time.perf_counter() - begun,
            "warnings": list(call.warnings),
            "command": call.command,
            **environment(),
        }

    plan = Plan(chosen, request, images, workers)
    try:
        run(plan, folder, display, call.warn, outcomes, overwrite=overwrite)
    except KeyboardInterrupt:
        raise WorkError(
            f"interrupted; what is finished is kept in {out}. Go on with: {_again(call)}", plain(summary())
        ) from None
    except UnwritableError as error:
        raise WorkError(
            f"{error} What is finished is kept in {out}. Mend that, then go on with: {_again(call)}", plain(summary())
        ) from error
    failed = {outcome.name: outcome.error for outcome in outcomes if outcome.error is not None}
    if failed:
        reasons = "; ".join(f"{name} ({_reason(error)})" for name, error in failed.items())
        failure = WorkError(
            f"{len(failed)} of {len(outcomes)} experiments failed: {reasons}. All else is in {out}. Mend that, then go "
            f"on with: {_again(call)}",
            plain(summary()),
        )
        raise failure from ExceptionGroup("every experiment that failed", list(failed.values()))
    return dict(plain(summary()))


def _faces(
    source: str | None, chosen: Sequence[Experiment], registry: Sequence[Experiment], display: Display
) -> Dataset | None:
    """The images of --faces, if an experiment takes them."""
    if source is None:
        return None
    if not any(experiment.faces for experiment in chosen):
        takers = [experiment.name for experiment in registry if experiment.faces]
        raise ValueError(
            f"--faces {source} was given, but none of the chosen experiments takes faces ("
            f"{', '.join(takers) or 'none at all'} would): leave it out, or add one of those."
        )
    display.stage(f"reading {source}")
    images = load_dataset(source)
    is_square = math.isqrt(images.dim) ** 2 == images.dim
    if images.samples is None or not (images.image_shape or is_square):
        shape = "a covariance" if images.samples is None else f"shape {images.samples.shape}"
        raise ValueError(
            f"--faces must be a folder of images, or an array of them of shape (N, height, width) or with square ones "
            f"in rows, but {source!r} has {shape}."
        )
    return images


def _again(call: Invocation) -> str:
    """The command that goes on: the same, but it does not start again."""
    return Invocation([word for word in call.arguments if word != "--overwrite"]).command


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, PartsFailedError) else f"{type(error).__name__}: {error}"


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "status": "complete" if outcome.error is None else "failed",
        "error": None if outcome.error is None else _reason(outcome.error),
        "findings": [asdict(finding) for finding in outcome.findings],
        "files": list(outcome.files),
        "pieces": outcome.num_pieces,
        "computed": outcome.num_computed,
        "seconds": outcome.seconds,
    }


def show_reproduce(summary: dict[str, Any]) -> None:
    """A table of the experiments on a terminal; what did not hold, in full."""
    import typer

    names = ("experiment", "statements held", "pieces", "computed now", "seconds")
    rows, unheld = [], []
    for row in summary["experiments"]:
        findings = [Finding(**finding) for finding in row["findings"]]
        unheld += [(row["name"], finding) for finding in findings if finding.held is False]
        held = tally(findings) if row["error"] is None else "failed"
        rows.append((row["name"], held, str(row["pieces"]), str(row["computed"]), f"{row['seconds']:.1f}"))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    show_table(columns, right=names[2:], least_needed=("computed now", "pieces", "seconds"))
    for name, finding in unheld:
        typer.echo(f"\n{name}: did not hold: {finding.statement}\n    {finding.evidence}")
    typer.echo(f"\n{summary['seconds']:.1f} s with {summary['workers']} at a time. Page: {summary['index']}")
