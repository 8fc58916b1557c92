"""The functions that take tensors, what they take, and their gradients in PyTorch."""

import numpy as np
import pytest
import torch

import deepbures.metric as dbm

from . import pairs

# PyTorch compiles something of its own on the first use of forward mode, by means it has deprecated.
FORWARD_MODE = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is:DeprecationWarning")

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


def gradients(function, *given):
    given = [torch.as_tensor(x).clone().requires_grad_() for x in given]
    value = function(*given).sum()
    assert value.requires_grad
    return [x.numpy() for x in torch.autograd.grad(value, given)]


def hessian(function, x):
    return torch.autograd.functional.hessian(function, x)


def given_to(function, seed=0):
    if function is dbm.squared_frechet_distance:
        return draw(5, 3, seed=seed), draw(4, 3, seed=seed + 1)
    return arguments(function, draw(3, 3, seed=seed), draw(3, 2, seed=seed + 1))
