"""Synthetic Gaussian targets: a random spectrum in a random orthonormal basis."""

import numpy as np
from numpy.typing import NDArray

from deepbures.datasets._dataset import Dataset

SPECTRA = ("zipf", "random")
KINDS = ("eig", "sing")


def gaussian(*, dim: int, spectrum: str, kind: str, smin: float, rank: int | None, seed: int) -> Dataset:
    """A random covariance matrix, after the experiments of Bréchet et al. (2023); the options are checked already.

    The basis depends on `dim` and `seed` only, so that a sweep over the other options turns no eigenvector.
    """
    if rank is not None and rank > dim:
        raise ValueError(
            f"option rank of 'gaussian' must be at most dim = {dim}, but {rank} was given. Lower rank or raise dim."
        )
    spectrum_rng, basis_rng = np.random.default_rng(seed).spawn(2)
    values = _draw_values(spectrum_rng, dim, spectrum, smin, dim if rank is None else rank)
    eigenvalues = values**2 if kind == "sing" else values
    basis = _orthonormal_basis(basis_rng, dim)
    covariance = (basis * eigenvalues) @ basis.T
    options = f"dim={dim},spectrum={spectrum},kind={kind},smin={smin}"
    options += "" if rank is None else f",rank={rank}"
    return Dataset(
        name=f"gaussian:{options},seed={seed}",
        covariance=(covariance + covariance.T) / 2,
        description=(
            f"Synthetic {dim}×{dim} covariance of rank {dim if rank is None else rank} with a {spectrum} spectrum in a "
            f"random basis (seed {seed}), after the experiments of Bréchet, Papagiannouli, An and Montúfar, ICML 2023."
        ),
    )


def _draw_values(rng: np.random.Generator, dim: int, spectrum: str, smin: float, rank: int) -> NDArray[np.float64]:
    """The values in decreasing order, zero beyond the rank.

    "random": s, the singular values of a standard normal dim×dim matrix. "zipf": s_1/i + N(0, 1), i = 1..dim,
    sorted and shifted to the minimum 1/dim. Then, if smin ≥ 0 and the minimum is below smin, all are shifted
    so that the smallest kept one, the rank-th, is smin + 1/dim.
    """
    values = np.asarray(np.linalg.svd(rng.standard_normal((dim, dim)), compute_uv=False), np.float64)
    if spectrum == "zipf":
        noisy = values[0] / np.arange(1, dim + 1) + rng.standard_normal(dim)
        values = np.sort(noisy)[::-1]
        values = values - values[-1] + 1 / dim
    if smin >= 0 and values[-1] < smin:
        values = values - values[rank - 1] + (smin + 1 / dim)
    values[rank:] = 0.0
    return values


def _orthonormal_basis(rng: np.random.Generator, dim: int) -> NDArray[np.float64]:
    """An orthogonal matrix from the uniform (Haar) distribution.

    QR of a normal matrix alone is not uniform: LAPACK fixes the signs of R's diagonal in its own way. Making that
    diagonal positive makes the factorization unique and Q uniform (Mezzadri, Notices of the AMS 54, 2007).
    """
    q, r = np.linalg.qr(rng.standard_normal((dim, dim)))
    return np.asarray(q * np.where(np.diag(r) < 0, -1.0, 1.0))
