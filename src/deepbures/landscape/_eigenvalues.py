"""The eigenvalues of a target as the landscape reads them: which are equal, which can be used."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_integer
from deepbures.landscape._modes import Modes, modes_of
from deepbures.model import AbstractLoss, Target

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Eigenvalues that differ by less, relative to the largest one, are put down to the rounding of a decomposition.
_EQUAL = 64 * float(np.finfo(np.float64).eps)


def checked_landscape(
    target: Target, rank: int, loss: AbstractLoss, latent_dim: int | None, depth: int
) -> tuple[Floats, Modes, int, int, int]:
    """All eigenvalues, the closed forms of the loss, k, m and N."""
    modes = modes_of(loss)
    if np.ndim(target.mean) != 1:
        raise ValueError(
            f"A batch of targets (batch shape {np.shape(target.mean)[:-1]}) was given: ask for one at a time."
        )
    k = check_integer(rank, "rank", 1, target.dim, why=" (the dimension of the target)")
    m = k if latent_dim is None else check_integer(latent_dim, "latent_dim", k, why=" (the rank)")
    n_layers = check_integer(depth, "depth", 1)
    return all_eigenvalues(target), modes, k, m, n_layers


def all_eigenvalues(target: Target) -> Floats:
    """All n eigenvalues, descending."""
    values = target.eigenvalues
    if values is None:
        raise ValueError(
            f"This target of dimension {target.dim} is known through products only, so that not all of its eigenvalues "
            "are at hand. Build it with Target.from_factor, from_samples or from_spectrum, or decompose the matrix "
            "yourself: Target.from_spectrum(*numpy.linalg.eigh(matrix))."
        )
    return np.asarray(values, np.float64)


def leading_spectrum(target: Target, num: int) -> tuple[Floats, NDArray[Any]]:
    """The first `num` eigenpairs, none for 0."""
    if num == 0:
        return np.zeros(0), np.zeros((target.dim, 0), target.dtype)
    values, vectors = target.spectrum(num)
    return np.asarray(values), np.asarray(vectors)


def group_starts(values: Floats) -> Ints:
    """Where groups of equal eigenvalues begin, in a descending sequence; equal is to 64 eps λ_1, rounding."""
    return np.flatnonzero(np.concatenate([[True], -np.diff(values) > _EQUAL * values[0]]))


def num_usable(values: Floats, modes: Modes) -> int:
    """How many modes a critical point may use: those above the threshold by more than rounding."""
    return int((values > float(modes.threshold()) + _EQUAL * values[0]).sum())


def num_flat(values: Floats, modes: Modes) -> int:
    """How many modes lie at the threshold, up to rounding: adding one is flat to second order."""
    if not modes.is_smooth:
        return 0
    return int((np.abs(values - float(modes.threshold())) <= _EQUAL * values[0]).sum())
