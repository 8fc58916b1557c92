"""What functions take for a target, or for a network and its target."""

from typing import Any

import numpy as np

from deepbures._arrays import looks_like_covariance, refuse_what_is_no_array
from deepbures._precision import is_tracer
from deepbures._types import Array, Shaped
from deepbures.model._network import check_network
from deepbures.model._target import Target, samples_of


def check_target(target: Any) -> None:
    """Refuse what is no target, such as a bare matrix."""
    if not isinstance(target, Target):
        raise TypeError(
            f"target must be a Target, but a {type(target).__name__} was given. Build one with "
            "Target.from_samples, from_covariance, from_factor or from_spectrum."
        )


def check_pair(net: Any, target: Any) -> None:
    """Refuse what is not a network and a target of equal dimension."""
    check_network(net, batches=True)
    check_target(target)
    if net.dim != target.dim:
        raise ValueError(
            f"The network has {net.dim} outputs, but the target has dimension {target.dim}: they must be equal."
        )


def as_target(given: Any) -> Target:
    """A target, or that of samples in rows."""
    return given if isinstance(given, Target) else Target.from_samples(samples_for_target(given))


def samples_for_target(given: Any) -> Shaped[Array, "..."]:
    """What was given in place of a target, as samples; refuses what may as well be meant as a covariance."""
    refuse_what_is_no_array(given, "target")
    if not hasattr(given, "__array__") and not hasattr(given, "__len__"):
        raise TypeError(
            f"target must be a Target, or an array or frame of samples in rows, but a {type(given).__name__} was given."
        )
    samples = samples_of(given, "target")
    if not is_tracer(samples) and looks_like_covariance(np.asarray(samples)):
        raise ValueError(
            f"target is a symmetric matrix of shape {samples.shape}, as covariances are: pass "
            "Target.from_covariance(target), or Target.from_samples(target) if it holds samples in rows."
        )
    return samples
