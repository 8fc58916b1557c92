"""The Cholesky factor of a covariance that is safely positive definite."""

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from scipy import linalg

from deepbures._types import Array, Inexact
from deepbures.metric._libraries import is_traced
from deepbures.metric._validation import rounding


def cholesky_factor(a: Inexact[Array, "... n n"]) -> Inexact[Array, "... n n"] | None:
    """Lower-triangular L with L Lᴴ = A, or None if a matrix of the stack is not safely positive definite.

    The squared pivot L_ii², relative to A_ii, is the fraction of the variance of feature i that the features before it
    do not explain; it has an error of about n eps. Safe is a fraction well above that, for each i. The test does not
    depend on the units of the features, and neither does the accuracy of L (entry for entry, relative to √(A_ii A_jj)).
    """
    if is_traced(a):
        return None
    xp = array_namespace(a)
    try:
        if is_numpy_array(a) and a.ndim == 2:
            # Half the time of NumPy's: without copies, the upper factor of Aᵀ is the transpose of the lower one of A.
            (potrf,) = linalg.get_lapack_funcs(("potrf",), (a,))
            upper, failed = potrf(a.T, lower=0, clean=1)
            if failed:
                return None
            factor = upper.T
        else:
            factor = xp.linalg.cholesky(a)
    except (np.linalg.LinAlgError, RuntimeError):  # the latter is PyTorch's
        return None
    pivots = xp.real(xp.linalg.diagonal(factor)) ** 2
    variances = xp.real(xp.linalg.diagonal(a))
    # Libraries that do not raise leave NaN, which compares false.
    return factor if bool(xp.all(pivots > rounding(a, a.shape[-1]) * variances)) else None
