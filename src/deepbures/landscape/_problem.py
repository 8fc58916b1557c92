"""What is known of a problem before any training: its minimum, the distance from it, the curvature there."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_integer
from deepbures._precision import is_tracer, numpy_in_numpy_out
from deepbures._types import Array, Bool, Float
from deepbures.landscape._eigenvalues import equality_level, geometric_sum, modes_of, side_of_threshold
from deepbures.linalg import namespace
from deepbures.model import AbstractLoss, AbstractModes, Target, check_loss, check_target


class Problem(eqx.Module):
    """A target, a loss and the largest rank k, with what is known of the minimum in closed form: found once, handed on.

    Parameters
    ----------
    target : Target
        What is approximated; λ_1 ≥ … ≥ λ_n are its eigenvalues.
    loss : AbstractLoss
        How. Of a loss without `modes` nothing is known in closed form: numbers are NaN then, arrays None.
    rank : int
        k, in 1..n.
    exponent : int
        The data are in units of 2^exponent of the user's, which messages speak in.

    Attributes
    ----------
    eigenvalues : array or None
        All n eigenvalues of the target, or the k + 1 leading ones if it is known through products.
    eigenvectors : array (n, k + 1) or None
        Of the leading eigenvalues of a target that is known through products, which are looked for once; else None.
    used : bool array (k,) or None
        Which of the k leading modes the minimizer takes: all whose eigenvalue is above the threshold of the loss.
    minimal_value : array, scalar
        L*, the least loss of a matrix of rank at most k.
    reference : array, scalar
        What an excess is relative to: L*, or the loss of the zero matrix where L* vanishes beside it (or is not known).

    Raises
    ------
    ValueError
        If the rank is not in 1..n.
    TypeError
        If target or loss is none.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> problem = db.Problem(db.Target.from_spectrum([4.0, 2.0, 1.0]), db.BuresWasserstein(), 2)
    >>> float(problem.minimal_value), round(float(problem.excess(np.eye(3)[:, :2])), 12)     # (2 − 1)² + (√2 − 1)²
    (1.0, 1.171572875254)
    """

    target: Target
    loss: AbstractLoss
    rank: int = eqx.field(static=True)
    exponent: int = eqx.field(static=True)
    eigenvalues: Float[Array, "*batch known"] | None
    eigenvectors: Array | None
    used: Bool[Array, "*batch {self.rank}"] | None
    minimal_value: Float[Array, "*batch"]
    reference: Float[Array, "*batch"]

    def __init__(self, target: Target, loss: AbstractLoss, rank: int, *, exponent: int = 0) -> None:
        check_target(target)
        check_loss(loss)
        self.target, self.loss, self.exponent = target, loss, exponent
        self.rank = check_integer(rank, "rank", 1, target.dim, why=" (the dimension of the target)")
        loss.check_pairing(target)
        every, modes = target.eigenvalues, loss.modes
        self.eigenvectors = None
        if modes is None or every is None:
            zero = loss.value(np.zeros((target.dim, 1), target.dtype), target)
        else:
            zero = modes.cost(every).sum(-1)
        if modes is None:
            self.eigenvalues = self.used = None
            self.minimal_value, self.reference = 0 * zero + np.nan, zero
            return
        values = every
        if values is None:
            values, self.eigenvectors = target.spectrum(min(self.rank + 1, target.dim))
        self.eigenvalues = values
        self.used = side_of_threshold(values, modes)[..., : self.rank] > 0
        self.minimal_value = _minimal_value(values, self.used, modes, zero, complete=every is not None)
        xp = namespace(self.minimal_value, zero)
        self.reference = xp.where(self.minimal_value > 1e-12 * zero, self.minimal_value, zero)

    @numpy_in_numpy_out
    def excess(self, w: Float[Array, "*batch n m"]) -> Float[Array, "*batch"]:
        """L(W) − L*, from sums of terms that vanish at the minimum wherever the loss knows them.

        For W of at least k columns and of rank at most k, as networks with that bottleneck have: rounding beyond that
        rank, which the loss would count, may be left out.
        """
        return self.loss._excess(jnp.asarray(w), self.target, self.rank, self.minimal_value)

    def excess_of_rounding(self, error: float, value: float) -> float:
        """An excess that may be nothing else, where target and W are right to a relative error, at a loss L(W)."""
        size, power = self.loss._resolution(self.target, value)
        return float(error**power * float(size))

    @numpy_in_numpy_out
    def minimizer(self) -> Float[Array, "*batch n {self.rank}"]:
        """W = Ω_k diag(w), w_j² = m*(λ_j) or zero for a mode that is not used: a factor (n, k)."""
        modes = modes_of(self.loss)
        if self.eigenvalues is None or self.eigenvectors is None:
            values, basis = self.target.spectrum(self.rank)
        else:
            values, basis = self.eigenvalues[..., : self.rank], self.eigenvectors[..., : self.rank]
        xp = namespace(values, self.used)
        squares = xp.where(self.used, modes.used(values), 0)
        return basis * xp.sqrt(xp.maximum(squares, 0))[..., None, :]

    def unusable_modes(self) -> tuple[int, ...]:
        """Numbers (from 1) of the modes among the k leading ones whose eigenvalue is not above a positive threshold."""
        if self.loss.modes is None or is_tracer(self.used) or not np.any(np.asarray(self.loss.modes.threshold()) > 0):
            return ()
        idle = ~np.atleast_2d(np.asarray(self.used))
        return tuple(int(j) + 1 for j in np.flatnonzero(idle.any(0)))

    @numpy_in_numpy_out
    def extremes(self, depth: int, latent_dim: int) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Largest Hessian eigenvalue of L^N at the balanced minimizer, and the smallest positive one.

        The latter is 0 where the approach of gradient flow is slower than exponential. NaN where they are not known.
        """
        if self.loss.modes is None:
            return jnp.nan * self.reference, jnp.nan * self.reference
        with np.errstate(divide="ignore", invalid="ignore"):  # in entries that are left out
            return _extremes(self, self.loss.modes, depth, latent_dim)

    @numpy_in_numpy_out
    def least_sharpness(self, depth: int) -> Float[Array, "..."]:
        """A number that the largest Hessian eigenvalue of L^N is not below at any factorization of the minimizer.

        In the scale of mode j the Hessian is h_j Σ_l (w_j/w_jl)² where the layers have singular values w_jl with the
        product w_j: at least N h_j w_j^p, which is that of the balanced one. So the balanced one is the flattest where
        this is the largest, as for τ = 0 and for the Frobenius loss; elsewhere another one may be flatter. NaN where
        it is not known, or no mode is used.
        """
        if self.loss.modes is None:
            return jnp.nan * self.reference
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = _kept(self, self.loss.modes, depth)
            xp = namespace(kept.scale)
            largest = xp.where(kept.alive, kept.scale, -xp.inf).max(-1)
            return xp.where(largest > -xp.inf, largest, xp.nan)

    @property
    def is_batch(self) -> bool:
        """Whether this is a batch of problems, one for each target of a batch."""
        return bool(self.target.covariance.batch_shape)

    @property
    def largest_deviation(self) -> Float[Array, "*batch"]:
        """√λ_1, the largest standard deviation of the target; √tr Σ0 where the spectrum was not asked for."""
        largest = self.target.trace if self.eigenvalues is None else self.eigenvalues[..., 0]
        return namespace(largest).sqrt(largest)

    def astype(self, dtype: Any) -> "Problem":
        """The same, with arrays of JAX of this dtype."""

        def convert(leaf: Any) -> Any:
            if not eqx.is_array_like(leaf):
                return leaf
            array = jnp.asarray(leaf)
            return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array

        where = lambda p: (p.target, p.eigenvalues, p.eigenvectors, p.used, p.minimal_value, p.reference)  # noqa: E731
        found: Problem = eqx.tree_at(where, self, jax.tree.map(convert, where(self)), is_leaf=lambda leaf: leaf is None)
        return found

    @property
    def modes(self) -> AbstractModes:
        """The scalar functions of the loss; a TypeError for a loss that has none."""
        return modes_of(self.loss)


