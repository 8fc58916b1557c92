"""Training in the subspace that it does not leave: dimensions beyond the rank of the target cost nothing."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from deepbures._precision import any_traced
from deepbures._types import Array, Float
from deepbures.landscape import Problem
from deepbures.model import DeepLinearNetwork, Target
from deepbures.training._host import Callback
from deepbures.training._observables import DEFAULT_RECORD, Record
from deepbures.training._trajectory import Trajectory

_INVARIANT = {*DEFAULT_RECORD, "singular_values", "alignment", "rate"}
"""What is the same seen in the subspace, but for the loss, which lacks a constant there."""

_MOST = 0.5
"""Share of the dimensions above which nothing would be gained."""


class Enclosure(NamedTuple):
    """A problem in a subspace of dimension q < n that contains the eigenvectors Ω of the target and the start.

    Let Σ0 = Ω diag(λ) Ωᵀ + floor · (I − Ω Ωᵀ), and B (n, q) have orthonormal columns whose span contains those of Ω and
    of the last layer of the start. A loss that does not change under common rotations of W Wᵀ and Σ0 has a gradient in
    the span of Ω and W. So with W_N = B X training acts on X alone, and is training against Bᵀ Σ0 B: the other n − q
    directions, in which the network has no variance and the target the floor, add a constant `rest` to every loss.
    A step costs what it costs at dimension q.
    """

    basis: Array
    net: DeepLinearNetwork
    problem: Problem
    rest: Array
    tolerance_ratio: float

    def lift(self, run: Trajectory, mean: Array | None) -> Trajectory:
        """A run of the subspace as one of the whole space."""
        *below, last = run.network.weights
        network = DeepLinearNetwork([*below, jnp.asarray(self.basis) @ last], mean)
        records = {**run.records, "loss": run.records["loss"] + self.rest}
        return eqx.tree_at(
            lambda run: (run.network, run.records, run.minimal_loss),
            run,
            (network, records, run.minimal_loss + self.rest),
        )

    def told(self, callback: Callback) -> Callback:
        """A callback of the whole space, for runs of the subspace."""
        rest = float(self.rest)
        ratio = self.tolerance_ratio
        return lambda progress: callback(
            progress._replace(
                loss=progress.loss + rest,
                minimal_loss=progress.minimal_loss + rest,
                relative_excess=progress.relative_excess / ratio,
                tolerance=progress.tolerance / ratio,
            )
        )


def train_enclosed(
    train: Callable[[DeepLinearNetwork, Problem, float, Callback | None], Trajectory],
    net: DeepLinearNetwork,
    problem: Problem,
    record: Record | None,
    tolerance: float,
    callback: Callback | None,
) -> Trajectory:
    """Train in a subspace wherever that is much smaller than the space."""
    small = enclose(net, problem, record)
    if small is None:
        return train(net, problem, tolerance, callback)
    inner = None if callback is None else small.told(callback)
    return small.lift(train(small.net, small.problem, tolerance * small.tolerance_ratio, inner), net.mean)


def enclose(net: DeepLinearNetwork, problem: Problem, record: Record | None) -> Enclosure | None:
    """The problem in a subspace; None where that is not much smaller, or what is recorded needs the whole space."""
    target, modes = problem.target, problem.loss.modes
    if any_traced((net, problem)) or net.batch_shape or problem.is_batch or modes is None:
        return None
    names = {record} if isinstance(record, str) else set(record or ())
    if isinstance(record, Mapping) or not names <= _INVARIANT or target.eigenvalues is None:
        return None
    values, last = np.asarray(target.eigenvalues), np.asarray(net.weights[-1])
    floor = values[-1]
    rank = int((values > floor).sum())
    if rank == 0 or rank + last.shape[1] > _MOST * target.dim:
        return None
    basis = _extended(np.asarray(target.spectrum(rank)[1]), last)
    size = basis.shape[1]
    if size <= net.bottleneck:  # the minimum would be that of full rank
        return None
    inner = Problem(Target.from_spectrum(jnp.asarray(values[:size], target.dtype)), problem.loss, problem.rank)
    start = DeepLinearNetwork([*net.weights[:-1], jnp.asarray(basis.T @ last)])
    rest = (target.dim - size) * jnp.asarray(modes.cost(values[-1:]))[0]
    ratio = float(problem.reference / inner.reference) if float(rest) > 0 else 1.0
    return Enclosure(basis, start, inner, rest, ratio)


def _extended(basis: Float[Array, "n r"], more: Float[Array, "n m"]) -> Float[Array, "n _"]:
    """Orthonormal columns whose span contains those of `basis`, which are orthonormal, and of `more` up to rounding."""
    size = np.linalg.norm(more)
    u, s, _ = np.linalg.svd(more - basis @ (basis.T @ more), full_matrices=False)
    u = u[:, s > len(more) * np.finfo(more.dtype).eps * size]
    # What is small outside of the basis is, after one projection, orthogonal to it by the digits it has left.
    u = np.linalg.qr(u - basis @ (basis.T @ u))[0]
    return np.concatenate([basis, u], axis=1)
