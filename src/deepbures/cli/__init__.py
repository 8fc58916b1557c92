"""The command line: parse, call, show. What computes is imported by the command that needs it.

`deepbures --help` has to answer at once, so nothing above this line of imports may load JAX; each command imports what
it calls when it is called.
"""

import contextlib
import io
import json
import math
import sys
import warnings
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from deepbures import __version__
from deepbures.cli._messages import WorkError, say

app = typer.Typer(
    name="deepbures",
    help="Fit, sample and compare Gaussian generators under the Bures-Wasserstein distance.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Solver(StrEnum):
    """How to fit."""

    closed_form = "closed-form"
    flow = "flow"
    descent = "descent"


class LossName(StrEnum):
    """What to minimize."""

    bw = "bw"
    frobenius = "frobenius"


class Init(StrEnum):
    """Where training starts."""

    balanced = "balanced"
    gaussian = "gaussian"
    xavier = "xavier"
    kaiming = "kaiming"
    uniform = "uniform"
    orthogonal = "orthogonal"
    close = "close"


_Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")
]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
_Seed = Annotated[int, typer.Option(help="Seed of everything random. Same seed, same bits.")]
_DATA = (
    "digits, faces, patches, gaussian:dim=20,spectrum=zipf,seed=0, a .npy, .npz, .csv or .parquet file with samples in "
    "rows, or a folder of images."
)


