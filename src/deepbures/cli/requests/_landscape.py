"""What `deepbures landscape` can be asked."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepbures._claim import ClaimedFolder, check_vacant
from deepbures._loss_names import LossName
from deepbures.cli import _options as options
from deepbures.cli.requests._request import DataRequest, check_loss, check_network, require, values

if TYPE_CHECKING:
    from deepbures.cli._progress import Display


@dataclass(frozen=True, kw_only=True)
class LandscapeRequest(DataRequest):
    """Critical points of the loss of a target: values, Morse indices, Hessian spectra, in closed form."""

    data: options.Data
    rank: options.LandscapeRank
    depth: options.LandscapeDepth = 1
    loss: options.Loss = LossName.bw
    tau: options.Tau = 0.0
    epsilon: options.Epsilon = None
    num: options.NumPoints = 100
    morse_index: options.MorseIndex = None
    covariance: options.Covariance = False
    header: options.Header = None
    rtol: options.Rtol = None
    out: options.LandscapeOut = None
    overwrite: options.LandscapeOverwrite = False

    work = "deepbures.cli._landscape"

    def __post_init__(self) -> None:
        check_network(self.rank, self.depth)
        check_loss(self.loss, self.tau, self.epsilon)
        require(1 <= self.num <= 1_000_000, f"--num must be between 1 and 1000000, but {self.num} was given.")
        require(
            self.morse_index is None or self.morse_index >= 0,
            f"--morse-index must be at least 0, but {self.morse_index} was given.",
        )

    @contextlib.contextmanager
    def prepared(self, display: "Display") -> Iterator[None]:
        """Claim the folder, if there is one, and read the data."""
        with contextlib.ExitStack() as claims:
            if self.out is not None:
                claims.enter_context(ClaimedFolder(self.out))
                check_vacant(self.out, overwrite=self.overwrite, what="files")
            self.read(display)
            yield

    def record(self) -> dict[str, Any]:
        """What was asked, as the summary has it."""
        return values(self, "rank", "tau", "loss", "epsilon", "depth", "num", "morse_index")
