"""The small problems that the tests of training share. Few shapes, as compilation is what the tests cost."""

import itertools

import jax
import numpy as np

import deepbures as db

SPECTRUM = np.array([4.0, 2.0, 1.0, 0.5])
TARGET = db.Target.from_spectrum(SPECTRUM, key=0)
BASIS = TARGET.covariance.basis
COVARIANCE = BASIS * SPECTRUM @ BASIS.T


def widths(depth, rank=4):
    """(rank, …, rank, 4); of depth 1 and full rank, (5, 4): more latent than data dimensions."""
    return (5, 4) if depth == 1 and rank == 4 else (*[rank] * depth, 4)


def orthonormal(rng, rows, columns):
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def aligned(rng, depth, values):
    """A balanced start Ω diag(s) Vᵀ, and V."""
    sizes = widths(depth, len(values))
    v = orthonormal(rng, sizes[0], len(values))
    return db.balanced_network(BASIS[:, : len(values)] * values @ v.T, sizes), v


def unbalanced(rng, depth, rank=4, scale=0.5):
    """A start whose layers have nothing to do with each other or with the target."""
    sizes = widths(depth, rank)
    return db.DeepLinearNetwork(
        [scale * np.eye(a, b) + 0.3 * rng.standard_normal((a, b)) for b, a in itertools.pairwise(sizes)]
    )


def host_bits(tree):
    """All arrays of a pytree, as NumPy arrays."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same_bits(one, other):
    ones, others = host_bits(one), host_bits(other)
    assert len(ones) == len(others) > 0
    for a, b in zip(ones, others, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
