"""Gradient flow from aligned balanced starts, mode by mode: closed forms, and scalar equations where there are none."""

from functools import singledispatch
from typing import Any

import numpy as np
import scipy.integrate
from numpy.typing import NDArray

from deepbures._checks import as_array, check_finite, check_integer, check_number
from deepbures.landscape import modes_of
from deepbures.model import AbstractLoss, AbstractModes, BuresWasserstein, Frobenius

Floats = NDArray[np.float64]


def aligned_flow(start_values: Any, eigenvalues: Any, loss: AbstractLoss, times: Any, *, depth: int = 1) -> Floats:
    """Singular values s_j(t) along gradient flow from W(0) = Ω diag(s(0)) Vᵀ, balanced: the modes do not mix.

    ==============================  ==================================================================================
    loss                            mode by mode, N the depth
    ==============================  ==================================================================================
    BuresWasserstein, N = 1         s = √λ + (s(0) − √λ) exp(−2t)
    BuresWasserstein, N = 2         s = √λ / (1 + (√λ/s(0) − 1) exp(−4√λ t))
    BuresWasserstein                ds/dt = −2N s^{2−2/N} (s − √λ)
    BuresWasserstein(τ)             ds/dt = −2N s^{3−2/N} (1 − √(λ/(s² + τ)))
    Frobenius, N = 1                s² = λ / (1 + (λ/s(0)² − 1) exp(−8λt))
    Frobenius                       ds/dt = −4N s^{3−2/N} (s² − λ)
    ==============================  ==================================================================================

    Where there is no closed form the scalar equation of ln s is integrated to a relative error of about 1e-10. A mode
    that starts at zero stays there, except at depth 1 without smoothing (where zero is a kink, left at once).

    Parameters
    ----------
    start_values : array (k,)
        s_j(0) ≥ 0, standard deviations.
    eigenvalues : array (k,)
        λ_j ≥ 0 of the target in these directions, in the same order.
    loss : BuresWasserstein or Frobenius
        The loss.
    times : array (T,)
        t ≥ 0, in any order.
    depth : int
        N.

    Returns
    -------
    array (T, k)
        s_j at these times.

    Raises
    ------
    ValueError
        If shapes differ, or a number is negative or not finite.

    References
    ----------
    The closed forms and scalar equations are those of balanced deep linear networks (Saxe, McClelland, Ganguli 2014,
    for the square loss), derived for the Bures-Wasserstein losses for this project.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> s = db.aligned_flow([0.1, 0.1], [4.0, 1.0], db.BuresWasserstein(), [0.0, 1.0, 10.0], depth=2)
    >>> s.round(4).tolist()     # the larger mode is learned first
    [[0.1, 0.1], [1.9873, 0.8585], [2.0, 1.0]]
    """
    s0 = np.asarray(as_array(start_values, "start_values"), np.float64)
    lam = np.asarray(as_array(eigenvalues, "eigenvalues"), np.float64)
    at = np.asarray(as_array(times, "times"), np.float64)
    depth = check_integer(depth, "depth", 1)
    if s0.ndim != 1 or s0.shape != lam.shape or at.ndim != 1:
        raise ValueError(
            f"start_values and eigenvalues must be vectors of equal length and times a vector, but have shapes "
            f"{s0.shape}, {lam.shape} and {at.shape}."
        )
    for array, name in ((s0, "start_values"), (lam, "eigenvalues"), (at, "times")):
        check_finite(array, name)
        check_number(array, name)
    columns = [_mode(float(a), float(b), loss, at, depth) for a, b in zip(s0, lam, strict=True)]
    return np.stack(columns, axis=-1) if columns else np.zeros((at.size, 0))


@singledispatch
def _closed_form(loss: AbstractLoss, s0: float, lam: float, times: Floats, depth: int) -> Floats | None:
    """A mode of a loss and depth that have a closed form, else None."""
    return None


@_closed_form.register
def _of_bures_wasserstein(loss: BuresWasserstein, s0: float, lam: float, times: Floats, depth: int) -> Floats | None:
    root = np.sqrt(lam)
    if loss.is_smooth:
        return None
    if depth == 1:
        return np.asarray(root + (s0 - root) * np.exp(-2 * times))
    if depth == 2 and lam > 0 and s0 > 0:
        decay = np.exp(-4 * root * times)
        return np.asarray(s0 * root / (s0 * (1 - decay) + root * decay))
    return None


@_closed_form.register
def _of_frobenius(loss: Frobenius, s0: float, lam: float, times: Floats, depth: int) -> Floats | None:
    if depth > 1 or lam == 0 or s0 == 0:
        return None
    root = np.sqrt(lam)
    return np.asarray(s0 * root / np.hypot(s0 * np.sqrt(-np.expm1(-8 * lam * times)), root * np.exp(-4 * lam * times)))


def _mode(s0: float, lam: float, loss: AbstractLoss, times: Floats, depth: int) -> Floats:
    known = _closed_form(loss, s0, lam, times, depth)
    if known is not None:
        return known
    if s0 == 0:
        return np.zeros_like(times)
    return _integrate(s0, lam, modes_of(loss), times, depth)


def _integrate(s0: float, lam: float, modes: AbstractModes, times: Floats, depth: int) -> Floats:
    """The equation of x = ln s, dx/dt = −2N s^{2−2/N} h'(λ, s²), which keeps the relative accuracy of small s."""
    power = 2 - 2 / depth
    eigenvalue = np.array([lam])

    def speed(_: float, x: Floats) -> Floats:
        s = np.exp(x)
        return np.asarray(-2 * depth * modes.slope(eigenvalue, s * s) * s**power)

    order = np.argsort(times)
    ordered = times[order]
    end = float(ordered[-1]) if ordered.size else 0.0
    if end == 0:
        return np.full(times.shape, s0)
    done = scipy.integrate.solve_ivp(
        speed, (0.0, end), [np.log(s0)], method="LSODA", t_eval=np.unique(ordered), rtol=1e-13, atol=1e-14
    )
    result = np.empty_like(times)
    result[order] = np.exp(done.y[0])[np.searchsorted(np.unique(ordered), ordered)]
    return result
