"""Extremes of the Hessian at the balanced minimizer, in closed form: sharpness and asymptotic rate."""

from deepbures._checks import check_integer
from deepbures._precision import numpy_in_numpy_out
from deepbures._types import Array, Float
from deepbures.landscape._problem import Problem
from deepbures.model import AbstractLoss, Target


def _extremes(
    target: Target, rank: int, loss: AbstractLoss, depth: int, latent_dim: int | None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    depth = check_integer(depth, "depth", 1)
    columns = check_integer(rank if latent_dim is None else latent_dim, "latent_dim", rank)
    return Problem(target, loss, rank).extremes(depth, columns)


@numpy_in_numpy_out
def sharpness(
    target: Target, rank: int, loss: AbstractLoss, *, depth: int = 1, latent_dim: int | None = None
) -> Float[Array, ""]:
    """Largest Hessian eigenvalue λ_max of L^N at the balanced minimizer: gradient descent is stable below 2/λ_max.

    BuresWasserstein: 2N w_1^p (λ_1 − τ)/λ_1 with w_1² = λ_1 − τ, p = 2(N−1)/N (for τ = 0: 2N λ_1^{(N−1)/N}), unless τ
    exceeds some eigenvalue λ_i that is not used, when w_1^p 2(λ_1 − λ_i)/(λ_1 + √(λ_i τ)), and for depth 1 with spare
    columns 2(1 − √(λ_i/τ)), may be larger. Frobenius: 8N λ_1^{1+(N−1)/N}. Where the first formula holds
    (always for τ = 0, and for Frobenius) no factorization of the minimizer is flatter than the balanced one; elsewhere
    one may be: for λ = (1, 0), τ = 0.7 and layers (1, 1, 2) the balanced one has 1.095, that with W_1² = 0.3 has 0.78.

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
) -> Float[Array, ""]:
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
