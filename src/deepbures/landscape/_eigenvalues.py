"""The eigenvalues of a target as the landscape reads them: which are equal, which can be used."""

import numpy as np

from deepbures._checks import check_integer
from deepbures._types import Array, Float, Float64, Int
from deepbures.linalg import namespace
from deepbures.model import AbstractLoss, AbstractModes, Target, check_loss, check_target

_EQUAL = 64 * float(np.finfo(np.float64).eps)
"""Eigenvalues that differ by less, relative to the largest one, are put down to the rounding of a decomposition: it is
computed in float64 whatever the dtype."""


def checked_landscape(
    target: Target, rank: int, loss: AbstractLoss, latent_dim: int | None, depth: int
) -> tuple[Target, AbstractModes, int, int, int]:
    """The target with its whole spectrum, the closed forms of the loss, k, m and N."""
    modes = modes_of(loss)
    if np.ndim(modes.threshold()) > 0:
        raise ValueError(
            f"A batch of losses (of threshold {np.shape(modes.threshold())}) was given: ask for one at a time."
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
    known = decomposed(target)
    loss.check_pairing(known)
    return known, modes, k, m, n_layers


def modes_of(loss: AbstractLoss) -> AbstractModes:
    """The closed forms of a loss that has them."""
    check_loss(loss)
    if loss.modes is None:
        raise TypeError(
            f"The landscape of a {type(loss).__name__} is not known in closed form: it has no `modes`. Give it those "
            "of AbstractSpectralLoss; hessian_extremes and training need none."
        )
    return loss.modes


def decomposed(target: Target) -> Target:
    """The target with its whole spectrum: a dense matrix that was kept as it is is decomposed here."""
    covariance = target.covariance.decomposed()
    if covariance is None:
        raise ValueError(
            f"This target of dimension {target.dim} is known through products only, so that not all of its eigenvalues "
            "are at hand. Build it with Target.from_factor, from_samples, from_covariance or from_spectrum."
        )
    return target if covariance is target.covariance else Target(target.mean, covariance)


def all_eigenvalues(target: Target) -> Float64[Array, "n"]:
    """All n eigenvalues, descending, of a target that knows them."""
    return np.asarray(target.eigenvalues, np.float64)


def leading_spectrum(target: Target, num: int) -> tuple[Float[Array, "{num}"], Float[Array, "n {num}"]]:
    """The first `num` eigenpairs, none for 0."""
    if num == 0:
        return np.zeros(0), np.zeros((target.dim, 0), target.dtype)
    values, vectors = target.spectrum(num)
    return np.asarray(values), np.asarray(vectors)


def equality_level(values: Float[Array, "... n"]) -> Float[Array, "... 1"]:
    """The difference up to which eigenvalues count as equal: 64 eps λ_1, the rounding of a decomposition."""
    return _EQUAL * values[..., :1]


def group_starts(values: Float64[Array, "n"], modes: AbstractModes) -> Int[Array, "groups"]:
    """Where groups of equal eigenvalues begin, in a descending sequence: all modes of one can be used, or none."""
    usable = np.arange(len(values)) < num_usable(values, modes)
    is_next = (-np.diff(values) > equality_level(values)) | (np.diff(usable.astype(int)) != 0)
    return np.flatnonzero(np.concatenate([[True], is_next]))


def group_of(values: Float64[Array, "n"], modes: AbstractModes) -> Int[Array, "n"]:
    """The number of the group of equal eigenvalues that each one belongs to."""
    starts = group_starts(values, modes)
    return np.searchsorted(starts, np.arange(len(values)), side="right") - 1


def side_of_threshold(values: Float[Array, "... n"], modes: AbstractModes) -> Int[Array, "... n"]:
    """1 for modes above the threshold, which can be used, 0 for those at it up to rounding, −1 for those below.

    Only zero itself is at a threshold of zero: eigenvalues of factors keep their digits however small they are, and
    what is rounding of a decomposition has been made zero.
    """
    xp = namespace(values, modes.threshold())
    threshold = xp.asarray(modes.threshold(), dtype=values.dtype)
    distance, level = values - threshold, xp.where(threshold > 0, equality_level(values), 0)
    return xp.where(xp.abs(distance) <= level, 0, xp.sign(distance)).astype(int)


def num_usable(values: Float64[Array, "n"], modes: AbstractModes) -> int:
    """How many modes a critical point may use."""
    return int((side_of_threshold(values, modes) > 0).sum())


def num_at_threshold(values: Float64[Array, "n"], modes: AbstractModes) -> int:
    """How many modes lie at the threshold: adding one is flat to second order."""
    return int((side_of_threshold(values, modes) == 0).sum())


def geometric_sum(a: Float[Array, "*#shape"], b: Float[Array, "*#shape"], depth: int) -> Float[Array, "*#shape"]:
    """G = Σ_{l=1..N} A^{(N−l)/N} B^{(l−1)/N}, A, B > 0, for any depth N.

    With A ≥ B and x = ln(A/B)/N it is A^{(N−1)/N} (1 − e^{−Nx}) / (1 − e^{−x}), and N A^{(N−1)/N} for A = B.
    """
    xp = namespace(a, b)
    larger, smaller = xp.maximum(a, b), xp.minimum(a, b)
    step = xp.log(larger / smaller) / depth
    terms = xp.where(step > 0, xp.expm1(-depth * step) / xp.expm1(-xp.where(step > 0, step, 1.0)), float(depth))
    return larger ** ((depth - 1) / depth) * terms
