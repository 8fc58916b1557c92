"""Checks of what a target is made from, where the values can be looked at."""

from typing import Any

import numpy as np
import scipy.linalg

from deepbures._checks import rounding
from deepbures._precision import is_tracer
from deepbures.model._eigsh import seeded_eigsh

Array = Any


def check_symmetric(s: Array, tolerance: float) -> None:
    """Refuse what differs from its transpose by more than the tolerance times the largest entry."""
    s = np.asarray(s)
    scale = float(np.abs(s).max())
    gap = float(np.abs(s - s.swapaxes(-1, -2)).max())
    if gap > tolerance * scale:
        raise ValueError(
            f"covariance must be symmetric, but differs from its transpose by up to {gap:.3g} (largest entry "
            f"{scale:.3g}, tolerance {tolerance:.1e} of it). If that is rounding, pass (s + s.T) / 2; else check "
            "the data."
        )


def check_no_negative_eigenvalue(s: np.ndarray, tolerance: float) -> None:
    """Refuse a large matrix that a Cholesky factorization, shifted by the tolerance, finds indefinite."""
    shifted = s.copy()
    scale = float(np.abs(np.diagonal(s)).max())
    shifted[np.diag_indices_from(shifted)] += max(tolerance * scale, np.finfo(s.dtype).tiny)
    _, info = scipy.linalg.lapack.get_lapack_funcs("potrf", (shifted,))(
        shifted.T, lower=False, overwrite_a=True, clean=False
    )
    if info > 0:
        lowest = seeded_eigsh(s, 1, which="SA", return_eigenvectors=False, tol=1e-3, v0=np.ones(len(s), s.dtype))
        raise_negative(float(lowest[0]), scale, tolerance)


def raise_negative(lowest: float, largest: float, tolerance: float) -> None:
    """The error of an indefinite covariance."""
    raise ValueError(
        f"covariance must be positive semidefinite, but has the eigenvalue {lowest:.3g} (largest {largest:.3g}, "
        f"tolerance {tolerance:.1e} of it). Check how it was computed; if it is rounding of lower precision, pass "
        "a larger rtol."
    )


def check_orthonormal(basis: Array) -> None:
    """Refuse columns that are not orthonormal to rounding (where the values can be looked at)."""
    if is_tracer(basis):
        return
    vectors = np.asarray(basis)
    gap = float(np.abs(vectors.swapaxes(-1, -2) @ vectors - np.eye(vectors.shape[-1])).max())
    if gap > rounding(vectors.dtype, vectors.shape[-2]):
        raise ValueError(f"basis must have orthonormal columns, but BᵀB differs from the identity by {gap:.3g}.")
