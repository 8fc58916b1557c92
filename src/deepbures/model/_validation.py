"""Checks of what a target is made from, where the values can be looked at."""

import numpy as np
import scipy.linalg

from deepbures._checks import rounding
from deepbures._precision import is_tracer
from deepbures._types import Array, Float
from deepbures.linalg import seeded_eigsh
from deepbures.metric import check_eigenvalues


def check_no_negative_eigenvalue(s: Float[Array, "n n"]) -> None:
    """Refuse a large matrix that a Cholesky factorization, shifted by what is rounding, finds indefinite."""
    shifted, tolerance = s.copy(), rounding(s.dtype, len(s))
    scale = float(np.abs(s).max())
    shifted[np.diag_indices_from(shifted)] += max(tolerance * scale, np.finfo(s.dtype).tiny)
    _, info = scipy.linalg.lapack.get_lapack_funcs("potrf", (shifted,))(
        shifted.T, lower=False, overwrite_a=True, clean=False
    )
    if info > 0:
        lowest = seeded_eigsh(s, 1, which="SA", return_eigenvectors=False, tol=1e-3, v0=np.ones(len(s), s.dtype))
        check_eigenvalues(lowest[0], s, tolerance, "covariance")


def check_orthonormal(basis: Float[Array, "... n r"]) -> None:
    """Refuse columns that are not orthonormal to rounding (where the values can be looked at)."""
    if is_tracer(basis):
        return
    vectors = np.asarray(basis)
    gap = float(np.abs(vectors.swapaxes(-1, -2) @ vectors - np.eye(vectors.shape[-1])).max())
    if gap > rounding(vectors.dtype, vectors.shape[-2]):
        raise ValueError(f"basis must have orthonormal columns, but BᵀB differs from the identity by {gap:.3g}.")
