"""Factors of very many columns or rows: what counts as rounding does not grow with their number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures.metric as dbm
from deepbures.linalg import polar_factor

COUNT = 2**15


def orthonormal_rows(num):
    """Rows of a Hadamard matrix over √COUNT: entries ±2^−7.5, orthonormal."""
    bits = np.bitwise_count(np.arange(1, num + 1)[:, None] & np.arange(COUNT)[None, :]) % 2
    return (1.0 - 2.0 * bits) / np.sqrt(COUNT)


@pytest.mark.parametrize("traced", [False, True])
def test_gradients_for_many_samples_in_single_precision(traced):
    """Deviations (1, 2^−9) and (2, 2^−8): ∂B²/∂F = 2 (F − G Qᵀ) = −2 F.

    A tolerance of COUNT eps = 4e-3 took the second singular value, 2e-3 of the first, for zero: −2 F in one row only.
    """
    f = (np.array([[1.0], [2.0**-9]]) * orthonormal_rows(2)).astype(np.float32)
    g = 2 * f
    gradient = jax.grad(lambda x: dbm.squared_bures_wasserstein_factors(x, jnp.asarray(g)))
    found = np.asarray((jax.jit(gradient) if traced else gradient)(jnp.asarray(f)))
    for row in (0, 1):
        np.testing.assert_allclose(found[row], -2 * f[row], rtol=2e-3)


def test_small_modes_of_tall_matrices_in_single_precision():
    """W = (e_1, 2^−11 e_2) in many dimensions: its polar factor is (e_1, e_2), not (e_1, 0)."""
    n = 2**13
    u = np.eye(n, 2, dtype=np.float32)
    q = polar_factor(u, np.array([1.0, 2.0**-11], np.float32), np.eye(2, dtype=np.float32))
    np.testing.assert_array_equal(q, u)
