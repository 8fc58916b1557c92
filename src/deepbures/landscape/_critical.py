"""Every critical point of a loss over matrices of bounded rank, in closed form and in order of value."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures._checks import check_integer
from deepbures._types import Array, Float64, Floats, Int, Ints
from deepbures.landscape._counts import Directions, directions_at, kinds_of
from deepbures.landscape._eigenvalues import (
    all_eigenvalues,
    checked_landscape,
    group_starts,
    num_at_threshold,
    num_usable,
)
from deepbures.landscape._points import CriticalPoints
from deepbures.landscape._subsets import Choices, Groups, best_choices, choices_within, count_choices
from deepbures.model import AbstractLoss, AbstractModes, Target

# All critical points are listed without being asked for a number up to this many.
_MOST = 1_000_000


def critical_points(
    target: Target,
    rank: int,
    loss: AbstractLoss,
    *,
    latent_dim: int | None = None,
    depth: int = 1,
    num: int | None = None,
    ranks: int | Sequence[int] | None = None,
    max_value: float = math.inf,
    morse_index: int | tuple[int, int] | None = None,
) -> CriticalPoints:
    """The critical points of a loss over matrices of bounded rank, lowest value first.

    They are W = Ω_J diag(w_J) Vᵀ, VᵀV = I, for sets J of modes of the target Σ0 = Ω diag(λ) Ωᵀ:

        loss                      J                          w_j²      value
        BuresWasserstein()        |J| = k, λ_j > 0           λ_j       Σ_{i∉J} λ_i
        BuresWasserstein(tau)     |J| ≤ k, λ_j > τ           λ_j − τ   Σ_{i∉J} (√λ_i − √τ)²
        Frobenius()               |J| ≤ k, λ_j > 0           λ_j       Σ_{i∉J} λ_i²

    For BuresWasserstein() they are those on the matrices of rank k exactly, where it is smooth; for the others those on
    all n×m matrices, m = `latent_dim`, and a network of bottleneck k has no others of rank below k.

    Parameters
    ----------
    target : Target
        Any but `from_operator`. A dense matrix larger than 1024 is decomposed once, and the points keep that.
    rank : int
        k, in 1..min(n, m): the bottleneck.
    loss : BuresWasserstein or Frobenius
        The loss.
    latent_dim : int, optional
        m ≥ k, default k. Columns that no mode uses add to the nullity and, at depth 1 with smoothing or for Frobenius,
        to the index.
    depth : int
        1: index, nullity and kind are those of the loss as a function of W: for BuresWasserstein() on the matrices of
        rank k, for the others on all n×m matrices, where the best one of rank k < min(n, m) is a saddle. N ≥ 2: those
        of L(W_N ⋯ W_1) at the balanced lift with hidden widths k, where columns that are not used are flat to second
        order.
    num : int, optional
        Only the `num` lowest. They are found without looking at the others, so n and k may be large. Without it all
        are listed, if there are no more than a million.
    ranks : int or sequence of int, optional
        Only points with these ranks |J|.
    max_value : float
        Only points with at most this loss.
    morse_index : int or (int, int), optional
        Only points with this index, or an index in this range, both ends included.

    Returns
    -------
    CriticalPoints
        A table, ascending in value. Points that differ only by a rotation among equal eigenvalues of the target (equal
        to 64 eps λ_1) form one family and appear once, with its dimension in `family_dim`.

    Raises
    ------
    ValueError
        If the rank is not in 1..min(n, m) or above the number of usable modes without smoothing; if there are more than
        a million points and none of `num`, `max_value` and `morse_index` narrows them down enough.
    TypeError
        If the loss is neither of the two.

    References
    ----------
    Bréchet et al. (2023): the critical points of BuresWasserstein() on matrices of rank k, and those of
    BuresWasserstein(tau) of full bottleneck rank, with their values. Those of lower rank, index and nullity, and the
    Frobenius column are derived for this project.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    >>> for point in db.critical_points(target, 2, db.BuresWasserstein()):
    ...     print(point.eigen_indices, round(point.value, 12), point.morse_index, point.kind)
    (0, 1) 1.0 0 minimizer
    (0, 2) 2.0 1 strict saddle
    (1, 2) 4.0 2 strict saddle
    """
    target, modes, k, m, n_layers = checked_landscape(target, rank, loss, latent_dim, depth)
    values = all_eigenvalues(target)
    sizes, used_ranks = _groups_of(values, modes), _ranks(ranks, k, modes)
    leading = values[sizes[0][: sizes[2]]]
    groups = Groups(sizes[1][: sizes[2]], np.asarray(modes.cost(leading) - modes.rest(leading), np.float64))
    usable = groups.total
    if not modes.is_smooth and k > usable:
        advice = f"Ask for a rank in 1..{usable}, or use" if usable else "Use"
        raise ValueError(
            f"rank is {k}, but the target has {usable} positive eigenvalues: without smoothing, the loss is not "
            f"differentiable at matrices with more columns than that in use. {advice} smoothing, "
            "BuresWasserstein(tau), or Frobenius."
        )
    span = _index_range(morse_index)
    if num is not None:
        num = check_integer(num, "num", 1)
    max_value = _bound(max_value)
    total = sum(count_choices(groups, r) for r in used_ranks)
    rooms = {r: directions_at(target.dim, r, m, k, n_layers, modes) for r in used_ranks}
    spans = {r: _inversions(span, r, usable, rooms[r]) for r in used_ranks}
    everything = float(np.asarray(modes.cost(values), np.float64).sum())
    found = _choose(groups, spans, num, max_value - everything, total)
    tables = [_table(found[r], (values, sizes, modes), r, k, rooms[r]) for r in found]
    table = {name: np.concatenate([part[name] for part in tables]) for name in tables[0]}
    keep = table["value"] <= max_value
    if span is not None:
        keep &= (table["morse_index"] >= span[0]) & (table["morse_index"] <= span[1])
    order = np.argsort(table["value"][keep], kind="stable")[:num]
    return CriticalPoints(
        **{name: column[keep][order] for name, column in table.items()},
        total=total,
        latent_dim=m,
        depth=n_layers,
        target=target,
        loss=loss,
    )


def _groups_of(
    values: Float64[Array, "n"], modes: AbstractModes
) -> tuple[Int[Array, "groups"], Int[Array, "groups"], int]:
    """Starts and sizes of the groups, and how many of the groups are usable."""
    starts = group_starts(values, modes)
    sizes = np.diff(np.append(starts, len(values)))
    return starts, sizes, int((starts < num_usable(values, modes)).sum())


def _ranks(ranks: int | Sequence[int] | None, k: int, modes: AbstractModes) -> list[int]:
    allowed = range(k + 1) if modes.is_smooth else range(k, k + 1)
    if ranks is None:
        return list(allowed)
    if np.ndim(ranks) > 1 or np.size(ranks) == 0:
        raise ValueError(f"ranks must be a whole number or a sequence of at least one, but {ranks!r} was given.")
    asked = list(ranks) if np.ndim(ranks) and isinstance(ranks, Iterable) else [ranks]
    checked = sorted({check_integer(r, "ranks", 0, k, why=" (the rank)") for r in asked})
    for r in checked:
        if r not in allowed:
            raise ValueError(
                f"ranks holds {r}, but without smoothing the loss is not differentiable below the full rank {k}. Ask "
                f"for rank={r} instead."
            )
    return checked


def _index_range(morse_index: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if morse_index is None:
        return None
    span = (morse_index, morse_index) if np.ndim(morse_index) == 0 else morse_index
    if not isinstance(span, Sequence) or len(span) != 2:
        raise ValueError(f"morse_index must be a whole number or a pair (lowest, highest), but is {morse_index!r}.")
    lowest, highest = (check_integer(end, "morse_index", 0) for end in span)
    return lowest, check_integer(highest, "morse_index", lowest, why=" (the lower end)")


def _bound(max_value: float) -> float:
    try:
        bound = float(max_value)
    except (TypeError, ValueError):
        raise TypeError(f"max_value must be a number, but {max_value!r} was given.") from None
    if math.isnan(bound):
        raise ValueError("max_value must be a number, but nan was given.")
    return bound


def _null_index(r: int, usable: int, room: Directions) -> int:
    """Negative directions in columns that no mode uses."""
    return room.null_columns * (usable - r)


def _inversions(span: tuple[int, int] | None, r: int, usable: int, room: Directions) -> tuple[int, int]:
    if span is None:
        return 0, 2**62
    null = _null_index(r, usable, room)
    return max(span[0] - null, 0), span[1] - null


def _choose(
    groups: Groups, spans: dict[int, tuple[int, int]], num: int | None, budget: float, total: int
) -> dict[int, Choices]:
    """The choices asked for, by their number of modes. `budget` is what they must gain at least, negated."""
    gains = np.concatenate([[0.0], np.cumsum(np.repeat(groups.gains, groups.sizes))])
    slack = 1e-9 * (abs(budget) + gains[-1]) if math.isfinite(budget) else 0.0
    found = {}
    left = _MOST
    for r, span in spans.items():
        best = float(gains[min(r, groups.total)])
        part = (
            choices_within(groups, r, budget + best + slack, span, left) if num is None or budget < math.inf else None
        )
        if part is None:
            break
        found[r] = part
        left -= len(part.deficits)
    if len(found) == len(spans):
        return found
    if num is None:
        raise ValueError(
            f"There are {total:,} critical points of these ranks, and more than {_MOST:,} within the bounds given. Ask "
            "for the lowest ones with num=1000, or narrow them down with max_value, morse_index or ranks."
        )
    return best_choices(groups, spans, num)


def _table(
    choices: Choices,
    spectrum: tuple[Floats, tuple[Ints, Ints, int], AbstractModes],
    r: int,
    k: int,
    room: Directions,
) -> dict[str, NDArray[Any]]:
    """All columns at once, from the counts per group."""
    values, (starts, sizes, usable_groups), modes = spectrum
    counts = choices.counts
    usable = int(sizes[:usable_groups].sum())
    left = sizes[:usable_groups] - counts
    costs = np.asarray(modes.cost(values), np.float64)
    group_cost = costs[starts[:usable_groups]]
    rests = np.asarray(modes.rest(values[starts[:usable_groups]]), np.float64)
    value = left @ group_cost + counts @ rests + costs[usable:].sum()
    ties = (counts * left).sum(1)
    morse_index = choices.inversions + _null_index(r, usable, room)
    nullity = room.flat + ties + room.null_columns * num_at_threshold(values, modes)
    minimum = (choices.inversions == 0) & (r == min(room.largest_rank, usable))
    kind = kinds_of(minimum, morse_index, nullity, room.dim)
    return {
        "eigen_indices": _indices(counts, starts[:usable_groups], sizes[:usable_groups], r, k),
        "value": value,
        "rank": np.full(len(value), r),
        "morse_index": morse_index,
        "nullity": nullity.astype(np.int64),
        "kind": kind,
        "family_dim": ties,
    }


def _indices(
    counts: Int[Array, "choices groups"], starts: Int[Array, "groups"], sizes: Int[Array, "groups"], r: int, k: int
) -> Int[Array, "choices {k}"]:
    """The first modes of each group, ascending, filled up with −1."""
    rows = np.full((len(counts), k), -1, np.int64)
    if r:
        place = np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
        chosen = place < np.repeat(counts, sizes, axis=1)
        rows[:, :r] = np.nonzero(chosen)[1].reshape(-1, r)
    return rows
