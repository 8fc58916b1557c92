"""What networks accept: latent vectors, keys, and stacks of PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import deepbures as db
from deepbures import torch as dbt

each = pytest.mark.parametrize


def test_latent_vectors():
    net = db.DeepLinearNetwork([np.ones((2, 3)), np.ones((4, 2))], mean=np.arange(4.0))
    z = np.random.default_rng(1).normal(size=(5, 3))
    expected = 2 * z.sum(1, keepdims=True) + np.arange(4.0)
    for given in (z, z.tolist(), pd.DataFrame(z), torch.tensor(z, requires_grad=True), z.astype(">f8")):
        np.testing.assert_allclose(net(given), expected, rtol=1e-14)
    np.testing.assert_allclose(net(z[0]), expected[0], rtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda z: net(z))(jnp.asarray(z)), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(net)(jnp.asarray(z)), expected, rtol=1e-5)


@each(
    "z, error, message",
    [
        (np.ones((5, 4)), ValueError, r"z must have shape \(…, 3\), .*widths \(3, 2, 4\)\), but has shape \(5, 4\)\.$"),
        (np.ones((3, 5)), ValueError, r"but has shape \(3, 5\)\. Pass z\.T: vectors are in rows\."),
        (1.0, ValueError, r"z must have shape \(…, 3\), .* but has shape \(\)"),
        ("z", TypeError, "z must be an array of numbers, but the text 'z' was given"),
        (np.ones((5, 3)) * 1j, TypeError, "z must be an array of real numbers, not complex"),
        (scipy.sparse.eye_array(3), TypeError, "z must be a dense array"),
    ],
)
def test_latent_vectors_that_do_not_fit(z, error, message):
    with pytest.raises(error, match=message):
        db.DeepLinearNetwork([np.ones((2, 3)), np.ones((4, 2))])(z)


def test_latent_vectors_of_a_batch():
    """Each network has its mean: two rows of z are not two networks."""
    nets = [db.DeepLinearNetwork([s * np.ones((3, 2))], mean=s * np.arange(3.0)) for s in (1.0, 2.0)]
    batch = db.stack_networks(nets)
    z = np.random.default_rng(1).normal(size=(2, 2))
    np.testing.assert_allclose(batch(z), np.stack([net(z) for net in nets]), rtol=1e-14)
    np.testing.assert_allclose(batch(z[0]), np.stack([net(z[0]) for net in nets]), rtol=1e-14)
    of_each = np.stack([z, 2 * z])
    np.testing.assert_allclose(batch(of_each), np.stack([net(rows) for net, rows in zip(nets, of_each, strict=True)]))
    with pytest.raises(ValueError, match=r"z of shape \(3, 5, 2\) does not fit a batch of networks of shape \(2,\)"):
        batch(np.ones((3, 5, 2)))


@each(
    "key, num, error, message",
    [
        ("0", 3, TypeError, "key must be a whole number, but '0' was given"),
        (0.5, 3, TypeError, r"key must be a whole number, but 0\.5 was given"),
        (-1, 3, ValueError, "key must be at least 0"),
        (
            jnp.ones(2),
            3,
            TypeError,
            r"key must be a key of jax\.random or a whole number, but a JAX array of dtype float",
        ),
        (0, 2.5, TypeError, r"num must be a whole number, but 2\.5 was given"),
        (0, 0, ValueError, "num must be at least 1, but 0 was given"),
    ],
)
def test_arguments_of_sample(key, num, error, message):
    net = db.DeepLinearNetwork([np.ones((2, 1))])
    with pytest.raises(error, match=message):
        net.sample(key, num)
    assert net.sample(jax.random.PRNGKey(0), 3).shape == (3, 2)  # keys of the old form are arrays


@each(
    "make, error, message",
    [
        (lambda: np.ones((2, 2)), TypeError, "A stack of nn.Linear layers is asked for, but a ndarray was given"),
        (
            lambda: torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(4, 5)),
            ValueError,
            "Layer 1 of the stack takes 4 inputs, but layer 0 has 3 outputs",
        ),
        (
            lambda: torch.nn.Linear(2, 3, dtype=torch.complex64),
            TypeError,
            r"Layer 0 .* must be real, but has dtype torch.complex64",
        ),
        (
            lambda: torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 5, device="meta")),
            ValueError,
            "Layer 1 of the stack is on the device 'meta', where weights have no values: load the stack",
        ),
    ],
)
def test_stacks_of_torch_that_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        dbt.from_torch(make())


def test_features_without_values():
    loss = dbt.BuresWassersteinLoss(np.random.default_rng(0).normal(size=(9, 3)))
    with pytest.raises(TypeError, match="features are on the device 'meta', where tensors have no values"):
        loss(torch.ones(4, 3, device="meta"))


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_stacks_of_torch():
    module = torch.nn.Sequential(torch.nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"Layer 0 of the stack is lazy .* call the module once first"):
        dbt.from_torch(module)
    module(torch.ones(1, 2))
    assert dbt.from_torch(module).widths == (2, 3)


def test_to_torch_takes_networks():
    with pytest.raises(TypeError, match="net must be a DeepLinearNetwork, but a ndarray was given"):
        dbt.to_torch(np.ones((2, 2)))
