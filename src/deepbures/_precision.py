"""In which precision a public function computes, and what it hands back.

JAX computes in float32 unless a process-wide flag says otherwise. Importing this package leaves that
flag alone. Instead: arrays of NumPy come in, arrays of NumPy go out, computed in the precision of the
input (float64 stays float64, whatever the flag says); arrays of JAX, and anything inside a JAX
transformation, follow JAX's own rules.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def is_tracer(x: Any) -> bool:
    """Whether `x` is being traced by a JAX transformation, so that its values cannot be looked at."""
    return isinstance(x, jax.core.Tracer)


def any_traced(tree: Any) -> bool:
    """Whether any leaf of a pytree is being traced."""
    return any(is_tracer(leaf) for leaf in _leaves(tree))


def _leaves(tree: Any) -> list[Any]:
    """The leaves of a pytree. Iterators are leaves too: JAX warns of them, and nothing may be taken from them here."""
    return jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, Iterator))


def _follows_jax(leaf: Any) -> bool:
    # A concrete random key carries no precision: `key=jax.random.key(0)` is how NumPy users pass seeds.
    return is_tracer(leaf) or (
        isinstance(leaf, jax.Array) and not jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    )


def to_numpy(tree: Any) -> Any:
    """Every JAX array of a pytree as a NumPy array; random keys and everything else unchanged.

    Inside `jax.jit` even what is computed from NumPy arrays alone is traced; there it stays JAX's.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf) if _follows_jax(leaf) and not is_tracer(leaf) else leaf, tree)


def times_power_of_two(x: Any, exponent: int) -> Any:
    """The product with a power of two, exact as long as it is in range; a concrete array of the same library."""
    with np.errstate(over="ignore", under="ignore"):
        result = np.ldexp(np.asarray(x), exponent)
    return jax.numpy.asarray(result) if isinstance(x, jax.Array) else result


def numpy_in_numpy_out(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: without any JAX array among the arguments, compute in 64-bit mode and return NumPy."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if any(_follows_jax(leaf) for leaf in _leaves((args, kwargs))):
            return function(*args, **kwargs)
        with jax.enable_x64(True):
            result: R = to_numpy(function(*args, **kwargs))
            return result

    return wrapped
