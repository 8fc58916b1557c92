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
_EQUAL = 64 * float(np.finfo(np.float64).eps)


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
