"""The options of the commands, each written once, with what completes and describes it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from deepbures._loss_names import LossName
from deepbures._step_names import STEP_SIZES_IN_WORDS
from deepbures.cli._messages import Invocation


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


def either(choices: type[StrEnum]) -> str:
    """All values of an option, in words."""
    *most, last = choices
    return f"{', '.join(most)} or {last}"


BUILT_IN = ("digits", "faces", "patches", "gaussian")
"""What completes DATA, beside the names of files: `deepbures.datasets` would take its time to be loaded."""


def _complete_data(incomplete: str) -> list[str]:
    return [name for name in BUILT_IN if name.startswith(incomplete)]


def _complete_experiment(incomplete: str) -> list[str]:
    from deepbures.reproduce import EXPERIMENTS

    return [experiment.name for experiment in EXPERIMENTS if experiment.name.startswith(incomplete)]


def _be_quiet(context: typer.Context, value: bool) -> bool:
    if value and isinstance(context.obj, Invocation):
        context.obj.quiet = True
    return value


def _flag(name: str, text: str) -> Any:
    return typer.Option(name, help=text)


# ------------------------------------------------------------------ of every command

Json = Annotated[bool, _flag("--json", "Print one JSON object on standard output, and nothing else there.")]
Debug = Annotated[bool, _flag("--debug", "Show the traceback of an error.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no progress, and no messages but errors.", callback=_be_quiet)
]

# -------------------------------------------------------------------------- the data

DATA = (
    "digits, faces, patches, gaussian:dim=20,spectrum=zipf,seed=0, a .npy, .npz, .csv, .tsv or .parquet file with "
    "samples in rows, or a folder of images."
)
Data = Annotated[str, typer.Argument(help=DATA, metavar="DATA", autocompletion=_complete_data)]
DataA = Annotated[str, typer.Argument(help=DATA, metavar="A", autocompletion=_complete_data)]
DataB = Annotated[
    str, typer.Argument(help="The same, of as many features.", metavar="B", autocompletion=_complete_data)
]
Covariance = Annotated[bool, _flag("--covariance", "Read DATA as a covariance matrix.")]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the first row of a .csv or .tsv file names the columns.",
        show_default="found out, or asked for",
    ),
]
Rtol = Annotated[
    float | None,
    typer.Option(
        help="Of a covariance: asymmetry and negative eigenvalues up to this share of its largest entry are rounding, "
        "and taken away.",
        show_default="100 n eps",
    ),
]

# -------------------------------------------------------------- the network, the loss

Rank = Annotated[int, typer.Option(help="Latent size and bottleneck of the network.")]
Depth = Annotated[int, typer.Option(help="Number of layers.")]
Hidden = Annotated[int | None, typer.Option(help="Width of hidden layers.", show_default="the rank")]
Loss = Annotated[
    LossName,
    typer.Option(
        help="What is minimized: squared Bures-Wasserstein or Frobenius distance, Gaussian likelihood, entropic "
        f"Wasserstein cost or Sinkhorn divergence: {either(LossName)}.",
        metavar="LOSS",
    ),
]
Tau = Annotated[
    float, typer.Option(help="A variance: smoothing of bw, noise of the model of likelihood (which needs it).")
]
Epsilon = Annotated[
    float | None,
    typer.Option(help="Regularization of entropic and sinkhorn (which need it), a variance.", show_default="none"),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random. Same seed, same bits.")]

# ---------------------------------------------------------------------------- of fit

SolverOption = Annotated[
    Solver, typer.Option(help=f"Minimizer, gradient flow or gradient descent: {either(Solver)}.", metavar="SOLVER")
]
InitOption = Annotated[Init, typer.Option(help=f"Start of the training: {either(Init)}.", metavar="SCHEME")]
Horizon = Annotated[float | None, typer.Option(help="Largest time of the flow.", show_default="long enough")]
NumSteps = Annotated[int | None, typer.Option(help="Largest number of steps of descent.", show_default="long enough")]
StepSize = Annotated[str, typer.Option(help=f"Step size of descent: {STEP_SIZES_IN_WORDS} or a number.")]
Tolerance = Annotated[float, typer.Option(help="Relative excess over the theoretical minimum at which training stops.")]
FitOut = Annotated[Path | None, typer.Option(help="Folder for the results.", show_default="runs/DATA-rankK-depthN")]
FitOverwrite = Annotated[bool, _flag("--overwrite", "Replace the run in an existing folder.")]
Resume = Annotated[bool, _flag("--resume", "Go on with an interrupted run.")]

# ------------------------------------------------------------------------- of sample

Model = Annotated[Path, typer.Argument(help="Folder of a run, or its model.npz.", metavar="MODEL")]
NumDraws = Annotated[int, typer.Option(help="Number of draws.")]
SampleOut = Annotated[
    Path, typer.Option(help="File to write: .npy, .npz, .csv, .tsv, .csv.gz, .tsv.gz or .parquet; or a folder.")
]
NoiseOption = Annotated[
    Noise | None,
    typer.Option(
        help="Draw from N(mean, W Wᵀ + tau I), the Gaussian that was fitted (tau), or from N(mean, W Wᵀ) (none).",
        metavar="NOISE",
        show_default="tau, where the model has one",
    ),
]
Images = Annotated[bool, _flag("--images", "Write each draw as a .png file into the folder --out.")]
SampleOverwrite = Annotated[bool, _flag("--overwrite", "Replace an existing file.")]

# ----------------------------------------------------------------------- of distance

Samples = Annotated[bool, _flag("--samples", "Rows are samples (the default).")]
Covariances = Annotated[bool, _flag("--covariances", "A and B are covariance matrices.")]
Factors = Annotated[bool, _flag("--factors", "A and B are factors F of covariances F Fᵀ.")]
Unbiased = Annotated[bool, _flag("--unbiased", "Of samples: divide by N - 1, as codes for the FID do.")]

# ---------------------------------------------------------------------- of landscape

LandscapeRank = Annotated[int, typer.Option(help="Bottleneck: the largest rank.")]
LandscapeDepth = Annotated[int, typer.Option(help="Number of layers; index and spectra are those at balanced lifts.")]
NumPoints = Annotated[int, typer.Option(help="How many critical points, lowest loss first.")]
MorseIndex = Annotated[int | None, typer.Option(help="Only those with this Morse index.", show_default="any")]
LandscapeOut = Annotated[Path | None, typer.Option(help="Folder for table and figures.", show_default="write nothing")]
LandscapeOverwrite = Annotated[bool, _flag("--overwrite", "Replace the files in an existing folder.")]

# ------------------------------------------------------------------------ of certify

StartRank = Annotated[
    int | None, typer.Option(help="Latent size and bottleneck of the start.", show_default="that of --model")
]
StartDepth = Annotated[int | None, typer.Option(help="Number of layers.", show_default="1")]
StartInit = Annotated[
    Init | None,
    typer.Option(help=f"Start to certify: {either(Init)}.", metavar="SCHEME", show_default="balanced"),
]
StartSeed = Annotated[int | None, typer.Option(help="Seed of the start.", show_default="0")]
StartModel = Annotated[
    Path | None,
    typer.Option(help="Folder of a run, or its model.npz: certify this network.", show_default="a fresh start"),
]

# ---------------------------------------------------------------------- of reproduce

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Experiments, by name (--list).", metavar="NAME", show_default="all", autocompletion=_complete_experiment
    ),
]
ReproduceOut = Annotated[Path, typer.Option(help="Folder for the results.")]
Quick = Annotated[bool, _flag("--quick", "A tenth of the work, to see that everything runs.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Pieces computed at the same time. Results do not depend on it.", show_default="all cores"),
]
Faces = Annotated[
    str | None,
    typer.Option(help="Folder of images, or array of them, instead of the bundled faces.", metavar="PATH"),
]
ReproduceOverwrite = Annotated[bool, _flag("--overwrite", "Compute again what the folder holds.")]
Listed = Annotated[bool, _flag("--list", "List the experiments, and do nothing.")]
