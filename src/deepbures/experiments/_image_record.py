"""What `images` found: generators, beside the data and the theoretical minimum."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from deepbures.experiments._pieces import Finding

Floats = NDArray[np.float64]
Row = dict[str, float | int | str | None]

# Excess over the theoretical minimum, relative to it, at which it is called reached; |cos| that is called aligned.
_REACHED, _ALIGNED = 1e-8, 0.9999


@dataclasses.dataclass(frozen=True)
class Generator:
    """A trained generator of images.

    Attributes
    ----------
    eigen_images : array (k, n)
        Left singular vectors of the end-to-end matrix W, signs as those of the target; NaN for modes that it does not
        use.
    cosines : array (k,)
        |cos| of the angle to the target's; NaN likewise.
    singular_values : array (k,)
        Of W.
    loss, minimal_loss, relative_excess : float
        What was reached, the least that this rank allows, and the difference over the latter, computed without
        cancellation.
    times, losses : arrays (records,)
        The course of the training; empty for the closed form.
    samples : array (num, n)
        Drawn from the generator.
    """

    eigen_images: Floats
    cosines: Floats
    singular_values: Floats
    loss: float
    minimal_loss: float
    relative_excess: float
    times: Floats
    losses: Floats
    samples: Floats

    @property
    def smallest_cosine(self) -> float | None:
        """The least |cos| of the modes that it uses; None where it uses none."""
        return None if np.isnan(self.cosines).all() else float(np.nanmin(self.cosines))


@dataclasses.dataclass(frozen=True)
class Images:
    """What `images` found.

    Attributes
    ----------
    name : str
        Of the data.
    image_shape : tuple of int
        (height, width) or (height, width, channels).
    rank, depth, tau
        Of the networks.
    eigenvalues : array (k + 1,)
        Of the covariance of the data, leading ones (k, where n = k).
    eigen_images : array (k, n)
        The eigenvectors.
    data_samples : array (num, n)
        Some of the data.
    generators : dict from solver to Generator
        "closed-form", "flow", "descent".

    Examples
    --------
    >>> import numpy as np
    >>> from deepbures.experiments import images
    >>> record = images(data=np.random.default_rng(0).standard_normal((50, 3, 3)), rank=2, quick=True)
    >>> record.image_shape, record.eigen_images.shape, sorted(record.generators)
    ((3, 3), (2, 9), ['closed-form', 'descent'])
    """

    name: str
    image_shape: tuple[int, ...]
    rank: int
    depth: int
    tau: float
    eigenvalues: Floats
    eigen_images: Floats
    data_samples: Floats
    generators: dict[str, Generator]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What theory says, and what came out."""
        runs = self.generators
        reached = max(each.relative_excess for each in runs.values())
        least = {solver: each.smallest_cosine for solver, each in runs.items()}
        known = [cosine for cosine in least.values() if cosine is not None]
        best = np.maximum(self.eigenvalues[: self.rank] - self.tau, 0.0)
        errors = {
            solver: float(np.abs(each.singular_values**2 - best).max() / self.eigenvalues[0])
            for solver, each in runs.items()
        }
        losses = "; ".join(f"{s} {each.loss:.8g}, {each.relative_excess:.1e} of it above" for s, each in runs.items())
        cosines = "; ".join(f"{s} {'none is used' if c is None else f'{1 - c:.1e}'}" for s, c in least.items())
        values = self.eigenvalues[self.eigenvalues > 0]
        closest = float((1 - values[1:] / values[:-1]).min(initial=1.0))
        return (
            Finding(
                "The loss reached is the theoretical minimum over matrices of this rank.",
                reached < _REACHED,
                f"{self.name}, rank {self.rank}, depth {self.depth}: the minimum is "
                f"{next(iter(runs.values())).minimal_loss:.8g}; {losses}.",
            ),
            Finding(
                "The generator's leading singular vectors are the target's eigenvectors.",
                min(known) > _ALIGNED if len(known) == len(least) else None,
                f"Largest 1 − |cos| over the modes used: {cosines}; the closest neighboring eigenvalues differ by "
                f"{100 * closest:.2g} %.",
            ),
            Finding(
                "Its squared singular values are the target's leading eigenvalues, less the smoothing.",
                max(errors.values()) < 1e-4,
                "Largest difference over the largest eigenvalue: "
                + "; ".join(f"{solver} {error:.1e}" for solver, error in errors.items())
                + ".",
            ),
        )

    def tables(self) -> dict[str, list[Row]]:
        """Rows for files: the runs, their modes, and the course of their losses."""
        tables: dict[str, list[Row]] = {"runs": [], "modes": [], "curves": []}
        for solver, run in self.generators.items():
            tables["runs"].append(
                {
                    "solver": solver,
                    "loss": run.loss,
                    "minimal_loss": run.minimal_loss,
                    "relative_excess": run.relative_excess,
                    "smallest_cosine": run.smallest_cosine,
                }
            )
            columns = (self.eigenvalues[: self.rank], run.singular_values**2, run.cosines)
            for mode, (value, square, cosine) in enumerate(zip(*(each.tolist() for each in columns), strict=True)):
                tables["modes"].append(
                    {
                        "solver": solver,
                        "mode": mode + 1,
                        "eigenvalue": value,
                        "squared_singular_value": square,
                        "cosine": cosine,
                    }
                )
            for time, loss in zip(run.times.tolist(), run.losses.tolist(), strict=True):
                tables["curves"].append({"solver": solver, "time": time, "loss": loss})
        return tables
