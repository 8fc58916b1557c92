"""PyTorch: values, and derivatives forward and backward, twice, batched, and where singular values meet."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import deepbures.metric as dbm

from . import oracle, pairs, test_accuracy, test_derivatives

# PyTorch compiles something of its own on the first use of forward mode, by means it has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is:DeprecationWarning")

FIELDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])

SQUARED = [
    dbm.squared_bures_wasserstein_factors,
    dbm.squared_bures_wasserstein,
    dbm.squared_bures_wasserstein_mixed,
    dbm.squared_frechet_distance,
]
ROOTED = [
    dbm.bures_wasserstein_distance_factors,
    dbm.bures_wasserstein_distance,
    dbm.bures_wasserstein_distance_mixed,
]
# Which arguments are covariances.
COVARIANCES = {
    dbm.squared_bures_wasserstein: (True, True),
    dbm.bures_wasserstein_distance: (True, True),
    dbm.transport_map: (True, True),
    dbm.squared_bures_wasserstein_mixed: (True, False),
    dbm.bures_wasserstein_distance_mixed: (True, False),
}
MIXED = dbm.squared_bures_wasserstein_mixed
EVERY = [*SQUARED, *ROOTED, dbm.transport_map]
each = pytest.mark.parametrize


def name_of(function):
    return getattr(function, "__name__", None)


def hermitian(a):
    return (a + a.conj().mT) / 2


def arguments(function, f, g):
    """What the function takes, of two factors: the factors, or their covariances."""
    return tuple(
        hermitian(x @ x.conj().mT) if is_covariance else x
        for x, is_covariance in zip((f, g), COVARIANCES.get(function, (False, False)), strict=True)
    )


def symmetrized(function):
    """The function on all matrices, by their Hermitian parts: what finite differences can be taken of."""
    places = COVARIANCES.get(function, (False, False))
    return lambda *given: function(
        *(hermitian(x) if is_covariance else x for x, is_covariance in zip(given, places, strict=True))
    )


def draw(*shape, seed=0, is_complex=False, requires_grad=False):
    x = torch.tensor(pairs.normal(np.random.default_rng(seed), shape, is_complex))
    return x.requires_grad_(requires_grad)


def norm(*arrays):
    return np.sqrt(sum(np.linalg.norm(x) ** 2 for x in arrays))


# --------------------------------------------------------------------------------------------------------------- values


def both_ways(squared, rooted, x, y):
    """Plainly, and as part of a graph, where another decomposition is made."""
    for requires_grad in (False, True):
        tensors = [torch.tensor(z, requires_grad=requires_grad) for z in (x, y)]
        values = squared(*tensors), rooted(*tensors)
        assert all(value.requires_grad == requires_grad and value.shape == () for value in values)
        yield [value.detach().numpy() for value in values]


@test_accuracy.EVERY
def test_factors(name, n, is_complex):
    f, g, is_far = pairs.pair(name, n, is_complex)
    truth = test_accuracy.truth(name, n, is_complex)
    for squared, distance in both_ways(SQUARED[0], ROOTED[0], f, g):
        assert squared.dtype == distance.dtype == np.float64
        test_accuracy.assert_accurate(squared, distance, *truth, 1e-13, 0 if is_far else 2e-14)


@each("name", pairs.NAMES)
def test_factors_in_single_precision(name):
    f, g, is_far = pairs.pair(name, 6, False, np.float32)
    truth = test_accuracy.truth(name, 6, False, np.float32)
    for squared, distance in both_ways(SQUARED[0], ROOTED[0], f, g):
        assert squared.dtype == distance.dtype == np.float32
        test_accuracy.assert_accurate(squared, distance, *truth, 1e-5, 0 if is_far else 5e-6)


@test_accuracy.EVERY
def test_covariances(name, n, is_complex):
    a, b = test_accuracy.dense(*pairs.pair(name, n, is_complex)[:2])
    for squared, distance in both_ways(SQUARED[1], ROOTED[1], a, b):
        test_accuracy.assert_dense_accurate(squared, distance, name, n, is_complex)


@each("function", EVERY, ids=name_of)
@each("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_as_numpy(function, dtype):
    rng = np.random.default_rng(1)
    f, g = (pairs.normal(rng, (3, 4, 4), np.dtype(dtype).kind == "c").astype(dtype) for _ in range(2))
    x, y = arguments(function, f, g)
    expected = function(x, y)
    value = function(torch.tensor(x), torch.tensor(y))
    assert isinstance(value, torch.Tensor) and value.device == torch.device("cpu")
    assert value.numpy().dtype == expected.dtype
    np.testing.assert_allclose(value, expected, rtol=0, atol=300 * np.finfo(dtype).eps * np.abs(expected).max())


@each("function", EVERY, ids=name_of)
def test_integers(function):
    eye = torch.eye(3)
    value = function(torch.eye(3, dtype=torch.int64), torch.diag(torch.tensor([1, 4, 9])))
    assert value.dtype == torch.get_default_dtype() == torch.float32
    torch.testing.assert_close(value, function(eye, torch.diag(torch.tensor([1.0, 4.0, 9.0]))))


@each("function", EVERY, ids=name_of)
@each("shapes", [((), (4,)), ((2, 1), (4,)), ((2, 1), (1, 4)), ((0,), ()), ((2, 4), (2, 4))], ids=str)
def test_leading_dimensions(function, shapes):
    x, y = arguments(function, *(draw(*shape, 3, 3, seed=seed) for seed, shape in enumerate(shapes)))
    batch = np.broadcast_shapes(*shapes)
    tail = (3, 3) if function is dbm.transport_map else ()
    expected = function(x.numpy(), y.numpy())
    for requires_grad in (False, True):
        value = function(x.clone().requires_grad_(requires_grad), y)
        assert tuple(value.shape) == batch + tail
        np.testing.assert_allclose(value.detach(), expected, rtol=1e-11)


# ------------------------------------------------------------------------------------------------------ what is refused


@each("function", EVERY, ids=name_of)
class TestRefused:
    def test_two_libraries(self, function):
        for other in (np.eye(3), jnp.eye(3)):
            with pytest.raises(
                TypeError, match=r"arrays of one library, but \w is torch\.Tensor and \w is (numpy|jax)"
            ):
                function(torch.eye(3, dtype=torch.float64), other)
            with pytest.raises(TypeError, match=r"one library, but \w is (numpy|jax)\S* and \w is torch\.Tensor"):
                function(other, torch.eye(3, dtype=torch.float64))

    def test_two_dtypes(self, function):
        with pytest.raises(TypeError, match=r"one dtype, but \w has torch.float32 and \w has torch.float64"):
            function(torch.eye(3), torch.eye(3, dtype=torch.float64))
        with pytest.raises(TypeError, match=r"\w has torch.float64 and \w has torch.float32 \(promoted from torch.int"):
            function(torch.eye(3, dtype=torch.float64), torch.eye(3, dtype=torch.int64))

    @each("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_precision(self, function, dtype):
        with pytest.raises(TypeError, match=r"in which there is no linear algebra\. Convert it to float32 or float64"):
            function(torch.eye(3).to(dtype), torch.eye(3).to(dtype))

    @each("requires_grad", [False, True])
    def test_values(self, function, requires_grad):
        bad = torch.tensor([[1.0, 0.0], [0.0, torch.nan]], requires_grad=requires_grad)
        with pytest.raises(ValueError, match=r"has 1 entry that is not finite .* at index \(1, 1\)"):
            function(bad, torch.eye(2))
        if COVARIANCES.get(function, (False,))[0]:
            bad = torch.tensor([[1.0, 0.5], [0.4, 1.0]])
            with pytest.raises(ValueError, match="a must be symmetric"):
                function(bad, torch.eye(2))
            bad = torch.tensor([[1.0, 0.0], [0.0, -0.1]], requires_grad=requires_grad)
            with pytest.raises(ValueError, match=r"must be positive semidefinite, .* eigenvalue of -0\.1 times"):
                function(bad, torch.eye(2))

    def test_shapes(self, function):
        with pytest.raises(ValueError, match=r"same dimension n, but \w has shape \(3, 3\) \(n = 3\)"):
            function(torch.eye(3), torch.eye(2))
        with pytest.raises(ValueError, match="do not broadcast"):
            function(torch.eye(3).expand(2, 3, 3), torch.eye(3).expand(4, 3, 3))


# ------------------------------------------------------------------------------------------- derivatives by differences

# (rows, columns of the one, columns of the other): r > k, r < k, square, and more columns than rows.
SHAPES = [(4, 3, 2), (4, 2, 3), (3, 3, 3), (2, 3, 4)]


def assert_all_derivatives(function, *given):
    """First and second ones, forward and backward and one over the other.

    `fast_mode` compares a random projection of the Jacobian.
    """
    given = [x.requires_grad_() for x in given]
    assert torch.autograd.gradcheck(function, given, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(
        function, given, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True
    )


@FIELDS
@each("shape", SHAPES, ids=str)
def test_derivatives_of_factors(shape, is_complex):
    n, r, k = shape
    f, g = draw(n, r, seed=1, is_complex=is_complex), draw(n, k, seed=2, is_complex=is_complex)
    assert_all_derivatives(dbm.squared_bures_wasserstein_factors, f, g)


@FIELDS
def test_derivatives_of_stacks(is_complex):
    f, g = draw(2, 1, 3, 2, seed=1, is_complex=is_complex), draw(3, 3, 2, seed=2, is_complex=is_complex)
    assert_all_derivatives(dbm.squared_bures_wasserstein_factors, f, g)


@FIELDS
def test_derivatives_of_covariances(is_complex):
    a, b = arguments(dbm.squared_bures_wasserstein, *draw(2, 3, 3, seed=1, is_complex=is_complex))
    assert_all_derivatives(symmetrized(dbm.squared_bures_wasserstein), a, b)
    assert_all_derivatives(symmetrized(dbm.bures_wasserstein_distance), a, b)


@FIELDS
def test_derivatives_of_the_transport_map(is_complex):
    a, b = (x.requires_grad_() for x in arguments(dbm.transport_map, *draw(2, 3, 3, seed=1, is_complex=is_complex)))
    assert torch.autograd.gradcheck(symmetrized(dbm.transport_map), (a, b), check_forward_ad=True)


@FIELDS
@each("shape", [(4, 2), (3, 3)], ids=str)
def test_derivatives_of_a_covariance_and_a_factor(shape, is_complex):
    n, k = shape
    f, g = draw(n, n, seed=1, is_complex=is_complex), draw(n, k, seed=2, is_complex=is_complex)
    assert_all_derivatives(symmetrized(MIXED), *arguments(MIXED, f, g))


@FIELDS
@each("counts, unbiased", [((5, 4), True), ((2, 3), False)], ids=str)
def test_derivatives_of_samples(counts, unbiased, is_complex):
    x, y = (draw(count, 3, seed=count, is_complex=is_complex) for count in counts)
    assert_all_derivatives(lambda x, y: dbm.squared_frechet_distance(x, y, unbiased=unbiased), x, y)


def test_derivatives_of_moments():
    a, b = arguments(dbm.squared_bures_wasserstein, *draw(2, 3, 3, seed=1))
    mean_a, mean_b = draw(2, 3, seed=2)
    assert_all_derivatives(
        lambda x, a, y, b: dbm.squared_frechet_distance_from_moments(x, hermitian(a), y, hermitian(b)),
        *(mean_a, a, mean_b, b),
    )


# --------------------------------------------------------------------------------------------- gradients, to all digits


def gradients(function, *given):
    given = [torch.as_tensor(x).clone().requires_grad_() for x in given]
    value = function(*given).sum()
    assert value.requires_grad
    return [x.numpy() for x in torch.autograd.grad(value, given)]


def assert_true_gradients(name, n, is_complex, dtype, relative, absolute):
    f, g, _ = pairs.pair(name, n, is_complex, dtype)
    expected = test_derivatives.true_gradients(name, n, is_complex, dtype)
    room = test_derivatives.ILL_POSED.get(name, 1)
    for x, gradient, true in zip((f, g), gradients(dbm.squared_bures_wasserstein_factors, f, g), expected, strict=True):
        assert gradient.shape == x.shape and gradient.dtype == x.dtype
        assert np.isfinite(gradient).all()
        assert norm(gradient - true) <= max(relative * norm(true), absolute * norm(f, g)) * room


@each("name, n, is_complex", test_derivatives.TABLE)
def test_gradients_of_factors(name, n, is_complex):
    assert_true_gradients(name, n, is_complex, complex if is_complex else float, 1e-13, 2e-14)


@each("name", pairs.NAMES)
def test_gradients_of_factors_in_single_precision(name):
    assert_true_gradients(name, 6, False, np.float32, 1e-5, 5e-6)


@FIELDS
@each("condition, tolerance", [(1e2, 1e-13), (1e6, 1e-9)])
def test_gradients_of_covariances(is_complex, condition, tolerance):
    rng = np.random.default_rng(8)
    f, g = pairs.conditioned(rng, 4, is_complex, condition), pairs.normal(rng, (4, 4), is_complex)
    a, b = arguments(dbm.squared_bures_wasserstein, f, g)
    expected = test_derivatives.covariance_gradients(oracle.matrix(a), oracle.matrix(b))
    for gradient, true in zip(gradients(dbm.squared_bures_wasserstein, a, b), expected, strict=True):
        true = oracle.numbers(true)
        np.testing.assert_allclose(gradient, true, rtol=0, atol=tolerance * np.abs(true).max())


IN_JAX = jax.jit(jax.grad(dbm.squared_bures_wasserstein, argnums=(0, 1)))


@each("name", pairs.NAMES)
def test_gradients_of_covariances_at_kinks(name):
    # Cholesky factors here, eigenvalues there; what singular directions count for has to be the same.
    f, g, _ = pairs.pair(name, 6, False)
    a, b = arguments(dbm.squared_bures_wasserstein, f, g)
    results = gradients(dbm.squared_bures_wasserstein, a, b)
    assert all(np.isfinite(gradient).all() for gradient in results)
    if not name.startswith(("condition", "rows", "columns")):
        for gradient, other in zip(results, IN_JAX(a, b), strict=True):
            np.testing.assert_allclose(gradient, other, rtol=0, atol=1e-10 * np.abs(other).max() + 1e-12)


def test_gradients_of_a_stack():
    # Near and far, full and deficient ones take different ways.
    names = ["generic", "identical", "near 1e-6, rotated", "rank 3, rank 2", "condition 1e12", "another factor"]
    f, g = (np.stack(factors) for factors in zip(*(pairs.pair(name, 6, False)[:2] for name in names), strict=True))
    for function in (dbm.squared_bures_wasserstein_factors, dbm.squared_bures_wasserstein):
        stacked = gradients(function, *(both := arguments(function, f, g)))
        for i in range(len(names)):
            single = gradients(function, both[0][i], both[1][i])
            for gradient, expected in zip((x[i] for x in stacked), single, strict=True):
                # Rounding of a covariance of this condition number moves the map by 1e12 eps.
                known = 1e-3 if names[i] == "condition 1e12" and function in COVARIANCES else 1e-12
                np.testing.assert_allclose(gradient, expected, rtol=0, atol=known * np.abs(expected).max() + 1e-13)


def test_broadcast_arguments_sum_up():
    f, g = draw(4, 3, seed=1, requires_grad=True), draw(5, 4, 2, seed=2, requires_grad=True)
    weights = torch.arange(1.0, 6.0, dtype=torch.float64)
    (weights * dbm.squared_bures_wasserstein_factors(f, g)).sum().backward()
    assert f.grad.shape == f.shape and g.grad.shape == g.shape
    singles = [gradients(dbm.squared_bures_wasserstein_factors, f.detach(), y) for y in g.detach()]
    np.testing.assert_allclose(
        f.grad, sum(w * x for w, (x, _) in zip(weights.numpy(), singles, strict=True)), rtol=1e-12
    )
    np.testing.assert_allclose(g.grad, weights.numpy()[:, None, None] * np.stack([y for _, y in singles]), rtol=1e-12)


# ---------------------------------------------------------------------------------------- equal arguments, zeros, kinks


def hessian(function, x):
    return torch.autograd.functional.hessian(function, x)


def test_second_derivatives_at_equal_factors():
    # B²((I + t D)(I + t D)ᵀ, I) = t² ‖(D + Dᵀ) / 2‖² + …
    eye, d = torch.eye(4, dtype=torch.float64), draw(4, 4)
    second = hessian(lambda f: dbm.squared_bures_wasserstein_factors(f, eye), eye)
    torch.testing.assert_close(torch.tensordot(second, d), d + d.mT, rtol=0, atol=1e-14)
    first, other = gradients(dbm.squared_bures_wasserstein_factors, eye, eye)
    assert not first.any() and not other.any()


@FIELDS
@each("eigenvalues", [(1, 1, 1), (4, 4, 1), (4, 2, 1)], ids=str)
def test_second_derivatives_at_equal_covariances(eigenvalues, is_complex):
    # Differentiating T A T = B at T = I: dT A + A dT = dB − dA.
    rng = np.random.default_rng(11)
    basis = pairs.unitary(rng, 3, is_complex)
    a, d = (hermitian(x) for x in (basis * eigenvalues @ basis.conj().T, pairs.normal(rng, (3, 3), is_complex)))
    expected = basis @ (basis.conj().T @ d @ basis / np.add.outer(eigenvalues, eigenvalues)) @ basis.conj().T
    x, y, direction = (torch.tensor(z) for z in (a, a, d))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(dbm.squared_bures_wasserstein(x, y), x, create_graph=True)
    np.testing.assert_allclose(gradient.detach(), 0 * a, atol=1e-14)
    (moved,) = torch.autograd.grad((gradient.conj() * direction).real.sum(), x)
    np.testing.assert_allclose(moved, expected, atol=1e-13)


@each("function", SQUARED, ids=name_of)
@each("rank", [0, 1, 3])
def test_second_derivatives_are_finite(function, rank):
    f = draw(4, 3) * (torch.arange(3) < rank)
    for other in (f, draw(4, 2, seed=3), torch.zeros(4, 1, dtype=torch.float64)):
        x, y = (f, other) if function is not dbm.squared_frechet_distance else (f.mT, other.mT)
        x, y = (z.clone().requires_grad_() for z in arguments(function, x, y))
        first = torch.autograd.grad(function(x, y), (x, y), create_graph=True)
        second = torch.autograd.grad(sum(z.sum() for z in first), (x, y))
        assert all(torch.isfinite(z).all() for z in (*first, *second))


def test_zero_factors():
    # The gradient of least norm at the kink: nothing pulls at a zero factor, and the other one sees its own norm.
    zero, g = np.zeros((4, 2)), draw(4, 3).numpy()
    for_zero, for_g = gradients(dbm.squared_bures_wasserstein_factors, zero, g)
    assert not for_zero.any()
    np.testing.assert_allclose(for_g, 2 * g, rtol=1e-15)
    for_none, for_g = gradients(dbm.squared_bures_wasserstein_factors, zero[:, :0], g)
    assert for_none.shape == (4, 0)
    np.testing.assert_allclose(for_g, 2 * g, rtol=1e-15)


@each("function", ROOTED, ids=name_of)
def test_distances_have_zero_gradients_at_zero(function):
    x, y = arguments(function, np.diag([4.0, 4.0, 1.0]), np.diag([4.0, 4.0, 1.0]))
    assert function(torch.tensor(x), torch.tensor(y)) == 0
    for gradient in gradients(function, x, y):
        np.testing.assert_array_equal(gradient, np.zeros((3, 3)))
    # Away from zero: d√D = dD / 2√D.
    z = draw(3, 3)
    squared = SQUARED[ROOTED.index(function)]
    x, y = arguments(function, z, torch.eye(3, dtype=torch.float64))
    for gradient, of_square in zip(gradients(function, x, y), gradients(squared, x, y), strict=True):
        np.testing.assert_allclose(gradient, of_square / (2 * float(function(x, y))), rtol=1e-12, atol=1e-15)


@each("shape", [(5, 3), (3, 5)], ids=str)
def test_equal_samples(shape):
    x = draw(*shape)
    assert dbm.squared_frechet_distance(x.clone().requires_grad_(), x) == 0
    for gradient in gradients(dbm.squared_frechet_distance, x, x):
        np.testing.assert_allclose(gradient, 0 * x, atol=1e-14)


# ----------------------------------------------------------------------------------------------------------- torch.func


def given_to(function, seed=0):
    if function is dbm.squared_frechet_distance:
        return draw(5, 3, seed=seed), draw(4, 3, seed=seed + 1)
    return arguments(function, draw(3, 3, seed=seed), draw(3, 2, seed=seed + 1))


@each("function", [*SQUARED, *ROOTED], ids=name_of)
def test_transformations(function):
    x, y = given_to(function)
    expected = gradients(function, x, y)
    for gradient, true in zip(torch.func.grad(function, argnums=(0, 1))(x, y), expected, strict=True):
        np.testing.assert_allclose(gradient, true, rtol=1e-10, atol=1e-12)
    for argument in (0, 1):
        forth = torch.func.jacfwd(function, argnums=argument)(x, y)
        np.testing.assert_allclose(forth, expected[argument], rtol=1e-10, atol=1e-12)
        plain = torch.autograd.functional.hessian(lambda *z: function(*z), (x, y))[argument][argument]
        grad = torch.func.grad(function, argnums=argument)
        for second in (
            torch.func.hessian(function, argnums=argument),
            torch.func.jacrev(torch.func.jacfwd(function, argnums=argument), argnums=argument),
            torch.func.jacrev(torch.func.jacrev(function, argnums=argument), argnums=argument),
            torch.func.jacfwd(grad, argnums=argument),
        ):
            torch.testing.assert_close(second(x, y), plain, rtol=1e-9, atol=1e-10)


@each("function", [*SQUARED, dbm.transport_map], ids=name_of)
def test_vmap(function):
    stack = [given_to(function, seed) for seed in (0, 10, 20)]
    if function is not dbm.squared_frechet_distance:
        stack[1] = arguments(function, draw(3, 3, seed=5), 0 * draw(3, 2))  # a kink
    x, y = (torch.stack(z) for z in zip(*stack, strict=True))
    torch.testing.assert_close(torch.func.vmap(function)(x, y), function(x, y), rtol=1e-10, atol=1e-12)
    one = torch.func.vmap(function, in_dims=(None, 0))(x[0], y)
    torch.testing.assert_close(one, function(x[0], y), rtol=1e-10, atol=1e-12)
    if function is not dbm.transport_map:
        mapped = torch.func.vmap(torch.func.grad(function, argnums=(0, 1)))(x, y)
        for result, expected in zip(mapped, gradients(function, x, y), strict=True):
            np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-11)
        last = torch.func.vmap(torch.func.grad(function), in_dims=(2, None), out_dims=2)(x.movedim(0, 2), y[0])
        expected = torch.stack([torch.func.grad(function)(z, y[0]) for z in x], dim=2)
        torch.testing.assert_close(last, expected, rtol=1e-9, atol=1e-11)


@each("function", SQUARED, ids=name_of)
def test_forward_in_forward_is_refused(function):
    x, y = given_to(function)
    nested = torch.func.jacfwd(torch.func.jacfwd(lambda x: function(x, y)))
    with pytest.raises(NotImplementedError, match=r"forward mode within forward mode.* Use reverse mode"):
        nested(x)


@each("function", SQUARED, ids=name_of)
def test_third_derivative_is_refused(function):
    x, y = given_to(function)
    x.requires_grad_()
    (first,) = torch.autograd.grad(function(x, y), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="first and second derivatives; a third one was asked for"):
        torch.autograd.grad(second.sum(), x)
    with pytest.raises(NotImplementedError, match="first and second derivatives; a third one was asked for"):
        torch.func.jacrev(torch.func.hessian(lambda x: function(x, y)))(x.detach())


# ------------------------------------------------------------------------------------------------------ without a graph


@each("function", EVERY, ids=name_of)
def test_no_graph_without_need(function):
    x, y = given_to(function)
    plain = function(x, y)
    assert not plain.requires_grad and plain.grad_fn is None
    x.requires_grad_()
    assert function(x, y).requires_grad
    with torch.no_grad():
        value = function(x, y)
    assert not value.requires_grad
    with torch.inference_mode():
        inferred = function(x, y)
    for other in (value, inferred):
        torch.testing.assert_close(other, plain, rtol=1e-12, atol=1e-14)


def test_gradients_reach_a_module():
    # Somebody's training loop: a linear layer fitted to a covariance.
    torch.manual_seed(0)
    layer, target = torch.nn.Linear(3, 3, bias=False, dtype=torch.float64), draw(3, 3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = dbm.squared_bures_wasserstein_factors(layer.weight, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    torch.testing.assert_close(layer.weight @ layer.weight.mT, target @ target.mT, rtol=0, atol=1e-2)


def test_torch_is_not_imported():
    use = "import sys; import deepbures.metric as dbm; dbm.transport_map([[1.0]], [[4.0]])"
    subprocess.run([sys.executable, "-c", f"{use}; assert 'torch' not in sys.modules"], check=True)
