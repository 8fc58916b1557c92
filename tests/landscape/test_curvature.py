"""Sharpness and asymptotic rate against eigenvalues of the parameter-space Hessian, by automatic differentiation."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures as db

from . import oracle

GENERIC, TIED, SMALL = [4.0, 2.0, 1.0, 0.5], [2.0, 2.0, 1.0, 0.5], [2.0, 1.9, 0.3, 0.01]
SINGULAR = [4.0, 2.0, 0.0, 0.0]
EXACT, FLAT, FROBENIUS = db.BuresWasserstein(), db.BuresWasserstein(1.5), db.Frobenius()


def spectrum_at_the_minimizer(values, rank, loss, widths):
    """Hessian eigenvalues of L^N at the balanced lift of the minimizer, ascending."""
    target = db.Target.from_spectrum(values, oracle.BASIS)
    k = min(rank, sum(v > getattr(loss, "tau", 0) for v in values))
    w = db.rank_k_minimizer(target, k, loss)
    w = np.concatenate([w, np.zeros((4, widths[0] - k))], axis=1)
    net = db.balanced_network(w, widths)
    flat, unflatten = jax.flatten_util.ravel_pytree(tuple(map(jnp.asarray, net.weights)))

    @jax.jit
    def curvature(x):
        return jax.hessian(lambda y: loss.value(db.DeepLinearNetwork(unflatten(y)).end_to_end, target))(x)

    return target, np.linalg.eigvalsh(curvature(flat))


@pytest.mark.parametrize(
    "values, rank, loss, widths",
    [
        (GENERIC, 2, EXACT, (2, 4)),
        (GENERIC, 4, EXACT, (6, 4)),
        (GENERIC, 4, EXACT, (4, 4, 4)),
        (GENERIC, 2, EXACT, (2, 2, 4)),
        (GENERIC, 2, EXACT, (2, 2, 2, 4)),
        (TIED, 1, EXACT, (1, 1, 4)),
        (TIED, 2, EXACT, (2, 2, 4)),
        (SINGULAR, 2, EXACT, (2, 2, 4)),  # at the rank of the target
        (GENERIC, 2, db.BuresWasserstein(0.1), (3, 2, 2, 4)),
        (GENERIC, 4, db.BuresWasserstein(0.1), (4, 4)),
        (GENERIC, 2, db.BuresWasserstein(0.75), (2, 2, 4)),  # λ_4 < τ < λ_3, both out of reach of the rank
        (GENERIC, 2, FLAT, (2, 4)),
        (GENERIC, 3, FLAT, (3, 4)),  # a spare column, depth 1: the null columns curve upwards
        (SMALL, 4, FLAT, (5, 4)),  # and are the sharpest directions
        (SMALL, 2, FLAT, (2, 2, 4)),  # an exchange is sharper than every scale
        (GENERIC, 2, FROBENIUS, (3, 4)),
        (GENERIC, 2, FROBENIUS, (3, 2, 2, 4)),
        (TIED, 1, FROBENIUS, (2, 1, 4)),
    ],
)
def test_extremes_of_the_hessian(values, rank, loss, widths):
    target, eigenvalues = spectrum_at_the_minimizer(values, rank, loss, widths)
    options = {"depth": len(widths) - 1, "latent_dim": widths[0]}
    if widths != (3, 4) or loss is not FROBENIUS:  # there spare columns leave the minimizer of rank 2: a saddle
        assert eigenvalues[0] > -1e-11 * eigenvalues[-1]
    np.testing.assert_allclose(db.sharpness(target, rank, loss, **options), eigenvalues[-1], rtol=1e-11)
    slowest = eigenvalues[eigenvalues > 1e-9 * eigenvalues[-1]][0]
    np.testing.assert_allclose(db.asymptotic_rate(target, rank, loss, **options), 2 * slowest, rtol=1e-9)


@pytest.mark.parametrize(
    "values, rank, loss, depth",
    [
        (GENERIC, 3, FLAT, 2),  # the third mode has λ < τ: its column decays like t^{−N/(N−1)}
        (GENERIC, 3, FLAT, 5),
        (GENERIC, 3, db.BuresWasserstein(1.0), 1),  # λ_3 = τ: flat to second order at every depth
        (GENERIC, 3, db.BuresWasserstein(1.0), 3),
        ([4.0, 2.0, 0.0, 0.0], 3, EXACT, 2),  # a rank above the target's
        ([4.0, 2.0, 0.0, 0.0], 3, FROBENIUS, 1),
    ],
)
def test_no_rate_where_the_approach_is_a_power_of_time(values, rank, loss, depth):
    assert db.asymptotic_rate(db.Target.from_spectrum(values), rank, loss, depth=depth) == 0


def test_sharpness_is_where_descent_becomes_unstable():
    """At 0.98 of 2/λ_max a perturbation of the minimizer decays, at 1.02 of it it grows."""
    target, loss = db.Target.from_spectrum(GENERIC), db.BuresWasserstein(0.1)
    w = db.rank_k_minimizer(target, 2, loss)
    layers = [np.asarray(x) for x in db.balanced_network(w, (2, 2, 4)).weights]
    limit = 2 / db.sharpness(target, 2, loss, depth=2)
    distance = {}
    for factor in (0.98, 1.02):
        w1, w2 = layers[0] + 1e-6, layers[1] * (1 + 1e-6)
        for _ in range(300):
            slope = loss.grad(w2 @ w1, target)
            w1, w2 = w1 - factor * limit * w2.T @ slope, w2 - factor * limit * slope @ w1.T
        distance[factor] = np.linalg.norm(w2 @ w1 @ (w2 @ w1).T - w @ w.T)
    assert distance[0.98] < 1e-6 < 1e-4 < distance[1.02]


def test_no_factorization_is_flatter_than_the_balanced_one(rng):
    target = db.Target.from_spectrum(GENERIC)
    least = db.sharpness(target, 2, EXACT, depth=2)
    net = db.balanced_network(db.rank_k_minimizer(target, 2, EXACT), (2, 2, 4))
    flat, unflatten = jax.flatten_util.ravel_pytree(tuple(map(jnp.asarray, net.weights)))
    curvature = jax.jit(jax.hessian(lambda y: EXACT.value(db.DeepLinearNetwork(unflatten(y)).end_to_end, target)))
    assert np.linalg.eigvalsh(curvature(flat))[-1] == pytest.approx(float(least))
    for _ in range(20):
        gauge = np.eye(2) + 0.3 * rng.standard_normal((2, 2))
        w1, w2 = gauge @ net.weights[0], net.weights[1] @ np.linalg.inv(gauge)
        moved = jnp.concatenate([jnp.ravel(w1), jnp.ravel(w2)])
        assert np.linalg.eigvalsh(curvature(moved))[-1] > least


def test_with_smoothing_another_factorization_may_be_flatter():
    """λ = (1, 0), τ = 0.7, layers (1, 1, 2): an exchange is the largest curvature, not the scale."""
    target, loss = db.Target.from_spectrum([1.0, 0.0]), db.BuresWasserstein(tau=0.7)

    def layers_of(square):
        return jnp.array([square**0.5, (0.3 / square) ** 0.5, 0.0])

    curvature = jax.jit(jax.hessian(lambda y: loss.value(y[1:, None] * y[0], target)))
    balanced, other = (np.linalg.eigvalsh(curvature(layers_of(square)))[-1] for square in (0.3**0.5, 0.3))
    assert db.sharpness(target, 1, loss, depth=2) == pytest.approx(float(balanced))
    assert float(balanced) == pytest.approx(1.095, abs=1e-3) and float(other) == pytest.approx(0.78, abs=5e-3)
    # The scale, of which the balanced one has least: 2N w^p (λ − τ)/λ.
    least = float(db.Problem(target, loss, 1).least_sharpness(2))
    assert least == pytest.approx(4 * 0.3**1.5) and least < float(other)
    exact = db.Problem(db.Target.from_spectrum(GENERIC), EXACT, 2)
    assert float(exact.least_sharpness(2)) == float(exact.extremes(2, 2)[0])


def test_a_target_known_through_products():
    root = oracle.BASIS * np.sqrt(GENERIC)
    target = db.Target.from_operator(lambda w: root @ (root.T @ w), 4, 7.5)
    np.testing.assert_allclose(db.sharpness(target, 2, EXACT, depth=2), 2 * 2 * 4**0.5, rtol=1e-12)
    np.testing.assert_allclose(db.asymptotic_rate(target, 2, EXACT, depth=2), 2 * 2 * (1 - 1 / 2) * 2**0.5, rtol=1e-12)


@pytest.mark.parametrize("loss, expected", [(EXACT, 2 * 1.5), (FROBENIUS, 2 * 6.0)])
def test_ties_are_seen_through_rounding(loss, expected):
    """Eigenvalues 2, 2, 2, ½ of a dense matrix differ in their last bits: that is no slow mode, but a family."""
    target = oracle.PROBLEMS["repeated"].target
    assert len(set(target.eigenvalues[:3])) > 1
    np.testing.assert_allclose(db.asymptotic_rate(target, 2, loss), expected, rtol=1e-12)


@pytest.mark.parametrize("function", [db.sharpness, db.asymptotic_rate])
def test_bad_input(function):
    target = db.Target.from_spectrum(GENERIC)
    with pytest.raises(ValueError, match=r"depth must be at least 1, but 0 was given"):
        function(target, 2, EXACT, depth=0)
    with pytest.raises(ValueError, match=r"latent_dim must be at least 3, but 2 was given"):
        function(target, 3, EXACT, latent_dim=2)
    with pytest.raises(ValueError, match=r"rank must be at least 1 and at most 4"):
        function(target, 5, EXACT)
