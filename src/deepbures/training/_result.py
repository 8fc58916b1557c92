"""How runs end."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from deepbures._types import Array


class Result(eqx.Enumeration):
    """How a run ended. The text says what to do where it did not converge.

    Examples
    --------
    >>> import deepbures as db
    >>> start = db.initialize((1, 2), key=0)
    >>> target = db.Target.from_spectrum([2.0, 1.0])
    >>> run = db.gradient_descent(start, target, db.BuresWasserstein(), num_steps=3, step_size=1e-3)
    >>> bool(run.result == db.Result.finished)
    True
    """

    running = "The run is not finished."
    converged = "Converged: the excess over the theoretical minimum fell below the tolerance."
    stationary = (
        "Stopped at a critical point above the minimum: the gradient vanished, the excess did not. Start from another "
        "network, or perturb this one (a saddle is left along a direction of negative curvature)."
    )
    finished = (
        "The whole horizon or number of steps was run without reaching the tolerance: allow more, or continue from "
        ".network."
    )
    diverged = "Diverged: the loss grew beyond bounds. Use a smaller step size (the stability limit is 2/sharpness)."
    stalled = (
        "The solver's step size collapsed: the flow meets a kink of the loss here. Smooth the loss (tau > 0) or move "
        "the start."
    )
    max_steps = "The solver took max_steps steps before the horizon: raise max_steps, or continue from .network."
    interrupted = (
        "Interrupted: the records so far are kept. Continue with resume=trajectory.snapshot and the same arguments."
    )


NAMES = ("running", "converged", "stationary", "finished", "diverged", "stalled", "max_steps", "interrupted")
"""Of the members of `Result`."""


def choose(condition: Array, one: Any, other: Any) -> Result:
    """`Result.where`, also for batches."""
    chosen: Result = jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
    return chosen


def code_of(result: Result) -> Array:
    """The number that stands for a result in arrays: a scalar, or one for each run of a batch."""
    (code,) = jax.tree.leaves(result)
    return code


def result_names() -> tuple[str, ...]:
    """The name that each code stands for, in order of the codes."""
    return tuple(sorted(NAMES, key=lambda name: int(code_of(getattr(Result, name)))))


def name_of(result: Result) -> NDArray[np.str_]:
    """Names such as "converged", as an array of the shape of the batch.

    Examples
    --------
    >>> from deepbures.training import Result, name_of
    >>> str(name_of(Result.converged))
    'converged'
    """
    return np.array(result_names())[np.asarray(code_of(result))]
