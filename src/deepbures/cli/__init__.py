"""The command line: parse, call, show. What computes is imported by the command that needs it.

`deepbures --help` has to answer at once, so nothing that is imported here may load JAX or NumPy. What a command
calls is imported when it runs, after its arguments have been checked.
"""

import contextlib
import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deepbures import __version__
from deepbures._claim import ClaimedFolder, check_vacant
from deepbures._loss_names import LossName
from deepbures.cli._check import check_certify, check_fit, check_landscape, check_num, check_reproduce, check_seed
from deepbures.cli._messages import Invocation, WorkError, explain, say, write_anywhere
from deepbures.cli._show import show_json, show_summary

app = typer.Typer(
    name="deepbures",
    help="Fit, sample and compare Gaussian generators under the Bures-Wasserstein distance.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Solver(StrEnum):
    """How to fit."""

    closed_form = "closed-form"
    flow = "flow"
    descent = "descent"


class Noise(StrEnum):
    """What samples have beside the outputs of the network."""

    none = "none"
    tau = "tau"


class Init(StrEnum):
    """Where training starts."""

    balanced = "balanced"
    gaussian = "gaussian"
    xavier = "xavier"
    kaiming = "kaiming"
    uniform = "uniform"
    orthogonal = "orthogonal"
    close = "close"


def _either(choices: type[StrEnum]) -> str:
    *most, last = choices
    return f"{', '.join(most)} or {last}"


_BUILT_IN = ("digits", "faces", "patches", "gaussian")
"""What completes DATA, beside the names of files: `deepbures.datasets` would take its time to be loaded."""


def _complete_data(incomplete: str) -> list[str]:
    return [name for name in _BUILT_IN if name.startswith(incomplete)]


def _complete_experiment(incomplete: str) -> list[str]:
    from deepbures.reproduce import EXPERIMENTS

    return [experiment.name for experiment in EXPERIMENTS if experiment.name.startswith(incomplete)]


_INTERRUPTED = 130
"""What typer makes of Ctrl-C (older versions raise Abort)."""

_Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")
]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _be_quiet(context: typer.Context, value: bool) -> bool:
    if value and isinstance(context.obj, Invocation):
        context.obj.quiet = True
    return value


_Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show no progress, and no messages but errors.", callback=_be_quiet),
]
_Seed = Annotated[int, typer.Option(help="Seed of everything random. Same seed, same bits.")]
_Loss = Annotated[
    LossName,
    typer.Option(
        help="What is minimized: squared Bures-Wasserstein or Frobenius distance, Gaussian likelihood, entropic "
        f"Wasserstein cost or Sinkhorn divergence: {_either(LossName)}.",
        metavar="LOSS",
    ),
]
_Tau = Annotated[
    float, typer.Option(help="A variance: smoothing of bw, noise of the model of likelihood (which needs it).")
]
_Epsilon = Annotated[
    float | None,
    typer.Option(help="Regularization of entropic and sinkhorn (which need it), a variance.", show_default="none"),
]
_Rtol = Annotated[
    float | None,
    typer.Option(
        help="Of a covariance: asymmetry and negative eigenvalues up to this share of its largest entry are rounding, "
        "and taken away.",
        show_default="100 n eps",
    ),
]
_DATA = (
    "digits, faces, patches, gaussian:dim=20,spectrum=zipf,seed=0, a .npy, .npz, .csv, .tsv or .parquet file with "
    "samples in rows, or a folder of images."
)
_Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first row of a .csv or .tsv file names the columns.",
        show_default="found out, or asked for",
    ),
]


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


