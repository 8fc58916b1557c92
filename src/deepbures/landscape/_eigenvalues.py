"""The eigenvalues of a target as the landscape reads them: which are equal, which can be used."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_integer
from deepbures.landscape._inputs import check_target
from deepbures.landscape._modes import Modes, modes_of
from deepbures.model import AbstractLoss, Target
from deepbures.model._covariance import ProductCovariance, SpectralCovariance
from deepbures.model._reduction import eigenpairs_of_matrix, without_noise

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Eigenvalues that differ by less, relative to the largest one, are put down to the rounding of a decomposition.
EQUAL = 64 * float(np.finfo(np.float64).eps)


def checked_landscape(
    target: Target, rank: int, loss: AbstractLoss, latent_dim: int | None, depth: int
) -> tuple[Target, Modes, int, int, int]:
    """The target with its whole spectrum, the closed forms of the loss, k, m and N."""
    modes = modes_of(loss)
    if np.ndim(modes.threshold()) > 0:
        raise ValueError(
            f"A batch of losses (tau of shape {np.shape(modes.threshold())}) was given: ask for one at a time."
        )
    check_target(target)
    if np.ndim(target.mean) != 1:
        raise ValueError(
            f"A batch of targets (batch shape {np.shape(target.mean)[:-1]}) was given: ask for one at a time."
        )
    k = check_integer(rank, "rank", 1, target.dim, why=" (the dimension of the target)")
    m = k if latent_dim is None else check_integer(latent_dim, "latent_dim", k, why=" (the rank)")
    most = (2**63 - 1) // (m * (m + target.dim))
    n_layers = check_integer(depth, "depth", 1, most, why=" (for less than 2⁶³ weights)")
    return _decomposed(target), modes, k, m, n_layers


def _decomposed(target: Target) -> Target:
    """The target with its whole spectrum: a dense matrix that was kept as it is is decomposed here."""
    covariance = target.covariance
    if not isinstance(covariance, ProductCovariance):
        return target
    if callable(covariance.operator):
        raise ValueError(
            f"This target of dimension {target.dim} is known through products only, so that not all of its eigenvalues "
            "are at hand. Build it with Target.from_factor, from_samples, from_covariance or from_spectrum."
        )
    matrix = np.asarray(covariance.operator)
    values, vectors = eigenpairs_of_matrix(matrix)
    kept = without_noise(values, target.dim * float(np.finfo(matrix.dtype).eps))
    return Target(target.mean, SpectralCovariance(vectors.astype(matrix.dtype), kept.astype(matrix.dtype)))


def all_eigenvalues(target: Target) -> Floats:
    """All n eigenvalues, descending, of a target that knows them."""
    return np.asarray(target.eigenvalues, np.float64)


def leading_spectrum(target: Target, num: int) -> tuple[Floats, NDArray[Any]]:
    """The first `num` eigenpairs, none for 0."""
    if num == 0:
        return np.zeros(0), np.zeros((target.dim, 0), target.dtype)
    values, vectors = target.spectrum(num)
    return np.asarray(values), np.asarray(vectors)


def equality_level(values: Any) -> float:
    """The difference up to which eigenvalues count as equal: 64 eps λ_1, the rounding of a decomposition."""
    return EQUAL * float(values[0])


def group_starts(values: Floats) -> Ints:
    """Where groups of equal eigenvalues begin, in a descending sequence."""
    return np.flatnonzero(np.concatenate([[True], -np.diff(values) > equality_level(values)]))


def group_of(values: Floats) -> Ints:
    """The number of the group of equal eigenvalues that each one belongs to."""
    starts = group_starts(values)
    return np.searchsorted(starts, np.arange(len(values)), side="right") - 1


def side_of_threshold(values: Floats, modes: Modes) -> Ints:
    """1 for modes above the threshold, which a critical point may use, 0 for those at it up to rounding, −1 below."""
    distance = values - float(modes.threshold())
    return np.where(np.abs(distance) <= equality_level(values), 0, np.sign(distance)).astype(np.int64)


def num_usable(values: Floats, modes: Modes) -> int:
    """How many modes a critical point may use."""
    return int((side_of_threshold(values, modes) > 0).sum())


def num_at_threshold(values: Floats, modes: Modes) -> int:
    """How many modes lie at the threshold: adding one is flat to second order."""
    return int((side_of_threshold(values, modes) == 0).sum())