def _minimal_value(
    values: Float[Array, "*batch known"],
    used: Bool[Array, "*batch k"],
    modes: AbstractModes,
    zero: Float[Array, "*batch"],
    *,
    complete: bool,
) -> Float[Array, "*batch"]:
    """Σ of h(λ, 0) over the modes that are not used, and of h(λ, m*) over the others; from L(0) where some λ miss."""
    k = used.shape[-1]
    xp = namespace(values, used, zero)
    leading = values[..., :k]
    kept = xp.where(used, modes.rest(xp.where(used, leading, 1)), modes.cost(leading))
    if not complete:
        return xp.maximum(zero - (modes.cost(leading) - kept).sum(-1), 0)
    return modes.cost(values[..., k:]).sum(-1) + kept.sum(-1)


class _Kept(NamedTuple):
    """The k leading modes at the balanced minimizer; 1 in the place of those that it does not take.

    Which it takes, their λ_j, w_j², w_j^p, and the Hessian in their scales, N w_j^p h_j.
    """

    alive: Bool[Array, "*batch k"]
    inside: Float[Array, "*batch k"]
    squares: Float[Array, "*batch k"]
    power: Float[Array, "*batch k"]
    scale: Float[Array, "*batch k"]


def _kept(problem: Problem, modes: AbstractModes, depth: int) -> _Kept:
    xp = namespace(problem.eigenvalues, modes.threshold())
    used = xp.asarray(problem.used)
    inside = xp.where(used, xp.asarray(problem.eigenvalues)[..., : problem.rank], 1)
    squares = xp.where(used, modes.used(inside), 1)
    alive = used & (squares > 0)
    power = xp.where(alive, squares, 1) ** ((depth - 1) / depth)
    return _Kept(alive, inside, squares, power, depth * modes.scale(inside) * power)


