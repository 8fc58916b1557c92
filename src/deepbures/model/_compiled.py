"""Methods of losses on numbers that are known, compiled once for each shape rather than run operation by operation."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from deepbures._types import Array

# Programs that are kept. With each go the parts that are no arrays: the operators of targets known through products.
_MOST_PROGRAMS = 64


def call_compiled(method: str, loss: Any, target: Any, matrices: tuple[Array, ...]) -> Array:
    """`loss.method(w, target, …)`, with all arrays of loss and target as arguments of one program.

    Another target of the same kind and shape, or another value of a parameter that may be an argument, takes the
    program that is there.
    """
    arrays, rest = eqx.partition((_with_arrays(loss), target), eqx.is_array)
    leaves, structure = jax.tree.flatten(rest)
    return _program(method, structure, tuple(_Fixed(leaf) for leaf in leaves))(arrays, matrices)


def _with_arrays(loss: Any) -> Any:
    """Positive parameters as arrays. Zero stays a number: losses have other forms there."""
    if not loss.parameters_are_arguments:
        return loss
    return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, float) and leaf > 0 else leaf, loss)


class _Fixed:
    """What a program is made for: numbers and names by their value, everything else by its identity."""

    def __init__(self, leaf: Any) -> None:
        self.leaf = leaf
        self._key = (type(leaf), leaf if isinstance(leaf, (bool, int, float, complex, str)) else id(leaf))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fixed) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@functools.lru_cache(maxsize=_MOST_PROGRAMS)
def _program(method: str, structure: Any, leaves: tuple[_Fixed, ...]) -> Callable[..., Array]:
    rest = jax.tree.unflatten(structure, [fixed.leaf for fixed in leaves])

    def run(arrays: Any, matrices: tuple[Array, ...]) -> Array:
        loss, target = eqx.combine(arrays, rest)
        return getattr(loss, method)(matrices[0], target, *matrices[1:])

    return jax.jit(run)
