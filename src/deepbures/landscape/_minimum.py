"""The best approximation of bounded rank: where it is, its loss, and how far above it a network is."""

import warnings
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_integer, format_list
from deepbures._precision import is_tracer, numpy_in_numpy_out
from deepbures.metric._procrustes import squared_norm
from deepbures.model import AbstractLoss, BuresWasserstein, Frobenius, Target
from deepbures.model._coordinates import Coordinates, coordinates, thin_svd
from deepbures.model._covariance import ProductCovariance, namespace
from deepbures.model._frobenius import operator_squared_norm

Array = Any


class Minimum(eqx.Module):
    """What is known of the minimum of a loss over matrices of rank at most `rank`.

    `eigenvalues` holds all n eigenvalues of the target, or the `rank` + 1 leading ones if it is known through products;
    `used` marks those of the first `rank` that the minimizer takes (all, unless τ exceeds some).
    """

    rank: int = eqx.field(static=True)
    value: Array
    eigenvalues: Array
    used: Array

    def reference(self, target: Target, loss: AbstractLoss) -> Array:
        """What an excess is relative to: L*, or the loss of the zero matrix where L* vanishes."""
        zero: Array = loss.value(jnp.zeros((target.dim, 1), target.dtype), target)
        value = jnp.asarray(self.value)
        return jnp.where(value > 1e-12 * zero, value, zero)

    def excess(self, w: Array, target: Target, loss: AbstractLoss) -> Array:
        """L(W) − L*, from sums of terms that vanish at the minimum wherever the target's spectrum is known.

        For W of at least `rank` columns and of rank at most `rank`, as networks with that bottleneck have: the sums
        are over `rank` modes, and rounding beyond that rank, which the loss would count, is left out.
        """
        if isinstance(target.covariance, ProductCovariance) or not isinstance(loss, BuresWasserstein):
            return loss.value(w, target) - self.value
        c = coordinates(target.covariance, w)
        outside = 0.0 if c.outside is None else squared_norm(c.outside[0])
        return outside + (self._smoothed_excess(c, loss) if loss.is_smooth else self._exact_excess(c))

    def _exact_excess(self, c: Coordinates) -> Array:
        """With U the k leading left singular vectors of D w and Q = U Vᵀ, for any μ in [λ_{k+1}, λ_k],

            L − L* = ‖w − D Q‖² + Σ_{i≤k} (λ_i − μ)(1 − ‖row_i U‖²) + Σ_{i>k} (μ − λ_i) ‖row_i U‖²,

        as tr Σ0 − ‖D U‖² − Σ_{i>k} λ_i = Σ_{i≤k} λ_i − ‖D U‖² and ‖U‖² = k. Near the minimum 1 − ‖row_i U‖² cancels;
        it is computed as ‖e_i − U (row_i U)ᵀ‖², the part of e_i outside the range of U. (Where λ_k = λ_{k+1} the rows
        i > k of U need not be small at a minimum; their modes have the weight zero, and the others keep their digits.)
        """
        values, w = c.eigenvalues, c.blocks[0]
        k = min(self.rank, values.shape[-1])
        root = jnp.sqrt(values)
        u, _, vh = thin_svd(root[:, None] * w)
        u, vh = u[:, :k], vh[:k]
        gap = squared_norm(w - root[:, None] * (u @ vh))
        if k == values.shape[-1]:
            return gap
        mu = (values[k - 1] + values[k]) / 2
        missing = jnp.eye(values.shape[-1], k, dtype=u.dtype) - u @ u[:k].T
        kept = ((mu - values[k:]) * (u[k:] ** 2).sum(-1)).sum()
        return gap + ((values[:k] - mu) * (missing**2).sum(-2)).sum() + kept

    def _smoothed_excess(self, c: Coordinates, loss: BuresWasserstein) -> Array:
        """With T* the transport map at the minimizer (1 on the used modes, √(λ_i/τ) on the others), S = W Wᵀ + τ I,

            L_τ − L_τ* = Σ_{i unused} (1 − √(λ_i/τ)) ‖row_i w‖² + tr(T* S) + tr(T*⁻¹ Σ0) − 2 tr (Σ0^½ S Σ0^½)^½,

        and with G = [w, √τ I], Q = polar(D G), Q Qᵀ = I, the last three terms are ‖T*^½ G − T*^{−½} D Q‖²: squares.
        """
        values, w = c.eigenvalues, c.blocks[0]
        tau = jnp.asarray(loss.tau, w.dtype)
        q = values.shape[-1]
        used = (jnp.arange(q) < self.rank) & (values > tau)
        root = jnp.sqrt(values)
        g = jnp.concatenate([w, jnp.sqrt(tau) * jnp.eye(q, dtype=w.dtype)], axis=-1)
        u, _, vh = thin_svd(root[:, None] * g)
        left = jnp.where(used, 1, (values / tau) ** 0.25)
        right = jnp.where(used, root, values**0.25 * tau**0.25)
        curved = jnp.where(used, 0, 1 - jnp.sqrt(values / tau)) * (w**2).sum(-1)
        return curved.sum() + squared_norm(left[:, None] * g - right[:, None] * (u @ vh))


