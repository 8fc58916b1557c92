"""`deepbures fit`: from a checked request to a folder."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import deepbures as db
from deepbures.certificates import NoCertifiedStepError, as_plain, certificate_of_largest_step
from deepbures.cli._messages import Invocation, WorkError
from deepbures.cli._progress import Display
from deepbures.cli._show import show_summary
from deepbures.cli._target import loss_of, target_of
from deepbures.cli.requests import FitRequest
from deepbures.datasets import Dataset
from deepbures.runs import CHECKPOINT, MODEL, REPORT, REQUEST, SUMMARY, TRAJECTORY, RunFolder, environment, plain
from deepbures.training import Progress, fit_problem, fit_start, fit_widths, name_of

_SECONDS_PER_CHECKPOINT = 5.0
_NUM_RECORDS = 200

_ENDINGS = {
    "stationary": (
        "Stopped at a critical point above the minimum: the gradient vanished, the excess did not. Try another --seed "
        "or --init."
    ),
    "finished": (
        "Ran to the end without reaching the tolerance: raise --horizon (flow), --num-steps (descent) or --tolerance."
    ),
    "max_steps": (
        "The solver of the flow took its largest number of steps before the horizon: try --solver descent, or raise "
        "--tolerance."
    ),
    "diverged": (
        "Diverged: the loss grew beyond bounds. Use a smaller --step-size (the stability limit is in the summary)."
    ),
    "stalled": (
        "The step size of the flow collapsed: it meets a kink of the loss. Smooth the loss (--tau above 0), or try "
        "another --seed or --init."
    ),
    "interrupted": "Interrupted: the records so far are kept, and --resume goes on.",
}
"""How a run can end other than at the minimum, and what that leaves to do on the command line."""


show = show_summary


class _Watcher:
    """Shows how far training is, and writes a checkpoint every few seconds."""

    def __init__(self, folder: RunFolder, display: Display, call: Invocation) -> None:
        self.folder, self.display, self.call = folder, display, call
        self.last = time.monotonic()

    def __call__(self, state: Progress) -> None:
        where = f"{state.unit} {state.position:.4g}, relative excess {state.relative_excess:.2e}"
        self.display.advance("training", state.share, where)
        if time.monotonic() - self.last > _SECONDS_PER_CHECKPOINT:
            try:
                self.folder.write_checkpoint(state.snapshot())
            except OSError as error:
                self.call.warn(f"{error.filename}: {error.strerror}; training goes on without this checkpoint.")
            self.last = time.monotonic()


def run(request: FitRequest, call: Invocation, display: Display) -> dict[str, Any]:
    """Fit, write everything into the folder, and return the summary."""
    dataset, folder = request.dataset, RunFolder(request.folder)
    fit_widths(dataset.dim, request.rank, request.depth, request.hidden)
    started = datetime.now(UTC)
    begun = time.perf_counter()
    try:
        fitted = _fit(request, folder, call, display)
    except BaseException as error:
        _leave(folder, error, call, is_begun=request.resume or (folder.path / CHECKPOINT).exists())
        raise
    summary = {
        **_summary(fitted, request),
        **environment(),
        "command": call.command,
        "started": started.isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - begun,
        "folder": str(folder.path),
    }
    _warn(fitted, dataset, summary, call)
    summary["warnings"] = list(call.warnings)
    display.stage("writing")
    is_interrupted = summary["status"] == "interrupted"
    _write(folder, fitted, dataset, summary, call, is_interrupted=is_interrupted)
    if is_interrupted:
        raise WorkError(_how_to_go_on(call, folder.path), plain(summary))
    folder.remove_checkpoint()
    if summary["status"] in ("diverged", "stalled"):
        raise WorkError(f"{summary['result']} What was reached is in {folder.path}.", plain(summary))
    return dict(plain(summary))


def _fit(request: FitRequest, folder: RunFolder, call: Invocation, display: Display) -> db.Fit:
    """Begin the folder, and fit."""
    asked = request.record()
    snapshot = folder.read_checkpoint(asked) if request.resume else None
    display.stage("taking moments" if request.dataset.samples is not None else "decomposing the covariance")
    target, loss = target_of(request), loss_of(request)
    if request.step == "certified":
        _require_certified_step(request, target, loss)
    if not request.resume:
        folder.clear()
        if request.is_training:
            folder.write_json(REQUEST, asked)
    display.stage("compiling" if request.is_training else "solving")
    return db.fit(
        target,
        request.rank,
        depth=request.depth,
        hidden=request.hidden,
        loss=loss,
        solver=request.solver.value,
        init=request.init.value,
        seed=request.seed,
        horizon=request.horizon,
        num_steps=request.num_steps,
        step_size=request.step,
        tolerance=request.tolerance,
        num_records=_NUM_RECORDS,
        callback=_Watcher(folder, display, call),
        resume=snapshot,
    )


def _warn(fitted: db.Fit, dataset: Dataset, summary: dict[str, Any], call: Invocation) -> None:
    """Say what is not as it was hoped for."""
    if summary["status"] == "interrupted":
        call.warnings.append(summary["result"])  # said below, as what ended the command
    elif summary["status"] not in ("converged", "diverged", "stalled"):
        call.warn(summary["result"])
    deviations = fitted.feature_deviations
    if dataset.image_shape is None and deviations is not None and deviations.advice:
        call.warn(deviations.advice)


def _require_certified_step(request: FitRequest, target: db.Target, loss: db.AbstractLoss) -> None:
    """Refuse a certified step where there is none, before anything of an old run is removed."""
    widths = fit_problem(target, request.rank, depth=request.depth, hidden=request.hidden, loss=loss)
    start = fit_start(target, widths, init=request.init, seed=request.seed, tau=loss.noise_variance)
    try:
        certificate_of_largest_step(start, db.Problem(target, loss, request.rank))
    except NoCertifiedStepError as error:
        closer = "Start closer, --init close, or pass" if error.is_too_far and request.init != "close" else "Pass"
        message = f"--step-size certified {error.reason}. {closer} --step-size sharpness or a number."
        raise ValueError(message) from None


def _leave(folder: RunFolder, error: BaseException, call: Invocation, *, is_begun: bool) -> None:
    """Leave no trace of a run that did not begin; keep one that did, so that it can be resumed."""
    if not is_begun:
        folder.remove_checkpoint()
    elif isinstance(error, KeyboardInterrupt):
        call.note(f"{folder.path} keeps the last checkpoint: repeat the command with --resume to go on.")


def _how_to_go_on(call: Invocation, path: Path) -> str:
    again = Invocation([*(word for word in call.arguments if word not in ("--resume", "--overwrite")), "--resume"])
    return f"interrupted; the records so far are in {path}. Go on with: {again.command}"


def _write(
    folder: RunFolder,
    fitted: db.Fit,
    dataset: Dataset,
    summary: dict[str, Any],
    call: Invocation,
    *,
    is_interrupted: bool,
) -> None:
    """Write every file that can be written, whatever happens to the others; then fail if one could not be."""
    problems: list[str] = []
    files: list[str] = []

    def attempt(name: str, write: Callable[[], None]) -> None:
        try:
            write()
            files.append(name)
        except OSError as error:
            problems.append(f"{folder.path / name}: {error.strerror or error}")

    trajectory = fitted.trajectory
    if is_interrupted and trajectory is not None and trajectory.snapshot is not None:
        snapshot = trajectory.snapshot
        attempt(CHECKPOINT, lambda: folder.write_checkpoint(snapshot))
    attempt(MODEL, lambda: folder.write_model(fitted.network, dataset.features, loss=fitted.loss))
    if trajectory is not None:
        attempt(TRAJECTORY, lambda: folder.write_trajectory(trajectory))
    if not is_interrupted:
        try:
            attempt(REPORT, _report(folder.path / REPORT, fitted, dataset, summary))
        except ImportError as error:
            call.note(f"{REPORT} was left out. {error}")
        except Exception as error:  # noqa: BLE001 — a figure that fails must not cost the run
            problems.append(f"{folder.path / REPORT} could not be drawn ({type(error).__name__}: {error})")
    summary["files"] = [*files, SUMMARY]
    attempt(SUMMARY, lambda: folder.write_json(SUMMARY, summary))
    summary["files"] = files
    if problems:
        kept = f"{', '.join(files)} in {folder.path} are whole" if files else "nothing could be written"
        again = "--overwrite" if trajectory is None else "--resume"
        raise WorkError(f"{'; '.join(problems)} ({kept}). Mend that, then repeat with {again}.", plain(summary))


def _report(path: Path, fitted: db.Fit, dataset: Dataset, summary: Mapping[str, Any]) -> Callable[[], None]:
    from deepbures.report import write_report

    return lambda: write_report(path, fitted, dataset, summary)


def _summary(fitted: db.Fit, request: FitRequest) -> dict[str, Any]:
    run = fitted.trajectory
    network = fitted.network
    status = str(name_of(fitted.result))
    reached = "Closed form: the minimum itself." if run is None else run.message
    asked = request.record()
    resolved = {
        "hidden": network.widths[1:-1],
        "horizon": None,
        "num_steps": None,
        **fitted.solver.limits,
        "num_records": _NUM_RECORDS if request.is_training else None,
        "step_size": None if run is None or run.step_size is None else float(run.step_size),
        "dtype": str(network.weights[0].dtype),
    }
    return {
        "request": asked,
        "resolved": resolved,
        "seed": request.seed,
        "data": _data(request.dataset, asked["digest"]),
        "widths": list(network.widths),
        "loss": fitted.loss.to_dict(),
        "noise_variance": fitted.loss.noise_variance,
        "status": status,
        "result": _ENDINGS.get(status, reached),
        "final_loss": float(fitted.final_loss),
        "minimal_loss": float(fitted.minimal_loss),
        "excess": float(fitted.excess),
        "relative_excess": float(fitted.relative_excess),
        "explained_variance": float(fitted.explained_variance),
        "lost_features": None if fitted.feature_deviations is None else len(fitted.feature_deviations.lost),
        "sharpness": float(fitted.sharpness),
        "stability_limit": 2 / float(fitted.sharpness) if fitted.sharpness > 0 else None,
        "asymptotic_rate": float(fitted.asymptotic_rate),
        "unusable_modes": list(fitted.unusable_modes),
        "balancedness_gap": float(network.balancedness_gap()),
        "largest_balancedness_gap": None if run is None else float(np.max(run["balancedness_gap"])),
        "steps": None if run is None else int(run.steps[-1]),
        "time": None if run is None or run.times is None else float(run.times[-1]),
        "proof": fitted.proved,
        "certificates": [
            as_plain(certificate, check) for certificate, check in zip(fitted.certificates, fitted.checks, strict=True)
        ],
    }


def _data(dataset: Dataset, digest: str) -> dict[str, Any]:
    array = dataset.covariance if dataset.samples is None else dataset.samples
    return {
        "name": dataset.name,
        "description": dataset.description,
        "digest": digest,
        "shape": None if array is None else list(array.shape),
        "kind": "covariance" if dataset.samples is None else "samples",
        "feature_names": dataset.feature_names,
        "dtypes": sorted(set(dataset.feature_dtypes or ())),
        "image_shape": dataset.image_shape,
    }
