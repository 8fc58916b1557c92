"""The polar factor and its derivative, against the definition in 60-digit arithmetic."""

import jax.numpy as jnp
import numpy as np
import pytest

from deepbures.linalg import polar_derivative, polar_factor, squared_procrustes_distance

from . import oracle, pairs

SHAPES = pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5), (4, 1), (1, 4), (1, 1)], ids=str)
FIELDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
SPECTRA = pytest.mark.parametrize("spectrum", ["distinct", "repeated", "nearly repeated", "graded"])


def example(shape, is_complex, spectrum):
    rng = np.random.default_rng(7)
    rows, columns = shape
    rank = min(shape)
    s = {
        "distinct": 1.0 + np.arange(rank)[::-1],
        "repeated": np.full(rank, 2.0),
        "nearly repeated": 2.0 + 1e-13 * np.arange(rank)[::-1],
        "graded": np.geomspace(1, 1e-4, rank),
    }[spectrum]
    u = pairs.unitary(rng, rows, is_complex)[:, :rank]
    v = pairs.unitary(rng, columns, is_complex)[:, :rank]
    return u * s @ v.conj().T, pairs.normal(rng, shape, is_complex)


@SHAPES
@FIELDS
@SPECTRA
def test_polar_factor(shape, is_complex, spectrum):
    x, _ = example(shape, is_complex, spectrum)
    expected = oracle.numbers(oracle.polar_factor(oracle.matrix(x)))
    q = polar_factor(*np.linalg.svd(x, full_matrices=False))
    tolerance = 1e-11 if spectrum == "graded" else 1e-14
    np.testing.assert_allclose(q, expected, atol=tolerance)


@SHAPES
@FIELDS
@SPECTRA
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_polar_derivative(shape, is_complex, spectrum, xp):
    x, direction = example(shape, is_complex, spectrum)
    expected = oracle.numbers(oracle.polar_derivative(x, direction))
    u, s, vh = xp.linalg.svd(xp.asarray(x), full_matrices=False)
    derivative = polar_derivative(u, s, vh, xp.asarray(direction))
    assert derivative.dtype == x.dtype
    # The polar factor turns by 1/s_min, its derivative by the square of that.
    tolerance = 1e-7 if spectrum == "graded" else 1e-13
    np.testing.assert_allclose(derivative, expected, atol=tolerance * max(1, np.abs(expected).max() * 1e-4))


def test_polar_derivative_of_a_stack():
    rng = np.random.default_rng(0)
    x, direction = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(2, 3, 5, 4))
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    whole = polar_derivative(u, s, vh, direction)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(whole[i], polar_derivative(u[i], s[i], vh[i], direction[i]), atol=1e-13)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)], ids=str)
def test_at_a_kink_the_zero_singular_values_contribute_zero(shape):
    rng = np.random.default_rng(0)
    x = np.outer(rng.normal(size=shape[0]), rng.normal(size=shape[1]))
    svd = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(polar_factor(*svd), x / np.linalg.norm(x), atol=1e-14)
    assert np.isfinite(polar_derivative(*svd, rng.normal(size=shape))).all()
    zero = np.linalg.svd(np.zeros(shape), full_matrices=False)
    assert not polar_factor(*zero).any()
    assert not polar_derivative(*zero, rng.normal(size=shape)).any()


def test_derivative_within_one_rank():
    # Along the manifold of rank-2 matrices the rank-cut polar factor is smooth, and this is its derivative.
    rng = np.random.default_rng(0)
    left, right, moved = rng.normal(size=(5, 2)), rng.normal(size=(2, 4)), rng.normal(size=(5, 2))

    def polar(t):
        return polar_factor(*np.linalg.svd((left + t * moved) @ right, full_matrices=False))

    svd = np.linalg.svd(left @ right, full_matrices=False)
    difference = (polar(1e-5) - polar(-1e-5)) / 2e-5
    np.testing.assert_allclose(polar_derivative(*svd, moved @ right), difference, atol=1e-8)


@pytest.mark.parametrize("columns", [(2, 2), (4, 2), (2, 4), (6, 3)], ids=str)
def test_value_holds_for_any_vectors_of_a_zero_singular_value(columns):
    # Orthogonal ranges: all singular values are zero, and any unitary factors are singular vectors.
    rng = np.random.default_rng(0)
    f, g = np.zeros((12, columns[0])), np.zeros((12, columns[1]))
    f[:6], g[6:] = rng.normal(size=(6, columns[0])), rng.normal(size=(6, columns[1]))
    rank = min(columns)
    u = pairs.unitary(rng, columns[0], False)[:, :rank]
    vh = pairs.unitary(rng, columns[1], False)[:rank]
    assert squared_procrustes_distance(f, g, u, vh) == pytest.approx(np.sum(f * f) + np.sum(g * g), rel=1e-14)
