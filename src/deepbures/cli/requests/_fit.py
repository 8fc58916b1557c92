"""What `deepbures fit` can be asked."""

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbures._claim import ClaimedFolder, check_vacant
from deepbures._loss_names import LossName
from deepbures._step_names import STEP_SIZES, STEP_SIZES_IN_WORDS
from deepbures.cli import _options as options
from deepbures.cli.requests._request import DataRequest, check_loss, check_network, check_seed, require, values

if TYPE_CHECKING:
    from deepbures.cli._progress import Display


@dataclass(frozen=True, kw_only=True)
class FitRequest(DataRequest):
    """Fit a deep linear network of a given rank to data; write the model, its records and a report into a folder."""

    data: options.Data
    rank: options.Rank
    depth: options.Depth = 1
    hidden: options.Hidden = None
    loss: options.Loss = LossName.bw
    tau: options.Tau = 0.0
    epsilon: options.Epsilon = None
    solver: options.SolverOption = options.Solver.flow
    init: options.InitOption = options.Init.balanced
    horizon: options.Horizon = None
    num_steps: options.NumSteps = None
    step_size: options.StepSize = "sharpness"
    tolerance: options.Tolerance = 1e-7
    covariance: options.Covariance = False
    header: options.Header = None
    rtol: options.Rtol = None
    out: options.FitOut = None
    seed: options.Seed = 0
    overwrite: options.FitOverwrite = False
    resume: options.Resume = False

    work = "deepbures.cli._fit"

    def __post_init__(self) -> None:
        check_network(self.rank, self.depth, self.hidden)
        check_loss(self.loss, self.tau, self.epsilon)
        require(
            math.isfinite(self.tolerance) and self.tolerance >= 0,
            f"--tolerance must be finite and not negative, but {self.tolerance} was given.",
        )
        require(
            self.horizon is None or (math.isfinite(self.horizon) and self.horizon > 0),
            f"--horizon must be finite and positive, but {self.horizon} was given.",
        )
        require(
            self.num_steps is None or 1 <= self.num_steps < 2**31,
            f"--num-steps must be at least 1 and below 2³¹, but {self.num_steps} was given.",
        )
        self._check_solver()
        check_seed(self.seed)
        require(
            not (self.overwrite and self.resume),
            "--overwrite starts again and --resume goes on, but both were given: choose one.",
        )

    def _check_solver(self) -> None:
        given = {
            "horizon": self.horizon is not None,
            "num_steps": self.num_steps is not None,
            "step_size": self.step != "sharpness",
            "init": self.init != "balanced",
            "resume": self.resume,
        }
        if not any(given.values()):
            return
        from deepbures.training import owners_of

        for option in (option for option, is_given in given.items() if is_given):
            owners = owners_of(option)
            require(
                self.solver in owners,
                f"--{option.replace('_', '-')} belongs to --solver {' and '.join(owners)}, but --solver {self.solver} "
                "was given: leave it out.",
            )

    @property
    def step(self) -> float | str:
        """The step size as `deepbures.fit` takes it."""
        if self.step_size in STEP_SIZES:
            return self.step_size
        try:
            number = float(self.step_size)
        except ValueError:
            number = math.nan
        require(
            math.isfinite(number) and number > 0,
            f"--step-size must be {STEP_SIZES_IN_WORDS} or a positive number, but {self.step_size!r} was given.",
        )
        return number

    @property
    def is_training(self) -> bool:
        """Whether there is a run that can be interrupted."""
        from deepbures.training import SOLVERS

        return SOLVERS[self.solver].needs_start

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return default_folder(self.data, self.rank, self.depth) if self.out is None else self.out

    @contextlib.contextmanager
    def prepared(self, display: "Display") -> Iterator[None]:
        """Claim the folder, and read the data."""
        with ClaimedFolder(self.folder):
            check_vacant(self.folder, overwrite=self.overwrite, resume=self.resume)
            self.read(display)
            yield

    def record(self) -> dict[str, Any]:
        """What determines the results, as it is kept, and compared on --resume."""
        options_kept = ("rank", "depth", "hidden", "tau", "loss", "solver", "init", "horizon", "num_steps")
        return {
            "data": self.dataset.name,
            "digest": self.dataset.digest(),
            **values(self, *options_kept),
            "step_size": self.step,
            **values(self, "tolerance", "seed", "epsilon", "rtol"),
        }


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
