"""Extremes of the Hessian at the balanced minimizer, in closed form: sharpness and asymptotic rate."""

from typing import Any

import numpy as np

from deepbures._checks import check_integer
from deepbures._precision import numpy_in_numpy_out
from deepbures.landscape._eigenvalues import EQUAL
from deepbures.landscape._minimum import Minimum, minimum
from deepbures.model import AbstractLoss, BuresWasserstein, Target
from deepbures.model._covariance import namespace

Array = Any


def _positive_curvatures(low: Minimum, loss: AbstractLoss, depth: int, num_columns: int) -> Array:
    """Hessian eigenvalues of L^N at the balanced minimizer, the largest and the smallest positive one among them.

    Exchange i→j, scale j and (depth 1 only) null columns, where a mode i is not in the minimizer and j is; entries of
    other pairs are NaN. Pairs (j, j') within the minimizer lie between the scale entries of j and j'. With w_j the
    singular values and p = 2(N−1)/N, an exchange is multiplied by w_j^p and a scale by N w_j^p.
    """
    xp = namespace(low.eigenvalues, getattr(loss, "tau", 0.0))
    k = low.rank
    values, used = xp.asarray(low.eigenvalues), xp.asarray(low.used)
    inside = values[:k]
    tau = xp.asarray(getattr(loss, "tau", 0.0), dtype=values.dtype)
    unused = xp.concatenate([~used, xp.ones(values.shape[-1] - k, bool)])
    outside = values[None, :]
    own = xp.where(used, inside, 1)[:, None]
    if isinstance(loss, BuresWasserstein):
        squares = xp.where(used, inside - tau, 1)
        exchange = 2 * (own - outside) / (own + xp.sqrt(outside) * xp.sqrt(tau))
        scale = 2 * squares / own[:, 0]
        null = 2 * (1 - xp.sqrt(values / tau)) if loss.is_smooth else xp.full_like(values, xp.nan)
    else:
        squares = own[:, 0]
        exchange = 4 * (own - outside)
        scale = 8 * own[:, 0]
        null = -4 * values
    power = xp.where(squares > 0, squares, 1) ** ((depth - 1) / depth)
    # Exact ties λ_i = λ_j are directions along a family of minimizers, not slow ones.
    level = xp.maximum(EQUAL * values[0], 4 * xp.finfo(values.dtype).eps * own)
    tie = outside >= own - level
    alive = used & (squares > 0)
    exchange = xp.where(alive[:, None] & unused[None, :] & ~tie, exchange * power[:, None], xp.nan)
    scale = xp.where(alive, depth * scale * power, xp.nan)
    null_open = unused & (used.sum() < num_columns) & (depth == 1)
    return xp.concatenate([exchange.ravel(), scale, xp.where(null_open, null, xp.nan)])


def _extremes(target: Target, rank: int, loss: AbstractLoss, depth: int, latent_dim: int | None) -> tuple[Array, Array]:
    depth = check_integer(depth, "depth", 1)
    columns = check_integer(rank if latent_dim is None else latent_dim, "latent_dim", rank)
    return extremes_at(minimum(target, rank, loss), loss, depth, columns)


def extremes_at(low: Minimum, loss: AbstractLoss, depth: int, latent_dim: int) -> tuple[Array, Array]:
    """Sharpness, and the smallest positive eigenvalue (0 where the approach is slower than exponential)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # in entries that are left out
        curvatures = _positive_curvatures(low, loss, depth, latent_dim)
    xp = namespace(curvatures)
    smallest = xp.where(curvatures > 0, curvatures, xp.inf).min()
    largest = xp.where(xp.isnan(curvatures), -xp.inf, curvatures).max()
    values = xp.asarray(low.eigenvalues)
    if isinstance(loss, BuresWasserstein) and loss.is_smooth:
        tau = xp.asarray(loss.tau, dtype=smallest.dtype)
        # A column that no mode uses: λ_i < τ decays like a power of t for depth ≥ 2, λ_i = τ at every depth.
        used = xp.asarray(low.used)
        idle = used.sum() < min(low.rank, latent_dim)
        rest = xp.concatenate([xp.where(used, xp.inf, values[: low.rank]), values[low.rank :]])
        flat = idle & (xp.any(rest <= tau) if depth > 1 else xp.any(rest == tau))
        smallest = xp.where(flat, 0.0, smallest)
    elif depth > 1 or not isinstance(loss, BuresWasserstein):
        # A mode beyond the rank of the target, λ_i = 0, shrinks by ds/dt = −2N s^{3−2/N} (Frobenius: −4N s^{5−2/N}).
        smallest = xp.where(xp.any(values[: low.rank] <= 0), 0.0, smallest)
    largest = xp.where(largest > -xp.inf, largest, xp.nan)
    return largest, xp.where(xp.isfinite(smallest), smallest, 0.0)


@numpy_in_numpy_out
def sharpness(target: Target, rank: int, loss: AbstractLoss, *, depth: int = 1, latent_dim: int | None = None) -> Array:
    """Largest Hessian eigenvalue λ_max of L^N at the balanced minimizer: gradient descent is stable below 2/λ_max.

    BuresWasserstein: 2N w_1^p (λ_1 − τ)/λ_1 with w_1² = λ_1 − τ, p = 2(N−1)/N (for τ = 0: 2N λ_1^{(N−1)/N}), unless τ
    exceeds some eigenvalue λ_i that is not used, when w_1^p 2(λ_1 − λ_i)/(λ_1 + √(λ_i τ)), and for depth 1 with spare
    columns 2(1 − √(λ_i/τ)), may be larger. Frobenius: 8N λ_1^{1+(N−1)/N}. No factorization of the minimizer is flatter
    than the balanced one.

    Parameters
    ----------
    target : Target
        The target.
    rank : int
        Bottleneck k of the network.
    loss : BuresWasserstein or Frobenius
        The loss.
    depth : int
        Number of layers N.
    latent_dim : int, optional
        Latent size m ≥ k, default k; matters for depth 1 with smoothing only.

    Returns
    -------
    array, scalar
        λ_max; 1/λ_max is the step size that `gradient_descent` calls "sharpness".

    References
    ----------
    Derived for this project from the Hessian spectra at critical points.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([8.0, 1.0])
    >>> round(float(db.sharpness(target, 1, db.BuresWasserstein(), depth=3)), 12)     # 2 · 3 · 8^(2/3)
    24.0
    """
    return _extremes(target, rank, loss, depth, latent_dim)[0]


@numpy_in_numpy_out
def asymptotic_rate(
    target: Target, rank: int, loss: AbstractLoss, *, depth: int = 1, latent_dim: int | None = None
) -> Array:
    """Rate r of the final approach L − L* ~ exp(−r t) of gradient flow to the balanced minimizer.

    Twice the smallest positive Hessian eigenvalue there. A prediction for late times, not a bound. Zero where the
    approach is a power of t instead: a reachable mode with λ_i < τ at depth N ≥ 2, or with λ_i = τ; without smoothing,
    a rank above that of the target (BuresWasserstein at depth N ≥ 2, Frobenius at every depth).

    Parameters
    ----------
    target, rank, loss, depth, latent_dim
        As for `sharpness`.

    Returns
    -------
    array, scalar
        r, per unit of flow time.

    References
    ----------
    Derived for this project.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 3.0])
    >>> float(db.asymptotic_rate(target, 1, db.BuresWasserstein()))     # 2 · 2 (1 − 3/4)
    1.0
    """
    return 2 * _extremes(target, rank, loss, depth, latent_dim)[1]
