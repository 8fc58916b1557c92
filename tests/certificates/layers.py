"""Starts, losses and flows of layers in plain NumPy, with SciPy's integrator: nothing here is that of the package."""

import math

import numpy as np
from scipy.integrate import solve_ivp

from deepbures.certificates import Start


def balanced_layers(w, bottleneck, depth):
    """The balanced lift of a matrix of that rank, of hidden widths k."""
    u, s, vt = np.linalg.svd(w)
    u, s, vt = u[:, :bottleneck], s[:bottleneck] ** (1 / depth), vt[:bottleneck]
    if depth == 1:
        return [(u * s) @ vt]
    return [s[:, None] * vt, *[np.diag(s)] * (depth - 2), u * s]


def product(layers):
    w = layers[0]
    for layer in layers[1:]:
        w = layer @ w
    return w


def bures_wasserstein(w, eigenvalues, tau=0.0):
    """L and ∇L for the target diag(λ) ≻ 0, W Wᵀ + τI regular."""
    roots = np.sqrt(eigenvalues)
    values, vectors = np.linalg.eigh(roots[:, None] * (w @ w.T + tau * np.eye(len(w))) * roots)
    loss = np.sum(w * w) + tau * len(w) + np.sum(eigenvalues) - 2 * np.sum(np.sqrt(values))
    half = roots[:, None] * vectors
    return loss, 2 * (w - (half / np.sqrt(values)) @ (half.T @ w))


def exact_bures_wasserstein(w, eigenvalues, tau):
    """L and ∇L for the target diag(λ) by an SVD, as a sum of squares, for W of every rank."""
    roots = np.sqrt(eigenvalues)[:, None]
    factor = np.concatenate([w, math.sqrt(tau) * np.eye(len(w))], axis=1) if tau else w
    u, _, vt = np.linalg.svd(roots * factor, full_matrices=False)
    met = roots * (u @ vt)
    rest = np.diag(roots[:, 0]) - (roots * u) @ u.T
    return np.sum((factor - met) ** 2) + np.sum(rest**2), 2 * (w - met[:, : w.shape[1]])


def gradients(layers, loss_of):
    """The loss and its gradients with respect to the layers."""
    below = [np.eye(layers[0].shape[1])]
    for layer in layers:
        below.append(layer @ below[-1])
    loss, back = loss_of(below[-1])
    found = []
    for layer, before in zip(reversed(layers), reversed(below[:-1]), strict=True):
        found.append(back @ before.T)
        back = layer.T @ back
    return loss, found[::-1]


def descend(layers, loss_of, step_size, num_steps):
    """The losses of a descent with a constant step, and the largest ‖W_l‖₂ at each step."""
    losses, norms = [], []
    for _ in range(num_steps + 1):
        loss, slopes = gradients(layers, loss_of)
        losses.append(loss)
        norms.append(max(np.linalg.norm(layer, 2) for layer in layers))
        layers = [layer - step_size * slope for layer, slope in zip(layers, slopes, strict=True)]
    return np.array(losses), np.array(norms)


def smoothed_minimum(eigenvalues, bottleneck, tau):
    """L* for τ < λ_k."""
    return float(np.sum((np.sqrt(eigenvalues[bottleneck:]) - math.sqrt(tau)) ** 2))


def losses_along_the_flow(layers, loss_of, times):
    """The loss at times, by the flow of all layers."""
    ends = np.cumsum([layer.size for layer in layers])[:-1]

    def unpack(x):
        return [part.reshape(layer.shape) for part, layer in zip(np.split(x, ends), layers, strict=True)]

    def slope(_, x):
        parts = unpack(x)
        gradient = loss_of(product(parts))[1]
        slopes = []
        for at in range(len(parts)):
            after = product([*parts[at + 1 :]]) if at + 1 < len(parts) else np.eye(parts[-1].shape[0])
            before = product(parts[:at]) if at else np.eye(parts[0].shape[1])
            slopes.append(-(after.T @ gradient @ before.T).ravel())
        return np.concatenate(slopes)

    first = np.concatenate([layer.ravel() for layer in layers])
    found = solve_ivp(slope, (0, times[-1]), first, rtol=1e-9, atol=1e-11, t_eval=times)
    return np.array([loss_of(product(unpack(x)))[0] for x in found.y.T])


def numbers(eigenvalues, **changes):
    """The numbers of a start for a target with these eigenvalues; those not named do not matter."""
    rest = {
        "dim": len(eigenvalues),
        "bottleneck": len(eigenvalues),
        "depth": 1,
        "tau": 0.0,
        "loss": math.nan,
        "trace": float(np.sum(eigenvalues)),
        "first_eigenvalue": float(eigenvalues[0]),
        "smallest_singular_value": 1.0,
        "largest_singular_value": 0.0,
        "largest_squared_layer": 1.0,
        "balancedness_gap": 0.0,
        "balancedness_tolerance": 1e-8,
        "unbalancedness": 0.0,
        "smallest_squared_layer": 1.0,
        "spare_inputs": 0,
        "last_eigenvalue": float(eigenvalues[-1]),
        "sharpness": 1.0,
        "smallest_curvature": 1.0,
        "rounding": 1e-14,
    } | changes
    k = rest["bottleneck"]
    left_out = float(eigenvalues[k]) if k < len(eigenvalues) else 0.0
    return Start(kept_eigenvalue=float(eigenvalues[k - 1]), left_out_eigenvalue=left_out, **rest)
