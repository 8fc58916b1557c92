"""Random keys, and what is drawn by them without a network."""

from typing import Any

import jax
import numpy as np

from deepbures._checks import check_integer
from deepbures._precision import numpy_in_numpy_out
from deepbures._types import Array, Float
from deepbures.linalg import haar_orthogonal


def as_key(key: Any) -> Any:
    """A JAX random key, from a key or a whole number."""
    if isinstance(key, jax.Array):
        # Keys of the old form, jax.random.PRNGKey, are arrays of two 32-bit words.
        if jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == np.uint32:
            return key
        raise TypeError(
            f"key must be a key of jax.random or a whole number, but a JAX array of dtype {key.dtype} and shape "
            f"{key.shape} was given."
        )
    return jax.random.key(check_integer(key, "key", 0, 2**63 - 1))


def random_orthogonal(key: Any, n: int, dtype: Any, jax_array: bool = False) -> Float[Array, "{n} {n}"]:
    """A random orthogonal n×n matrix, uniform (Haar)."""
    draw = numpy_in_numpy_out(lambda key: haar_orthogonal(as_key(key), n, n, dtype))
    return jax.numpy.asarray(draw(key)) if jax_array else draw(key)
