"""Linear algebra that several rooms stand on, against constructions. (Polar factors: metric/test_procrustes.py.)"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

from deepbures import linalg


@pytest.mark.parametrize("shape", [(4, 4), (5, 2), (2, 5)], ids=str)
def test_haar_orthogonal(shape):
    draws = jax.vmap(lambda key: linalg.haar_orthogonal(key, *shape, np.float64))(
        jax.random.split(jax.random.key(0), 400)
    )
    short = min(shape)
    product = draws @ draws.mT if shape[0] < shape[1] else draws.mT @ draws
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(short), (400, short, short)), atol=1e-14)
    # Entries have mean 0 and variance 1/max(shape); LAPACK's own signs would make the diagonal of one sign.
    assert (np.abs(draws.mean(0)) < 5 / math.sqrt(400 * max(shape))).all()
    np.testing.assert_allclose((draws**2).mean(0), 1 / max(shape), rtol=0.4)


@pytest.mark.parametrize("xp", [np, jnp])
def test_effective_rank(xp):
    s = xp.asarray([3.0, 3.0, 3.0, 0.0])
    assert float(linalg.effective_rank(s)) == pytest.approx(3, rel=1e-14)
    assert float(linalg.effective_rank(s[3:])) == 0
    half = float(linalg.effective_rank(xp.asarray([2.0, 1.0, 1.0])))
    assert half == pytest.approx(math.exp(0.5 * math.log(2) + 0.5 * math.log(4)), rel=1e-14)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (2, 7, 3)], ids=str)
@pytest.mark.parametrize("kind", ["numpy", "jax", "torch"])
def test_triangle(shape, kind, rng):
    x = rng.standard_normal(shape)
    given = {"numpy": np.asarray, "jax": jnp.asarray, "torch": pytest.importorskip("torch").tensor}[kind](x)
    r = linalg.triangle(given)
    assert type(r) is type(given) and r.shape == (*shape[:-2], min(shape[-2:]), shape[-1])
    np.testing.assert_allclose(np.asarray(r.mT @ r), x.mT @ x, atol=1e-13)


@pytest.mark.parametrize(
    "values", [np.linspace(-3, 5, 60), np.r_[np.zeros(50), np.arange(1.0, 11)]], ids=["both", "psd"]
)
def test_extreme_eigenpairs(values, rng):
    """Zero is no obstacle, though convergence is measured relative to each eigenvalue."""
    basis = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    matrix = basis * values @ basis.T
    found, vectors = linalg.extreme_eigenpairs(lambda v: matrix @ v, rng.standard_normal(60), 1e-8, 10_000)
    np.testing.assert_allclose(found, [values.min(), values.max()], atol=1e-8 * np.abs(values).max())
    assert np.linalg.norm(matrix @ vectors - vectors * found) < 1e-6


def test_extreme_eigenpairs_that_take_too_many_products(rng):
    with pytest.raises(scipy.sparse.linalg.ArpackNoConvergence):
        linalg.extreme_eigenpairs(lambda v: np.linspace(-3, 5, 500) * v, rng.standard_normal(500), 1e-14, 1)


@pytest.mark.parametrize("k", [2, 40])
def test_leading_eigenpairs_are_the_same_bits_every_time(k, rng):
    basis = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    matrix = basis * np.arange(60.0) @ basis.T
    (values, vectors), again = (linalg.leading_eigenpairs(lambda w: matrix @ w, 60, k, np.float64) for _ in range(2))
    np.testing.assert_allclose(values, np.arange(60.0)[::-1][:k], rtol=1e-12)
    np.testing.assert_allclose(np.abs(vectors.T @ basis[:, ::-1][:, :k]), np.eye(k), atol=1e-9)
    assert (values == again[0]).all() and (vectors == again[1]).all()
