"""One gradient of a large dense target, n = 4096, k = 64, against the bare product Σ0 @ W: time and memory."""

import resource

import jax
import jax.numpy as jnp
import numpy as np

import deepbures as db
from machine import best_of, heading

DIM, RANK = 4096, 64


def peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    print(heading())
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((DIM, DIM)) / np.sqrt(DIM)
    covariance = factor @ factor.T
    del factor
    w = rng.standard_normal((DIM, RANK)) / np.sqrt(RANK)
    bare_blas = best_of(lambda: covariance @ w)
    target = db.Target.from_covariance(covariance)
    with jax.enable_x64(True):
        target = jax.tree.map(jnp.asarray, target)
        matrix = target.covariance.operator
        w = jnp.asarray(w)
        jax.block_until_ready((matrix, w))
        del covariance
        product = jax.jit(lambda matrix, w: matrix @ w)
        gram = jax.jit(lambda p, w: jnp.linalg.eigh(w.T @ p))
        rotate = jax.jit(lambda p, v: (p @ v) @ v.T)
        bare = best_of(lambda: product(matrix, w))
        p = product(matrix, w)
        small = best_of(lambda: gram(p, w)) + best_of(lambda: rotate(p, jnp.eye(RANK)))
        gradient = jax.jit(lambda w, target: db.BuresWasserstein().grad(w, target))
        jax.block_until_ready(gradient(w, target))
        before = peak_mebibytes()
        ours = best_of(lambda: gradient(w, target))
        after = peak_mebibytes()
    matrix_mebibytes = DIM * DIM * 8 / 2**20
    print(f"bare product: BLAS {bare_blas * 1e3:.1f} ms, XLA {bare * 1e3:.1f} ms; k×k work: {small * 1e3:.1f} ms")
    print(f"gradient: {ours * 1e3:.1f} ms = {ours / bare:.2f} × XLA product, {ours / bare_blas:.2f} × BLAS product")
    print(f"without the k×k work: {(ours - small) / bare:.2f} × XLA, {(ours - small) / bare_blas:.2f} × BLAS")
    print(f"memory: one n×n matrix {matrix_mebibytes:.0f} MiB; growth over the gradients {after - before:.0f} MiB")


if __name__ == "__main__":
    main()
