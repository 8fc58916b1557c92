"""The formulas of training as they stand, in plain NumPy with n×n matrices: what the package is held against."""

import itertools

import numpy as np


def power_of(a, exponent):
    """a^exponent of a symmetric positive semidefinite matrix; negative powers as a pseudo-inverse."""
    values, vectors = np.linalg.eigh(a)
    keep = values > len(a) * np.finfo(float).eps * values[-1]
    powers = np.where(keep, np.where(keep, values, 1.0) ** exponent, 0.0)
    return vectors * powers @ vectors.T


def product(weights):
    w = weights[0]
    for weight in weights[1:]:
        w = weight @ w
    return w


def bures_wasserstein_gradient(w, covariance, tau):
    """2 (I − T) W with the transport map T; for τ = 0 in the gram form, as W Wᵀ may be singular."""
    if tau == 0:
        return 2 * (w - covariance @ w @ power_of(w.T @ covariance @ w, -0.5))
    root = power_of(covariance, 0.5)
    smoothed = w @ w.T + tau * np.eye(len(w))
    return 2 * (w - root @ power_of(root @ smoothed @ root, -0.5) @ root @ w)


def bures_wasserstein_loss(w, covariance, tau):
    """tr A + tr C − 2 tr (C^½ A C^½)^½ with A = W Wᵀ + τ I."""
    root = power_of(covariance, 0.5)
    smoothed = w @ w.T + tau * np.eye(len(w))
    values = np.linalg.eigvalsh(root @ smoothed @ root)
    return np.trace(smoothed) + np.trace(covariance) - 2 * np.sqrt(np.maximum(values, 0)).sum()


def layer_gradients(weights, gradient):
    """(W_N ⋯ W_{l+1})ᵀ ∇L (W_{l−1} ⋯ W_1)ᵀ, each product anew."""
    gradients = []
    for layer, weight in enumerate(weights):
        below = product(weights[:layer]) if layer else np.eye(weight.shape[1])
        above = product(weights[layer + 1 :]) if layer + 1 < len(weights) else np.eye(weight.shape[0])
        gradients.append(above.T @ gradient @ below.T)
    return gradients


def conserved(weights):
    """W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ."""
    return [above.T @ above - below @ below.T for below, above in itertools.pairwise(weights)]


def descend(weights, covariance, tau, step_size, num_steps):
    """Gradient descent, one step after the other; `step_size` a number or a function of the step."""
    weights = [np.array(weight) for weight in weights]
    for step in range(num_steps):
        eta = step_size(step) if callable(step_size) else step_size
        gradients = layer_gradients(weights, bures_wasserstein_gradient(product(weights), covariance, tau))
        weights = [weight - eta * gradient for weight, gradient in zip(weights, gradients, strict=True)]
    return weights
