"""Minimizers that are known elsewhere: probabilistic PCA, the bias of entropy, and none for the Sinkhorn divergence."""

import numpy as np
import pytest

import deepbures as db
from deepbures.landscape import Problem

TAU, RANK = 0.3, 2
SQUARES = {  # of the singular values, from those of the target
    db.BuresWasserstein(TAU): lambda lam: lam - TAU,
    db.EntropicWasserstein(2 * TAU): lambda lam: lam - TAU,
    db.SinkhornDivergence(2 * TAU): lambda lam: lam,
}


@pytest.fixture
def target(rng):
    root = rng.standard_normal((4, 6))
    return db.Target.from_covariance(root @ root.T / 3)


@pytest.fixture
def samples(rng):
    mixing = rng.standard_normal((6, 6)) * np.array([3.0, 2.0, 1.5, 1.0, 0.5, 0.2])
    return rng.standard_normal((50, 6)) @ mixing.T + 7.0


def test_the_likelihood_is_probabilistic_pca(samples):
    """scikit-learn's covariance, whose noise is the mean of the eigenvalues left out; and any other noise."""
    pca = pytest.importorskip("sklearn.decomposition").PCA(RANK, svd_solver="full").fit(samples)
    target = db.Target.from_covariance(np.cov(samples.T))  # of N − 1, as there
    for tau in (float(pca.noise_variance_), 0.01):
        w = db.rank_k_minimizer(target, RANK, db.GaussianLikelihood(tau))
        loadings = pca.components_.T * np.sqrt(pca.explained_variance_ - tau)
        np.testing.assert_allclose(w @ w.T, loadings @ loadings.T, rtol=0, atol=1e-10)
    w = db.rank_k_minimizer(target, RANK, db.GaussianLikelihood(pca.noise_variance_))
    np.testing.assert_allclose(w @ w.T + pca.noise_variance_ * np.eye(6), pca.get_covariance(), rtol=0, atol=1e-10)


def test_the_loss_is_the_likelihood_of_pca(samples):
    """scikit-learn's mean log-likelihood is −L, less the entropy of the target."""
    pca = pytest.importorskip("sklearn.decomposition").PCA(RANK, svd_solver="full").fit(samples)
    target = db.Target.from_samples(samples)
    loadings = pca.components_.T * np.sqrt(pca.explained_variance_ - pca.noise_variance_)
    entropy = (6 * np.log(2 * np.pi * np.e) + np.linalg.slogdet(np.cov(samples.T, bias=True))[1]) / 2
    value = float(db.GaussianLikelihood(pca.noise_variance_).value(loadings, target))
    np.testing.assert_allclose(value + entropy, -pca.score(samples), rtol=1e-12)


def test_entropy_has_the_minimizer_of_smoothing(target):
    smoothed, entropic = (db.rank_k_minimizer(target, RANK, loss) for loss in list(SQUARES)[:2])
    np.testing.assert_allclose(entropic, smoothed, rtol=0, atol=1e-12)
    # Not by the same formula: each loss, which knows no modes, is without slope at the minimizer of the other.
    assert np.abs(db.EntropicWasserstein(2 * TAU).grad(smoothed, target)).max() < 1e-12
    assert np.abs(db.BuresWasserstein(TAU).grad(entropic, target)).max() < 1e-12
    assert np.abs(db.EntropicWasserstein(2.2 * TAU).grad(smoothed, target)).max() > 1e-3


def test_the_sinkhorn_divergence_has_no_bias(target):
    loss = db.SinkhornDivergence(2 * TAU)
    w = db.rank_k_minimizer(target, RANK, loss)
    assert np.abs(loss.grad(w, target)).max() < 1e-12
    lam = np.asarray(target.eigenvalues)
    np.testing.assert_allclose(db.BuresWasserstein().value(w, target), lam[RANK:].sum(), rtol=1e-12)
    full = db.rank_k_minimizer(target, 4, loss)
    assert abs(float(loss.value(full, target))) < 1e-14
    assert float(db.BuresWasserstein().value(full, target)) < 1e-14


@pytest.mark.parametrize("loss", SQUARES, ids=lambda loss: type(loss).__name__)
def test_the_flow_ends_there(loss, target, rng):
    """At W Wᵀ = Ω_k diag(m*) Ω_kᵀ, from a random start."""
    start = db.DeepLinearNetwork([rng.standard_normal((4, RANK))])
    run = db.gradient_flow(start, target, loss, 1000.0, tolerance=1e-12)
    values, basis = target.spectrum(RANK)
    w = np.asarray(run.network.end_to_end)
    np.testing.assert_allclose(w @ w.T, (basis * SQUARES[loss](values)) @ basis.T, rtol=0, atol=1e-5 * values[0])
    assert 0 <= float(Problem(target, loss, RANK).excess(w)) < 1e-11 * float(target.trace)
