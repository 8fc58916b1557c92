"""All pairs at once: the same numbers as one pair at a time, in every library, with gradients, in blocks."""

import functools

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
LIBRARY = {"numpy": (lambda f: f, np.asarray), "jax": (jax.jit, jnp.asarray), "torch": (lambda f: f, torch.asarray)}


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


@each("library, count, others", [*((library, 3, 5) for library in LIBRARY), ("numpy", 1, 2), ("numpy", 2, 1)])
@EVERY
def test_two_stacks(function, library, count, others):
    transformation, asarray = LIBRARY[library]
    x, y = stack(function, count), stack(function, others, columns=3, seed=1)
    result = transformation(function)(asarray(x), asarray(y))
    assert type(result) is type(asarray(x)) and tuple(result.shape) == (count, others)
    np.testing.assert_allclose(result, one_by_one(function, x, y), rtol=1e-12)


@each("library, count", [*((library, 5) for library in LIBRARY), ("numpy", 1)])
@EVERY
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


@each("function", [dbm.pairwise_squared_bures_wasserstein, dbm.pairwise_bures_wasserstein_distance_factors])
@each("asarray", [np.asarray, torch.asarray], ids=["numpy", "torch"])
@each("dtype", [np.float32, np.complex128])
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


def largest_difference(a, b):
    """A distance of one's own, which says what it was given."""
    largest_difference.calls.append(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    return abs(a - b).max(axis=-1).max(axis=-1)


@each("entries, of_two, of_one", [(1, 15, 10), (40, 10, 5), (64, 5, 3), (200, 2, 1), (10**6, 1, 1)])
def test_blocks(entries, of_two, of_one, monkeypatch):
    # 16 entries a matrix, 48 the second stack: blocks of one pair, of two, of a row, of a few, and with a remainder.
    monkeypatch.setattr(_pairwise, "_BLOCK_ENTRIES", entries)
    x, y = np.random.default_rng(0).normal(size=(2, 5, 4, 4))
    for second, symmetric, blocks, count in ((y[:3], False, of_two, 15), (None, True, of_one, 10)):
        monkeypatch.setattr(largest_difference, "calls", [], raising=False)
        result = dbm.pairwise(largest_difference, x, second, symmetric=symmetric)
        others = x if second is None else second
        np.testing.assert_array_equal(result, [[np.abs(a - b).max() for b in others] for a in x])
        assert len(largest_difference.calls) == blocks
        assert sum(np.prod(shape) for shape in largest_difference.calls) == count  # each pair once


# ------------------------------------------------------------------------------------------------------- any distance


@each("distance", [single for single, _ in FUNCTIONS.values()])
@each("y", [None, "given"])
def test_the_four_names_are_shorthands(distance, y):
    (shorthand,) = (function for function, (single, _) in FUNCTIONS.items() if single is distance)
    given = (stack(shorthand, 3),) if y is None else (stack(shorthand, 3), stack(shorthand, 2, seed=1))
    np.testing.assert_array_equal(dbm.pairwise(distance, *given), shorthand(*given))


def test_a_covariance_and_a_factor_and_data_sets():
    rng = np.random.default_rng(0)
    factors, samples = rng.normal(size=(2, 4, 2)), rng.normal(size=(3, 6, 4))
    covariances = stack(dbm.pairwise_squared_bures_wasserstein, 3)
    mixed = dbm.pairwise(dbm.squared_bures_wasserstein_mixed, covariances, factors)
    expected = dbm.pairwise(dbm.squared_bures_wasserstein, covariances, factors @ factors.mT)
    np.testing.assert_allclose(mixed, expected, rtol=1e-12)
    unbiased = functools.partial(dbm.squared_frechet_distance, unbiased=True)
    result = dbm.pairwise(unbiased, samples)
    assert (result == result.T).all() and not np.diag(result).any()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        np.testing.assert_allclose(result[i, j], unbiased(samples[i], samples[j]), rtol=1e-12)


def test_what_is_no_distance_is_computed_for_all_pairs():
    # The squared length of the second argument: neither symmetric nor zero between equals.
    x = np.arange(6.0).reshape(3, 2)
    result = dbm.pairwise(lambda a, b: 0 * a[..., 0] + (b**2).sum(axis=-1), x)
    np.testing.assert_array_equal(result, np.tile([1.0, 13.0, 41.0], (3, 1)))


@each("asarray, vmap", [(jnp.asarray, jax.vmap), (torch.asarray, torch.func.vmap)], ids=["jax", "torch"])
def test_mapped_functions_of_single_members(asarray, vmap):
    def single(a, b):
        return ((a - b) ** 2).sum()

    def broadcast(a, b):  # (K, 1, n) and (1, L, n)
        return vmap(vmap(single, (None, 0)), (0, None))(a[:, 0], b[0])

    x = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(
        dbm.pairwise(broadcast, asarray(x)), 8.0 * np.array([[0, 1, 4], [1, 0, 1], [4, 1, 0]])
    )


@each("vectorize", [np.vectorize, jnp.vectorize])
@each("symmetric", [False, True])
def test_vectorized_functions_of_single_members(vectorize, symmetric):
    single = vectorize(lambda a, b: ((a - b) ** 2).sum(), signature="(n),(n)->()")
    x = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    expected = 8.0 * np.array([[0, 1, 4], [1, 0, 1], [4, 1, 0]])
    np.testing.assert_array_equal(dbm.pairwise(single, x, symmetric=symmetric), expected)


def test_functions_that_do_not_broadcast_are_refused():
    x = np.ones((3, 2, 2))
    expected = r"of arrays of shape \(3, 1, 2, 2\) and \(1, 3, 2, 2\) it should return one of shape \(3, 3\)"
    with pytest.raises(ValueError, match=f"{expected}, but returned shape \\(\\)"):
        dbm.pairwise(lambda a, b: np.sum(a - b), x)
    with pytest.raises(ValueError, match=f"{expected}, but returned float"):
        dbm.pairwise(lambda a, b: 1.0, x)
    with pytest.raises(TypeError, match=r"distance must be a function .* but str was given"):
        dbm.pairwise("bures", x)
    with pytest.raises(ValueError, match=r"y must have at least one member, but has shape \(0, 2, 2\)"):
        dbm.pairwise(dbm.squared_bures_wasserstein, x, x[:0])


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
def test_refused(function):
    name, other = ("a", "b") if FUNCTIONS[function][1] else ("f", "g")
    eyes = np.stack([np.eye(3)] * 2)
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
        function(eyes, np.eye(3, dtype=np.float32)[None])


@EVERY
def test_values_are_checked(function):
    stacks = np.stack([np.eye(3)] * 3)
    stacks[1, 2, 2] = np.nan
    with pytest.raises(ValueError, match=r"[af] has 1 entry that is not finite .* at index \(1, 2, 2\)"):
        function(stacks)
    with pytest.raises(TypeError, match="arrays of one library"):
        function(np.ones((1, 2, 2)), torch.ones((1, 2, 2)))
    if FUNCTIONS[function][1]:
        with pytest.raises(ValueError, match="must be positive semidefinite"):
            function(np.stack([np.eye(3), -np.eye(3)]))
        with pytest.raises(ValueError, match="must be a square matrix"):
            function(np.ones((2, 3, 2)))
