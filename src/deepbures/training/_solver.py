"""What a solver is: an object that trains a network for a problem, with its options as fields."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import equinox as eqx

from deepbures.landscape import Problem
from deepbures.model import DeepLinearNetwork
from deepbures.training._host import Callback
from deepbures.training._result import Result
from deepbures.training._snapshot import Snapshot
from deepbures.training._trajectory import Trajectory
from deepbures.training._units import Units


class Trained(NamedTuple):
    """What a solver hands back.

    Attributes
    ----------
    network : DeepLinearNetwork
        Where training ended.
    trajectory : Trajectory, optional
        The record of the training, if there is one.
    result : Result, optional
        How it ended. Left out: converged if the excess is within the tolerance, else finished.
    solver : AbstractSolver, optional
        The solver with everything decided that its options had left open; the same one if left out.

    Examples
    --------
    >>> import deepbures as db
    >>> problem = db.Problem(db.Target.from_spectrum([4.0, 1.0]), db.BuresWasserstein(), 1)
    >>> trained = db.Flow().train(problem, db.initialize((1, 2), key=0), tolerance=1e-6)
    >>> bool(trained.result == db.Result.converged), trained.solver.horizon                   # 40/(2 · 2 (1 − 1/4))
    (True, 13.333333333333334)
    """

    network: DeepLinearNetwork
    trajectory: Trajectory | None = None
    result: Result | None = None
    solver: "AbstractSolver | None" = None


class AbstractSolver(eqx.Module):
    """A way to train a network, with its options as fields. A solver of your own is a subclass with `train`.

    Raises
    ------
    TypeError
        If the subclass has no `train`.

    Examples
    --------
    One that draws networks around the best one so far:

    >>> import numpy as np
    >>> import deepbures as db
    >>> class RandomSearch(db.AbstractSolver):
    ...     num_draws: int = 500
    ...     def train(self, problem, start, **options):
    ...         rng, best = np.random.default_rng(0), start
    ...         for _ in range(self.num_draws):
    ...             moved = db.DeepLinearNetwork([w + 0.1 * rng.standard_normal(w.shape) for w in best.weights])
    ...             best = min(best, moved, key=lambda net: problem.excess(net.end_to_end))
    ...         return db.Trained(best)
    >>> fitted = db.fit(db.Target.from_spectrum([4.0, 2.0, 1.0]), rank=1, solver=RandomSearch(), tolerance=0.01)
    >>> fitted.solver.name, bool(fitted.result == db.Result.converged)
    ('RandomSearch', True)
    """

    needs_start: ClassVar[bool] = True
    """Whether what comes out depends on the start, and not on its widths alone."""

    @property
    def name(self) -> str:
        """The name that `fit` knows the solver by, or else that of its class."""
        return type(self).__name__

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        return self.name

    @property
    def limits(self) -> dict[str, float]:
        """What bounds the training, by the name of the option: a time or a number of steps."""
        return {}

    def in_units(self, units: Units) -> "AbstractSolver":
        """The solver in other units, where options are times or step sizes: ``units.of_time``, ``units.of_step_size``.

        (Data whose squares are out of the range of their precision are trained in units of a power of two.)
        """
        return self

    @abstractmethod
    def train(
        self,
        problem: Problem,
        start: DeepLinearNetwork,
        *,
        tolerance: float,
        num_records: int,
        callback: Callback | None,
        resume: Snapshot | None,
    ) -> Trained:
        """Train from a start, until the excess is at most `tolerance` · ``problem.reference``.

        Parameters
        ----------
        problem : Problem
            Target, loss and rank, and what is known of the minimum: ``problem.excess(w)``, ``problem.minimizer()``, ….
        start : DeepLinearNetwork
            Where to begin. (Only its widths count for solvers that do not need a start.)
        tolerance : float
            Relative excess that is wanted.
        num_records : int
            About how many records to keep, for solvers that keep them.
        callback : function or None
            To be called with a `Progress` now and then, by solvers that can tell.
        resume : Snapshot or None
            Of an interrupted training, for solvers that can be interrupted.

        Returns
        -------
        Trained
        """
