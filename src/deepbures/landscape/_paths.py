"""The loss along paths between matrices or networks, and against its second-order model."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from deepbures._checks import as_array, check_finite, check_integer
from deepbures._types import Array, Float, Float64
from deepbures.landscape._points import CriticalPoint
from deepbures.linalg import polar_factor
from deepbures.model import (
    AbstractLoss,
    DeepLinearNetwork,
    Target,
    check_loss,
    check_network,
    check_target,
    multiply_layers,
)

End = Array | DeepLinearNetwork | CriticalPoint


@dataclasses.dataclass(frozen=True)
class PathProfile:
    """The loss along a path.

    Attributes
    ----------
    positions : float array (points,)
        From 0 at the start to 1 at the end.
    losses : float array (points,)
        The loss at each.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0]), db.BuresWasserstein()
    >>> db.loss_along_path(np.array([[2.0]]), np.array([[-2.0]]), target, loss).barrier
    4.0
    """

    positions: Float64[Array, "points"]
    losses: Float64[Array, "points"]

    @property
    def barrier(self) -> float:
        """How far the path climbs above the higher one of its ends."""
        return float(self.losses.max() - max(self.losses[0], self.losses[-1]))


@dataclasses.dataclass(frozen=True)
class QuadraticModel:
    """The loss along a line, and its Taylor expansion of second order.

    Attributes
    ----------
    radii : float array (points,)
        How far along the unit direction.
    losses : float array (points,)
        The loss there.
    model : float array (points,)
        L + r ⟨∇L, d⟩ + r²/2 ⟨d, ∇²L d⟩.
    slope, curvature : float
        ⟨∇L, d⟩ and ⟨d, ∇²L d⟩.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> net = db.DeepLinearNetwork([np.array([[3.0]])])
    >>> model = db.quadratic_model(net, db.Target.from_spectrum([4.0]), db.BuresWasserstein(), [np.ones((1, 1))], [0.5])
    >>> model.slope, model.curvature
    (2.0, 2.0)
    """

    radii: Float64[Array, "points"]
    losses: Float64[Array, "points"]
    model: Float64[Array, "points"]
    slope: float
    curvature: float


def loss_along_path(
    start: End,
    end: End,
    target: Target,
    loss: AbstractLoss,
    *,
    kind: Literal["straight", "bures", "layers"] = "straight",
    num: int = 101,
) -> PathProfile:
    """The loss along a path between two matrices, networks or critical points.

    "straight":  W(t) = (1 − t) W_0 + t W_1 of the end-to-end matrices, as they are.
    "bures":     the same after the best rotation, W_1 → W_1 Qᵀ with Q the polar factor of W_0ᵀ W_1: the covariances
                 W Wᵀ move along the geodesic of the Bures-Wasserstein distance.
    "layers":    every layer of two networks of equal widths, in a straight line.

    Parameters
    ----------
    start, end : arrays (n, m), networks or critical points
        Matrices may have different numbers of columns; the narrower one is filled up with zeros. A critical point
        stands for its matrix, or its balanced lift for "layers".
    target : Target
        The target.
    loss : AbstractLoss
        The loss.
    kind : str
        Which path.
    num : int
        Number of points, at least 2.

    Returns
    -------
    PathProfile
        Positions and losses.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the kind is unknown.

    Examples
    --------
    >>> import deepbures as db
    >>> target, loss = db.Target.from_spectrum([4.0, 1.0]), db.BuresWasserstein()
    >>> minimizer, saddle = db.critical_points(target, 1, loss)
    >>> profile = db.loss_along_path(saddle, minimizer, target, loss)
    >>> profile.losses[[0, -1]].round(12).tolist(), bool(profile.barrier < 1e-12)
    ([4.0, 1.0], True)
    """
    num = check_integer(num, "num", 2)
    check_target(target)
    check_loss(loss)
    if kind not in ("straight", "bures", "layers"):
        raise ValueError(f"kind must be one of 'straight', 'bures' and 'layers', but {kind!r} was given.")
    positions = np.linspace(0.0, 1.0, num)
    if kind == "layers":
        first, second = _layers(start, "start"), _layers(end, "end")
        if [layer.shape for layer in first] != [layer.shape for layer in second]:
            raise ValueError(
                f"A path of layers needs two networks of equal widths, but the layers have shapes "
                f"{[layer.shape for layer in first]} and {[layer.shape for layer in second]}."
            )
    else:
        one, other = _matrix(start, "start"), _matrix(end, "end")
        if one.shape[0] != other.shape[0]:
            raise ValueError(f"start and end must have equally many rows, but have shapes {one.shape}, {other.shape}.")
        columns = max(one.shape[1], other.shape[1])
        one, other = (np.pad(w, ((0, 0), (0, columns - w.shape[1]))) for w in (one, other))
        if kind == "bures":
            other = other @ _rotation(one.T @ other).T
        first, second = [one], [other]
    with jax.enable_x64(True):
        losses = np.asarray(_losses(first, second, jnp.asarray(positions), target, loss))
    return PathProfile(positions, losses)


@eqx.filter_jit
def _losses(
    first: Any, second: Any, positions: Float[Array, "points"], target: Target, loss: AbstractLoss
) -> Float[Array, "points"]:
    def at(t: Array) -> Array:
        layers = [(1 - t) * jnp.asarray(a) + t * jnp.asarray(b) for a, b in zip(first, second, strict=True)]
        return loss.value(multiply_layers(layers), target)

    return jax.lax.map(at, positions)


def quadratic_model(
    net: DeepLinearNetwork,
    target: Target,
    loss: AbstractLoss,
    direction: Sequence[Array],
    radii: Array,
) -> QuadraticModel:
    """The loss of a network along a direction of its weights, beside its second-order Taylor expansion.

        L(r) ≈ L + r ⟨∇L, d⟩ + r²/2 ⟨d, ∇²L d⟩,  d the unit vector along the direction.

    Parameters
    ----------
    net : DeepLinearNetwork
        Where.
    target : Target
        The target.
    loss : AbstractLoss
        The loss.
    direction : sequence of arrays
        Of the shapes of the weights, W_1 first; its length does not matter. For example
        `hessian_extremes(...).smallest_direction`.
    radii : array (points,)
        Distances from the network, of either sign.

    Returns
    -------
    QuadraticModel
        Both curves.

    Raises
    ------
    ValueError
        If the direction does not have the shapes of the weights, or is zero.

    Examples
    --------
    >>> import numpy as np
    >>> import deepbures as db
    >>> target = db.Target.from_spectrum([4.0])
    >>> net = db.DeepLinearNetwork([np.array([[2.0]])])
    >>> model = db.quadratic_model(net, target, db.BuresWasserstein(), [np.ones((1, 1))], [-1.0, 0.0, 1.0])
    >>> model.losses.tolist(), model.model.tolist()                       # (w − 2)² is its own model
    ([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    """
    check_network(net)
    check_target(target)
    check_loss(loss)
    weights = [np.asarray(weight, np.float64) for weight in net.weights]
    steps = [np.asarray(step, np.float64) for step in direction]
    if [step.shape for step in steps] != [weight.shape for weight in weights]:
        raise ValueError(
            f"direction must have the shapes of the weights, {[weight.shape for weight in weights]}, but has "
            f"{[step.shape for step in steps]}."
        )
    length = float(np.sqrt(sum((step**2).sum() for step in steps)))
    if not length > 0 or not np.isfinite(length):
        raise ValueError(f"direction must be finite and not zero, but has length {length}.")
    distances = np.atleast_1d(np.asarray(as_array(radii, "radii"), np.float64))
    if distances.ndim > 1:
        raise ValueError(f"radii must be a list of numbers, but have shape {distances.shape}.")
    check_finite(distances, "radii")
    steps = [step / length for step in steps]
    with jax.enable_x64(True):
        losses, slope, curvature, value = _line(weights, steps, jnp.asarray(distances), target, loss)
    model = float(value) + distances * float(slope) + distances**2 / 2 * float(curvature)
    return QuadraticModel(distances, np.asarray(losses), model, float(slope), float(curvature))


@eqx.filter_jit
def _line(
    weights: Any, steps: Any, radii: Float[Array, "points"], target: Target, loss: AbstractLoss
) -> tuple[Float[Array, "points"], Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    def at(r: Array) -> Array:
        layers = [jnp.asarray(w) + r * jnp.asarray(d) for w, d in zip(weights, steps, strict=True)]
        return loss.value(multiply_layers(layers), target)

    zero = jnp.zeros((), radii.dtype)
    return jax.lax.map(at, radii), jax.grad(at)(zero), jax.grad(jax.grad(at))(zero), at(zero)


def _rotation(x: Float64[Array, "m m"]) -> Float64[Array, "m m"]:
    """An orthogonal matrix nearest to x: its polar factor, completed where x is singular."""
    u, s, vh = np.linalg.svd(x)
    return np.asarray(polar_factor(u, np.ones_like(s), vh))


def _matrix(end: End, name: str) -> Float64[Array, "n m"]:
    if isinstance(end, CriticalPoint):
        return np.asarray(end.end_to_end(), np.float64)
    w = np.asarray(end.end_to_end if isinstance(end, DeepLinearNetwork) else as_array(end, name), np.float64)
    if w.ndim != 2:
        raise ValueError(f"{name} must be one matrix (n, m) or one network, but has shape {w.shape}.")
    check_finite(w, name)
    return w


def _layers(end: End, name: str) -> list[Float64[Array, "_ _"]]:
    if isinstance(end, CriticalPoint):
        end = end.network()
    if not isinstance(end, DeepLinearNetwork):
        raise ValueError(f"A path of layers needs networks or critical points, but {name} is a {type(end).__name__}.")
    return [np.asarray(weight, np.float64) for weight in end.weights]
