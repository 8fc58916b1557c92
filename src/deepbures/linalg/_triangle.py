"""The triangular factor of matrices with many rows."""

from array_api_compat import array_namespace

from deepbures._types import Array, Inexact


def triangle(rows: Inexact[Array, "... m n"]) -> Inexact[Array, "... min(m,n) n"]:
    """R with RᴴR = XᴴX for matrices X (..., m, n), of at most n rows: that of X = Q R; X itself where m ≤ n."""
    if rows.shape[-2] <= rows.shape[-1]:
        return rows
    # Beyond the standard, all libraries have a mode that leaves out Q, which would take as long again.
    factors = array_namespace(rows, use_compat=False).linalg.qr(rows, mode="r")
    return factors[1] if isinstance(factors, tuple) else factors
