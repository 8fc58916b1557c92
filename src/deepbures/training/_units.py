"""Units in which a fit is computed, where squares of the data's own numbers would overflow or vanish.

Losses are homogeneous: with the data divided by c, the end-to-end matrix is divided by c, each of N layers by c^{1/N},
a loss of degree d by c^{2d}, its gradient in the layers by c^{2d − 1/N}, curvatures by c^{2d − 2/N}, and times and step
sizes are multiplied by that. With c = 2^{N q} all of these are powers of two, and no digit of any number changes.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from deepbures._precision import times_power_of_two
from deepbures._types import Array
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target
from deepbures.training._host import Callback, Progress
from deepbures.training._trajectory import Trajectory

_ORDINARY = 5
"""Variances are ordinary with exponents in the middle fifth of the range: a gradient of the Frobenius loss, squared, is
a fourth power of them."""


class Units(NamedTuple):
    """Exponents of two, in user's units, of what is computed with."""

    layer: int
    matrix: int
    loss: int
    gradient: int
    curvature: int

    @property
    def are_the_users(self) -> bool:
        """Whether nothing changes."""
        return self.layer == 0

    def of_problem(self, target: Target, loss: AbstractLoss) -> tuple[Target, AbstractLoss]:
        """Target and loss in these units."""
        return (target, loss) if self.are_the_users else (target.in_units(self.matrix), loss.in_units(self.matrix))

    def of_network(self, net: DeepLinearNetwork) -> DeepLinearNetwork:
        """A network in these units."""
        return self._network(net, -1)

    @property
    def inverse(self) -> "Units":
        """What leads back to user's units."""
        return Units(*(-exponent for exponent in self))

    def of_layer(self, size: float) -> float:
        """The size of a layer in these units."""
        return _number(size, -self.layer)

    def of_matrix(self, size: float) -> float:
        """The size of an end-to-end matrix in these units."""
        return _number(size, -self.matrix)

    def of_time(self, time: float) -> float:
        """A time in these units."""
        return _number(time, self.curvature)

    def of_step_size(self, step_size: Any) -> Any:
        """A `step_size` argument in these units; names stand for the same steps in all units."""
        if self.are_the_users or isinstance(step_size, str):
            return step_size
        if isinstance(step_size, optax.GradientTransformation):
            raise ValueError(
                "An optax optimizer takes steps of a length of its own, and these data (standard deviations of about "
                f"10^{self.matrix * math.log10(2):.0f}) are computed in other units: scale them to about 1, or pass a "
                "number or a name as step_size."
            )
        is_number = isinstance(step_size, (int, float, np.number)) and not isinstance(step_size, bool)
        return _number(float(step_size), self.curvature) if is_number else step_size

    def loss_to_user(self, loss: Array) -> Array:
        """A loss in user's units."""
        return loss if self.are_the_users else times_power_of_two(loss, self.loss)

    def curvature_to_user(self, curvature: Array) -> Array:
        """A curvature or a rate in user's units."""
        return curvature if self.are_the_users else times_power_of_two(curvature, self.curvature)

    def of_callback(self, callback: Callback | None) -> Callback | None:
        """A callback that is told of progress in user's units."""
        if callback is None or self.are_the_users:
            return callback

        def tell(progress: Progress) -> None:
            position = -self.curvature if progress.unit == "time" else 0
            callback(
                progress._replace(
                    position=_number(progress.position, position),
                    end=_number(progress.end, position),
                    loss=_number(progress.loss, self.loss),
                    excess=_number(progress.excess, self.loss),
                    minimal_loss=_number(progress.minimal_loss, self.loss),
                )
            )

        return tell

    def to_user(self, run: Trajectory) -> Trajectory:
        """A run in user's units. (Its snapshot stays as it is: a fit that goes on has the same units.)"""
        if self.are_the_users:
            return run
        exponents = {
            "loss": self.loss,
            "excess": self.loss,
            "gradient_norm": self.gradient,
            "balancedness_gap": 2 * self.layer,
            "smallest_singular_value": self.matrix,
            "rate": self.curvature,
        }
        return Trajectory(
            times=None if run.times is None else times_power_of_two(run.times, -self.curvature),
            steps=run.steps,
            records={
                name: times_power_of_two(record, exponents[name]) if name in exponents else record
                for name, record in run.records.items()
            },
            network=self._network(run.network, 1),
            minimal_loss=times_power_of_two(run.minimal_loss, self.loss),
            step_size=None if run.step_size is None else times_power_of_two(run.step_size, -self.curvature),
            result=run.result,
            snapshot=run.snapshot,
        )

    def network_to_user(self, net: DeepLinearNetwork) -> DeepLinearNetwork:
        """A network in user's units."""
        return self._network(net, 1)

    def _network(self, net: DeepLinearNetwork, sign: int) -> DeepLinearNetwork:
        if self.are_the_users:
            return net
        weights = [times_power_of_two(weight, sign * self.layer) for weight in net.weights]
        return DeepLinearNetwork(
            weights, jax.tree.map(lambda mean: times_power_of_two(mean, sign * self.matrix), net.mean)
        )


def units_of(target: Target, loss: AbstractLoss, start: DeepLinearNetwork | None, depth: int) -> Units:
    """The user's own units, unless variances of target and start, τ and ε are all tiny, or one of them is huge."""
    degree = loss.degree
    if degree is None:  # a loss whose units are not known
        return Units(0, 0, 0, 0, 0)
    converted = loss.in_units(1).parameters  # those that do not change are no variances
    sizes = [float(target.trace), *(size for name, size in loss.parameters.items() if converted[name] != size)]
    if start is not None:
        sizes.append(float((np.asarray(start.end_to_end, np.float64) ** 2).sum()))
    exponent = math.frexp(max(sizes))[1]
    layer = round(exponent / (2 * depth)) if abs(exponent) > np.finfo(target.dtype).maxexp / _ORDINARY else 0
    matrix, power = depth * layer, 2 * degree * depth * layer
    return Units(layer, matrix, power, power - layer, power - 2 * layer)


def _number(value: float, exponent: int) -> float:
    return float(times_power_of_two(value, exponent))