def minimum(target: Target, rank: int, loss: AbstractLoss) -> Minimum:
    """What is known of the minimum of `loss` over matrices of rank at most `rank`."""
    k = check_integer(rank, "rank", 1, target.dim, why=" (the dimension of the target)")
    covariance = target.covariance
    if isinstance(covariance, ProductCovariance):
        values = target.spectrum(min(k + 1, target.dim))[0]
    else:
        values = covariance.all_eigenvalues()
    xp = namespace(values, getattr(loss, "tau", 0.0))
    used = xp.ones((*values.shape[:-1], k), bool)
    if isinstance(loss, Frobenius):
        if isinstance(covariance, ProductCovariance):
            value = xp.maximum(operator_squared_norm(covariance) - (values[:k] ** 2).sum(), 0)
        else:
            value = (values[..., k:] ** 2).sum(-1)
    elif isinstance(loss, BuresWasserstein):
        if loss.is_smooth:
            if isinstance(covariance, ProductCovariance):
                loss.value(np.zeros((target.dim, 1), target.dtype), target)  # raises: says what to do instead
            tau = xp.asarray(loss.tau, values.dtype)
            used = values[..., :k] > tau
            terms = (xp.sqrt(values) - xp.sqrt(tau)) ** 2
            value = terms[..., k:].sum(-1) + xp.where(used, 0, terms[..., :k]).sum(-1)
        else:
            products = isinstance(covariance, ProductCovariance)
            value = xp.maximum(target.trace - values[:k].sum(), 0) if products else values[..., k:].sum(-1)
    else:
        raise TypeError(
            f"The minimum of a {type(loss).__name__} is not known in closed form: pass BuresWasserstein or Frobenius."
        )
    return Minimum(k, value, values, used)


@numpy_in_numpy_out
def minimal_loss(target: Target, rank: int, loss: AbstractLoss) -> Array:
    """The smallest loss of any matrix of rank at most k: what a network with bottleneck k can reach.

    BuresWasserstein(τ=0): Σ_{i>k} λ_i. BuresWasserstein(τ): Σ over the modes not used of (√λ_i − √τ)², where the k
    largest eigenvalues above τ are used. Frobenius: Σ_{i>k} λ_i².

    Parameters
    ----------
    target : Target
        Its eigenvalues are λ_1 ≥ … ≥ λ_n.
    rank : int
        k, in 1..n.
    loss : BuresWasserstein or Frobenius
        The loss; smoothing needs a target with a known spectrum.

    Returns
    -------
    array, scalar
        In the units of the loss. For a target known through products it is a difference, right to eps · tr Σ0.

    Raises
    ------
    ValueError
        If the rank is not in 1..n.

    References
    ----------
    Bréchet et al. (2023) for the Bures-Wasserstein values, Eckart-Young-Mirsky for the Frobenius loss.

    Examples
    --------
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    >>> float(db.minimal_loss(target, 1, db.BuresWasserstein()))
    3.0
    >>> float(db.minimal_loss(target, 1, db.Frobenius()))
    5.0
    """
    return minimum(target, rank, loss).value


@numpy_in_numpy_out
def rank_k_minimizer(target: Target, k: int, loss: AbstractLoss) -> Array:
    """The factor (n, k) of the best approximation of rank at most k: the closed-form solution.

    W = Ω_k diag(λ_1, …, λ_k)^½ for BuresWasserstein(τ=0) and Frobenius; W = Ω_k diag(λ_j − τ)_+^½ for
    BuresWasserstein(τ), whose modes with λ_j ≤ τ stay at zero. Every other minimizer is W Vᵀ with VᵀV = I.
    Targets known through products are answered by a truncated eigensolver.

    Parameters
    ----------
    target : Target
        Its leading eigenpairs are Ω_k, λ_1..λ_k.
    k : int
        In 1..n.
    loss : BuresWasserstein or Frobenius
        The loss.

    Returns
    -------
    array (n, k)
        In the units of the data.

    Warns
    -----
    UserWarning
        If modes cannot be used since their eigenvalue is not above τ (named).

    Raises
    ------
    ValueError
        If k is not in 1..n.

    References
    ----------
    Bréchet et al. (2023).

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0, 2.0, 1.0])
    >>> w = db.rank_k_minimizer(target, 2, db.BuresWasserstein(tau=0.5))
    >>> np.linalg.svd(w, compute_uv=False).round(12).tolist()     # √3.5 and √1.5
    [1.870828693387, 1.224744871392]
    """
    check_integer(k, "k", 1, target.dim, why=" (the dimension of the target)")
    values, basis = target.spectrum(k)
    xp = namespace(values, getattr(loss, "tau", 0.0))
    if isinstance(loss, BuresWasserstein):
        if not is_tracer(values) and not is_tracer(loss.tau):
            warn_unusable(values, loss)
        values = values - xp.asarray(loss.tau, values.dtype)
    elif not isinstance(loss, Frobenius):
        raise TypeError(
            f"The minimizer of a {type(loss).__name__} is not known in closed form: pass BuresWasserstein or Frobenius."
        )
    return basis * xp.sqrt(xp.maximum(values, 0))[..., None, :]


def unusable_modes(leading: Array, loss: AbstractLoss) -> list[int]:
    """Numbers (from 1) of the modes among the leading ones that smoothing keeps from being used: λ_j ≤ τ, τ > 0."""
    if not isinstance(loss, BuresWasserstein) or not loss.is_smooth:
        return []
    below = np.atleast_2d(np.asarray(leading) <= np.asarray(loss.tau)).any(0)
    return [int(j) + 1 for j in np.flatnonzero(below)]


def warn_unusable(leading: Array, loss: AbstractLoss) -> None:
    """Warn of the leading modes that the smoothing keeps at zero."""
    modes = unusable_modes(leading, loss)
    if modes:
        values = np.asarray(leading)
        example = float(values[..., modes[0] - 1].min())
        warnings.warn(
            f"tau = {getattr(loss, 'tau', 0.0)} is not below {len(modes)} of the {values.shape[-1]} leading "
            f"eigenvalues of the target: mode(s) {format_list(modes)} (λ_{modes[0]} = {example:.4g}) cannot be used, "
            "and stay at zero in the minimizer. Lower tau or the rank to use every mode.",
            UserWarning,
            stacklevel=3,
        )
