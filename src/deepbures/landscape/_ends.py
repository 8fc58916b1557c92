"""The ends of the Hessian spectra of many critical points at once."""

from typing import NamedTuple

import numpy as np

from deepbures._types import Array, Float64, Floats, Int
from deepbures.landscape._counts import Directions, directions_at
from deepbures.landscape._eigenvalues import all_eigenvalues, modes_of
from deepbures.landscape._points import CriticalPoints
from deepbures.landscape._spectrum import curvature_factor, exchange_curvature, null_curvature
from deepbures.model import AbstractModes

# Curvatures held at a time.
_ENTRIES = 2_000_000


class SpectrumEnds(NamedTuple):
    """λ_min, λ_max and the smallest |λ| that is not zero (NaN if all are), of each point."""

    smallest: Floats
    largest: Floats
    least: Floats

    @property
    def relative_condition(self) -> Floats:
        """λ_max / |λ_min|; infinite if λ_min is zero."""
        return _ratio(self.largest, np.abs(self.smallest))

    @property
    def absolute_condition(self) -> Floats:
        """λ_max over the smallest |λ| that is not zero."""
        return _ratio(self.largest, self.least)


def _ratio(above: Float64[Array, "points"], below: Float64[Array, "points"]) -> Float64[Array, "points"]:
    return np.where(below == 0, np.inf, above / np.where(below == 0, 1.0, below))


def spectrum_ends(points: CriticalPoints) -> SpectrumEnds:
    """What `point.spectrum()` says of each point, without a loop over them."""
    values, modes = all_eigenvalues(points.target), modes_of(points.loss)
    ends = SpectrumEnds(*(np.zeros(len(points)) for _ in SpectrumEnds._fields))
    for rank in np.unique(points.rank).tolist():
        rows = np.flatnonzero(points.rank == rank)
        k = points.eigen_indices.shape[1]
        room = directions_at(len(values), rank, points.latent_dim, k, points.depth, modes)
        size = max(_ENTRIES // (len(values) * max(rank, 1) + rank**2), 1)
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            found = _of_block(points.eigen_indices[block, :rank], values, modes, points.depth, room)
            for column, part in zip(ends, found, strict=True):
                column[block] = part
    return ends


def _of_block(
    chosen: Int[Array, "points r"], values: Float64[Array, "n"], modes: AbstractModes, depth: int, room: Directions
) -> tuple[Float64[Array, "points"], Float64[Array, "points"], Float64[Array, "points"]]:
    """The ends for some points of one rank r, whose modes are the rows of `chosen`; NaN marks what is no direction."""
    num, r = chosen.shape
    used = np.zeros((num, len(values)), bool)
    np.put_along_axis(used, chosen, True, axis=1)
    parts = []
    if r:
        i, j = np.arange(len(values))[None, :, None], chosen[:, None, :]
        exchange = exchange_curvature(values, modes, i, j) * curvature_factor(values, modes, j, j, depth, exchange=True)
        parts.append(np.where(used[:, :, None], np.nan, exchange).reshape(num, -1))
        first, second = (chosen[:, index] for index in np.triu_indices(r, 1))
        pairs = modes.pair(values[first], values[second])
        parts.append(pairs * curvature_factor(values, modes, first, second, depth))
        parts.append(modes.scale(values[chosen]) * curvature_factor(values, modes, chosen, chosen, depth))
    if room.null_columns:
        parts.append(np.where(used, np.nan, null_curvature(values, modes, np.arange(len(values)))))
    if room.flat:
        parts.append(np.zeros((num, 1)))
    every = np.concatenate(parts, axis=1)
    size = np.where(every == 0, np.nan, np.abs(every))
    least = np.where(np.isnan(size), np.inf, size).min(1)
    return np.nanmin(every, 1), np.nanmax(every, 1), np.where(np.isinf(least), np.nan, least)
