"""Random orthogonal matrices."""

from typing import Any

from deepbures._types import Array, Float


def haar_orthogonal(key: Any, rows: int, columns: int, dtype: Any) -> Float[Array, "{rows} {columns}"]:
    """Uniformly distributed (Haar) orthonormal columns, or rows if these are fewer; an array of JAX.

    QR of a Gaussian matrix, with the signs of the diagonal of R: without them the distribution is that of LAPACK's
    reflections.
    """
    import jax
    import jax.numpy as jnp

    q, r = jnp.linalg.qr(jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype))
    q = q * jnp.sign(jnp.diagonal(r))[None, :]
    return q if rows >= columns else q.T
