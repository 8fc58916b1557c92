"""All pairs at once: the same numbers as one pair at a time, in every library, with gradients, in blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import deepbures.metric as dbm
from deepbures.metric import _pairwise

from . import pairs

each = pytest.mark.parametrize

# The function, that of one pair, and whether it is of covariances.
FUNCTIONS = {
    dbm.pairwise_squared_bures_wasserstein: (dbm.squared_bures_wasserstein, True),
    dbm.pairwise_bures_wasserstein_distance: (dbm.bures_wasserstein_distance, True),
    dbm.pairwise_squared_bures_wasserstein_factors: (dbm.squared_bures_wasserstein_factors, False),
    dbm.pairwise_bures_wasserstein_distance_factors: (dbm.bures_wasserstein_distance_factors, False),
}
EVERY = each("function", FUNCTIONS, ids=lambda function: function.__name__)
SQUARED = each("function", list(FUNCTIONS)[::2], ids=lambda function: function.__name__)
LIBRARY = {"numpy": (lambda f: f, np.asarray), "jax": (jax.jit, jnp.asarray), "torch": (lambda f: f, torch.asarray)}
# Compiling for each shape is what takes the time in JAX.
SHAPES = [(library, *counts) for library in ("numpy", "torch") for counts in ((3, 5), (1, 2), (2, 1))] + [("jax", 3, 5)]
LIBRARIES = each("library", LIBRARY)


def stack(function, count, columns=4, is_complex=False, seed=0):
    rng = np.random.default_rng(seed)
    f = pairs.normal(rng, (count, 4, columns), is_complex)
    f[-1, :, -1] = 0  # one of them has less rank
    if not FUNCTIONS[function][1]:
        return f
    a = f @ f.conj().mT
    return (a + a.conj().mT) / 2


def one_by_one(function, x, y):
    single = FUNCTIONS[function][0]
    return np.array([[single(a, b) for b in y] for a in x])


@each("library, count, others", SHAPES)
@EVERY
def test_two_stacks(function, library, count, others):
    transformation, asarray = LIBRARY[library]
    x, y = stack(function, count), stack(function, others, columns=3, seed=1)
    result = transformation(function)(asarray(x), asarray(y))
    assert type(result) is type(asarray(x)) and tuple(result.shape) == (count, others)
    np.testing.assert_allclose(result, one_by_one(function, x, y), rtol=1e-12)


@LIBRARIES
@EVERY
@each("count", [1, 5])
def test_one_stack(function, library, count):
    transformation, asarray = LIBRARY[library]
    x = stack(function, count)
    result = transformation(function)(asarray(x))
    assert type(result) is type(asarray(x)) and tuple(result.shape) == (count, count)
    result = np.asarray(result)
    np.testing.assert_array_equal(np.diag(result), np.zeros(count))
    np.testing.assert_array_equal(result, result.T)
    # (Of a matrix with itself in a stack of pairs the distance is zero, exactly too.)
    np.testing.assert_allclose(result, one_by_one(function, x, x), rtol=1e-12, atol=0)


@EVERY
@each("asarray", [np.asarray, torch.asarray], ids=["numpy", "torch"])
@each("dtype", [np.float32, np.complex64, np.complex128])
def test_dtypes(function, asarray, dtype):
    x = stack(function, 3, is_complex=np.dtype(dtype).kind == "c").astype(dtype)
    y = stack(function, 2, is_complex=np.dtype(dtype).kind == "c", seed=1).astype(dtype)
    tolerance = 100 * np.finfo(dtype).eps
    for given, expected in (((x, y), one_by_one(function, x, y)), ((x,), one_by_one(function, x, x))):
        result = np.asarray(function(*map(asarray, given)))
        assert result.dtype == np.finfo(dtype).dtype
        np.testing.assert_allclose(result, expected, rtol=10 * tolerance, atol=tolerance)


@EVERY
def test_lists_of_integers(function):
    diagonals = [[[1, 0], [0, 4]], [[4, 0], [0, 1]], [[9, 0], [0, 9]]]
    result = function(diagonals)
    assert result.dtype == np.float64
    # Of diagonal matrices it is the distance of the standard deviations.
    deviations = np.array([np.diag(d) for d in diagonals], dtype=float)
    if FUNCTIONS[function][1]:
        deviations = np.sqrt(deviations)
    expected = np.linalg.norm(deviations[:, None] - deviations, axis=-1)
    if "squared" in function.__name__:
        expected = expected**2
    np.testing.assert_allclose(result, expected, rtol=1e-14)


@SQUARED
@each("asarray", [np.asarray, torch.asarray], ids=["numpy", "torch"])
@each("entries", [1, 40, 200])
def test_blocks(function, asarray, entries, monkeypatch):
    # 16 entries a matrix: blocks of one pair or row, of a few, and with a remainder.
    x, y = stack(function, 5), stack(function, 3, seed=1)
    calls = []

    def counted(a, b):
        calls.append(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
        return single(a, b)

    single = FUNCTIONS[function][0]
    monkeypatch.setattr(_pairwise, single.__name__, counted)
    expected = function(asarray(x), asarray(y)), function(asarray(x))
    assert len(calls) == 2  # all pairs of the two stacks, and the ten of the one
    calls.clear()
    monkeypatch.setattr(_pairwise, "_BLOCK_ENTRIES", entries)
    results = function(asarray(x), asarray(y)), function(asarray(x))
    for result, whole in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, whole, rtol=1e-13, atol=0)
    of_two, of_one = {1: (5, 10), 40: (5, 5), 200: (2, 1)}[entries]
    assert len(calls) == of_two + of_one
    assert sum(np.prod(shape) for shape in calls) == 15 + 10  # each pair once


# ------------------------------------------------------------------------------------------------------------ gradients


def weighted(function, weights, xp):
    return lambda *given: (xp.asarray(weights) * function(*given)).sum()


def expected_gradients(function, weights, x, y):
    """The sum of what single pairs give, in PyTorch."""
    single = FUNCTIONS[function][0]
    x, y = (torch.tensor(z, requires_grad=True) for z in (x, y))
    total = sum(weights[i, j] * single(x[i], y[j]) for i, j in np.ndindex(*weights.shape) if weights[i, j])
    return [z.numpy() for z in torch.autograd.grad(total, (x, y))]


def in_torch(function, *given):
    given = [torch.tensor(z, requires_grad=True) for z in given]
    return [z.numpy() for z in torch.autograd.grad(function(*given), given)]


def in_jax(function, *given):
    return jax.jit(jax.grad(function, argnums=tuple(range(len(given)))))(*map(jnp.asarray, given))


IN_TORCH, IN_JAX = (in_torch, torch), (in_jax, jnp)
BACKWARD = each(
    "function, gradients, xp",
    [
        (dbm.pairwise_squared_bures_wasserstein, *IN_TORCH),
        (dbm.pairwise_squared_bures_wasserstein_factors, *IN_TORCH),
        (dbm.pairwise_squared_bures_wasserstein_factors, *IN_JAX),
    ],
    ids=["covariances-torch", "factors-torch", "factors-jax"],
)


@BACKWARD
def test_gradients(function, gradients, xp):
    x, y = stack(function, 3), stack(function, 2, columns=5, seed=1)
    x[-1] = x[0]  # full rank, so that there is no kink
    y[-1] = 2 * y[0]
    weights = np.random.default_rng(2).normal(size=(3, 2))
    results = gradients(weighted(function, weights, xp), x, y)
    for result, expected in zip(results, expected_gradients(function, weights, x, y), strict=True):
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@BACKWARD
def test_gradients_of_one_stack(function, gradients, xp):
    # Each pair is computed once, and counts twice; on the diagonal there is nothing to differentiate.
    x = stack(function, 4)
    x[-1] = x[0]  # full rank, and a distance of zero
    weights = np.random.default_rng(3).normal(size=(4, 4))
    (result,) = gradients(weighted(function, weights, xp), x)
    of_first, of_second = expected_gradients(function, weights - np.diag(np.diag(weights)), x, x)
    np.testing.assert_allclose(result, of_first + of_second, rtol=0, atol=1e-11 * np.abs(of_first).max())


@each("function", list(FUNCTIONS)[1::2], ids=lambda function: function.__name__)
def test_distances_have_finite_gradients_at_zero(function):
    x = stack(function, 3)
    x[1] = x[0]
    for gradients, xp in (IN_TORCH,) if FUNCTIONS[function][1] else (IN_TORCH, IN_JAX):
        (result,) = gradients(weighted(function, np.ones((3, 3)), xp), x)
        assert np.isfinite(result).all() and np.abs(result).max() > 0.1


# ------------------------------------------------------------------------------------------------------ what is refused


@EVERY
@each("asarray", [np.asarray, jnp.asarray, torch.asarray], ids=["numpy", "jax", "torch"])
def test_refused(function, asarray):
    name, other = ("a", "b") if FUNCTIONS[function][1] else ("f", "g")
    eyes = asarray(np.stack([np.eye(3)] * 2))
    for bad in (eyes[0], eyes[None], eyes[:0]):
        shape = str(tuple(bad.shape)).replace("(", r"\(").replace(")", r"\)")
        message = rf"must be a stack of shape \(K, n, \w+\) with at least one member, but has shape {shape}"
        with pytest.raises(ValueError, match=f"{name} {message}"):
            function(bad)
        with pytest.raises(ValueError, match=f"{name} {message}"):
            function(bad, eyes)
        with pytest.raises(ValueError, match=f"{other} {message}"):
            function(eyes, bad)
    with pytest.raises(ValueError, match=r"must have shape \(K, n, \w+\), but has shape \(3,\)"):
        function(eyes[0, 0])
    with pytest.raises(ValueError, match="must have the same dimension n"):
        function(eyes, eyes[:, :2, :2])
    with pytest.raises(TypeError, match=f"one dtype, but {name} has .*float64 and {other} has .*float32"):
        function(eyes, asarray(np.eye(3, dtype=np.float32)[None]))


@EVERY
def test_values_are_checked(function):
    stacks = np.stack([np.eye(3)] * 3)
    stacks[1, 2, 2] = np.nan
    with pytest.raises(ValueError, match="entries that are not finite"):
        function(stacks)
    with pytest.raises(TypeError, match="arrays of one library"):
        function(np.ones((1, 2, 2)), torch.ones((1, 2, 2)))
    if FUNCTIONS[function][1]:
        with pytest.raises(ValueError, match="must be positive semidefinite"):
            function(np.stack([np.eye(3), -np.eye(3)]))
        with pytest.raises(ValueError, match="must be a square matrix"):
            function(np.ones((2, 3, 2)))
