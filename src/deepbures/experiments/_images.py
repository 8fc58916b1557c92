"""Generators of images: what a linear network trained on them has learned, and what it draws."""

import dataclasses
import functools
import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import as_array, check_finite, check_integer, check_number
from deepbures.datasets import Dataset, load_dataset
from deepbures.experiments._image_record import Generator, Images
from deepbures.experiments._pieces import Keeper, Piece, compute_all
from deepbures.model import Target
from deepbures.training import SOLVERS, fit

Floats = NDArray[np.float64]

_RANKS = {"digits": 16}
_RANK = 32
_NUM_SAMPLES = 16
_QUICK_SOLVERS = ("closed-form", "descent")

# Excess over the theoretical minimum, relative to it, at which training stops: there, modes with eigenvalues 1 % apart
# are turned into each other by about 1e-3, and the eigen-images are right to the eye.
_TOLERANCE = 1e-10


def images(
    *,
    quick: bool = False,
    seed: int = 0,
    keep: Keeper = compute_all,
    data: str | os.PathLike[str] | Dataset | NDArray[Any] = "builtin:digits",
    image_shape: Sequence[int] | None = None,
    rank: int | None = None,
    depth: int = 2,
    tau: float = 0.0,
    solvers: Sequence[str] | None = None,
) -> Images:
    """Generators of images, trained: eigen-images, samples, and the loss reached against the theoretical minimum.

    The same network is fitted in closed form, by gradient flow and by gradient descent (both from a balanced random
    start, until the excess over the minimum is 1e-10 of it), each with `deepbures.fit`.

    Parameters
    ----------
    quick : bool
        A quarter of the rank, unless it is given, and no flow.
    seed : int
        Of starts, samples drawn and samples shown. Same seed, same bits.
    keep : Keeper
        How the pieces are computed.
    data : str, path, Dataset or array
        "digits" (8×8) or "faces" (25×25 crops); another name or path that `deepbures.datasets.load_dataset` takes, as
        the 64×64 crops of the whole Labeled Faces in the Wild, a folder of images or a .npy file; or an array of
        samples (N, h, w), (N, h, w, channels) or (N, n), used as it is.
    image_shape : sequence of int, optional
        How a row of (N, n) is shown, (h, w) or (h, w, channels). By default as the data say, or a gray square where n
        is the square of a whole number.
    rank : int, optional
        k; by default 16 for digits and 32 for all else, or what the data have if that is less.
    depth : int
        N.
    tau : float
        Smoothing. Modes with eigenvalues not above it cannot be used, with a warning; they stay blank.
    solvers : sequence of str, optional
        Some of "closed-form", "flow" and "descent"; by default all, and no flow for `quick`. Digits and the bundled
        faces take seconds each; with n = 4096 the descent takes minutes, and the flow takes longest.

    Returns
    -------
    Images
        Eigen-images, samples, losses, findings.

    Raises
    ------
    ValueError, TypeError
        If the data cannot be read, are no samples, or have no image shape; if another argument is out of range.

    References
    ----------
    Bréchet et al. (2023) train on crops of Labeled Faces in the Wild, 64×64.

    Examples
    --------
    >>> from deepbures.experiments import images
    >>> record = images(quick=True, rank=3)
    >>> [finding.held for finding in record.findings]
    [True, True, True]
    """
    if rank is not None:
        check_integer(rank, "rank", 1)
    check_integer(depth, "depth", 1)
    check_number(tau, "tau")
    problem = _Asked(data, image_shape, rank, depth, float(tau), quick, check_integer(seed, "seed", 0, 2**63 - 1))
    pieces: dict[str, Callable[[], Piece]] = {"data": problem.describe}
    for solver in _chosen(solvers, quick):
        pieces[f"solver={solver}"] = functools.partial(problem.train, solver)
    return _assemble(keep(pieces), depth, float(tau))


def _chosen(solvers: Sequence[str] | None, quick: bool) -> tuple[str, ...]:
    if solvers is None:
        return _QUICK_SOLVERS if quick else tuple(SOLVERS)
    asked = (solvers,) if isinstance(solvers, str) else tuple(solvers)
    unknown = [solver for solver in asked if solver not in SOLVERS]
    if unknown or not asked:
        given = repr(unknown[0]) if unknown else "nothing"
        raise ValueError(f"solvers must be some of {', '.join(SOLVERS)}, but {given} was given.")
    return tuple(solver for solver in SOLVERS if solver in asked)


# --------------------------------------------------------------------------------------------------------------- pieces


