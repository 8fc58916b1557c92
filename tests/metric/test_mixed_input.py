"""A covariance against a factor: what is refused, and what is forgiven."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from deepbures.metric import bures_wasserstein_distance_mixed as distance_mixed
from deepbures.metric import squared_bures_wasserstein_mixed as squared_mixed

from .derivatives import gram

each = pytest.mark.parametrize
LIBRARIES = each("xp", [np, jnp, torch], ids=["numpy", "jax", "torch"])


def refused(xp, a, g, match):
    for function in (squared_mixed, distance_mixed):
        with pytest.raises(ValueError, match=match):
            function(xp.asarray(a), xp.asarray(g))


@LIBRARIES
class TestRefused:
    def test_shapes(self, xp):
        refused(xp, np.ones((3, 2)), np.ones((3, 2)), r"a must be a square matrix .* \(3, 2\)\. For a factor F")
        refused(xp, np.ones(3), np.ones((3, 2)), r"a must have shape \(\.\.\., n, n\), but has shape \(3,\)")
        refused(xp, np.eye(3), np.ones(3), r"g must have shape \(\.\.\., n, columns\), but has shape \(3,\)")
        refused(xp, np.zeros((0, 0)), np.zeros((0, 1)), r"a must be a square matrix .* \(0, 0\)")
        refused(xp, np.eye(3), np.ones((2, 2)), r"same dimension n, but a has shape \(3, 3\) .* g .* \(n = 2\)")
        refused(xp, np.stack([np.eye(3)] * 2), np.ones((5, 3, 1)), "do not broadcast")

    def test_asymmetry(self, xp):
        bad = np.array([[1.0, 0.5], [0.4, 1.0]])
        refused(xp, bad, np.eye(2), r"a must be symmetric .* up to 0\.1 where the largest entry is 1 .*symmetrize")

    def test_symmetric_but_not_hermitian(self, xp):
        refused(xp, np.array([[1.0, 0.5j], [0.5j, 1.0]]), np.eye(2) + 0j, "a must be symmetric")

    @each("value", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, xp, value):
        for place in ((0, 0), (2, 1), (3, 3), (0, 3)):
            a, g = np.eye(4), np.ones((4, 2))
            a[place] = value
            index = r"\({}, {}\)".format(*place)
            refused(xp, a, g, f"a has 1 entry that is not finite .* at index {index}")
            a[place[::-1]] = value
            refused(xp, a, g, "a has (1 entry that is|2 entries that are) not finite")
        g[3, 1] = value
        refused(xp, np.eye(4), g, r"g has 1 entry that is not finite .* at index \(3, 1\)")

    def test_indefinite(self, xp):
        bad = np.diag([4.0, 1.0, -1e-3])
        message = r"a must be positive semidefinite, but has an eigenvalue of -0\.00025 times .* pass rtol=0\.0003"
        refused(xp, bad, np.eye(3), message)
        refused(xp, bad, np.array([[0.0], [0.0], [1.0]]), message)
        # As documented, what G does not reach is not seen.
        assert squared_mixed(xp.asarray(bad), xp.asarray(np.array([[1.0], [0.0], [0.0]]))) > 0

    def test_types(self, xp):
        eye, other = xp.asarray(np.eye(3)), xp.asarray(np.eye(3, dtype=np.float32))
        with pytest.raises(TypeError, match=r"one dtype, but a has \S*float64 and g has \S*float32"):
            squared_mixed(eye, other)
        with pytest.raises(TypeError, match=r"one dtype, but a has \S*float32 and g has \S*float64"):
            squared_mixed(other, eye)


@each("xp", [np, torch], ids=["numpy", "torch"])
@each("place", [(0, 299), (299, 0), (17, 203)], ids=str)
def test_one_asymmetric_entry_of_many(xp, place):
    # Far below what would show in the result, and seen through products with a vector only.
    x = np.random.default_rng(6).normal(size=(300, 300))
    a, g = gram(x), x[:, :2]
    assert squared_mixed(xp.asarray(a), xp.asarray(g)) > 0
    a[place] += 1e-6 * np.abs(a).max()
    refused(xp, a, g, r"a must be symmetric .* up to 0\.000\d+ where the largest entry is \d+ ")


def test_two_libraries():
    with pytest.raises(TypeError, match=r"arrays of one library, but a is jax\S+ and g is torch\.Tensor"):
        squared_mixed(jnp.eye(3), torch.eye(3))
    with pytest.raises(TypeError, match=r"arrays of one library, but a is torch\.Tensor and g is numpy\.ndarray"):
        squared_mixed(torch.eye(3), np.eye(3))


@each("dtype", [np.float32, np.float64])
def test_rounding_is_forgiven(dtype):
    eps = float(np.finfo(dtype).eps)
    a = np.diag([1.0, 1.0, -10 * eps]).astype(dtype)
    a[0, 1] = 10 * eps
    assert squared_mixed(a, np.eye(3, dtype=dtype)) == pytest.approx(1, rel=1e-2 * eps**0.5)