@app.command()
def fit(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help=_DATA, metavar="DATA", autocompletion=_complete_data)],
    rank: Annotated[int, typer.Option(help="Latent size and bottleneck of the network.")],
    depth: Annotated[int, typer.Option(help="Number of layers.")] = 1,
    hidden: Annotated[int | None, typer.Option(help="Width of hidden layers.", show_default="the rank")] = None,
    tau: _Tau = 0.0,
    loss: _Loss = LossName.bw,
    epsilon: _Epsilon = None,
    solver: Annotated[
        Solver,
        typer.Option(help=f"Minimizer, gradient flow or gradient descent: {_either(Solver)}.", metavar="SOLVER"),
    ] = Solver.flow,
    init: Annotated[
        Init, typer.Option(help=f"Start of the training: {_either(Init)}.", metavar="SCHEME")
    ] = Init.balanced,
    horizon: Annotated[float | None, typer.Option(help="Largest time of the flow.", show_default="long enough")] = None,
    num_steps: Annotated[
        int | None, typer.Option(help="Largest number of steps of descent.", show_default="long enough")
    ] = None,
    step_size: Annotated[
        str, typer.Option(help='Step size of descent: "sharpness", "certified", "accelerated" or a number.')
    ] = "sharpness",
    tolerance: Annotated[
        float, typer.Option(help="Relative excess over the theoretical minimum at which training stops.")
    ] = 1e-7,
    covariance: Annotated[bool, typer.Option("--covariance", help="Read DATA as a covariance matrix.")] = False,
    header: _Header = None,
    rtol: _Rtol = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.", show_default="runs/DATA-rankK-depthN")
    ] = None,
    seed: _Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in an existing folder.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    as_json: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Fit a deep linear network of a given rank to data; write the model, its records and a report into a folder."""
    step = check_fit(
        rank=rank,
        depth=depth,
        hidden=hidden,
        tau=tau,
        loss=loss.value,
        epsilon=epsilon,
        solver=solver.value,
        init=init.value,
        horizon=horizon,
        num_steps=num_steps,
        step_size=step_size,
        tolerance=tolerance,
        seed=seed,
        overwrite=overwrite,
        resume=resume,
    )
    folder = out if out is not None else default_folder(data, rank, depth)
    from deepbures.cli._progress import Display

    with Display(quiet=quiet) as display, ClaimedFolder(folder):
        check_vacant(folder, overwrite=overwrite, resume=resume)
        display.stage(f"reading {data}")
        from deepbures.datasets import load_dataset

        dataset = load_dataset(data, covariance=covariance, header=header)
        digest = dataset.digest()
        from deepbures.cli._fit import FitRequest, run_fit

        request = FitRequest(
            data=dataset.name,
            digest=digest,
            rank=rank,
            depth=depth,
            hidden=hidden,
            tau=tau,
            loss=loss.value,
            epsilon=epsilon,
            solver=solver.value,
            init=init.value,
            horizon=horizon,
            num_steps=num_steps,
            step_size=step,
            tolerance=tolerance,
            seed=seed,
            rtol=rtol,
        )
        summary = run_fit(request, dataset, folder, context.obj, display, resume=resume)
    if as_json:
        show_json(summary)
    else:
        show_summary(summary)


def default_folder(data: str, rank: int, depth: int) -> Path:
    """runs/DATA-rankK-depthN, with DATA without its folder and suffix, and "-" for what a shell might not like."""
    name = re.sub(
        r"\.(npy|npz|csv|tsv|csv\.gz|tsv\.gz|parquet)(::.*)?$",
        "",
        Path(data.removeprefix("builtin:")).name,
        flags=re.IGNORECASE,
    )
    name = re.sub(r"[^\w.=,-]+", "-", name).lstrip(".") or "data"
    return Path("runs") / f"{name}-rank{rank}-depth{depth}"


@app.command()
def sample(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Folder of a run, or its model.npz.", metavar="MODEL")],
    num: Annotated[int, typer.Option(help="Number of draws.")],
    out: Annotated[
        Path, typer.Option(help="File to write: .npy, .npz, .csv, .tsv, .csv.gz, .tsv.gz or .parquet; or a folder.")
    ],
    seed: _Seed = 0,
    noise: Annotated[
        Noise | None,
        typer.Option(
            help="Draw from N(mean, W Wᵀ + tau I), the Gaussian that was fitted (tau), or from N(mean, W Wᵀ) (none).",
            metavar="NOISE",
            show_default="tau, where the model has one",
        ),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Write each draw as a .png file into the folder --out.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    as_json: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Draw samples from a fitted model, one a row."""
    check_num(num)
    check_seed(seed)
    from deepbures.cli._progress import Display

    with Display(quiet=quiet) as display:
        from deepbures.cli._sample import run_sample, show_sample

        result = run_sample(
            model,
            num,
            out,
            seed,
            noise=None if noise is None else noise.value,
            as_images=images,
            overwrite=overwrite,
            call=context.obj,
            display=display,
        )
    if as_json:
        show_json(result)
    else:
        show_sample(result)


