"""What the functions of this room take: one network, one target, a loss."""

from typing import Any

from deepbures.model import AbstractLoss, DeepLinearNetwork, Target


def check_target(target: Any) -> None:
    """Refuse what is no target, such as a bare matrix."""
    if not isinstance(target, Target):
        raise TypeError(
            f"target must be a Target, but a {type(target).__name__} was given. Build one with "
            "Target.from_covariance, from_samples, from_factor or from_spectrum."
        )


def check_network(net: Any) -> None:
    """Refuse what is no network, such as a bare matrix, and batches."""
    if not isinstance(net, DeepLinearNetwork):
        raise TypeError(
            f"net must be a DeepLinearNetwork, but a {type(net).__name__} was given. Build one with "
            "DeepLinearNetwork([W_1, …, W_N])."
        )
    if net.batch_shape:
        raise ValueError(f"One network is asked for, but a batch of shape {net.batch_shape} was given: use indexing.")


def check_loss(loss: Any) -> None:
    """Refuse what is no loss, such as its name or its class."""
    if not isinstance(loss, AbstractLoss):
        raise TypeError(f"loss must be a loss such as BuresWasserstein(), but {loss!r} was given.")
