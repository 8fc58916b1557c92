"""Where training starts."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from deepbures._checks import check_number, check_widths
from deepbures._precision import numpy_in_numpy_out
from deepbures._types import Array, Float, Float64
from deepbures.linalg import haar_orthogonal
from deepbures.metric import squared_bures_wasserstein_factors
from deepbures.model._balanced import balanced_network
from deepbures.model._inputs import check_target
from deepbures.model._margin import squared_margin, unsmoothed_margin
from deepbures.model._network import DeepLinearNetwork, stack_networks
from deepbures.model._random import as_key, random_orthogonal
from deepbures.model._target import Target

_Draw = Callable[[Any, int, int, Any], Array]


def _gaussian(gain: Callable[[int, int], float]) -> _Draw:
    def draw(key: Any, rows: int, columns: int, dtype: Any) -> Float[Array, "{rows} {columns}"]:
        return gain(rows, columns) * jax.random.normal(key, (rows, columns), dtype)

    return draw


def _uniform(key: Any, rows: int, columns: int, dtype: Any) -> Float[Array, "{rows} {columns}"]:
    return jax.random.uniform(key, (rows, columns), dtype, -1.0, 1.0)


_LAYERWISE: dict[str, _Draw] = {
    "gaussian": _gaussian(lambda rows, columns: columns**-0.5),
    "xavier": _gaussian(lambda rows, columns: math.sqrt(2 / (rows + columns))),
    "kaiming": _gaussian(lambda rows, columns: math.sqrt(2 / columns)),
    "uniform": _uniform,
    "orthogonal": haar_orthogonal,
}

SCHEMES = ("balanced", *_LAYERWISE, "close")
"""Names accepted by `initialize`."""


def initialize(
    widths: Sequence[int],
    scheme: str = "balanced",
    *,
    key: Any,
    scale: float = 1.0,
    target: Target | None = None,
    tau: float = 0.0,
    margin: float | None = None,
    dtype: Any = None,
) -> DeepLinearNetwork:
    """A network to start training from.

    ============  ==================================================================================================
    scheme        start
    ============  ==================================================================================================
    balanced      balanced lift of a rank-k Gaussian end-to-end matrix with E W Wᵀ = scale² I (k the bottleneck)
    gaussian      layers with entries N(0, scale²/d_{l−1}): variance kept from layer to layer
    xavier        layers with entries N(0, 2 scale²/(d_{l−1} + d_l)) (Glorot-Bengio 2010)
    kaiming       layers with entries N(0, 2 scale²/d_{l−1}) (He et al. 2015)
    uniform       layers with entries uniform on (−scale, scale)
    orthogonal    layers scale × (rows or columns orthonormal), uniform (Haar)
    close         balanced lift of a perturbed minimizer, with a margin of at least `margin`; needs `target`
    ============  ==================================================================================================

    For `close`, W is the best rank-k factor of Σ0 − τI + Γ D Γᵀ, D_i = s λ_k (2 − i/n), with Γ and the right rotation
    random, as in the experiments of Bréchet et al. (2023). s is the largest of 10.95, 10.95·0.95, … for which the
    margin c holds, where σ_min(W(t)) ≥ c is guaranteed along gradient flow from a balanced start:
    k = n: c² = (√λ_n − √L_τ(W))² − τ; k < n, τ = 0: c = √λ_k − √e, e = L(W) − L* < λ_k − λ_{k+1}. As s → 0 the margin
    tends to that of the minimizer itself, so the search ends, or refuses before it starts.

    Parameters
    ----------
    widths : sequence of int
        (d_0, …, d_N): latent size first, data size last.
    scheme : str
        One of the table.
    key : jax.random key, int, or batch of keys (B,)
        Seed; the same seed gives the same bits. A batch of keys gives a batch of networks.
    scale : float
        Positive factor of the table. Not used by `close`.
    target : Target, optional
        Needed by `close`; otherwise only its dtype is used.
    tau, margin : float
        For `close`: the smoothing of the loss that will be trained, and the wanted margin (a standard deviation, in
        the units of W). Default margin: half of the largest possible.
    dtype : dtype, optional
        Default: that of the target, else float64.

    Raises
    ------
    ValueError
        For an unknown scheme; for `close`, if no start has the wanted margin (with the largest possible one), or if no
        margin is known (k < n with τ > 0).

    Examples
    --------
    >>> import deepbures as db
    >>> net = db.initialize((2, 3, 5), "balanced", key=0)
    >>> net.widths, bool(net.balancedness_gap() < 1e-14)
    ((2, 3, 5), True)
    """
    sizes = check_widths(widths)
    if scheme not in SCHEMES:
        raise ValueError(f"Unknown initialization scheme {scheme!r}: choose one of {', '.join(SCHEMES)}.")
    check_number(scale, "scale", positive=True)
    key = as_key(key)
    if target is not None:
        check_target(target)
    dtype = np.dtype(dtype if dtype is not None else (np.float64 if target is None else target.dtype))
    if scheme == "close":
        if target is None:
            raise ValueError("initialize(…, 'close') starts near a target: pass target=….")
        if key.ndim:
            return stack_networks([_close(sizes, k, target, tau, margin) for k in key])
        return _close(sizes, key, target, tau, margin)
    draw = _balanced if scheme == "balanced" else _layerwise

    @numpy_in_numpy_out
    def start(key: Any) -> DeepLinearNetwork:
        one = lambda k: draw(k, sizes, scheme, scale, dtype)  # noqa: E731
        network: DeepLinearNetwork = jax.vmap(one)(key) if key.ndim else one(key)
        return network

    return start(key)


def _layerwise(key: Any, sizes: tuple[int, ...], scheme: str, scale: float, dtype: Any) -> DeepLinearNetwork:
    keys = jax.random.split(key, len(sizes) - 1)
    draw = _LAYERWISE[scheme]
    return DeepLinearNetwork([scale * draw(k, sizes[i + 1], sizes[i], dtype) for i, k in enumerate(keys)])


def _balanced(key: Any, sizes: tuple[int, ...], scheme: str, scale: float, dtype: Any) -> DeepLinearNetwork:
    # Through a bottleneck k: an n×k Gaussian times k orthonormal rows. Then E W Wᵀ = scale² I for every k.
    n, m, k = sizes[-1], sizes[0], min(sizes)
    left, right = jax.random.split(key)
    w = jax.random.normal(left, (n, k), dtype) * (scale / math.sqrt(k))
    return balanced_network(w @ haar_orthogonal(right, k, m, dtype), sizes)


def _close(sizes: tuple[int, ...], key: Any, target: Target, tau: float, margin: float | None) -> DeepLinearNetwork:
    check_number(tau, "tau")
    n, k = sizes[-1], min(sizes)
    if n != target.dim:
        raise ValueError(f"widths must end with {target.dim}, the dimension of the target, but {sizes} was given.")
    if target.eigenvalues is None:
        raise ValueError(
            "initialize(…, 'close') needs the full spectrum of the target, which one known through products lacks."
        )
    values = np.asarray(target.eigenvalues, np.float64)
    best = _best_margin(values, n, k, tau)
    if margin is None:
        margin = best / 2
    check_number(margin, "margin", positive=True)
    if margin >= best:
        raise ValueError(
            f"No start can have the margin {margin:.4g}: even the minimizer of rank {k} has only {best:.4g}. "
            "Ask for a smaller margin."
        )
    factor = _exact_basis(target) * np.sqrt(values)
    for w in perturbed_minimizers(sizes, key, target, tau):
        if _margin(w, factor, values, n, k, tau) >= margin:
            return balanced_network(w.astype(target.dtype), sizes)
    # Only where the margin of the minimizer itself is of the order of rounding.
    raise ValueError(
        f"No start with the margin {margin:.4g} found: that of the minimizer of rank {k}, {best:.4g}, is lost in "
        "rounding, as eigenvalues of the target are too close to each other or to tau. Change the bottleneck or tau."
    )


def _exact_basis(target: Target) -> Float64[Array, "n n"]:
    """All eigenvectors in double precision: those held in float32 are orthonormal to 1e-7 only."""
    return np.linalg.qr(np.asarray(target.spectrum(target.dim)[1], np.float64))[0]


def perturbed_minimizers(sizes: tuple[int, ...], key: Any, target: Target, tau: float) -> Iterator[np.ndarray]:
    """End-to-end matrices ever closer to the minimizer: the rank-k factors of Σ0 − τI + s Γ D Γᵀ, D_i = λ_k (2 − i/n).

    Γ and the right rotation are random; s = 10.95, 10.95·0.95, … down to rounding.
    """
    n, m, k = sizes[-1], sizes[0], min(sizes)
    gamma_key, right_key = jax.random.split(key)
    gamma = random_orthogonal(gamma_key, n, np.float64)
    right = random_orthogonal(right_key, m, np.float64)[:k]
    values, basis = np.asarray(target.eigenvalues, np.float64), _exact_basis(target)
    base = basis * (values - tau) @ basis.T
    spread = gamma * (values[k - 1] * (2 - np.arange(1, n + 1) / n)) @ gamma.T
    s = 10.95
    while s > float(np.finfo(np.float64).eps):
        eigenvalues, vectors = np.linalg.eigh(base + s * spread)
        yield vectors[:, ::-1][:, :k] * np.sqrt(np.maximum(eigenvalues[::-1][:k], 0)) @ right
        s *= 0.95


def _best_margin(values: Float64[Array, "{n}"], n: int, k: int, tau: float) -> float:
    """The margin of the minimizer itself: the supremum over starts."""
    if k == n:
        if values[-1] <= tau:
            raise ValueError(
                f"No start has a margin: the smallest eigenvalue of the target, {values[-1]:.4g}, is not above "
                f"tau = {tau:.4g}."
            )
        return math.sqrt(values[-1] - tau)
    if tau > 0:
        raise ValueError(
            f"No margin is known for a bottleneck ({k}) below the dimension ({n}) with smoothing (tau = {tau:.4g}): "
            "initialize with tau=0 (the start may still be trained with smoothing)."
        )
    if values[k - 1] <= values[k]:
        raise ValueError(
            f"No start has a margin: eigenvalues {k} and {k + 1} of the target are equal ({values[k]:.4g}), so the "
            f"minimizer of rank {k} is not isolated. Choose another bottleneck."
        )
    return math.sqrt(values[k - 1])


def _margin(
    w: Float64[Array, "{n} m"],
    factor: Float64[Array, "{n} {n}"],
    values: Float64[Array, "{n}"],
    n: int,
    k: int,
    tau: float,
) -> float:
    # L_τ(W) is the distance of the target to the factor [W, √τ I].
    smoothed = np.concatenate([w, math.sqrt(tau) * np.eye(n)], axis=1) if tau > 0 else w
    loss = float(squared_bures_wasserstein_factors(smoothed, factor))
    if k == n:
        return math.sqrt(max(squared_margin(values[-1], loss, tau), 0.0))
    excess = max(loss - float(values[k:].sum()), 0.0)
    return unsmoothed_margin(values[k - 1], excess) if excess < values[k - 1] - values[k] else 0.0
