"""`deepbures fit`: from a checked request to a folder."""

import platform
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import deepbures as db
from deepbures.cli._messages import WorkError, say
from deepbures.datasets import Dataset
from deepbures.runs import MODEL, REPORT, REQUEST, SUMMARY, TRAJECTORY, RunFolder
from deepbures.training import Progress as State
from deepbures.training._fit import fit_widths

_SECONDS_PER_CHECKPOINT = 5.0


@dataclass(frozen=True)
class FitRequest:
    """What was asked, as it is compared on `--resume`."""

    data: str
    digest: str
    rank: int
    depth: int
    hidden: int | None
    tau: float
    loss: str
    solver: str
    init: str
    horizon: float | None
    num_steps: int | None
    step_size: float | str
    tolerance: float
    seed: int


class _Watcher:
    """Shows progress on a terminal, and writes a checkpoint every few seconds."""

    def __init__(self, folder: RunFolder, unit: str, tolerance: float) -> None:
        self.folder, self.unit, self.tolerance = folder, unit, tolerance
        self.last = time.monotonic()
        self.failed = False
        self.task: TaskID | None = None
        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[where]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, state: State) -> None:
        reference = state.minimal_loss if state.minimal_loss > 0 else 1.0
        relative = state.excess / reference
        # On the way from an excess of the size of the minimum to the tolerance, in decades.
        decades = np.log10(max(relative, 1e-300)) / np.log10(self.tolerance) if 0 < self.tolerance < 1 else 0.0
        done = float(np.clip(max(decades, state.position / state.end), 0.0, 1.0))
        where = f"{self.unit} {state.position:.4g}, relative excess {relative:.2e}"
        if self.task is None:
            self.task = self.bar.add_task("training", total=1.0, where=where)
        self.bar.update(self.task, completed=done, where=where)
        if time.monotonic() - self.last > _SECONDS_PER_CHECKPOINT and not self.failed:
            try:
                self.folder.write_checkpoint(state.snapshot())
            except OSError as error:
                self.failed = True
                say(f"deepbures: warning: no checkpoint could be written ({error}); training goes on")
            self.last = time.monotonic()


