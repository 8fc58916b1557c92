"""The critical point that a matrix is matched to, by an assignment of modes to singular vectors.

The assignment gives every mode a singular vector of its own. Close to a critical point, whose singular vectors are
modes, that finds this point, and no other is nearer. Far away, several modes share a singular vector, which the
assignment does not count: another point may be nearer than the one that it finds.
"""

import itertools
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from deepbures._types import Array, Float, Float64, Floats, Int
from deepbures.landscape._counts import kinds_of
from deepbures.landscape._eigenvalues import (
    all_eigenvalues,
    checked_landscape,
    group_of,
    group_starts,
    leading_spectrum,
    num_usable,
)
from deepbures.landscape._points import CriticalPoint
from deepbures.landscape._spectrum import HessianSpectrum, spectrum_at_lift
from deepbures.metric import bures_wasserstein_distance_factors
from deepbures.model import AbstractLoss, AbstractModes, DeepLinearNetwork, Target


class Matched(NamedTuple):
    """The critical point that a matrix is matched to, its Hessian, and how near it is."""

    point: CriticalPoint
    spectrum: HessianSpectrum
    # Bures-Wasserstein distance, in the units of the data.
    distance: float
    # |cos| between each mode of the point and the singular vector that stands for it.
    alignments: Floats

    def steepest_descent(self) -> tuple[tuple[int, int | None] | None, float]:
        """The modes (i, j) of the most negative curvature, j None for a column that no mode uses; and the curvature."""
        values, first, second = self.spectrum.values, self.spectrum.first, self.spectrum.second
        if not (values < 0).any():
            return None, 0.0
        entry = int(values.argmin())
        j = int(second[entry])
        return (int(first[entry]), j if j >= 0 else None), float(values[entry])


def matched_point(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> Matched:
    """Of a loss with closed forms; see `classify`."""
    target, modes, *_ = checked_landscape(target, min(net.bottleneck, target.dim), loss, None, net.depth)
    values = all_eigenvalues(target)
    w = np.asarray(net.end_to_end, np.float64)
    left, s, _ = np.linalg.svd(w, full_matrices=False)
    usable = num_usable(values, modes)
    basis = _aligned_basis(values, modes, leading_spectrum(target, usable)[1], w)
    roots = np.sqrt(modes.used(values[:usable]))
    cosines = np.abs(basis.T @ left)
    chosen, partners = _assign(cosines, roots, s, min(net.bottleneck, usable))
    distance = float(bures_wasserstein_distance_factors(w, basis[:, chosen] * roots[chosen]))
    point, spectrum = _point(_canonical(values, modes, chosen), values, modes, net, target, loss)
    return Matched(point, spectrum, distance, cosines[chosen, partners])


def _aligned_basis(
    values: Float64[Array, "n"], modes: AbstractModes, basis: Float[Array, "n usable"], w: Float64[Array, "n m"]
) -> Float64[Array, "n usable"]:
    """The eigenvectors, turned within each group of equal eigenvalues towards the columns of W."""
    aligned = np.array(basis, np.float64)
    starts = [*group_starts(values, modes).tolist(), len(values)]
    for start, stop in itertools.pairwise(starts):
        if stop - start > 1 and stop <= basis.shape[1]:
            block = aligned[:, start:stop]
            aligned[:, start:stop] = block @ np.linalg.svd(block.T @ w, full_matrices=True)[0]
    return aligned


def _assign(
    cosines: Float64[Array, "modes vectors"], roots: Float64[Array, "modes"], s: Float64[Array, "vectors"], most: int
) -> tuple[Int[Array, "chosen"], Int[Array, "chosen"]]:
    """The modes J, ascending, and the singular vectors that stand for them."""
    gain = 2 * cosines * roots[:, None] * s[None, :] - roots[:, None] ** 2
    # Each singular vector takes one mode or none: columns of zeros for none.
    padded = np.concatenate([gain.T, np.zeros((gain.shape[1], gain.shape[1]))], axis=1)
    vectors, picked = linear_sum_assignment(padded, maximize=True)
    real = picked < gain.shape[0]
    vectors, picked = vectors[real], picked[real]
    worth = gain[picked, vectors]
    best = np.argsort(-worth, kind="stable")[:most]
    best = best[worth[best] > 0]
    order = np.argsort(picked[best])
    return picked[best][order], vectors[best][order]


def _canonical(values: Float64[Array, "n"], modes: AbstractModes, chosen: Int[Array, "chosen"]) -> tuple[int, ...]:
    """The first modes of each group, as many as were chosen of it."""
    groups, starts = group_of(values, modes), group_starts(values, modes)
    numbers, counts = np.unique(groups[chosen], return_counts=True)
    return tuple(
        int(starts[g]) + place for g, count in zip(numbers, counts, strict=True) for place in range(int(count))
    )


def _point(
    indices: tuple[int, ...],
    values: Float64[Array, "n"],
    modes: AbstractModes,
    net: DeepLinearNetwork,
    target: Target,
    loss: AbstractLoss,
) -> tuple[CriticalPoint, HessianSpectrum]:
    r, usable = len(indices), num_usable(values, modes)
    most = min(net.bottleneck, target.dim)
    # Without smoothing, the Hessian of a point of lower rank is the one on the matrices of its own rank.
    bottleneck = most if modes.is_smooth else max(r, 1)
    if r or modes.is_smooth:
        spectrum = spectrum_at_lift(target, indices, loss, net.latent_dim, bottleneck, net.depth)
    else:
        none = np.zeros(0, np.int64)
        spectrum = HessianSpectrum(np.zeros(0), none, np.zeros(0, np.str_), none, none, is_minimizer=usable == 0)
    groups = group_of(values, modes)
    outside = np.setdiff1d(np.arange(len(values)), indices)
    taken = np.bincount(groups[list(indices)], minlength=groups[-1] + 1)
    sizes = np.bincount(groups)
    is_minimizer = spectrum.is_minimizer and r == min(most, usable)
    return (
        CriticalPoint(
            eigen_indices=indices,
            value=float(np.sum(modes.cost(values[outside])) + np.sum(modes.rest(values[list(indices)]))),
            rank=r,
            morse_index=spectrum.morse_index,
            nullity=spectrum.nullity,
            kind=str(kinds_of(is_minimizer, spectrum.morse_index, spectrum.nullity, spectrum.dim)),
            family_dim=int((taken * (sizes - taken)).sum()),
            latent_dim=net.latent_dim,
            bottleneck=bottleneck,
            depth=net.depth,
            target=target,
            loss=loss,
        ),
        spectrum,
    )
