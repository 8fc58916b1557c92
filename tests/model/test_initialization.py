"""Where training starts: shapes, seeds, documented moments, margins."""

import jax
import numpy as np
import pytest

import deepbures as db
from deepbures.model._initialization import SCHEMES

from .oracle import BASIS, PROBLEMS, Oracle

RANDOM = [scheme for scheme in SCHEMES if scheme != "close"]
VALUES = np.array([4.0, 2.0, 1.0, 0.5])


@pytest.mark.parametrize("scheme", RANDOM)
@pytest.mark.parametrize("widths", [(3, 4), (2, 5, 4), (5, 3, 7, 4)])
def test_shapes_and_seeds(scheme, widths):
    net = db.initialize(widths, scheme, key=0)
    assert net.widths == widths and net.weights[0].dtype == np.float64 and net.mean is None
    for other in (db.initialize(widths, scheme, key=0), db.initialize(widths, scheme, key=jax.random.key(0))):
        for one, two in zip(net.weights, other.weights, strict=True):
            np.testing.assert_array_equal(one, two)
    assert np.abs(db.initialize(widths, scheme, key=1).end_to_end - net.end_to_end).max() > 1e-3
    tripled = db.initialize(widths, scheme, key=0, scale=3.0)
    factor = 3.0 if scheme == "balanced" else 3.0 ** (len(widths) - 1)
    np.testing.assert_allclose(tripled.end_to_end, factor * net.end_to_end, rtol=1e-11, atol=1e-13)
    if len(widths) > 2:  # layers of their own, not one draw for all
        assert abs(net.weights[0][0, 0] - net.weights[1][0, 0]) > 1e-6


@pytest.mark.parametrize("scheme", RANDOM)
def test_a_batch_of_keys_is_its_single_keys(scheme):
    keys = jax.random.split(jax.random.key(5), 3)
    batch = db.initialize((2, 3, 4), scheme, key=keys)
    assert batch.batch_shape == (3,)
    for i, key in enumerate(keys):
        single = db.initialize((2, 3, 4), scheme, key=key)
        np.testing.assert_allclose(batch.end_to_end[i], single.end_to_end, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "scheme, variance, kurtosis",
    [
        ("gaussian", 1 / 100, 3),
        ("xavier", 2 / 300, 3),
        ("kaiming", 2 / 100, 3),
        ("uniform", 1 / 3, 9 / 5),
    ],
)
def test_moments_of_layers(scheme, variance, kurtosis):
    """Six standard deviations of the means of 20000 draws: of x, √(v/num); of x², v √((kurtosis − 1)/num)."""
    net = db.initialize((100, 200, 200), scheme, key=2, scale=2.0)
    variance, num = 4 * variance, 20_000
    x = net.weights[0]
    assert abs(x.mean()) < 6 * np.sqrt(variance / num)
    assert abs((x**2).mean() - variance) < 6 * variance * np.sqrt((kurtosis - 1) / num)
    fourth = (x**4).mean() / variance**2  # its standard deviation is √(96/num) = 0.07 for Gaussians, less for uniform
    assert abs(fourth - kurtosis) < 6 * np.sqrt(96 / num)
    if scheme == "uniform":
        assert np.abs(x).max() <= 2.0


@pytest.mark.parametrize("widths", [(3, 2, 4), (2, 4), (5, 5, 4)])
def test_balanced_start(widths):
    """Balanced, of bottleneck rank, with E W Wᵀ = scale² I: entries of W Wᵀ vary by 2/k at most."""
    num, k = 4000, min(widths)
    net = db.initialize(widths, "balanced", key=jax.random.split(jax.random.key(0), num), scale=1.5)
    w = net.end_to_end
    assert net.balancedness_gap().max() < 1e-12
    assert (np.linalg.svd(w, compute_uv=False)[:, :k] > 1e-6).all()
    mean = (w @ w.swapaxes(1, 2)).mean(0)
    assert np.abs(mean - 2.25 * np.eye(4)).max() < 6 * 2.25 * np.sqrt(2 / (k * num))
    # The latent side is as random: E Wᵀ W = scale² n/m I, by symmetry.
    latent = (w.swapaxes(1, 2) @ w).mean(0)
    assert np.abs(latent - 2.25 * 4 / widths[0] * np.eye(widths[0])).max() < 6 * 2.25 * 4 * np.sqrt(2 / (k * num))


def test_orthogonal_layers_are_uniform():
    num = 4000
    keys = jax.random.split(jax.random.key(0), num)
    net = db.initialize((2, 4, 4, 3), "orthogonal", key=keys, scale=2.0)
    tall, square, wide = net.weights
    np.testing.assert_allclose(tall.swapaxes(1, 2) @ tall, np.broadcast_to(4 * np.eye(2), (num, 2, 2)), atol=1e-13)
    np.testing.assert_allclose(square @ square.swapaxes(1, 2), np.broadcast_to(4 * np.eye(4), (num, 4, 4)), atol=1e-13)
    np.testing.assert_allclose(wide @ wide.swapaxes(1, 2), np.broadcast_to(4 * np.eye(3), (num, 3, 3)), atol=1e-13)
    # Haar: entries have mean 0 and variance 1/4 each (times scale²) and |entry| ≤ 2; traces have mean 0, variance 1.
    assert np.abs(square.mean(0)).max() < 6 * 1 / np.sqrt(num)
    assert np.abs((square**2).mean(0) - 1).max() < 6 * 2 / np.sqrt(num)
    traces = np.trace(square, axis1=1, axis2=2) / 2
    assert abs(traces.mean()) < 6 / np.sqrt(num) and abs((traces**2).mean() - 1) < 6 * np.sqrt(2 / num)
    assert 0.4 < (np.linalg.det(square / 2) > 0).mean() < 0.6