@app.command()
def distance(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help=_DATA, metavar="A", autocompletion=_complete_data)],
    b: Annotated[
        str, typer.Argument(help="The same, of as many features.", metavar="B", autocompletion=_complete_data)
    ],
    samples: Annotated[bool, typer.Option("--samples", help="Rows are samples (the default).")] = False,
    covariances: Annotated[bool, typer.Option("--covariances", help="A and B are covariance matrices.")] = False,
    factors: Annotated[bool, typer.Option("--factors", help="A and B are factors F of covariances F Fᵀ.")] = False,
    unbiased: Annotated[
        bool, typer.Option("--unbiased", help="Of samples: divide by N - 1, as codes for the FID do.")
    ] = False,
    header: _Header = None,
    rtol: _Rtol = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Bures-Wasserstein distance of two covariances or factors, or Fréchet distance of two sets of samples."""
    chosen = [
        name for name, given in (("samples", samples), ("covariances", covariances), ("factors", factors)) if given
    ]
    if len(chosen) > 1:
        raise ValueError(f"Choose one of --{', --'.join(chosen)}: all of them were given.")
    if unbiased and (covariances or factors):
        raise ValueError(f"--unbiased is about samples, but --{chosen[0]} was given. Leave out one of the two.")
    if rtol is not None and not covariances:
        raise ValueError("--rtol is about covariances, but --covariances was not given. Leave out --rtol, or add it.")
    from deepbures.cli._progress import Display

    with Display(quiet=quiet) as display:
        display.stage("comparing")
        from deepbures.cli._distance import run_distance

        kind = chosen[0] if chosen else "samples"
        result = run_distance(a, b, kind, unbiased, header, rtol, context.obj)
    if as_json:
        show_json(result)
    else:
        typer.echo(f"distance          {result['distance']}")
        typer.echo(f"squared distance  {result['squared_distance']}")


@app.command()
def landscape(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help=_DATA, metavar="DATA", autocompletion=_complete_data)],
    rank: Annotated[int, typer.Option(help="Bottleneck: the largest rank.")],
    tau: _Tau = 0.0,
    depth: Annotated[int, typer.Option(help="Number of layers; index and spectra are those at balanced lifts.")] = 1,
    loss: _Loss = LossName.bw,
    epsilon: _Epsilon = None,
    num: Annotated[int, typer.Option(help="How many critical points, lowest loss first.")] = 100,
    morse_index: Annotated[
        int | None, typer.Option(help="Only those with this Morse index.", show_default="any")
    ] = None,
    covariance: Annotated[bool, typer.Option("--covariance", help="Read DATA as a covariance matrix.")] = False,
    header: _Header = None,
    rtol: _Rtol = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for table and figures.", show_default="write nothing")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files in an existing folder.")] = False,
    as_json: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Critical points of the loss of a target: values, Morse indices, Hessian spectra, in closed form."""
    check_landscape(
        rank=rank,
        tau=tau,
        depth=depth,
        loss=loss.value,
        epsilon=epsilon,
        num=num,
        morse_index=morse_index,
    )
    from deepbures.cli._progress import Display

    with Display(quiet=quiet) as display, contextlib.ExitStack() as claims:
        if out is not None:
            claims.enter_context(ClaimedFolder(out))
            check_vacant(out, overwrite=overwrite, what="files")
        display.stage(f"reading {data}")
        from deepbures.cli._landscape import run_landscape, show_landscape

        summary = run_landscape(
            data,
            covariance=covariance,
            header=header,
            rtol=rtol,
            rank=rank,
            tau=tau,
            loss=loss.value,
            epsilon=epsilon,
            depth=depth,
            num=num,
            morse_index=morse_index,
            out=out,
            call=context.obj,
            display=display,
        )
    if as_json:
        show_json(summary)
    else:
        show_landscape(summary)


