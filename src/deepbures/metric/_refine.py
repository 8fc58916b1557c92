"""The cheap way for most of a stack, the careful way for those matrices where the cheap result does not do."""

from collections.abc import Callable
from typing import Any

from array_api_compat import array_namespace

from deepbures._types import Array, Bool, Inexact


def refine(
    results: tuple[Array, ...],
    trusted: Bool[Array, "..."],
    again: Callable[..., tuple[Array, ...]],
    *inputs: Inexact[Array, "... _ _"],
) -> tuple[Array, ...]:
    """`results`, with those matrices of the stack that are not `trusted` computed `again` from their inputs.

    `trusted` has the shape of the batch; the leading axes of the inputs broadcast to it. Not for traced arrays.
    """
    xp = array_namespace(trusted)
    if bool(xp.all(trusted)):
        return results
    if not bool(xp.any(trusted)):
        return again(*inputs)
    batch = trusted.shape
    doubtful = ~xp.reshape(trusted, (-1,))
    where = xp.nonzero(doubtful)[0]
    few = tuple(
        xp.take(xp.reshape(xp.broadcast_to(x, (*batch, *x.shape[-2:])), (-1, *x.shape[-2:])), where, axis=0)
        for x in inputs
    )
    # A gather from [results, new ones]: no library needs to write into an array.
    size = doubtful.shape[0]
    position = xp.cumulative_sum(xp.astype(doubtful, where.dtype)) - 1 + size
    index = xp.where(doubtful, position, xp.arange(size, dtype=where.dtype, device=_device(where)))
    return tuple(
        xp.reshape(xp.take(xp.concat([xp.reshape(old, (-1, *old.shape[len(batch) :])), new]), index, axis=0), old.shape)
        for old, new in zip(results, again(*few), strict=True)
    )


def _device(array: Array) -> Any:
    return getattr(array, "device", None)
