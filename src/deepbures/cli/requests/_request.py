"""What all requests have in common, and what several of them check."""

import contextlib
import functools
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from deepbures._loss_names import LossName

if TYPE_CHECKING:
    from deepbures.cli._progress import Display
    from deepbures.datasets import Dataset


class Request:
    """What a command was asked.

    `work` is the module that does it: its ``run(request, call, display)`` returns a summary, which its
    ``show(summary)`` shows.
    """

    work: ClassVar[str]

    @contextlib.contextmanager
    def prepared(self, display: "Display") -> Iterator[None]:
        """Around the work: what comes before anything heavy is loaded, and what is held meanwhile."""
        yield


class DataRequest(Request):
    """A request about data, which are read before anything heavy is loaded."""

    data: str
    covariance: bool
    header: bool | None

    @functools.cached_property
    def dataset(self) -> "Dataset":
        """DATA, read once."""
        from deepbures.datasets import load_dataset

        return load_dataset(self.data, covariance=self.covariance, header=self.header)

    def read(self, display: "Display") -> None:
        """Read DATA now."""
        display.stage(f"reading {self.data}")
        _ = self.dataset


def values(request: Request, *names: str) -> dict[str, Any]:
    """Fields by name, as JSON has them."""
    found = {name: getattr(request, name) for name in names}
    return {name: value.value if isinstance(value, StrEnum) else value for name, value in found.items()}


def require(condition: bool, message: str) -> None:
    """Refuse what is not as it must be."""
    if not condition:
        raise ValueError(message)


def check_seed(seed: int) -> None:
    """Refuse what is no seed: JAX takes them as signed 64-bit integers."""
    require(0 <= seed < 2**63, f"--seed must be at least 0 and below 2⁶³, but {seed} was given.")


def check_network(rank: int, depth: int, hidden: int | None = None) -> None:
    """Refuse a network that cannot be."""
    require(rank >= 1, f"--rank must be at least 1, but {rank} was given.")
    require(depth >= 1, f"--depth must be at least 1, but {depth} was given.")
    if hidden is not None:
        require(
            hidden >= rank,
            f"--hidden must be at least the rank {rank} (narrower layers cannot carry it), but {hidden} was given.",
        )
        require(
            depth > 1,
            f"--hidden {hidden} was given, but a network of depth 1 has no hidden layer: raise --depth or leave "
            "--hidden out.",
        )


def check_loss(loss: LossName, tau: float, epsilon: float | None) -> None:
    """Refuse parameters that a loss does not take, or lacks."""
    loss.arguments(tau=tau, epsilon=epsilon, spell=lambda name: f"--{name}")