def run_fit(
    request: FitRequest,
    dataset: Dataset,
    path: Path,
    warned: list[str],
    *,
    overwrite: bool,
    resume: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Fit, and write everything; the summary, with the table for the terminal under "table"."""
    fit_widths(dataset.dim, request.rank, request.depth, request.hidden)
    folder = RunFolder(path)
    folder.prepare(overwrite=overwrite, resume=resume)
    snapshot = folder.read_checkpoint(asdict(request)) if resume else None
    started = time.perf_counter()
    if dataset.samples is not None:
        target = db.Target.from_samples(dataset.samples)
    else:
        target = db.Target.from_covariance(dataset.covariance)
    folder.write_json(REQUEST, asdict(request))
    unit = "time" if request.solver == "flow" else "step"
    with _Watcher(folder, unit, request.tolerance) as watcher:
        fitted = db.fit(
            target,
            request.rank,
            depth=request.depth,
            hidden=request.hidden,
            tau=request.tau,
            loss=request.loss,
            solver=request.solver,
            init=request.init,
            seed=request.seed,
            horizon=request.horizon,
            num_steps=request.num_steps,
            step_size=request.step_size,
            tolerance=request.tolerance,
            callback=watcher,
            resume=snapshot,
        )
    seconds = time.perf_counter() - started
    interrupted = fitted.trajectory is not None and bool(fitted.result == db.Result.interrupted)
    if fitted.trajectory is not None and interrupted and fitted.trajectory.snapshot is not None:
        folder.write_checkpoint(fitted.trajectory.snapshot)
    summary = _summary(fitted, request, dataset, warned, seconds)
    problems = _write(folder, fitted, dataset, summary)
    if problems:
        raise WorkError(f"{'; '.join(problems)}. Free space or choose another --out. The rest is in {path}.")
    if interrupted:
        raise WorkError(
            f"interrupted; the records so far are in {path}. Go on with the same command and --resume "
            "(without --overwrite)."
        )
    folder.remove_checkpoint()
    if fitted.result == db.Result.diverged or fitted.result == db.Result.stalled:
        raise WorkError(f"{summary['result']} What was reached is in {path}.")
    return summary


def _write(folder: RunFolder, fitted: db.Fit, dataset: Dataset, summary: dict[str, Any]) -> list[str]:
    """Write every file that can be written; what could not be, in words."""
    problems: list[str] = []
    files: list[str] = []

    def attempt(name: str, write: Any) -> None:
        try:
            write()
            files.append(name)
        except OSError as error:
            problems.append(f"{folder.path / name} could not be written ({error.strerror or error})")

    attempt(MODEL, lambda: folder.write_model(fitted.network))
    if fitted.trajectory is not None:
        trajectory = fitted.trajectory
        attempt(TRAJECTORY, lambda: folder.write_trajectory(trajectory))
    try:
        from deepbures.report import write_report
    except ImportError as error:
        say(f"deepbures: {REPORT} was left out: {error}")
    else:
        attempt(REPORT, lambda: write_report(folder.path / REPORT, fitted, dataset, summary))
    summary["files"] = [*files, SUMMARY]
    attempt(SUMMARY, lambda: folder.write_json(SUMMARY, {k: v for k, v in summary.items() if k != "table"}))
    return problems


def _summary(
    fitted: db.Fit, request: FitRequest, dataset: Dataset, warned: list[str], seconds: float
) -> dict[str, Any]:
    run = fitted.trajectory
    network = fitted.network
    result = {
        "final_loss": float(fitted.final_loss),
        "minimal_loss": float(fitted.minimal_loss),
        "excess": float(fitted.excess),
        "relative_excess": float(fitted.relative_excess),
        "sharpness": float(fitted.sharpness),
        "stability_limit": 2 / float(fitted.sharpness),
        "asymptotic_rate": float(fitted.asymptotic_rate),
        "balancedness_gap": float(network.balancedness_gap()),
        "unusable_modes": list(fitted.unusable_modes),
        "horizon": fitted.horizon,
        "steps": None if run is None else int(run.steps[-1]),
        "time": None if run is None or run.times is None else float(run.times[-1]),
        "step_size": None if run is None or run.step_size is None else float(run.step_size),
        "largest_balancedness_gap": None if run is None else float(np.max(run["balancedness_gap"])),
    }
    message = "Closed form: the minimum itself." if run is None else run.message
    shape = dataset.samples.shape if dataset.samples is not None else dataset.covariance.shape  # type: ignore[union-attr]
    packages = ("deepbures", "jax", "jaxlib", "numpy", "scipy", "equinox", "diffrax", "optax")
    return {
        "request": asdict(request),
        "command": " ".join(["deepbures", *sys.argv[1:]]),
        "seed": request.seed,
        "data": {
            "name": dataset.name,
            "description": dataset.description,
            "digest": dataset.digest(),
            "shape": list(shape),
            "kind": "samples" if dataset.samples is not None else "covariance",
        },
        "widths": list(network.widths),
        "result": message,
        **result,
        "seconds": seconds,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "warnings": list(warned),
        "table": _table(fitted, message, dataset, result, seconds),
    }


def _table(fitted: db.Fit, message: str, dataset: Dataset, result: dict[str, Any], seconds: float) -> dict[str, str]:
    what = f"{dataset.num_samples} samples" if dataset.samples is not None else "covariance"
    widths = " → ".join(str(width) for width in fitted.network.widths)
    rows = {
        "data": f"{dataset.name}: {what}, {dataset.dim} features",
        "network": f"widths {widths}",
        "loss reached": f"{result['final_loss']:.10g}",
        "theoretical minimum": f"{result['minimal_loss']:.10g}",
        "relative excess": f"{result['relative_excess']:.2e}",
        "sharpness, stability limit": f"{result['sharpness']:.5g}, {result['stability_limit']:.5g}",
        "asymptotic rate": f"{result['asymptotic_rate']:.5g}",
    }
    if result["steps"] is not None:
        reached = "" if result["time"] is None else f", time {result['time']:.5g}"
        rows["steps"] = f"{result['steps']}{reached}"
        rows["largest balancedness gap"] = f"{result['largest_balancedness_gap']:.2e}"
    rows["result"] = message
    rows["seconds"] = f"{seconds:.1f}"
    return rows
