"""How far above the minimum over matrices of bounded rank the Bures-Wasserstein loss is, without cancellation.

In coordinates in which the target is D² = diag(λ), for matrices w of rank at most k.
"""

import jax.numpy as jnp

from deepbures._types import Array, Float
from deepbures.linalg import squared_norm, thin_svd
from deepbures.model._coordinates import Coordinates


def exact_excess(c: Coordinates, rank: int) -> Float[Array, ""]:
    """With U the k leading left singular vectors of D w and Q = U Vᵀ, for any μ in [λ_{k+1}, λ_k],

        L − L* = ‖w − D Q‖² + Σ_{i≤k} (λ_i − μ)(1 − ‖row_i U‖²) + Σ_{i>k} (μ − λ_i) ‖row_i U‖²,

    as tr Σ0 − ‖D U‖² − Σ_{i>k} λ_i = Σ_{i≤k} λ_i − ‖D U‖² and ‖U‖² = k. Near the minimum 1 − ‖row_i U‖² cancels; it is
    computed as ‖e_i − U (row_i U)ᵀ‖², the part of e_i outside the range of U. (Where λ_k = λ_{k+1} the rows i > k of U
    need not be small at a minimum; their modes have the weight zero, and the others keep their digits.)
    """
    values, w = c.eigenvalues, c.blocks[0]
    k = min(rank, values.shape[-1])
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


def smoothed_excess(c: Coordinates, rank: int, tau: Float[Array, ""]) -> Float[Array, ""]:
    """With T* the transport map at the minimizer (1 on the used modes, √(λ_i/τ) on the others), S = W Wᵀ + τ I,

        L_τ − L_τ* = Σ_{i unused} (1 − √(λ_i/τ)) ‖row_i w‖² + tr(T* S) + tr(T*⁻¹ Σ0) − 2 tr (Σ0^½ S Σ0^½)^½,

    and with G = [w, √τ I], Q = polar(D G), Q Qᵀ = I, the last three terms are ‖T*^½ G − T*^{−½} D Q‖²: squares. The
    first sum cancels with them, to the rounding of Σ √(λ_i/τ) ‖row_i w‖². Where that is more than the loss and the
    variance themselves, for tiny τ away from the minimum, the difference of the losses has more digits.
    """
    values, w = c.eigenvalues, c.blocks[0]
    q = values.shape[-1]
    used = (jnp.arange(q) < rank) & (values > tau)
    root, small = jnp.sqrt(values), jnp.sqrt(tau)
    g = jnp.concatenate([w, small * jnp.eye(q, dtype=w.dtype)], axis=-1)
    u, _, vh = thin_svd(root[:, None] * g)
    left = jnp.where(used, 1, jnp.sqrt(root / small))
    right = jnp.where(used, root, jnp.sqrt(root) * jnp.sqrt(small))
    norms = jnp.where(used, 0, (w**2).sum(-1))
    squares = ((1 - root / small) * norms).sum() + squared_norm(left[:, None] * g - right[:, None] * (u @ vh))
    difference = squared_norm(g - root[:, None] * (u @ vh)) - jnp.where(used, 0, (root - small) ** 2).sum()
    return jnp.where((root / small * norms).sum() > values.sum() + squared_norm(w), difference, squares)