# ------------------------------------------------------------------ close to the target


def margin_of(w, k, tau):
    """The margin by its definition, from the loss in high precision."""
    loss = Oracle(BASIS * np.sqrt(VALUES), tau=tau).value(w)
    if k == 4:
        return np.sqrt((np.sqrt(VALUES[-1]) - np.sqrt(loss)) ** 2 - tau) if loss < VALUES[-1] else 0.0
    excess = loss - VALUES[k:].sum()
    assert excess < VALUES[k - 1] - VALUES[k]
    return np.sqrt(VALUES[k - 1]) - np.sqrt(excess)


@pytest.mark.parametrize(
    "widths, tau, margin",
    [
        ((6, 4, 5, 4), 0.0, 0.1),
        ((4, 4, 4), 0.0, 0.7),
        ((4, 4, 4), 0.1, None),
        ((4, 5, 4), 0.3, 0.4),
        ((5, 2, 4), 0.0, 0.9),
        ((1, 4), 0.0, 1.9),
    ],
)
def test_close_starts_have_their_margin(widths, tau, margin):
    """Terminates for bottlenecks below n too; is balanced, of full rank, and not the minimizer itself."""
    target, k = db.Target.from_spectrum(VALUES, BASIS), min(widths)
    wanted = np.sqrt(VALUES[k - 1] - tau) / 2 if margin is None else margin
    net = db.initialize(widths, "close", key=0, target=target, tau=tau, margin=margin)
    assert net.widths == widths and net.balancedness_gap() < 1e-13
    w = net.end_to_end
    assert margin_of(w, k, tau) >= wanted - 1e-12
    assert np.linalg.svd(w, compute_uv=False)[k - 1] >= wanted  # what the margin says of the start itself
    best = db.minimal_loss(target, k, db.BuresWasserstein(tau))
    assert db.BuresWasserstein(tau).value(w, target) - best > 1e-6


def test_close_starts_of_a_batch_of_keys():
    target, keys = db.Target.from_spectrum(VALUES, BASIS), jax.random.split(jax.random.key(0), 2)
    batch = db.initialize((3, 2, 4), "close", key=keys, target=target)
    for i, key in enumerate(keys):
        single = db.initialize((3, 2, 4), "close", key=key, target=target)
        np.testing.assert_array_equal(batch.weights[0][i], single.weights[0])
    assert np.abs(batch.end_to_end[0] - batch.end_to_end[1]).max() > 1e-3


@pytest.mark.parametrize(
    "problem, widths, options, message",
    [
        ("generic", (4, 4), {"margin": 0.71}, r"No start can have the margin 0\.71: .* of rank 4 has only 0\.7071"),
        ("generic", (2, 4), {"margin": 1.5}, r"even the minimizer of rank 2 has only 1\.414\. Ask for a smaller"),
        ("spectrum", (4, 4), {"tau": 0.5}, r"smallest eigenvalue of the target, 0\.5, is not above tau = 0\.5"),
        ("spectrum", (4, 4), {"tau": 0.5 - 1e-16}, r"of rank 4, 1\.054e-08, is lost in rounding,"),
        ("singular", (4, 4), {}, r"smallest eigenvalue of the target, 0, is not above tau = 0"),
        ("generic", (2, 4), {"tau": 0.1}, r"bottleneck \(2\) below the dimension \(4\) with smoothing \(tau = 0\.1\)"),
        ("spiked", (3, 4), {}, r"eigenvalues 3 and 4 of the target are equal \(0\.25\), so the minimizer of rank 3"),
        ("operator", (2, 4), {}, "needs the full spectrum of the target"),
        ("generic", (2, 4), {"margin": 0.0}, r"margin must be finite and positive, but 0\.0 was given"),
        ("generic", (4, 4), {"tau": -1.0}, r"tau must be finite and not negative, but -1\.0 was given"),
    ],
)
def test_close_says_why_it_cannot(problem, widths, options, message):
    with pytest.raises(ValueError, match=message):
        db.initialize(widths, "close", key=0, target=PROBLEMS[problem].target, **options)


# ------------------------------------------------------------------ precision and bad input


@pytest.mark.parametrize("scheme", SCHEMES)
def test_float32(scheme):
    target = db.Target.from_covariance(PROBLEMS["generic"].covariance.astype(np.float32))
    net = db.initialize((4, 4, 4), scheme, key=0, target=target)
    assert {layer.dtype for layer in net.weights} == {np.dtype(np.float32)}
    if scheme != "close":
        assert db.initialize((4, 4), scheme, key=0, dtype=np.float32).weights[0].dtype == np.float32


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"Unknown initialization scheme 'he': choose one of balanced, gaussian, .*close"
    ):
        db.initialize((2, 4), "he", key=0)
    with pytest.raises(ValueError, match=r"starts near a target: pass target="):
        db.initialize((2, 4), "close", key=0)
    with pytest.raises(ValueError, match=r"scale must be finite and positive, but 0\.0 was given"):
        db.initialize((2, 4), key=0, scale=0.0)
    with pytest.raises(ValueError, match=r"widths\[1\] must be at least 1, but 0 was given"):
        db.initialize((2, 0, 4), key=0)
    with pytest.raises(TypeError, match=r"widths\[1\] must be a whole number, but 2\.5 was given"):
        db.initialize((2, 2.5, 4), key=0)
    with pytest.raises(ValueError, match=r"key must be at least 0 .*but -1 was given"):
        db.initialize((2, 4), key=-1)


def test_close_checks_the_data_size():
    with pytest.raises(
        ValueError, match=r"widths must end with 4, the dimension of the target, but \(3, 3\) was given"
    ):
        db.initialize((3, 3), "close", key=0, target=PROBLEMS["generic"].target)