@dataclasses.dataclass(frozen=True, eq=False)
class _Asked:
    """What is fitted to what. The data are loaded, and decomposed, when the first piece that needs them is computed."""

    source: Any
    asked_shape: Sequence[int] | None
    asked_rank: int | None
    depth: int
    tau: float
    quick: bool
    seed: int
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def loaded(self) -> tuple[Dataset, Target]:
        """The data and their moments; threads that compute pieces side by side wait for the first."""
        with self.lock:
            return self._dataset, self._target

    @functools.cached_property
    def _dataset(self) -> Dataset:
        if isinstance(self.source, Dataset):
            data = self.source
        elif isinstance(self.source, str | os.PathLike):
            data = load_dataset(self.source)
        else:
            data = _from_array(self.source)
        if data.samples is None:
            raise ValueError(
                f"data must hold images as samples, but {data.name!r} is a covariance matrix. Give the samples."
            )
        shape = tuple(self.asked_shape) if self.asked_shape is not None else data.image_shape or _square(data)
        return dataclasses.replace(data, image_shape=shape)

    @functools.cached_property
    def _target(self) -> Target:
        return Target.from_samples(self._dataset.samples)

    def rank(self, dataset: Dataset) -> int:
        n, num = dataset.dim, int(dataset.num_samples or 0)
        most = max(1, min(n, num - 1))
        if self.asked_rank is not None:
            return check_integer(
                self.asked_rank, "rank", 1, most, why=f" (that of {num} centered images of {n} numbers)"
            )
        usual = _RANKS.get(dataset.name, _RANK)
        return max(1, min(usual // 4 if self.quick else usual, most))

    def describe(self) -> Piece:
        """The leading eigenpairs of the data, and a few of them."""
        dataset, target = self.loaded()
        samples, rank = dataset.samples, self.rank(dataset)
        assert samples is not None and dataset.image_shape is not None  # by `_dataset`; tells the type checker
        chosen = np.sort(np.random.default_rng(self.seed).permutation(len(samples))[:_NUM_SAMPLES])
        values, vectors = target.spectrum(min(rank + 1, dataset.dim))
        eigen_images = np.asarray(vectors, np.float64)[:, :rank].T
        largest = np.abs(eigen_images).argmax(1)
        signs = np.sign(eigen_images[np.arange(rank), largest])
        return {
            "name": np.array(dataset.name),
            "image-shape": np.array(dataset.image_shape),
            "eigenvalues": np.asarray(values, np.float64),
            "eigen-images": eigen_images * signs[:, None],
            "samples": np.asarray(samples[chosen], np.float64),
        }

    def train(self, solver: str) -> Piece:
        """One fit."""
        dataset, target = self.loaded()
        rank = self.rank(dataset)
        options: dict[str, Any] = {"tolerance": _TOLERANCE, "num_records": 100}
        fitted = fit(target, rank, solver=solver, depth=self.depth, tau=self.tau, seed=self.seed, **options)
        left, singular, _ = np.linalg.svd(np.asarray(fitted.network.end_to_end, np.float64), full_matrices=False)
        run = fitted.trajectory
        positions = () if run is None else run.steps if run.times is None else run.times
        return {
            "vectors": left.T,
            "singular-values": singular,
            "loss": np.asarray(fitted.final_loss, np.float64),
            "minimal-loss": np.asarray(fitted.minimal_loss, np.float64),
            "relative-excess": np.asarray(fitted.relative_excess, np.float64),
            "times": np.asarray(positions, np.float64),
            "losses": np.asarray(() if run is None else run.losses, np.float64),
            "samples": np.asarray(fitted.network.sample(self.seed, _NUM_SAMPLES, noise_variance=self.tau), np.float64),
        }


def _from_array(value: Any) -> Dataset:
    array = as_array(value, "data")
    if array.ndim not in (2, 3, 4) or 0 in array.shape or array.shape[0] < 2:
        raise ValueError(
            "data must hold at least two images, (N, h, w), (N, h, w, channels) or (N, n), but has shape "
            f"{array.shape}."
        )
    check_finite(array, "data")
    samples = np.asarray(array).reshape(len(array), -1)
    return Dataset(name="array", samples=samples, image_shape=array.shape[1:] if array.ndim > 2 else None)


def _square(data: Dataset) -> tuple[int, int]:
    side = math.isqrt(data.dim)
    if side**2 != data.dim:
        raise ValueError(
            f"{data.name!r} has rows of {data.dim} numbers and does not say what images they are; {data.dim} is no "
            "square. Give image_shape=(height, width)."
        )
    return side, side


# ----------------------------------------------------------------------------------------------------------- the record


def _assemble(done: dict[str, Piece], depth: int, tau: float) -> Images:
    data = done["data"]
    eigen_images, values = data["eigen-images"], data["eigenvalues"]
    runs = {key.removeprefix("solver="): piece for key, piece in done.items() if key != "data"}
    return Images(
        name=str(data["name"]),
        image_shape=tuple(data["image-shape"].tolist()),
        rank=len(eigen_images),
        depth=depth,
        tau=tau,
        eigenvalues=values,
        eigen_images=eigen_images,
        data_samples=data["samples"],
        generators={solver: _generator(piece, eigen_images, values, tau) for solver, piece in runs.items()},
    )


def _generator(piece: Piece, eigen_images: Floats, values: Floats, tau: float) -> Generator:
    """A fit beside the eigenvectors: signs made to agree, modes that cannot be used left blank."""
    k = len(eigen_images)
    threshold = max(tau, len(eigen_images[0]) * float(np.finfo(np.float64).eps) * values[0])
    used = values[:k] > threshold
    cosines = (piece["vectors"][:k] * eigen_images).sum(1)
    vectors = piece["vectors"][:k] * np.where(cosines < 0, -1.0, 1.0)[:, None]
    return Generator(
        eigen_images=np.where(used[:, None], vectors, np.nan),
        cosines=np.where(used, np.abs(cosines), np.nan),
        singular_values=piece["singular-values"][:k],
        loss=float(piece["loss"]),
        minimal_loss=float(piece["minimal-loss"]),
        relative_excess=float(piece["relative-excess"]),
        times=piece["times"],
        losses=piece["losses"],
        samples=piece["samples"],
    )