@contextlib.contextmanager
def reported(debug: bool) -> Iterator[list[str]]:
    """Turn errors into one line and an exit code; collect warnings, and show each once as one line."""
    collected: list[str] = []

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in collected:
            collected.append(text)
            say(f"deepbures: warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        try:
            yield collected
        except (ValueError, TypeError, ImportError) as error:
            _fail(error, 2, debug)
        except (WorkError, OSError, MemoryError) as error:
            _fail(error, 1, debug)
        except KeyboardInterrupt:
            say("deepbures: interrupted")
            raise typer.Exit(1) from None


def _fail(error: BaseException, code: int, debug: bool) -> None:
    if debug:
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    say(f"deepbures: error: {text}")
    raise typer.Exit(code)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"deepbures {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _check_fit_options(rank: int, depth: int, hidden: int | None, tau: float, seed: int, step_size: str) -> Any:
    """What can be refused before anything is loaded; returns the step size as `fit` takes it."""
    if rank < 1:
        raise ValueError(f"--rank must be at least 1, but {rank} was given.")
    if depth < 1:
        raise ValueError(f"--depth must be at least 1, but {depth} was given.")
    if hidden is not None and hidden < rank:
        raise ValueError(
            f"--hidden must be at least the rank {rank} (narrower layers cannot carry it), but {hidden} was given."
        )
    if not (math.isfinite(tau) and tau >= 0):
        raise ValueError(f"--tau must be finite and not negative, but {tau} was given.")
    if seed < 0:
        raise ValueError(f"--seed must not be negative, but {seed} was given.")
    if step_size in ("sharpness", "accelerated"):
        return step_size
    try:
        number = float(step_size)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(
            f'--step-size must be "sharpness", "accelerated" or a positive number, but {step_size!r} was given.'
        )
    return number


@app.command()
def fit(
    data: Annotated[str, typer.Argument(help=_DATA, metavar="DATA")],
    rank: Annotated[int, typer.Option(help="Latent size and bottleneck of the network.")],
    depth: Annotated[int, typer.Option(help="Number of layers.")] = 1,
    hidden: Annotated[int | None, typer.Option(help="Width of hidden layers.", show_default="the rank")] = None,
    tau: Annotated[float, typer.Option(help="Smoothing of the loss, a variance.")] = 0.0,
    loss: Annotated[LossName, typer.Option(help="Squared Bures-Wasserstein or Frobenius loss.")] = LossName.bw,
    solver: Annotated[Solver, typer.Option(help="Closed form, gradient flow or gradient descent.")] = Solver.flow,
    init: Annotated[Init, typer.Option(help="Start of the training.")] = Init.balanced,
    horizon: Annotated[float | None, typer.Option(help="Largest time of the flow.", show_default="long enough")] = None,
    num_steps: Annotated[
        int | None, typer.Option(help="Largest number of steps of descent.", show_default="long enough")
    ] = None,
    step_size: Annotated[
        str, typer.Option(help='Step size of descent: "sharpness", "accelerated" or a number.')
    ] = "sharpness",
    tolerance: Annotated[
        float, typer.Option(help="Relative excess over the theoretical minimum at which training stops.")
    ] = 1e-7,
    covariance: Annotated[bool, typer.Option("--covariance", help="Read DATA as a covariance matrix.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.", show_default="runs/DATA-rankK-depthN")
    ] = None,
    seed: _Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in an existing folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    """Fit a deep linear network of a given rank to data; write the model, its records and a report into a folder."""
    with reported(debug) as warned:
        step = _check_fit_options(rank, depth, hidden, tau, seed, step_size)
        from deepbures.datasets import load_dataset

        dataset = load_dataset(data, covariance=covariance)
        from deepbures.cli._fit import FitRequest, run_fit

        request = FitRequest(
            data=dataset.name,
            digest=dataset.digest(),
            rank=rank,
            depth=depth,
            hidden=hidden,
            tau=tau,
            loss=loss.value,
            solver=solver.value,
            init=init.value,
            horizon=horizon,
            num_steps=num_steps,
            step_size=step,
            tolerance=tolerance,
            seed=seed,
        )
        folder = out if out is not None else Path("runs") / f"{_slug(data)}-rank{rank}-depth{depth}"
        summary = run_fit(request, dataset, folder, warned, overwrite=overwrite, resume=resume, quiet=as_json)
        if as_json:
            _print_json(summary)
        else:
            _print_summary(summary, folder)


def _slug(text: str) -> str:
    name = Path(text).stem if Path(text).suffix else text
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name.strip("./")) or "data"


@app.command()
def sample(
    model: Annotated[Path, typer.Argument(help="Folder of a run, or its model.npz.", metavar="MODEL")],
    num: Annotated[int, typer.Option(help="Number of draws.")],
    out: Annotated[Path, typer.Option(help="File to write: .npy, .npz, .csv or .parquet.")],
    seed: _Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    """Draw samples from a fitted model, one a row."""
    with reported(debug):
        if num < 1:
            raise ValueError(f"--num must be at least 1, but {num} was given.")
        if seed < 0:
            raise ValueError(f"--seed must not be negative, but {seed} was given.")
        from deepbures.cli._sample import run_sample

        result = run_sample(model, num, out, seed, overwrite=overwrite)
        if as_json:
            _print_json(result)
        else:
            typer.echo(f"{result['num']} samples of dimension {result['dim']} in {result['out']}")


@app.command()
def distance(
    a: Annotated[str, typer.Argument(help=_DATA, metavar="A")],
    b: Annotated[str, typer.Argument(help="The same, of as many features.", metavar="B")],
    samples: Annotated[bool, typer.Option("--samples", help="Rows are samples (the default).")] = False,
    covariances: Annotated[bool, typer.Option("--covariances", help="A and B are covariance matrices.")] = False,
    factors: Annotated[bool, typer.Option("--factors", help="A and B are factors F of covariances F Fᵀ.")] = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    """Bures-Wasserstein distance of two covariances or factors, or Fréchet distance of two sets of samples."""
    with reported(debug):
        chosen = [
            name for name, given in (("samples", samples), ("covariances", covariances), ("factors", factors)) if given
        ]
        if len(chosen) > 1:
            raise ValueError(
                f"Choose one of --samples, --covariances and --factors, but {' and '.join(chosen)} were given."
            )
        from deepbures.cli._distance import run_distance

        result = run_distance(a, b, chosen[0] if chosen else "samples")
        if as_json:
            _print_json(result)
        else:
            typer.echo(f"distance          {result['distance']:.15g}")
            typer.echo(f"squared distance  {result['squared_distance']:.15g}")


def _print_json(content: dict[str, Any]) -> None:
    from deepbures.runs import plain

    typer.echo(json.dumps(plain(content), ensure_ascii=False, allow_nan=False))


def _print_summary(summary: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in summary["table"].items():
        table.add_row(name, value)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    written = ", ".join(summary["files"])
    console.print(f"\n{folder}: {written}")
    if "report.html" in summary["files"]:
        console.print(f"Report: {folder / 'report.html'}")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows "?" for λ
    app()
