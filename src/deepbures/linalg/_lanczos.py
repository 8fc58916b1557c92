"""Eigenpairs of symmetric operators that are known by products: Lanczos iteration by ARPACK.

Start vectors and restarts are seeded: same input, same bits.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from deepbures._types import Array, Float, Float64, Floats


def seeded_eigsh(*args: Any, **options: Any) -> Any:
    """`scipy.sparse.linalg.eigsh`; pass `v0` too."""
    from scipy.sparse.linalg import eigsh

    # From SciPy 1.17 on ARPACK draws vectors for restarts from the operating system's entropy, unless told otherwise;
    # before, it had a fixed seed of its own.
    if "rng" in inspect.signature(eigsh).parameters:
        options["rng"] = np.random.default_rng(0)
    return eigsh(*args, **options)


def leading_eigenpairs(
    matmul: Callable[[Array], Array], n: int, k: int, dtype: Any
) -> tuple[Float[Array, "{k}"], Float[Array, "{n} {k}"]]:
    """The k largest eigenvalues, descending, and eigenvectors (n, k) of a positive semidefinite matrix.

    `matmul` maps (n, m) to the product with the matrix. If at least half of the eigenvalues are asked for, the matrix
    itself is formed by it and decomposed.
    """
    from scipy.sparse.linalg import LinearOperator

    if 2 * k >= n:
        dense = np.asarray(matmul(np.eye(n, dtype=dtype)))
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        return np.maximum(values[::-1][:k], 0), vectors[:, ::-1][:, :k]
    products = LinearOperator(
        (n, n),
        matvec=lambda v: np.asarray(matmul(v.reshape(n, 1))).reshape(n),
        matmat=lambda v: np.asarray(matmul(v)),
        dtype=dtype,
    )
    start = np.random.default_rng(0).standard_normal(n).astype(dtype)
    values, vectors = seeded_eigsh(products, k, which="LA", v0=start, ncv=min(n, max(3 * k, 40)))
    order = np.argsort(values)[::-1]
    return np.maximum(values[order], 0), vectors[:, order]


def extreme_eigenpairs(
    product: Callable[[Floats], Floats], start: Float64[Array, "n"], tol: float, max_products: int
) -> tuple[Float64[Array, "2"], Float64[Array, "n 2"]]:
    """The smallest and the largest eigenvalue (2,) of a symmetric matrix, and eigenvectors (n, 2), n ≥ 4.

    `product` maps a vector (n,) to the product with the matrix, `start` is where the iteration starts. Both eigenvalues
    are right to `tol` times the largest |λ|; `scipy.sparse.linalg.ArpackNoConvergence` is raised if that takes more
    than about `max_products` products.

    ARPACK measures convergence relative to each eigenvalue, and zero may be one. So the spectrum is shifted away from
    zero by twice its size.
    """
    from scipy.sparse.linalg import LinearOperator

    size = len(start)
    if not product(start).any():  # of a random start: the matrix is zero, which ARPACK cannot begin with
        return np.zeros(2), np.eye(size, 2)
    krylov = min(size - 1, 40)
    options = {"v0": start, "maxiter": max(max_products // krylov, 1)}
    plain = LinearOperator((size, size), matvec=lambda flat: product(flat.reshape(-1)), dtype=np.float64)
    rough = min(size - 1, 8)
    (largest,) = seeded_eigsh(plain, k=1, which="LM", tol=0.1, ncv=rough, return_eigenvectors=False, **options)
    shift = 2 * abs(float(largest)) or 1.0
    shifted = LinearOperator(
        (size, size), matvec=lambda flat: product(flat.reshape(-1)) + shift * flat.reshape(-1), dtype=np.float64
    )
    values, vectors = seeded_eigsh(shifted, k=2, which="BE", tol=tol / 3, ncv=krylov, **options)
    return values - shift, vectors