@app.command()
def certify(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help=_DATA, metavar="DATA", autocompletion=_complete_data)],
    rank: Annotated[
        int | None, typer.Option(help="Latent size and bottleneck of the start.", show_default="that of --model")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Number of layers.", show_default="1")] = None,
    hidden: Annotated[int | None, typer.Option(help="Width of hidden layers.", show_default="the rank")] = None,
    tau: _Tau = 0.0,
    loss: _Loss = LossName.bw,
    epsilon: _Epsilon = None,
    init: Annotated[
        Init | None,
        typer.Option(help=f"Start to certify: {_either(Init)}.", metavar="SCHEME", show_default="balanced"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the start.", show_default="0")] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of a run, or its model.npz: certify this network.", show_default="a fresh start"),
    ] = None,
    covariance: Annotated[bool, typer.Option("--covariance", help="Read DATA as a covariance matrix.")] = False,
    header: _Header = None,
    rtol: _Rtol = None,
    as_json: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Convergence certificates of the start that `fit` takes with these options, or of a trained network."""
    check_certify(
        model=model,
        rank=rank,
        depth=depth,
        hidden=hidden,
        tau=tau,
        loss=loss.value,
        epsilon=epsilon,
        init=None if init is None else init.value,
        seed=seed,
    )
    from deepbures.cli._progress import Display

    with Display(quiet=quiet) as display:
        display.stage("loading")
        from deepbures.cli._certify import run_certify, show_certify

        summary = run_certify(
            data,
            covariance=covariance,
            header=header,
            rtol=rtol,
            model=model,
            rank=rank,
            depth=1 if depth is None else depth,
            hidden=hidden,
            tau=tau,
            loss=loss.value,
            epsilon=epsilon,
            init=Init.balanced.value if init is None else init.value,
            seed=0 if seed is None else seed,
            call=context.obj,
            display=display,
        )
    if as_json:
        show_json(summary)
    else:
        show_certify(summary)


@app.command()
def reproduce(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Experiments, by name (--list).",
            metavar="NAME",
            show_default="all",
            autocompletion=_complete_experiment,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs") / "reproduction",
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the work, to see that everything runs.")] = False,
    seed: _Seed = 0,
    workers: Annotated[
        int | None,
        typer.Option(help="Pieces computed at the same time. Results do not depend on it.", show_default="all cores"),
    ] = None,
    faces: Annotated[
        str | None,
        typer.Option(help="Folder of images, or array of them, instead of the bundled faces.", metavar="PATH"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Compute again what the folder holds.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the experiments, and do nothing.")] = False,
    as_json: _Json = False,
    quiet: _Quiet = False,
    debug: _Debug = False,
) -> None:
    """Run the experiments of the paper, and some of our own: tables, figures and a page of what held."""
    num_workers = check_reproduce(seed=seed, workers=workers)
    from deepbures import reproduce as experiments

    registry = experiments.EXPERIMENTS
    chosen = experiments.choose(names or [], registry)
    if listed:
        if as_json:
            rows = [{"name": e.name, "title": e.title, "description": e.description} for e in chosen]
            show_json({"experiments": rows})
        else:
            width = max((len(experiment.name) for experiment in chosen), default=0)
            for experiment in chosen:
                typer.echo(f"{experiment.name:{width}}  {experiment.description}")
        return
    from deepbures.cli._progress import Display

    with Display(quiet=quiet) as display, ClaimedFolder(out):
        display.stage("loading")
        from deepbures.cli._reproduce import run_reproduce, show_reproduce

        summary = run_reproduce(
            chosen,
            registry,
            quick=quick,
            seed=seed,
            workers=num_workers,
            faces=faces,
            out=out,
            overwrite=overwrite,
            call=context.obj,
            display=display,
        )
    if as_json:
        show_json(summary)
    else:
        show_reproduce(summary)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: one call, from arguments to exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; by default those of the process.

    Returns
    -------
    int
        0 done, 1 the work failed, 2 bad input.

    Examples
    --------
    >>> from deepbures.cli import main
    >>> main(["--version"])
    deepbures 0.1.0
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        write_anywhere(stream)
    call = Invocation(arguments)
    try:
        with call.showing_warnings():
            code = app(arguments or ["--help"], prog_name="deepbures", standalone_mode=False, obj=call) or 0
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 — whatever it is: one line, no traceback
        code, text = explain(error, debug="--debug" in arguments)
        say(f"deepbures: error: {text}")
        if "--json" in arguments:
            known = error.summary if isinstance(error, WorkError) else {}
            with contextlib.suppress(OSError):  # it may be standard output itself that cannot be written to
                show_json({**known, "error": text, "exit_code": code})
    return code
