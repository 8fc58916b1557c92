"""What `deepbures sample` can be asked."""

from dataclasses import dataclass

from deepbures.cli import _options as options
from deepbures.cli.requests._request import Request, check_seed, require


@dataclass(frozen=True, kw_only=True)
class SampleRequest(Request):
    """Draw samples from a fitted model, one a row."""

    model: options.Model
    num: options.NumDraws
    out: options.SampleOut
    seed: options.Seed = 0
    noise: options.NoiseOption = None
    images: options.Images = False
    overwrite: options.SampleOverwrite = False

    work = "deepbures.cli._sample"

    def __post_init__(self) -> None:
        require(1 <= self.num < 2**63, f"--num must be at least 1 and below 2⁶³, but {self.num} was given.")
        check_seed(self.seed)
