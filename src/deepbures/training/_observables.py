"""What a run can record of a network on its way."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp

from deepbures._types import Array, Float, Int
from deepbures.landscape import Problem
from deepbures.linalg import effective_rank, nonzero
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target, layer_gradients
from deepbures.training._dynamics import norm

Observable = Callable[[DeepLinearNetwork, Problem], Array]
Observables = tuple[tuple[str, Observable], ...]


def _singular_values(net: DeepLinearNetwork) -> Float[Array, "k"]:
    return jnp.linalg.svd(net.end_to_end, full_matrices=False, compute_uv=False)


def _rank(net: DeepLinearNetwork, problem: Problem) -> Int[Array, ""]:
    return nonzero(_singular_values(net), net.dim, net.latent_dim).sum(-1)


def _alignment(net: DeepLinearNetwork, problem: Problem) -> Float[Array, "k k"]:
    u = jnp.linalg.svd(net.end_to_end, full_matrices=False)[0][:, : net.bottleneck]
    _, basis = problem.target.spectrum(net.bottleneck)
    return jnp.abs(jnp.asarray(basis).T @ u)


def _gradient_norm(net: DeepLinearNetwork, problem: Problem) -> Float[Array, ""]:
    return norm(layer_gradients(net.weights, problem.loss, problem.target)[0])


def _rate(net: DeepLinearNetwork, problem: Problem) -> Float[Array, ""]:
    return rate_of_decay(_gradient_norm(net, problem) ** 2, problem.excess(net.end_to_end))


def rate_of_decay(fall: Float[Array, ""], excess: Float[Array, ""]) -> Float[Array, ""]:
    """−d ln(L − L*)/dt from −dL/dt = ‖∇L^N‖²; −dL/dt itself where nothing is left to decay."""
    return fall / jnp.where(excess > 0, excess, 1)


OBSERVABLES: dict[str, Observable] = {
    "loss": lambda net, problem: problem.loss.value(net.end_to_end, problem.target),
    "excess": lambda net, problem: problem.excess(net.end_to_end),
    "gradient_norm": _gradient_norm,
    "rate": _rate,
    "balancedness_gap": lambda net, problem: net.balancedness_gap(),
    "smallest_singular_value": lambda net, problem: _singular_values(net)[net.bottleneck - 1],
    "rank": _rank,
    "effective_rank": lambda net, problem: effective_rank(_singular_values(net)),
    "singular_values": lambda net, problem: _singular_values(net),
    "alignment": _alignment,
    "end_to_end": lambda net, problem: net.end_to_end,
    "weights": lambda net, problem: net.weights,
}
"""Name → what is recorded. `rate` is −d ln(L − L*)/dt of the flow, from the gradient, not from differences;
`smallest_singular_value` is the k-th, k the bottleneck; `rank` counts singular values above max(n, m) eps s_1;
`effective_rank` is exp(entropy of the normalized singular values); `alignment` holds |cos| of the angles between the
leading k eigenvectors of the target (rows) and left singular vectors (columns)."""

DEFAULT_RECORD = (
    "loss",
    "excess",
    "gradient_norm",
    "balancedness_gap",
    "smallest_singular_value",
    "rank",
    "effective_rank",
)

_ALWAYS = ("loss", "excess", "gradient_norm")

Record = Sequence[str] | Mapping[str, Callable[[DeepLinearNetwork, Target, AbstractLoss], Array]]


def observer(record: Record | None) -> Observables:
    """The observables of a `record` argument: names of the table, or a mapping from names to functions of the user's.

    Loss, excess and gradient norm are always there: the run decides by them when to stop.
    """
    chosen: dict[str, Observable] = {name: OBSERVABLES[name] for name in _ALWAYS}
    if record is None:
        record = DEFAULT_RECORD
    if isinstance(record, str):
        record = (record,)
    if isinstance(record, Mapping):
        for name, function in record.items():
            if not callable(function):
                raise TypeError(
                    f"record[{name!r}] must be a function (net, target, loss) ↦ array, but {function!r} was given."
                )
            chosen[name] = _of_the_users(function)
        return tuple(chosen.items())
    for name in record:
        if name not in OBSERVABLES:
            raise ValueError(
                f"Unknown observable {name!r} in record: choose from {', '.join(OBSERVABLES)}, or pass a mapping "
                "{name: function(net, target, loss)}."
            )
        chosen[name] = OBSERVABLES[name]
    return tuple(chosen.items())


def _of_the_users(function: Callable[[DeepLinearNetwork, Target, AbstractLoss], Array]) -> Observable:
    return lambda net, problem: function(net, problem.target, problem.loss)
