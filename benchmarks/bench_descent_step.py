"""Microseconds per step of gradient descent: n = 20, depth 10, widths 20, float64, one core, default logging.

Against a straightforward NumPy/SciPy loop (matrix square roots, as published implementations do it), and against the
LAPACK and BLAS calls that cannot be avoided: one SVD of a 20×20 matrix and the 27 products of a gradient of ten layers.
"""

import machine

machine.one_core()

import time

import jax
import numpy as np
import scipy.linalg

import deepbures as db
from machine import best_of, heading

DIM, DEPTH, STEP = 20, 10, 1e-5


def zipf_target() -> db.Target:
    rng = np.random.default_rng(0)
    largest = np.linalg.svd(rng.standard_normal((DIM, DIM)), compute_uv=False)[0]
    values = np.sort(largest / np.arange(1, DIM + 1) + rng.standard_normal(DIM))[::-1]
    return db.Target.from_spectrum(values - values.min() + 1.0, key=0)


def naive_step(weights: list[np.ndarray], covariance: np.ndarray, tau: float) -> list[np.ndarray]:
    """∇L_τ(W) = 2 (I − T) W through square roots of n×n matrices, then the chain rule."""
    products = [np.eye(DIM)]
    for weight in weights:
        products.append(weight @ products[-1])
    w = products[-1]
    root = scipy.linalg.sqrtm(covariance).real
    middle = scipy.linalg.sqrtm(root @ (w @ w.T + tau * np.eye(DIM)) @ root).real
    back = 2 * (w - root @ np.linalg.inv(middle) @ root @ w)
    gradients = []
    for layer in range(DEPTH - 1, -1, -1):
        gradients.append(back @ products[layer].T)
        back = weights[layer].T @ back
    return [weight - STEP * gradient for weight, gradient in zip(weights, reversed(gradients), strict=True)]


def naive_seconds(net: db.DeepLinearNetwork, target: db.Target, tau: float, steps: int = 100) -> float:
    covariance = target.matmul(np.eye(DIM))
    weights = list(net.weights)
    start = time.perf_counter()
    for _ in range(steps):
        weights = naive_step(weights, covariance, tau)
    return (time.perf_counter() - start) / steps


def limit_seconds() -> float:
    """One SVD and 27 products of 20×20 matrices, through LAPACK and BLAS directly."""
    x = np.asfortranarray(np.random.default_rng(0).standard_normal((DIM, DIM)))
    svd, gemm = scipy.linalg.lapack.dgesvd, scipy.linalg.blas.dgemm

    def calls() -> None:
        for _ in range(100):
            svd(x)
            for _ in range(3 * (DEPTH - 1)):
                gemm(1.0, x, x)

    return best_of(calls) / 100


def main() -> None:
    print(heading())
    target = zipf_target()
    widths = (DIM,) * (DEPTH + 1)
    single = db.initialize(widths, key=0)
    batch = db.initialize(widths, key=jax.random.split(jax.random.key(0), 64))
    limit = limit_seconds()
    print(f"LAPACK/BLAS limit (SVD + 27 products): {limit * 1e6:.0f} µs")
    print(f"{'tau':>5} {'runs':>5} {'µs/step/run':>12} {'× limit':>8} {'naive µs':>9} {'× faster':>9}")
    for tau in (0.0, 0.1):
        loss = db.BuresWasserstein(tau)
        naive = naive_seconds(single, target, tau)
        for start, runs, steps in ((single, 1, 20_000), (batch, 64, 1_000)):
            call = lambda: db.gradient_descent(start, target, loss, steps, STEP, tolerance=0.0).losses  # noqa: B023, E731
            each = best_of(call, 3) / steps / runs
            print(f"{tau:5} {runs:5} {each * 1e6:12.1f} {each / limit:8.2f} {naive * 1e6:9.0f} {naive / each:9.0f}")


if __name__ == "__main__":
    main()
