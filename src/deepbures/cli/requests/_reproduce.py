"""What `deepbures reproduce` can be asked."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepbures._claim import ClaimedFolder
from deepbures.cli import _options as options
from deepbures.cli.requests._request import Request, check_seed, require

if TYPE_CHECKING:
    from deepbures.cli._progress import Display
    from deepbures.reproduce import Experiment


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest(Request):
    """Run the experiments of the paper, and some of our own: tables, figures and a page of what held."""

    names: options.Names = None
    out: options.ReproduceOut = Path("runs") / "reproduction"
    quick: options.Quick = False
    seed: options.Seed = 0
    workers: options.Workers = None
    faces: options.Faces = None
    overwrite: options.ReproduceOverwrite = False
    listed: options.Listed = False

    def __post_init__(self) -> None:
        check_seed(self.seed)
        require(
            self.workers is None or 1 <= self.workers <= 1024,
            f"--workers must be at least 1 and at most 1024, but {self.workers} was given.",
        )
        _ = self.chosen  # unknown names are refused

    @property
    def work(self) -> str:  # type: ignore[override]
        """Experiments are listed without what runs them, which takes its time to be loaded."""
        return "deepbures.cli._list" if self.listed else "deepbures.cli._reproduce"

    @property
    def registry(self) -> tuple["Experiment", ...]:
        """All experiments there are."""
        from deepbures import reproduce

        return tuple(reproduce.EXPERIMENTS)

    @property
    def chosen(self) -> tuple["Experiment", ...]:
        """The experiments that were named; all where none was."""
        from deepbures import reproduce

        return tuple(reproduce.choose(self.names or [], self.registry))

    @property
    def num_workers(self) -> int:
        """How many pieces are computed at the same time: as many as there are cores, unless told otherwise."""
        if self.workers is not None:
            return self.workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @contextlib.contextmanager
    def prepared(self, display: "Display") -> Iterator[None]:
        """Claim the folder, if anything is to be written there."""
        with contextlib.nullcontext() if self.listed else ClaimedFolder(self.out):
            display.stage("loading")
            yield
