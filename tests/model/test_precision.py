"""In which precision is computed, and what comes back: nobody has to set a flag, and nobody's flag is changed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures as db

from .oracle import PROBLEMS

COVARIANCE = PROBLEMS["generic"].covariance


def everything(dtype):
    """One call of every function of these rooms, on NumPy arrays of a dtype; computed once for each 64-bit setting."""
    return computed(dtype, jax.config.read("jax_enable_x64"))


@functools.cache
def computed(dtype, is_x64):
    assert jax.config.read("jax_enable_x64") == is_x64
    target = db.Target.from_covariance(COVARIANCE.astype(dtype))
    w = np.random.default_rng(0).standard_normal((4, 2)).astype(dtype)
    found = {"matmul": target.matmul(w), "factor": target.factor(), "spectrum": target.spectrum(2)}
    for name, loss in {"exact": db.BuresWasserstein(), "smooth": db.BuresWasserstein(0.1), "f": db.Frobenius()}.items():
        found[name] = (loss.value(w, target), loss.grad(w, target), loss.hvp(w, target, w))
        found[f"least {name}"] = (db.minimal_loss(target, 2, loss), db.rank_k_minimizer(target, 2, loss))
        found[f"curvature {name}"] = (db.sharpness(target, 2, loss), db.asymptotic_rate(target, 2, loss))
    net = db.balanced_network(w, (2, 3, 4))
    found["network"] = (net.weights, net.end_to_end, net.balancedness_gap(), net.sample(0, 3))
    found["start"] = db.initialize((2, 3, 4), key=0, dtype=dtype).weights
    return found


@pytest.mark.usefixtures("x64_disabled")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numpy_in_numpy_out_in_the_same_precision(dtype):
    for name, result in everything(dtype).items():
        for leaf in jax.tree.leaves(result):
            assert isinstance(leaf, np.ndarray | np.generic), name
            assert leaf.dtype == dtype, name
    assert not jax.config.read("jax_enable_x64")
    assert jnp.ones(1).dtype == np.float32  # nobody's default has changed


def test_float64_is_computed_in_float64_whatever_the_flag():
    expected = everything(np.float64)
    with jax.enable_x64(False):
        found = everything(np.float64)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("x64_disabled")
def test_float32_results_are_right_to_its_rounding():
    """To 1e-4: eps is 1.2e-7, singular values of a random 4×2 problem differ by less than a factor of 100."""
    for (name, single), double in zip(everything(np.float32).items(), everything(np.float64).values(), strict=True):
        if name in ("network", "start", "spectrum", "factor") or name.startswith("least"):
            continue  # signs of eigenvectors, and other random bits
        for one, other in zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.usefixtures("x64_disabled")
def test_jax_arrays_in_jax_arrays_out():
    w = jnp.ones((4, 2), jnp.float32)
    target = db.Target.from_covariance(jnp.asarray(COVARIANCE, jnp.float32))
    loss = db.BuresWasserstein(0.1)
    for result in (loss.value(w, target), loss.grad(w, target), loss.hvp(w, target, w), target.matmul(w)):
        assert isinstance(result, jax.Array) and result.dtype == np.float32
    assert isinstance(db.balanced_network(w, (2, 2, 4)).end_to_end, jax.Array)
    assert isinstance(db.rank_k_minimizer(target, 2, loss), jax.Array)


def test_integers_and_lists_are_float64():
    target = db.Target.from_covariance([[4, 0], [0, 1]])
    assert target.dtype == np.float64
    assert db.BuresWasserstein().value([[3], [0]], target) == pytest.approx(2.0)
