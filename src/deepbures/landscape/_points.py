"""Records of critical points: one, and a table of many."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from deepbures._checks import as_array, check_finite
from deepbures._types import Array, Float, Float64, Int, Shaped
from deepbures.landscape._eigenvalues import leading_spectrum, modes_of
from deepbures.landscape._spectrum import HessianSpectrum, spectrum_at_lift
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, balanced_network


@dataclasses.dataclass(frozen=True)
class CriticalPoint:
    """One critical point, or one family of them: W = Ω_J diag(w_J) Vᵀ with VᵀV = I.

    Attributes
    ----------
    eigen_indices : tuple of int
        J, from 0: which eigenvalues of the target (descending) it uses. Where eigenvalues are equal, the first of them.
    value : float
        The loss.
    rank : int
        |J|.
    morse_index, nullity : int
        Numbers of negative and of zero eigenvalues of the Hessian, the same as in `spectrum()`.
    kind : str
        "minimizer", "strict saddle" (a negative eigenvalue), "degenerate saddle" (none, but not a minimizer), or
        "maximum" (negative eigenvalues only).
    family_dim : int
        Dimension of the family that comes from equal eigenvalues of the target: 0 for a point that is determined up to
        V.
    latent_dim, bottleneck, depth : int
        m, k and N: index and nullity are those at the balanced lift with the widths (m, k, …, k, n).

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    >>> point = db.critical_points(target, 2, db.BuresWasserstein(), depth=3)[1]
    >>> point.network().widths, point.spectrum().morse_index
    ((2, 2, 2, 3), 1)
    """

    eigen_indices: tuple[int, ...]
    value: float
    rank: int
    morse_index: int
    nullity: int
    kind: str
    family_dim: int
    latent_dim: int
    bottleneck: int
    depth: int
    target: Target = dataclasses.field(repr=False)
    loss: AbstractLoss = dataclasses.field(repr=False)

    def end_to_end(self) -> Float[Array, "n {self.latent_dim}"]:
        """W = Ω_J diag(w_J) [I, 0], of shape (n, m)."""
        values, vectors = leading_spectrum(self.target, max(self.eigen_indices, default=-1) + 1)
        w = np.zeros((self.target.dim, self.latent_dim), vectors.dtype)
        chosen = list(self.eigen_indices)
        w[:, : self.rank] = vectors[:, chosen] * np.sqrt(modes_of(self.loss).used(values[chosen]))
        return w

    def network(self, widths: Sequence[int] | None = None) -> DeepLinearNetwork:
        """The balanced lift to given widths (d_0, …, d_N); by default (m, k, …, k, n) of the depth asked for."""
        return balanced_network(self.end_to_end(), self._widths() if widths is None else widths)

    def _widths(self) -> tuple[int, ...]:
        return (self.latent_dim, *[self.bottleneck] * (self.depth - 1), self.target.dim)

    def lift(self, gauges: Sequence[Array]) -> DeepLinearNetwork:
        """Another network with the same end-to-end matrix: W_l ↦ G_l W_l G_{l−1}⁻¹, with G_0 = I and G_N = I.

        Parameters
        ----------
        gauges : sequence of arrays (d_l, d_l)
            G_1 … G_{N−1}, invertible, for the balanced lift of the depth asked for.
        """
        weights = [np.asarray(weight) for weight in self.network().weights]
        if len(gauges) != len(weights) - 1:
            raise ValueError(
                f"gauges must hold a matrix for each of the {len(weights) - 1} hidden layers of a network of depth "
                f"{len(weights)}, but holds {len(gauges)}."
            )
        for layer, gauge in enumerate(gauges):
            matrix = np.asarray(as_array(gauge, f"gauges[{layer}]"))
            size = weights[layer].shape[0]
            if matrix.shape != (size, size):
                raise ValueError(f"gauges[{layer}] must have shape ({size}, {size}), but has shape {matrix.shape}.")
            check_finite(matrix, f"gauges[{layer}]")
            try:
                weights[layer + 1] = np.linalg.solve(matrix.T, weights[layer + 1].T).T
            except np.linalg.LinAlgError:
                raise ValueError(f"gauges[{layer}] must be invertible, but is singular.") from None
            weights[layer] = matrix @ weights[layer]
        return DeepLinearNetwork(weights)

    def spectrum(self) -> HessianSpectrum:
        """All Hessian eigenvalues here, of `network()`, as `hessian_spectrum` gives them."""
        return spectrum_at_lift(
            self.target, self.eigen_indices, self.loss, self.latent_dim, self.bottleneck, self.depth
        )


@dataclasses.dataclass(frozen=True)
class CriticalPoints:
    """Critical points in order of value: columns of a table, and a sequence of `CriticalPoint`.

    Attributes
    ----------
    eigen_indices : int array (points, largest rank)
        J of each point, from 0, ascending; −1 fills the rows of points of lower rank.
    value, rank, morse_index, nullity, family_dim : arrays (points,)
        As in `CriticalPoint`.
    kind : str array (points,)
        Likewise.
    total : int
        How many there are in all, within the ranks asked for (families of equal eigenvalues count once).

    Examples
    --------
    >>> import deepbures as db
    >>> points = db.critical_points(db.Target.from_spectrum([4.0, 2.0, 1.0]), 2, db.BuresWasserstein())
    >>> len(points), points.total, points.value.tolist(), points[0].kind
    (3, 3, [1.0, 2.0, 4.0], 'minimizer')
    """

    eigen_indices: Int[Array, "points k"]
    value: Float64[Array, "points"]
    rank: Int[Array, "points"]
    morse_index: Int[Array, "points"]
    nullity: Int[Array, "points"]
    kind: Shaped[Array, "points"]
    family_dim: Int[Array, "points"]
    total: int
    latent_dim: int
    depth: int
    target: Target = dataclasses.field(repr=False)
    loss: AbstractLoss = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.value)

    @overload
    def __getitem__(self, index: int) -> CriticalPoint: ...

    @overload
    def __getitem__(self, index: slice) -> list[CriticalPoint]: ...

    def __getitem__(self, index: int | slice) -> CriticalPoint | list[CriticalPoint]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"point {index} was asked for, but there are {len(self)}")
        rank = int(self.rank[index])
        return CriticalPoint(
            eigen_indices=tuple(self.eigen_indices[index, :rank].tolist()),
            value=float(self.value[index]),
            rank=rank,
            morse_index=int(self.morse_index[index]),
            nullity=int(self.nullity[index]),
            kind=str(self.kind[index]),
            family_dim=int(self.family_dim[index]),
            latent_dim=self.latent_dim,
            bottleneck=self.eigen_indices.shape[1],
            depth=self.depth,
            target=self.target,
            loss=self.loss,
        )

    def __iter__(self) -> Iterator[CriticalPoint]:
        return (self[i] for i in range(len(self)))

    def columns(self) -> dict[str, Any]:
        """The table as columns; `eigen_indices` as tuples."""
        indices = [tuple(row[:rank]) for row, rank in zip(self.eigen_indices.tolist(), self.rank.tolist(), strict=True)]
        names = ("value", "rank", "morse_index", "nullity", "kind", "family_dim")
        return {"eigen_indices": indices, **{name: getattr(self, name) for name in names}}

    def to_dataframe(self) -> Any:
        """The table as a pandas DataFrame (needs pandas)."""
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_dataframe needs pandas: pip install pandas. columns() needs nothing.") from None
        return pd.DataFrame(self.columns())
