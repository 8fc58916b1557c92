"""The singular value decomposition in JAX."""

from deepbures._types import Array, Float

# Up to this size LAPACK's QR iteration is the faster algorithm on CPUs (49 against 75 microseconds at 20×20), above it
# divide and conquer.
_SMALL_SVD = 24


def thin_svd(
    x: Float[Array, "... n m"],
) -> tuple[Float[Array, "... n min(n,m)"], Float[Array, "... min(n,m)"], Float[Array, "... min(n,m) m"]]:
    """Thin SVD; wide or tall matrices are first reduced to square by QR."""
    import jax
    import jax.numpy as jnp

    rows, columns = x.shape[-2:]
    if columns > rows:
        u, s, vh = thin_svd(x.mT)
        return vh.mT, s, u.mT
    if rows > columns:
        q, r = jnp.linalg.qr(x)
        u, s, vh = thin_svd(r)
        return q @ u, s, vh
    small = columns <= _SMALL_SVD and jax.default_backend() == "cpu"
    algorithm = jax.lax.linalg.SvdAlgorithm.QR if small else jax.lax.linalg.SvdAlgorithm.DEFAULT
    u, s, vh = jax.lax.linalg.svd(x, full_matrices=False, algorithm=algorithm)
    return u, s, vh
