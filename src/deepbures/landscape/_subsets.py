"""The best choices of modes, in order, without looking at the others.

Modes come in groups of equal eigenvalues, in descending order; a choice says how many it takes of each. For a given
number r of modes, what a choice loses against the best one, its deficit, and its number of inversions (pairs of a mode
left out and a smaller one taken) are both sums over the groups. Groups are decided one after the other. A partial
choice is kept only if its best completion is within the bounds, and every kept one has a completion: so the work is
proportional to the number of choices that are found, however many there are in all.
"""

import math
from typing import NamedTuple

import numpy as np

from deepbures._types import Floats, Ints


class Groups(NamedTuple):
    """Modes that may be used, by groups of equal eigenvalues."""

    sizes: Ints
    gains: Floats  # what taking a mode of the group takes off the loss

    @property
    def total(self) -> int:
        """Number of modes."""
        return int(self.sizes.sum())


class Choices(NamedTuple):
    """Rows of counts (choices, groups), their deficits and inversions."""

    counts: Ints
    deficits: Floats
    inversions: Ints


def count_choices(groups: Groups, size: int) -> int:
    """The number of choices of `size` modes: the coefficient of x^size in Π_g (1 + x + … + x^{m_g}), exactly."""
    ways = [1] + [0] * size
    for group in groups.sizes.tolist():
        running, sums = 0, []
        for total in range(size + 1):
            running += ways[total] - (ways[total - group - 1] if total > group else 0)
            sums.append(running)
        ways = sums
    return ways[size]


def choices_within(
    groups: Groups, size: int, max_deficit: float, inversions: tuple[int, int], limit: int
) -> Choices | None:
    """All choices of `size` modes with a deficit up to a bound and inversions in a range; None if over `limit`."""
    if size > groups.total or max_deficit < 0 or inversions[1] < 0:
        return _none(groups)
    first, last = _window(groups, size, max_deficit, inversions[1])
    inner = Groups(groups.sizes[first:last], groups.gains[first:last])
    found = _decide(inner, size - int(groups.sizes[:first].sum()), max_deficit, inversions, limit)
    if found is None:
        return None
    counts = np.zeros((len(found.deficits), len(groups.sizes)), np.int64)
    counts[:, :first], counts[:, first:last] = groups.sizes[:first], found.counts
    return Choices(counts, found.deficits, found.inversions)


def _window(groups: Groups, size: int, max_deficit: float, max_inversions: int) -> tuple[int, int]:
    """The groups [first, last) about which there is a choice: all before are taken, none after.

    Leaving out mode i < r costs the gain of i less that of mode r at least, taking mode i ≥ r that of mode r − 1 less
    that of i; with distinct eigenvalues it also makes r − i, or i − r + 1, inversions.
    """
    gains = np.repeat(groups.gains, groups.sizes)
    place = np.arange(groups.total)
    cheapest = gains[size] if size < groups.total else -math.inf
    dearest = gains[size - 1] if size else math.inf
    free = np.where(place < size, gains - cheapest <= max_deficit, dearest - gains <= max_deficit)
    if (groups.sizes == 1).all():
        free &= np.where(place < size, size - place, place - size + 1) <= max_inversions
    group = np.repeat(np.arange(len(groups.sizes)), groups.sizes)
    edge = int(group[size]) if size < groups.total else len(groups.sizes)
    undecided = group[free]
    # The group that the r best modes end in is always looked at: it may be taken in part.
    first = min(int(undecided.min(initial=edge)), edge)
    last = max(int(undecided.max(initial=-1)) + 1, min(edge + 1, len(groups.sizes)))
    return first, last


def _decide(groups: Groups, size: int, max_deficit: float, inversions: tuple[int, int], limit: int) -> Choices | None:
    gains = np.repeat(groups.gains, groups.sizes)
    best = np.concatenate([[0.0], np.cumsum(gains)])
    taken: Ints = np.zeros(1, np.int64)
    inverted: Ints = np.zeros(1, np.int64)
    gained: Floats = np.zeros(1)
    # Each group's counts, and which partial choice of the groups before each row continues.
    history: list[tuple[Ints, Ints]] = []
    before = 0
    fewest, most = inversions
    for group_size, gain in zip(groups.sizes.tolist(), groups.gains.tolist(), strict=True):
        options: Ints = np.arange(group_size + 1)
        new = taken[:, None] + options
        # The best that can follow takes the next modes in order; what it misses is the deficit so far.
        rest = size - new
        start = before + group_size
        possible = (rest >= 0) & (rest <= groups.total - start)
        value = best[size] - (
            gained[:, None] + options * gain + best[np.clip(start + rest, 0, groups.total)] - best[start]
        )
        passed: Ints = inverted[:, None] + options * (before - taken)[:, None]
        holes = start - new
        keep = possible & (value <= max_deficit) & (passed + holes * np.maximum(rest, 0) <= most)
        parent, number = np.nonzero(keep)
        if len(parent) > limit:
            return None
        history.append((parent, number))
        taken, gained, inverted = new[parent, number], gained[parent] + number * gain, passed[parent, number]
        before = start
    counts = np.zeros((len(gained), len(groups.sizes)), np.int64)
    rows = np.arange(len(gained))
    for column in range(len(history) - 1, -1, -1):
        parent, number = history[column]
        counts[:, column] = number[rows]
        rows = parent[rows]
    keep = inverted >= fewest
    return Choices(counts[keep], np.maximum(best[size] - gained[keep], 0.0), inverted[keep])


def best_choices(groups: Groups, inversions: dict[int, tuple[int, int]], num: int) -> dict[int, Choices]:
    """For several numbers of modes r, the choices that hold the `num` best of all, and perhaps some more.

    Best is what gains most, counted together over all r. `inversions` maps r to the range allowed. The bound on what a
    choice may fall behind the best one is doubled until it admits enough, then bisected until it does not admit too
    many.
    """
    gains = np.concatenate([[0.0], np.cumsum(np.repeat(groups.gains, groups.sizes))])
    sizes = [r for r in inversions if r <= groups.total]
    top = max((float(gains[r]) for r in sizes), default=0.0)
    limit, too_tight, too_wide = max(8 * num, 4096), 0.0, math.inf
    every = float(gains[-1])
    bound = max(1e-6 * every, np.finfo(float).tiny)
    while True:
        found = _all_within(groups, {r: (bound - (top - float(gains[r])), inversions[r]) for r in sizes}, limit)
        if found is None:
            too_wide = bound
        elif sum(len(part.deficits) for part in found.values()) >= num or bound >= every:
            return found
        else:
            too_tight = bound
        bound = min(2 * bound, every) if math.isinf(too_wide) else (too_tight + too_wide) / 2
        if not too_tight < bound < too_wide:
            # Ties: as many as there are.
            limit, bound, too_wide = 4 * limit, too_wide, math.inf


def _all_within(
    groups: Groups, bounds: dict[int, tuple[float, tuple[int, int]]], limit: int
) -> dict[int, Choices] | None:
    found = {}
    for size, (max_deficit, span) in bounds.items():
        part = choices_within(groups, size, max_deficit, span, limit)
        if part is None:
            return None
        found[size] = part
        limit -= len(part.deficits)
    return found


def _none(groups: Groups) -> Choices:
    return Choices(np.zeros((0, len(groups.sizes)), np.int64), np.zeros(0), np.zeros(0, np.int64))
