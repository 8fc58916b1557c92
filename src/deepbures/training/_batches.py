"""Batches of networks and targets: how large, mapped over what, and their single members."""

from typing import Any

import equinox as eqx
import jax

from deepbures._precision import any_traced
from deepbures.model import DeepLinearNetwork, Target

MAPPED = eqx.if_array(0)
"""The vmap axes of a pytree all of whose arrays carry the batch."""


def is_traced(*trees: Any) -> bool:
    """Whether the run is asked for inside a JAX transformation."""
    return any(any_traced(tree) for tree in trees)


def batch_axes(net: DeepLinearNetwork, target: Target) -> tuple[int | None, Any, Any]:
    """Batch size, and the vmap axes of weights and target: those that have a leading batch dimension are mapped."""
    batched_target = bool(target.covariance.batch_shape)
    sizes = set(net.batch_shape) | ({target.mean.shape[0]} if batched_target else set())
    if len(net.batch_shape) > 1 or len(sizes) > 1:
        raise ValueError(
            f"A batch has one leading dimension, equal for networks and targets, but the networks have batch shape "
            f"{net.batch_shape} and the target's mean has shape {target.mean.shape}."
        )
    if not sizes:
        return None, None, None
    weight_axes = 0 if net.batch_shape else None
    return sizes.pop(), weight_axes, (0 if batched_target else None)


def member(tree: Any, index: int) -> Any:
    """One of a batch: every array without its leading dimension."""
    return jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, tree)
