"""The vector field of training: gradients of L^N with respect to the layers."""

import equinox as eqx
import jax.numpy as jnp

from deepbures._types import Array, Float
from deepbures.landscape import Problem
from deepbures.model import DeepLinearNetwork

Weights = tuple[Float[Array, "... _ _"], ...]


def sum_of_squares(weights: Weights) -> Float[Array, "..."]:
    """Σ_l ‖·_l‖² over the layers."""
    total = (weights[0] ** 2).sum((-2, -1))
    for weight in weights[1:]:
        total = total + (weight**2).sum((-2, -1))
    return total


def norm(weights: Weights) -> Float[Array, ""]:
    """(Σ_l ‖·_l‖²)^½, whose squares may be out of range. Divided by a power of two, the same digits come out."""
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(weight)) for weight in weights]))
    exponent = jnp.where(jnp.isfinite(largest), jnp.frexp(largest)[1], 0)
    scaled = tuple(jnp.ldexp(weight, -exponent) for weight in weights)
    return jnp.ldexp(jnp.sqrt(sum_of_squares(scaled)), exponent)


def curvatures(problem: Problem, depth: int, latent_dim: int) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Largest and smallest positive curvature at the balanced minimizer, for one problem or each of a batch.

    The largest is the inverse of the fastest time scale. NaN or 0 where the minimizer is the zero network (a zero
    target, or one below the smoothing), which is flat; NaN where it is not known.
    """
    one = lambda problem: problem.extremes(depth, latent_dim)  # noqa: E731
    found: tuple[Array, Array] = (eqx.filter_vmap(one) if problem.is_batch else one)(problem)
    return found


def rate_at_the_start(net: DeepLinearNetwork, problem: Problem) -> Float[Array, "..."]:
    """About the largest curvature at the start: N w^p times that of the loss along its gradient, w² a mean square."""
    layers = [(jnp.asarray(weight) ** 2).sum((-2, -1)) / min(weight.shape[-2:]) for weight in net.weights]
    square = sum(layers) / net.depth
    rate: Array = net.depth * square ** (net.depth - 1) * _curvature_along_gradient(net, problem)
    return rate


def _curvature_along_gradient(net: DeepLinearNetwork, problem: Problem) -> Float[Array, "..."]:
    def one(w: Float[Array, "n m"], problem: Problem) -> Float[Array, ""]:
        gradient = problem.loss.grad(w, problem.target)
        along = problem.loss.hvp(w, problem.target, gradient)
        length = (gradient**2).sum()
        return jnp.sqrt((along**2).sum() / jnp.where(length > 0, length, 1))

    axes = (eqx.if_array(0) if net.batch_shape else None, eqx.if_array(0) if problem.is_batch else None)
    w = jnp.asarray(net.end_to_end)
    return one(w, problem) if axes == (None, None) else eqx.filter_vmap(one, in_axes=axes)(w, problem)


def natural_horizon(problem: Problem, start: DeepLinearNetwork, arguments: str) -> float:
    """Time for 40 e-foldings of the slowest mode's loss, or 10⁶ fastest time scales where nothing is exponential.

    Refused where the curvature at the minimizer, which it follows from, is not known, or zero in every direction: then
    these arguments are needed.
    """
    if problem.eigenvalues is None:
        raise ValueError(
            f"How long to train is not known for a {type(problem.loss).__name__}, whose landscape is not known in "
            f"closed form (it has no `modes`): pass {arguments}."
        )
    steepest, flattest = problem.extremes(start.depth, start.latent_dim)
    rate = 2 * float(flattest)
    if not steepest > 0:
        raise ValueError(
            "How long to train follows from the curvature at the minimizer, but here that is the zero network, which "
            f"is flat at depth {start.depth} (no eigenvalue is above the smoothing or noise): pass {arguments}."
        )
    return 40 / rate if rate > 0 else 1e6 / float(steepest)
