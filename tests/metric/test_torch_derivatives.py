"""PyTorch: derivatives forward and backward, twice, batched, and where singular values meet."""

import jax
import numpy as np
import pytest
import torch

import deepbures.metric as dbm

from . import derivatives, oracle, pairs
from .torch_cases import (
    COVARIANCES,
    FIELDS,
    FORWARD_MODE,
    MIXED,
    ROOTED,
    SQUARED,
    arguments,
    draw,
    each,
    given_to,
    gradients,
    hermitian,
    hessian,
    name_of,
    norm,
    symmetrized,
)

pytestmark = FORWARD_MODE

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


@each("shape, is_complex", [*((shape, False) for shape in SHAPES), (SHAPES[0], True), (SHAPES[-1], True)], ids=str)
def test_derivatives_of_factors(shape, is_complex):
    n, r, k = shape
    f, g = draw(n, r, seed=1, is_complex=is_complex), draw(n, k, seed=2, is_complex=is_complex)
    assert_all_derivatives(dbm.squared_bures_wasserstein_factors, f, g)


def test_derivatives_of_stacks():
    f, g = draw(2, 1, 3, 2, seed=1), draw(3, 3, 2, seed=2)
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


@each("shape, is_complex", [((4, 2), False), ((3, 3), True)], ids=str)
def test_derivatives_of_a_covariance_and_a_factor(shape, is_complex):
    n, k = shape
    f, g = draw(n, n, seed=1, is_complex=is_complex), draw(n, k, seed=2, is_complex=is_complex)
    assert_all_derivatives(symmetrized(MIXED), *arguments(MIXED, f, g))


@each("counts, unbiased, is_complex", [((5, 4), True, True), ((2, 3), False, False)], ids=str)
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


def assert_true_gradients(name, n, is_complex, dtype, relative, absolute):
    f, g, _ = pairs.pair(name, n, is_complex, dtype)
    expected = derivatives.true_gradients(name, n, is_complex, dtype)
    room = derivatives.ILL_POSED.get(name, 1)
    for x, gradient, true in zip((f, g), gradients(dbm.squared_bures_wasserstein_factors, f, g), expected, strict=True):
        assert gradient.shape == x.shape and gradient.dtype == x.dtype
        assert np.isfinite(gradient).all()
        assert norm(gradient - true) <= max(relative * norm(true), absolute * norm(f, g)) * room


@each("name, n, is_complex", derivatives.TABLE)
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
    expected = derivatives.covariance_gradients(oracle.matrix(a), oracle.matrix(b))
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


@each("function", [*SQUARED, *ROOTED], ids=name_of)
def test_transformations(function):
    x, y = given_to(function)
    expected = gradients(function, x, y)
    for gradient, true in zip(torch.func.grad(function, argnums=(0, 1))(x, y), expected, strict=True):
        np.testing.assert_allclose(gradient, true, rtol=1e-10, atol=1e-12)
    for argument in (0, 1) if function in (MIXED, dbm.squared_frechet_distance) else (1,):
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