def _extremes(
    problem: Problem, modes: AbstractModes, depth: int, latent_dim: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """From exchanges i→j, scales, pairs and (depth 1 only) null columns, NaN in the place of other pairs of modes.

    With w_j the singular values and p = 2(N−1)/N an exchange is multiplied by w_j^p, a scale by N w_j^p, a pair by
    g(w_j, w_j') = Σ_l w_j^{2(N−l)/N} w_j'^{2(l−1)/N}.
    """
    k = problem.rank
    xp = namespace(problem.eigenvalues, modes.threshold())
    values, used = xp.asarray(problem.eigenvalues), xp.asarray(problem.used)
    idle = xp.concatenate([~used, xp.ones(values.shape[-1] - k, bool)])
    alive, inside, squares, power, scale = _kept(problem, modes, depth)
    # Exact ties λ_i = λ_j are directions along a family of minimizers, not slow ones.
    level = xp.maximum(equality_level(values)[None, :], 4 * np.finfo(values.dtype).eps * inside[:, None])
    is_tied = values[None, :] >= inside[:, None] - level
    among = alive[:, None] & idle[None, :] & ~is_tied
    exchange = modes.exchange(*xp.broadcast_arrays(values[None, :], inside[:, None]))
    exchange = xp.where(among, exchange * power[:, None], xp.nan)
    scale = xp.where(alive, scale, xp.nan)
    pair = modes.pair(*xp.broadcast_arrays(inside[:, None], inside[None, :]))
    pair = pair * geometric_sum(squares[:, None], squares[None, :], depth)
    pair = xp.where(alive[:, None] & alive[None, :] & ~xp.eye(k, dtype=bool), pair, xp.nan)
    null = modes.null(values)
    is_open = idle & (used.sum() < latent_dim) & (depth == 1) & modes.is_smooth
    curvatures = xp.concatenate([exchange.ravel(), scale, pair.ravel(), xp.where(is_open, null, xp.nan)])
    largest = xp.where(xp.isnan(curvatures), -xp.inf, curvatures).max()
    smallest = xp.where(curvatures > 0, curvatures, xp.inf).min()
    # A mode that reaches for a column of its own in vain: flat to second order at depth N ≥ 2, and at the threshold.
    reachable = idle & (used.sum() < min(k, latent_dim)) & (null >= 0)
    flat = reachable & (
        (side_of_threshold(values, modes) == 0) & modes.is_smooth if depth == 1 else xp.ones_like(reachable)
    )
    smallest = xp.where(xp.any(flat) | ~xp.isfinite(smallest), 0.0, smallest)
    return xp.where(largest > -xp.inf, largest, xp.nan), smallest
