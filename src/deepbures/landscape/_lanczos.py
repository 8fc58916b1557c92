"""Curvature of L(W_N ⋯ W_1) at any network: extreme Hessian eigenvalues by Lanczos, and the matrix of small ones."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence

from deepbures._checks import check_integer, check_number
from deepbures._types import Array, Float, Float64, Floats
from deepbures.linalg import extreme_eigenpairs
from deepbures.model import (
    AbstractLoss,
    DeepLinearNetwork,
    Target,
    check_loss,
    check_network,
    check_target,
    layer_gradients,
)

# A dense Hessian of this many parameters takes 800 MB.
_MOST_PARAMETERS = 10_000


@dataclasses.dataclass(frozen=True)
class HessianExtremes:
    """The ends of the Hessian spectrum of L(W_N ⋯ W_1) at a network.

    Attributes
    ----------
    smallest, largest : float
        λ_min and λ_max.
    smallest_residual, largest_residual : float
        ‖H v − λ v‖ for the unit vectors found: a bound on the error of each eigenvalue.
    smallest_direction, largest_direction : tuple of arrays
        These vectors, as directions of the weights, W_1 first.
    num_products : int
        Hessian-vector products that it took.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> net = db.DeepLinearNetwork([np.array([[2.0]])])
    >>> extremes = db.hessian_extremes(net, db.Target.from_spectrum([4.0]), db.BuresWasserstein())
    >>> extremes.largest, extremes.stability_limit
    (2.0, 1.0)
    """

    smallest: float
    largest: float
    smallest_residual: float
    largest_residual: float
    smallest_direction: tuple[Float64[Array, "_ _"], ...] = dataclasses.field(repr=False)
    largest_direction: tuple[Float64[Array, "_ _"], ...] = dataclasses.field(repr=False)
    num_products: int

    @property
    def relative_condition(self) -> float:
        """λ_max / |λ_min|; infinite if λ_min is zero."""
        return self.largest / abs(self.smallest) if self.smallest else float("inf")

    @property
    def stability_limit(self) -> float:
        """2/λ_max: a larger step of gradient descent is unstable here."""
        return 2 / self.largest if self.largest > 0 else float("inf")


@eqx.filter_jit
def _product(
    weights: tuple[Float[Array, "_ _"], ...], target: Target, loss: AbstractLoss, flat: Float[Array, "parameters"]
) -> Float[Array, "parameters"]:
    """Hessian of L^N times a direction, both flat: the derivative of the gradient along it."""
    gradient = lambda layers: layer_gradients(layers, loss, target)[0]  # noqa: E731
    _, moved = jax.jvp(gradient, (weights,), (_split(flat, weights),))
    return jnp.concatenate([layer.ravel() for layer in moved])


def _split(
    flat: Float[Array, "parameters"], weights: tuple[Float[Array, "_ _"], ...]
) -> tuple[Float[Array, "_ _"], ...]:
    ends = np.cumsum([weight.size for weight in weights])[:-1].tolist()
    xp = jnp if isinstance(flat, jax.Array) else np
    parts = xp.split(flat, ends)
    return tuple(part.reshape(weight.shape) for part, weight in zip(parts, weights, strict=True))


def _checked(net: DeepLinearNetwork, target: Target, loss: AbstractLoss) -> tuple[Array, ...]:
    check_network(net)
    check_target(target)
    check_loss(loss)
    if np.ndim(target.mean) != 1:
        raise ValueError(f"One target is asked for, but a batch of shape {np.shape(target.mean)[:-1]} was given.")
    if net.dim != target.dim:
        raise ValueError(f"net has dimension {net.dim}, but the target has {target.dim}.")
    return tuple(jnp.asarray(np.asarray(weight, np.float64)) for weight in net.weights)


def hessian_extremes(
    net: DeepLinearNetwork,
    target: Target,
    loss: AbstractLoss,
    *,
    tol: float = 1e-8,
    seed: int = 0,
    max_products: int = 10_000,
) -> HessianExtremes:
    """Smallest and largest Hessian eigenvalue of L(W_N ⋯ W_1) at a network, critical or not, balanced or not.

    Lanczos iteration on exact Hessian-vector products; the Hessian itself is never formed. (A network of less than
    four parameters is answered by `hessian_matrix`.)

    Parameters
    ----------
    net : DeepLinearNetwork
        Where; computed in float64.
    target : Target
        The target.
    loss : AbstractLoss
        Any loss with a Hessian-vector product. Where it has a kink, along directions that keep the rank.
    tol : float
        Accuracy of both eigenvalues, relative to the largest |λ|.
    seed : int
        For the start vector: same seed, same bits.
    max_products : int
        When to give up.

    Returns
    -------
    HessianExtremes
        Both eigenvalues, with residuals and directions.

    Raises
    ------
    ValueError
        If net and target do not fit, or are batches.
    RuntimeError
        If the accuracy is not reached with `max_products` products. A larger `tol` helps where the end of the spectrum
        is crowded.

    References
    ----------
    The products differentiate the gradient in closed form (see `BuresWasserstein.hvp`); Lanczos iteration by ARPACK.

    Examples
    --------
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0]), db.BuresWasserstein()
    >>> net = db.balanced_network(db.rank_k_minimizer(target, 2, loss), (2, 2, 3))
    >>> extremes = db.hessian_extremes(net, target, loss)
    >>> round(extremes.largest, 6)                                      # the sharpness, 2 N λ_1^½
    8.0
    """
    check_number(tol, "tol", positive=True)
    check_integer(max_products, "max_products", 1)
    rng = np.random.default_rng(check_integer(seed, "seed", 0))
    with jax.enable_x64(True):
        weights = _checked(net, target, loss)
        size = sum(weight.size for weight in weights)
        count = 0

        def product(flat: Floats) -> Floats:
            nonlocal count
            count += 1
            return np.asarray(_product(weights, target, loss, jnp.asarray(flat)))

        if size < 4:
            values, vectors = np.linalg.eigh(hessian_matrix(net, target, loss))
        else:
            try:
                values, vectors = extreme_eigenpairs(product, rng.standard_normal(size), tol, max_products)
            except ArpackNoConvergence as error:
                raise RuntimeError(
                    f"The extreme eigenvalues were not found to an accuracy of {tol:g} of the largest within {count} "
                    "products. Raise max_products, or tol."
                ) from error
        ends = []
        for column in (0, -1):
            vector = np.ascontiguousarray(vectors[:, column])
            ends.append(
                (float(values[column]), vector, float(np.linalg.norm(product(vector) - values[column] * vector)))
            )
    (smallest, first, first_residual), (largest, last, last_residual) = ends
    return HessianExtremes(
        smallest, largest, first_residual, last_residual, _split(first, weights), _split(last, weights), count
    )


def hessian_matrix(
    net: DeepLinearNetwork, target: Target, loss: AbstractLoss
) -> Float64[Array, "parameters parameters"]:
    """The dense Hessian of L(W_N ⋯ W_1) in all weights: for small networks.

    Parameters
    ----------
    net : DeepLinearNetwork
        Where; computed in float64.
    target : Target
        The target.
    loss : AbstractLoss
        The loss.

    Returns
    -------
    array (parameters, parameters)
        Symmetric. Weights are ordered layer by layer, W_1 first, row by row.

    Raises
    ------
    ValueError
        If there are more than 10,000 parameters (ask for `hessian_extremes`), or net and target do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0])
    >>> net = db.DeepLinearNetwork([np.array([[1.0]]), np.array([[2.0]])])     # L = (w_2 w_1 − 2)², at its minimum
    >>> db.hessian_matrix(net, target, db.BuresWasserstein()).tolist()
    [[8.0, 4.0], [4.0, 2.0]]
    """
    with jax.enable_x64(True):
        weights = _checked(net, target, loss)
        size = sum(weight.size for weight in weights)
        if size > _MOST_PARAMETERS:
            raise ValueError(
                f"The network has {size:,} parameters, and its Hessian {size**2:,} entries; at most "
                f"{_MOST_PARAMETERS:,} parameters are taken. Ask for hessian_extremes instead."
            )
        columns = [
            np.asarray(_product(weights, target, loss, jnp.asarray(unit))) for unit in np.eye(size, dtype=np.float64)
        ]
    matrix = np.stack(columns)
    return (matrix + matrix.T) / 2
