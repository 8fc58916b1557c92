"""What `deepbures distance` can be asked."""

from dataclasses import dataclass

from deepbures.cli import _options as options
from deepbures.cli.requests._request import Request, require


@dataclass(frozen=True, kw_only=True)
class DistanceRequest(Request):
    """Bures-Wasserstein distance of two covariances or factors, or Fréchet distance of two sets of samples."""

    a: options.DataA
    b: options.DataB
    samples: options.Samples = False
    covariances: options.Covariances = False
    factors: options.Factors = False
    unbiased: options.Unbiased = False
    header: options.Header = None
    rtol: options.Rtol = None

    work = "deepbures.cli._distance"

    def __post_init__(self) -> None:
        chosen = self._chosen
        if len(chosen) > 1:
            raise ValueError(f"Choose one of --{', --'.join(chosen)}: all of them were given.")
        require(
            not self.unbiased or self.kind == "samples",
            f"--unbiased is about samples, but --{self.kind} was given. Leave out one of the two.",
        )
        require(
            self.rtol is None or self.covariances,
            "--rtol is about covariances, but --covariances was not given. Leave out --rtol, or add it.",
        )

    @property
    def _chosen(self) -> list[str]:
        return [name for name in ("samples", "covariances", "factors") if getattr(self, name)]

    @property
    def kind(self) -> str:
        """What A and B are."""
        return next(iter(self._chosen), "samples")
