"""The whole Hessian spectrum at a critical point, in closed form with multiplicities."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepbures._checks import check_integer, check_widths
from deepbures._types import Array, Float64, Floats, Int, Ints, Shaped
from deepbures.landscape._counts import Directions, directions_at, kinds_of
from deepbures.landscape._eigenvalues import (
    all_eigenvalues,
    checked_landscape,
    geometric_sum,
    group_of,
    num_usable,
    side_of_threshold,
)
from deepbures.model import AbstractLoss, AbstractModes, Target, check_target


@dataclasses.dataclass(frozen=True)
class HessianSpectrum:
    """Hessian eigenvalues at a critical point, by direction.

    Attributes
    ----------
    values : float array
        One for each kind of direction and modes.
    multiplicities : int array
        How many directions have it.
    directions : str array
        "exchange" (mode i ∉ J in the place of j ∈ J), "scale" (of mode j), "pair" (j and j', symmetric), "null" (mode
        i ∉ J in a column that no mode uses), or "flat" (rotations within J, columns that are not used, and for depth
        N ≥ 2 all that does not move the end-to-end matrix to first order).
    first, second : int array
        The modes, from 0: i and j of an exchange, j twice of a scale, j and j' of a pair, i and −1 of a null direction.
    is_minimizer : bool
        Whether the critical point is a minimizer.

    Examples
    --------
    >>> import deepbures as db
    >>> spectrum = db.hessian_spectrum(db.Target.from_spectrum([4.0, 1.0]), (0,), db.BuresWasserstein(), depth=2)
    >>> spectrum.eigenvalues.tolist(), spectrum.absolute_condition
    ([0.0, 3.0, 8.0], 2.6666666666666665)
    """

    values: Float64[Array, "entries"]
    multiplicities: Int[Array, "entries"]
    directions: Shaped[Array, "entries"]
    first: Int[Array, "entries"]
    second: Int[Array, "entries"]
    is_minimizer: bool

    @property
    def eigenvalues(self) -> Float64[Array, "{self.dim}"]:
        """All of them, ascending, each as often as it occurs."""
        return np.sort(np.repeat(self.values, self.multiplicities))

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        return int(self.multiplicities.sum())

    @property
    def morse_index(self) -> int:
        """Number of negative eigenvalues."""
        return int(self.multiplicities[self.values < 0].sum())

    @property
    def nullity(self) -> int:
        """Number of zero eigenvalues."""
        return int(self.multiplicities[self.values == 0].sum())

    @property
    def kind(self) -> str:
        """What the point is: "minimizer", "maximum", "strict saddle" or "degenerate saddle", as in `CriticalPoint`."""
        return str(kinds_of(self.is_minimizer, self.morse_index, self.nullity, self.dim))

    @property
    def smallest(self) -> float:
        """λ_min."""
        return float(self.values.min())

    @property
    def largest(self) -> float:
        """λ_max: at a minimizer, the sharpness."""
        return float(self.values.max())

    @property
    def relative_condition(self) -> float:
        """λ_max / |λ_min|; infinite if λ_min is zero."""
        return self.largest / abs(self.smallest) if self.smallest else float("inf")

    @property
    def absolute_condition(self) -> float:
        """λ_max over the smallest |λ| that is not zero."""
        nonzero = np.abs(self.values[self.values != 0])
        return self.largest / float(nonzero.min()) if len(nonzero) else float("nan")

    @property
    def stability_limit(self) -> float:
        """2/λ_max: gradient descent with a larger step leaves the critical point, even a minimizer."""
        return 2 / self.largest if self.largest > 0 else float("inf")

    @property
    def asymptotic_rate(self) -> float:
        """Twice the smallest positive eigenvalue: L − L* ~ exp(−rate · t) under gradient flow near a minimizer.

        NaN at other critical points. (Where a mode that could be used has λ_i ≤ τ the approach is slower than any
        exponential; `deepbures.asymptotic_rate` knows, and says 0.)
        """
        positive = self.values[self.values > 0]
        return 2 * float(positive.min()) if self.is_minimizer and len(positive) else float("nan")

    def columns(self) -> dict[str, Any]:
        """The table as columns."""
        names = ("values", "multiplicities", "directions", "first", "second")
        return {name: getattr(self, name) for name in names}


def hessian_spectrum(
    target: Target,
    eigen_indices: Sequence[int],
    loss: AbstractLoss,
    *,
    latent_dim: int | None = None,
    depth: int = 1,
    widths: Sequence[int] | None = None,
) -> HessianSpectrum:
    """All Hessian eigenvalues at the critical point with the modes J, W Wᵀ = Ω_J diag(w_j²) Ω_Jᵀ.

    As a function of W (depth 1), for i ∉ J and j, j' ∈ J, k = |J|:

        directions            how many      BuresWasserstein()   BuresWasserstein(tau)               Frobenius()
        exchange i→j          k (n−k)       2 (1 − λ_i/λ_j)      2 (λ_j − λ_i) / (λ_j + √(λ_i τ))     4 (λ_j − λ_i)
        scale of j            k             2                    2 (λ_j − τ) / λ_j                   8 λ_j
        pair j, j'            k (k−1)/2     2                    2 (λ_j + λ_j' − 2τ) / (λ_j + λ_j')   4 (λ_j + λ_j')
        rotation in J         k (k−1)/2     0                    0                                   0
        unused column, j      k (m−k)       0                    0                                   0
        unused column, i      (n−k) (m−k)   not smooth           2 (1 − √(λ_i/τ))                    −4 λ_i

    For L(W_N ⋯ W_1) at the balanced lift, depth N ≥ 2, with g(a, b) = Σ_l a^{2(N−l)/N} b^{2(l−1)/N} and p = 2(N−1)/N:
    exchange is multiplied by w_j^p, scale by g(w_j, w_j) = N w_j^p, pair by g(w_j, w_j'), and all others are zero.

    Parameters
    ----------
    target : Target
        With eigenvalues λ_1 ≥ … ≥ λ_n; any but `from_operator`. (A dense matrix larger than 1024 is decomposed in every
        call: for many points pass the target of `critical_points(...)`, which does that once.)
    eigen_indices : sequence of int
        J, from 0, without repetition, each λ_j above τ (without smoothing, above 0). May be empty for smooth losses.
    loss : BuresWasserstein or Frobenius
        The loss.
    latent_dim : int, optional
        m ≥ |J|, default |J| (1 if J is empty).
    depth : int
        N.
    widths : sequence of int, optional
        (d_0, …, d_N) in place of `latent_dim` and `depth`. Default hidden widths: m. Without smoothing, no hidden width
        may exceed |J|: the loss has a kink at the lift otherwise.

    Returns
    -------
    HessianSpectrum
        Eigenvalues with multiplicities, and what follows from them.

    Raises
    ------
    ValueError
        If J repeats an index, leaves 0..n−1, or has a mode that cannot be used; if a width is smaller than |J|.

    References
    ----------
    Derived for this project, and checked against automatic differentiation. Bréchet et al. (2023) give the Hessian of
    the exact loss as a function of W in another form.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    >>> spectrum = db.hessian_spectrum(target, (0, 2), db.BuresWasserstein())
    >>> spectrum.eigenvalues.tolist()              # mode 1 in the place of mode 2 lowers the loss: 2 (1 − 2/1)
    [-2.0, 0.0, 1.0, 2.0, 2.0, 2.0]
    >>> spectrum.morse_index, spectrum.stability_limit
    (1, 1.0)
    """
    check_target(target)
    chosen = _checked_indices(eigen_indices, target.dim)
    r = len(chosen)
    if widths is None:
        hidden: tuple[int, ...] = ()
        columns = max(r, 1) if latent_dim is None else latent_dim
    else:
        sizes = check_widths(widths)
        columns, hidden, depth = sizes[0], sizes[1:-1], len(sizes) - 1
        if latent_dim not in (None, columns) or sizes[-1] != target.dim:
            raise ValueError(
                f"widths must lead from latent_dim to the dimension {target.dim} of the target, but are {sizes}."
            )
    target, modes, _, m, n_layers = checked_landscape(target, max(r, 1), loss, columns, depth)
    values = all_eigenvalues(target)
    _check_usable(chosen, values, modes)
    _check_room(r, m, hidden, n_layers, modes)
    room = directions_at(len(values), r, m, hidden or m, n_layers, modes)
    blocks = _blocks(values, modes, chosen, room)
    if n_layers > 1:
        blocks = [_in_parameters(block, values, modes, n_layers) for block in blocks]
    is_minimizer = r == min(room.largest_rank, num_usable(values, modes)) and _counts_agree(values, modes, chosen)
    return HessianSpectrum(*_joined(blocks), is_minimizer=is_minimizer)


def spectrum_at_lift(
    target: Target, eigen_indices: Sequence[int], loss: AbstractLoss, latent_dim: int, bottleneck: int, depth: int
) -> HessianSpectrum:
    """`hessian_spectrum` at the balanced lift with the widths (m, k, …, k, n)."""
    if depth == 1 or bottleneck == latent_dim:
        return hessian_spectrum(target, eigen_indices, loss, latent_dim=latent_dim, depth=depth)
    return hessian_spectrum(target, eigen_indices, loss, widths=(latent_dim, *[bottleneck] * (depth - 1), target.dim))


def _counts_agree(values: Float64[Array, "n"], modes: AbstractModes, chosen: Int[Array, "r"]) -> bool:
    """Whether J takes as many modes of each group as the first |J| modes do."""
    groups = group_of(values, modes)
    return bool(np.array_equal(np.sort(groups[chosen]), groups[: len(chosen)]))


def _check_room(r: int, m: int, hidden: tuple[int, ...], depth: int, modes: AbstractModes) -> None:
    """Refuse widths that do not carry r modes, or where the loss has no Hessian."""
    if hidden and min(hidden) < r:
        raise ValueError(f"The hidden widths {hidden} must be at least {r}, the number of eigen_indices.")
    if modes.is_smooth:
        return
    if r == 0:
        raise ValueError(
            "eigen_indices must hold at least one mode: without smoothing, the loss is differentiable on matrices of "
            "one rank, and those of rank 0 are a single point. Use BuresWasserstein(tau)."
        )
    bottleneck = min(*hidden, m) if hidden else m
    if depth > 1 and bottleneck > r:
        raise ValueError(
            f"Without smoothing, a bottleneck of {bottleneck} above the rank {r} leaves room for modes in the "
            "direction of which the loss has a kink: there is no Hessian. Use widths with that bottleneck, or "
            "BuresWasserstein(tau)."
        )


def _checked_indices(eigen_indices: Sequence[int], n: int) -> Int[Array, "r"]:
    if np.ndim(eigen_indices) != 1:
        raise TypeError(f"eigen_indices must be a sequence of whole numbers, but {eigen_indices!r} was given.")
    chosen = [check_integer(j, "eigen_indices", 0, n - 1, why=" (they count from 0)") for j in eigen_indices]
    repeated = sorted({j for j in chosen if chosen.count(j) > 1})
    if repeated:
        raise ValueError(f"eigen_indices must not repeat, but {tuple(chosen)} has {repeated} more than once.")
    return np.array(sorted(chosen), np.int64)


def _check_usable(chosen: Ints, values: Floats, modes: AbstractModes) -> None:
    usable = num_usable(values, modes)
    beyond = [int(j) for j in chosen if j >= usable]
    if beyond:
        level = float(modes.threshold())
        raise ValueError(
            f"eigen_indices holds {beyond}, but a critical point can only use modes with an eigenvalue above "
            f"{level:.6g}, the first {usable} of them: eigenvalue {beyond[0]} is {values[beyond[0]]:.6g}."
        )


def exchange_curvature(
    values: Float64[Array, "n"], modes: AbstractModes, i: Int[Array, "*#shape"], j: Int[Array, "*#shape"]
) -> Float64[Array, "*#shape"]:
    """Curvature towards mode i in the place of mode j: exactly zero where their eigenvalues are equal."""
    groups = group_of(values, modes)
    return np.where(groups[i] == groups[j], 0.0, modes.exchange(values[i], values[j]))


def null_curvature(
    values: Float64[Array, "n"], modes: AbstractModes, i: Int[Array, "*shape"]
) -> Float64[Array, "*shape"]:
    """Curvature of adding mode i in a column of its own: exactly zero where its eigenvalue is at the threshold."""
    return np.where(side_of_threshold(values, modes)[i] == 0, 0.0, modes.null(values[i]))


def curvature_factor(
    values: Float64[Array, "n"],
    modes: AbstractModes,
    i: Int[Array, "*#shape"],
    j: Int[Array, "*#shape"],
    depth: int,
    *,
    exchange: bool = False,
) -> Float64[Array, "*#shape"]:
    """What a curvature in the directions of modes i and j is multiplied by at the balanced lift.

    g(w_i, w_j); for the exchange of i for j, where i is not used, w_j^p.
    """
    # w² where a mode is used; the first one of an exchange is not.
    squares = np.maximum(modes.used(values), 0.0)
    a, b = squares[j], np.where(exchange, squares[j], squares[i])
    return np.where(exchange, a ** ((depth - 1) / depth), geometric_sum(a, b, depth))


Block = tuple[Any, int, Any, Any, Any]


def _blocks(values: Floats, modes: AbstractModes, chosen: Ints, room: Directions) -> list[Block]:
    """Curvatures as a function of W, by sort of direction: their multiplicity, name and modes."""
    n, r = len(values), len(chosen)
    others = np.setdiff1d(np.arange(n), chosen)
    i, j = (grid.ravel() for grid in np.meshgrid(others, chosen, indexing="ij"))
    upper, lower = np.triu_indices(r, 1)
    first, second = chosen[upper], chosen[lower]
    blocks: list[Block] = [
        (exchange_curvature(values, modes, i, j), 1, "exchange", i, j),
        (modes.scale(values[chosen]), 1, "scale", chosen, chosen),
        (modes.pair(values[first], values[second]), 1, "pair", first, second),
    ]
    none = np.full(len(others), -1)
    if room.null_columns:
        blocks.append((null_curvature(values, modes, others), room.null_columns, "null", others, none))
    if room.flat:
        blocks.append((np.zeros(1), room.flat, "flat", np.full(1, -1), np.full(1, -1)))
    return blocks


def _in_parameters(block: Block, values: Floats, modes: AbstractModes, depth: int) -> Block:
    """The same at the balanced lift, where the end-to-end matrix moves with the weights; there are no null columns."""
    curvatures, multiplicity, name, first, second = block
    if name == "flat":
        return block
    factor = curvature_factor(values, modes, first, second, depth, exchange=name == "exchange")
    return curvatures * factor, multiplicity, name, first, second


def _joined(
    blocks: list[Block],
) -> tuple[
    Float64[Array, "entries"],
    Int[Array, "entries"],
    Shaped[Array, "entries"],
    Int[Array, "entries"],
    Int[Array, "entries"],
]:
    sizes = [len(values) for values, *_ in blocks]
    values, first, second = (np.concatenate([block[part] for block in blocks]) for part in (0, 3, 4))
    multiplicities = np.concatenate([np.full(size, block[1]) for size, block in zip(sizes, blocks, strict=True)])
    directions = np.concatenate(
        [np.broadcast_to(np.asarray(block[2]), size) for size, block in zip(sizes, blocks, strict=True)]
    )
    return np.asarray(values, np.float64), multiplicities, directions, first, second
