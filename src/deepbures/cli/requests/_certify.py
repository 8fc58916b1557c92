"""What `deepbures certify` can be asked."""

from dataclasses import dataclass
from typing import Any

from deepbures._loss_names import LossName
from deepbures.cli import _options as options
from deepbures.cli.requests._request import DataRequest, check_loss, check_network, check_seed, require, values


@dataclass(frozen=True, kw_only=True)
class CertifyRequest(DataRequest):
    """Convergence certificates of the start that `fit` takes with these options, or of a trained network."""

    data: options.Data
    rank: options.StartRank = None
    depth: options.StartDepth = None
    hidden: options.Hidden = None
    loss: options.Loss = LossName.bw
    tau: options.Tau = 0.0
    epsilon: options.Epsilon = None
    init: options.StartInit = None
    seed: options.StartSeed = None
    model: options.StartModel = None
    covariance: options.Covariance = False
    header: options.Header = None
    rtol: options.Rtol = None

    work = "deepbures.cli._certify"

    def __post_init__(self) -> None:
        if self.model is not None:
            for option, value in values(self, "rank", "depth", "hidden", "init", "seed").items():
                require(
                    value is None,
                    f"--{option} {value} was given, but --model is a start of its own: leave out one of the two.",
                )
        elif self.rank is None:
            raise ValueError(
                "--rank is missing: give the bottleneck of the start to certify, or a trained network with --model."
            )
        else:
            check_network(self.rank, 1 if self.depth is None else self.depth, self.hidden)
            check_seed(0 if self.seed is None else self.seed)
        check_loss(self.loss, self.tau, self.epsilon)

    def record(self) -> dict[str, Any]:
        """What was asked, as the summary has it."""
        return values(self, "loss", "tau", "epsilon", "rtol")
