"""PyTorch: values, what is refused, and graphs where they are needed."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import deepbures.metric as dbm

from . import pairs, test_accuracy
from .torch_cases import (
    COVARIANCES,
    EVERY,
    ROOTED,
    SQUARED,
    arguments,
    draw,
    each,
    given_to,
    name_of,
)

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
@each("dtype", [np.float32, np.complex128])
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
@each("shapes", [((), (4,)), ((2, 1), (4,)), ((0,), ())], ids=str)
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

    def test_half_precision(self, function):
        with pytest.raises(TypeError, match=r"in which there is no linear algebra\. Convert it to float32 or float64"):
            function(torch.eye(3).bfloat16(), torch.eye(3).bfloat16())

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
