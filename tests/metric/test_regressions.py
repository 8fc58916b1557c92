"""What went wrong once: derivatives at equal moments, of wide factors, of stacks; messages for tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import deepbures.metric as dbm

from . import derivatives, oracle, pairs, test_mixed, torch_cases
from .torch_cases import draw

pytestmark = torch_cases.FORWARD_MODE
each = pytest.mark.parametrize
FIELDS = each("is_complex", [False, True], ids=["real", "complex"])


@FIELDS
@each("function", torch_cases.SQUARED, ids=torch_cases.name_of)
def test_batched_second_derivatives(function, is_complex):
    if function is dbm.squared_frechet_distance:
        given = draw(4, 3, seed=1, is_complex=is_complex), draw(5, 3, seed=2, is_complex=is_complex)
    else:
        given = torch_cases.arguments(function, *draw(2, 3, 3, seed=1, is_complex=is_complex))
    given = [x.requires_grad_() for x in given]
    assert torch.autograd.gradgradcheck(
        torch_cases.symmetrized(function), given, check_batched_grad=True, fast_mode=True
    )


@FIELDS
def test_second_derivative_for_a_wide_factor(is_complex):
    rng = np.random.default_rng(4)
    a, da = test_mixed.gram(pairs.conditioned(rng, 4, is_complex, 1e2)), derivatives.hermitian(rng, 4, is_complex)
    g, dg = pairs.normal(rng, (2, 4, 6), is_complex)
    expected = derivatives.slope(test_mixed.true_gradients, *map(oracle.matrix, (a, g, da, dg)))
    result = derivatives.evaluated(test_mixed.CURVATURE, a, g, da, dg)
    derivatives.assert_close(result, [oracle.numbers(x) for x in expected], 1e-11)


@each("function", torch_cases.COVARIANCES, ids=torch_cases.name_of)
@pytest.mark.filterwarnings("error")
def test_messages_for_tensors_with_gradients(function):
    bad = torch.tensor([[1.0, 0.5], [0.4, 1.0]], requires_grad=True)
    with pytest.raises(ValueError, match="a must be symmetric"):
        function(bad, torch.eye(2))


@each("shape", [(5, 3), (3, 5)], ids=str)
def test_hessian_at_equal_samples(shape):
    x = draw(*shape)
    at, near = (
        torch_cases.hessian(lambda y: dbm.squared_frechet_distance(x, y), factor * x) for factor in (1.0, 1 + 1e-10)
    )
    torch.testing.assert_close(at, near, rtol=0, atol=1e-8)
    assert torch.linalg.eigvalsh(at.reshape(15, 15)).min() > -1e-12  # a minimum
    # Moving all samples by one vector moves the mean: half the second derivative is the squared length.
    assert float(at.sum((0, 2)).diagonal().sum()) / 2 == pytest.approx(shape[1], rel=1e-12)


def test_hessian_at_equal_means():
    mean, covariance = draw(3), torch.eye(3, dtype=torch.float64)
    second = torch_cases.hessian(
        lambda m: dbm.squared_frechet_distance_from_moments(mean, covariance, m, covariance), mean
    )
    torch.testing.assert_close(second, 2 * covariance, rtol=0, atol=1e-15)


def test_complex_samples_that_are_equal():
    x = jnp.asarray(pairs.normal(np.random.default_rng(0), (5, 3), True))
    ones = jnp.ones_like(x)
    gradient = jax.grad(lambda y: dbm.squared_frechet_distance(x, y))
    moved = jax.jvp(gradient, (x,), (ones,))[1]  # of the mean, by 1 in each of 3 features
    assert float(jnp.sum(moved.real)) / 2 == pytest.approx(3, rel=1e-12)


def test_stacks_of_covariances_in_jax():
    rng = np.random.default_rng(3)
    a, b = (jnp.asarray(np.stack([test_mixed.gram(x) for x in rng.normal(size=(3, 4, 4))])) for _ in range(2))
    stacked = jax.jit(jax.grad(lambda a, b: dbm.squared_bures_wasserstein(a, b).sum(), argnums=(0, 1)))(a, b)
    for i in range(3):
        for gradients, gradient in zip(stacked, derivatives.OF_COVARIANCES(a[i], b[i]), strict=True):
            np.testing.assert_allclose(gradients[i], gradient, rtol=0, atol=1e-12 * np.abs(gradient).max())
    of_a = jax.jit(jax.grad(lambda a, g: dbm.squared_bures_wasserstein_mixed(a, g).sum()))(a, b)
    for i in range(3):
        expected = test_mixed.GRADIENTS(a[i], b[i])[0]
        np.testing.assert_allclose(of_a[i], expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@each("asarray", [np.asarray, torch.asarray], ids=["numpy", "torch"])
def test_a_stack_of_one_is_checked_too(asarray):
    nan = np.full((1, 2, 2), np.nan)
    for function in (dbm.pairwise_squared_bures_wasserstein, dbm.pairwise_squared_bures_wasserstein_factors):
        with pytest.raises(ValueError, match="not finite"):
            function(asarray(nan))
    for bad, message in (
        (np.ones((1, 3, 2)), "must be a square matrix"),
        (np.array([[[1.0, 0.5], [0.4, 1.0]]]), "must be symmetric"),
        (-np.eye(2)[None], "must be positive semidefinite"),
    ):
        with pytest.raises(ValueError, match=message):
            dbm.pairwise_squared_bures_wasserstein(asarray(bad))
