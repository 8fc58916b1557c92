"""PyTorch's autocast: everything is computed as it is without, forward and backward, wherever `backward` is called.

The same operations in the same precision give the same bits, so results are compared for equality.
"""

import numpy as np
import pytest
import torch

import deepbures.metric as dbm
from deepbures.torch import BuresWassersteinLoss

# PyTorch compiles something of its own on the first use of forward mode, by means it has deprecated.
pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is:DeprecationWarning")
each = pytest.mark.parametrize


def draw(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape), dtype=torch.float32)


def gram(*shape, seed=0):
    f = draw(*shape, seed=seed)
    return f @ f.mT / shape[-1]


A, B, F, G, X, Y = (
    gram(16, 32),
    gram(16, 32, seed=1),
    draw(16, 4),
    draw(16, 5, seed=1),
    draw(9, 16),
    draw(12, 16, seed=1),
)
CASES = {
    "covariances": (dbm.squared_bures_wasserstein, (A, B)),
    "near covariances": (dbm.squared_bures_wasserstein, (A, 1.01 * A)),
    "distance": (dbm.bures_wasserstein_distance, (A, B)),
    "factors": (dbm.squared_bures_wasserstein_factors, (F, G)),
    "distance of factors": (dbm.bures_wasserstein_distance_factors, (F, 1.01 * F)),
    "mixed": (dbm.squared_bures_wasserstein_mixed, (A, G)),
    "mixed distance": (dbm.bures_wasserstein_distance_mixed, (A, G)),
    "map": (dbm.transport_map, (A, B)),
    "samples": (dbm.squared_frechet_distance, (X, Y)),
    "moments": (dbm.squared_frechet_distance_from_moments, (X[0], A, Y[0], B)),
    "pairs": (dbm.pairwise_squared_bures_wasserstein, (A[None], torch.stack([B, A]))),
    "pairs of factors": (dbm.pairwise_bures_wasserstein_distance_factors, (F[None], torch.stack([G, 2 * G]))),
    "rounded": (lambda a, b: dbm.squared_bures_wasserstein(a, b, rtol=0.1), (A - 0.05 * torch.eye(16), B)),
    "nearest": (lambda a: dbm.nearest_covariance(a, rtol=0.1).covariance ** 2, (gram(16, 8) - 0.05 * torch.eye(16),)),
    "loss": (BuresWassersteinLoss(Y), (X,)),
    "smoothed loss": (BuresWassersteinLoss(Y, tau=0.1), (X,)),
    "loss, low rank": (BuresWassersteinLoss(Y[:5], tau=0.1, unbiased=True), (X,)),
}


def autocast(dtype, enabled=True):
    return torch.autocast("cpu", dtype=dtype, enabled=enabled)


def derivatives(function, given, dtype, *, forward, backward):
    """Value, gradients and second derivatives, with autocast on in the forward and in the backward passes."""
    given = [x.clone().requires_grad_() for x in given]
    weights = torch.linspace(1, 2, 512)
    with autocast(dtype, forward):
        value = function(*given)
    with autocast(dtype, backward):
        total = (value * weights[: value.numel()].reshape(value.shape[-1:] if value.ndim < 2 else value.shape)).sum()
        first = torch.autograd.grad(total, given, create_graph=True)
        second = torch.autograd.grad(sum((x**2).sum() for x in first), given)
    return [value.detach(), *(x.detach() for x in (*first, *second))]


def assert_equal(results, expected):
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype == wanted.dtype == torch.float32
        assert torch.equal(result, wanted)


@each("name", CASES)
def test_same_as_without(name):
    function, given = CASES[name]
    if name == "map":  # whose second derivative would be a third one of the distance
        function, given = dbm.squared_bures_wasserstein, CASES["map"][1]
    expected = derivatives(function, given, torch.bfloat16, forward=False, backward=False)
    assert all(torch.isfinite(x).all() for x in expected)
    for forward, backward in ((True, True), (True, False), (False, True)):
        assert_equal(derivatives(function, given, torch.bfloat16, forward=forward, backward=backward), expected)


@each("name", CASES)
def test_without_derivatives(name):
    function, given = CASES[name]
    expected = function(*given)
    with autocast(torch.bfloat16):
        assert torch.is_autocast_enabled("cpu")
        assert torch.equal(function(*given), expected)
        # PyTorch still multiplies in half precision outside.
        assert (A @ A).dtype == torch.bfloat16


def test_the_map_and_its_derivatives():
    def both(a, b, on):
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        with autocast(torch.bfloat16, on):
            value = dbm.transport_map(a, b)
            return [value.detach(), *torch.autograd.grad((value * B).sum(), (a, b))]

    assert_equal(both(A, B, True), both(A, B, False))


@each("name", ["covariances", "factors", "mixed", "samples", "smoothed loss"])
def test_forward_mode_and_functions(name):
    function, given = CASES[name]
    directions = tuple(torch.flip(x, (0,)) for x in given)
    if name in ("covariances", "mixed"):
        directions = tuple(d + d.mT if d.shape[0] == d.shape[1] else d for d in directions)
    ways = [
        lambda: torch.func.jvp(function, given, directions),
        lambda: torch.func.jvp(torch.func.grad(function), given, directions),
    ]
    for way in ways:
        expected = way()
        with autocast(torch.bfloat16):
            assert_equal(way(), expected)


@each("name, dtype", [*((name, torch.bfloat16) for name in CASES), ("factors", torch.float16)], ids=str)
def test_features_in_half_precision(name, dtype):
    # What a network hands out: computed in single precision, the gradient in the precision of the input.
    function, given = CASES[name]
    half = [x.to(dtype).requires_grad_() for x in given]
    single = [x.detach().float().requires_grad_() for x in half]
    expected = function(*single)
    with autocast(dtype):
        value = function(*half)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    gradients = torch.autograd.grad(value.sum(), half)
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected.sum(), single), strict=True):
        assert gradient.dtype == dtype
        assert torch.equal(gradient, wanted.to(dtype))


def test_half_and_single_precision_side_by_side():
    with autocast(torch.bfloat16):
        assert torch.equal(
            dbm.squared_bures_wasserstein_factors(F.bfloat16(), G), CASES["factors"][0](F.bfloat16().float(), G)
        )
    with pytest.raises(TypeError, match="bfloat16, in which there is no linear algebra"):
        dbm.squared_bures_wasserstein_factors(F.bfloat16(), G)


def test_double_precision_stays():
    with autocast(torch.bfloat16):
        value = dbm.squared_bures_wasserstein(A.double(), B.double())
    assert value.dtype == torch.float64
    assert torch.equal(value, dbm.squared_bures_wasserstein(A.double(), B.double()))


def test_decaying_moments():
    ours, other = (BuresWassersteinLoss(Y, decay=0.5, tau=0.1) for _ in range(2))
    for step in range(3):
        batch = draw(6, 16, seed=step)
        with autocast(torch.bfloat16):
            value = ours(batch)
        assert torch.equal(value, other(batch))
    assert torch.equal(ours.running_factor, other.running_factor)


def test_training_step():
    # As a loop is written: the network within autocast, its features in half precision, the gradient in its weights'.
    network = torch.nn.Linear(3, 16)
    with autocast(torch.bfloat16):
        features = network(draw(9, 3))
        assert features.dtype == torch.bfloat16
        value = BuresWassersteinLoss(Y)(features)
    value.backward()
    assert value.dtype == network.weight.grad.dtype == torch.float32
    assert torch.isfinite(network.weight.grad).all()
