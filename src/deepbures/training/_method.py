"""What a way of training is to the loops that drive it: a state, and how it goes on."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from deepbures._types import Array
from deepbures.landscape import Problem
from deepbures.model import AbstractLoss, DeepLinearNetwork, Target
from deepbures.training._dynamics import Weights
from deepbures.training._observables import Observables
from deepbures.training._result import Result


class Goal(NamedTuple):
    """What is minimized, and the excess at which it counts as minimized."""

    problem: Problem
    tolerance: Array

    @property
    def target(self) -> Target:
        """The target."""
        return self.problem.target

    @property
    def loss(self) -> AbstractLoss:
        """The loss."""
        return self.problem.loss


class State(eqx.Module):
    """Where a run is: `position` is its time or step number, `inner` the method's own, `result` running or the end."""

    position: Array
    steps: Array
    weights: Weights
    inner: Any
    result: Result

    @classmethod
    def at_start(cls, weights: Weights, inner: Any, position_dtype: Any) -> "State":
        """Before the first step. (Results as arrays of JAX, so that they are mapped over in batches.)"""
        running: Result = jax.tree.map(jnp.asarray, Result.running)
        return cls(jnp.zeros((), position_dtype), jnp.zeros((), jnp.int32), weights, inner, running)

    @property
    def is_running(self) -> Array:
        """Whether the run has not ended."""
        return self.result == Result.running


class AbstractMethod(eqx.Module):
    """One way of training, in steps that a loop can stop between."""

    unit: eqx.AbstractClassVar[str]
    """What positions are counted in: "time" or "step"."""

    def network(self, weights: Weights) -> DeepLinearNetwork:
        """The network that the weights of a state stand for."""
        return DeepLinearNetwork(list(weights))

    def look(self, weights: Weights, problem: Problem, observables: Observables) -> tuple[dict[str, Array], Any]:
        """What is recorded of the weights of a state, and the depth N of the network they stand for."""
        net = self.network(weights)
        return {name: look(net, problem) for name, look in observables}, net.depth

    @abstractmethod
    def start(self, weights: Weights, goal: Goal) -> State:
        """The state before the first step."""

    @abstractmethod
    def advance(self, state: State, begin: Array, mark: Array, budget: Array | None, goal: Goal) -> State:
        """Go on to the mark, at most `budget` inner steps (None: no limit), unless the run has ended.

        `begin` is where the runs of a batch that have not ended are, or for methods of adaptive steps the last mark.
        """
