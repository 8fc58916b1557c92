"""`deepbures reproduce`: from checked names to a folder of tables, figures and a page."""

import math
import time
from dataclasses import asdict
from typing import Any

from deepbures import reproduce
from deepbures.cli._messages import Invocation, WorkError
from deepbures.cli._progress import Display
from deepbures.cli._show import show_table
from deepbures.cli.requests import ReproduceRequest
from deepbures.datasets import Dataset, load_dataset
from deepbures.experiments import Finding
from deepbures.reproduce import INDEX, Ending, Folder, Options, PartsFailedError, Plan, UnwritableError, tally
from deepbures.runs import environment, plain


def run(request: ReproduceRequest, call: Invocation, display: Display) -> dict[str, Any]:
    """Check what is left to check, run the experiments, and return the summary."""
    begun = time.perf_counter()
    display.stage("loading the experiments")
    images = _faces(request, display)
    options = Options(quick=request.quick, seed=request.seed, faces=None if images is None else images.digest())
    folder = Folder(request.out, request.registry)
    folder.prepare(options, overwrite=request.overwrite)
    endings: list[Ending] = []
    plan = Plan(request.chosen, options, images, request.num_workers)
    try:
        reproduce.run(plan, folder, display, call.warn, endings, overwrite=request.overwrite)
    except (KeyboardInterrupt, UnwritableError) as error:
        unfinished: BaseException | None = error
    else:
        unfinished = None
    summary = {
        "request": asdict(options),
        "folder": str(request.out),
        "index": str(request.out / INDEX),
        "experiments": [_plain(ending) for ending in endings],
        "workers": plan.workers,
        "seconds": time.perf_counter() - begun,
        "warnings": list(call.warnings),
        "command": call.command,
        **environment(),
    }
    failure = _failure(request, endings, unfinished, call)
    if failure is not None:
        message, cause = failure
        raise WorkError(message, plain(summary)) from cause
    return dict(plain(summary))


def _failure(
    request: ReproduceRequest, endings: list[Ending], unfinished: BaseException | None, call: Invocation
) -> tuple[str, BaseException | None] | None:
    """What there is to say where not everything is done, and what it comes from."""
    out, again = request.out, Invocation([word for word in call.arguments if word != "--overwrite"]).command
    if isinstance(unfinished, KeyboardInterrupt):
        return f"interrupted; what is finished is kept in {out}. Go on with: {again}", None
    if unfinished is not None:
        return f"{unfinished} What is finished is kept in {out}. Mend that, then go on with: {again}", unfinished
    failed = {ending.name: ending.error for ending in endings if ending.error is not None}
    if not failed:
        return None
    reasons = "; ".join(f"{name} ({_reason(error)})" for name, error in failed.items())
    message = (
        f"{len(failed)} of {len(endings)} experiments failed: {reasons}. All else is in {out}. Mend that, then go "
        f"on with: {again}"
    )
    return message, ExceptionGroup("every experiment that failed", list(failed.values()))


def _faces(request: ReproduceRequest, display: Display) -> Dataset | None:
    """The images of --faces, if an experiment takes them."""
    source = request.faces
    if source is None:
        return None
    if not any(experiment.faces for experiment in request.chosen):
        takers = [experiment.name for experiment in request.registry if experiment.faces]
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


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, PartsFailedError) else f"{type(error).__name__}: {error}"


def _plain(ending: Ending) -> dict[str, Any]:
    return {
        "name": ending.name,
        "status": "complete" if ending.error is None else "failed",
        "error": None if ending.error is None else _reason(ending.error),
        "findings": [asdict(finding) for finding in ending.findings],
        "files": list(ending.files),
        "pieces": ending.num_pieces,
        "computed": ending.num_computed,
        "seconds": ending.seconds,
    }


def show(summary: dict[str, Any]) -> None:
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
