"""The record of a run."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import equinox as eqx
import numpy as np

from deepbures._types import Array
from deepbures.certificates import Certificate, Check, Proof, prove
from deepbures.model import DeepLinearNetwork
from deepbures.training._result import Result
from deepbures.training._snapshot import Snapshot


class Trajectory(eqx.Module):
    """What a run of `gradient_flow` or `gradient_descent` recorded. A pytree; leading dimensions are the batch.

    The last record is where the run stopped: the flow after the first step within its tolerance, descent at the first
    record within it. In a batch every run has as many records, and one that stopped earlier keeps its last values.

    Attributes
    ----------
    times : array (..., R) or None
        Flow time of each record; for descent with a constant step size, step size × steps; else None.
    steps : array (..., R)
        Steps taken up to each record (accepted steps of the solver, for the flow).
    records : dict of arrays (..., R, ...)
        What was logged, by name.
    network : DeepLinearNetwork
        Where the run ended.
    minimal_loss : array (...)
        The theoretical minimum for this bottleneck.
    step_size : array or None
        Step size of plain descent.
    result : Result
        How the run ended.
    snapshot : Snapshot or None
        To continue an interrupted run (host runs only).

    Examples
    --------
    >>> import deepbures as db
    >>> start = db.initialize((1, 1, 2), key=0)
    >>> target = db.Target.from_spectrum([2.0, 1.0])
    >>> run = db.gradient_flow(start, target, db.BuresWasserstein(), 5.0, times=[1.0, 2.0])
    >>> run.times.tolist(), run.losses.shape, run["effective_rank"].round(6).tolist()
    ([0.0, 1.0, 2.0, 5.0], (4,), [1.0, 1.0, 1.0, 1.0])
    """

    times: Array | None
    steps: Array
    records: dict[str, Array]
    network: DeepLinearNetwork
    minimal_loss: Array
    step_size: Array | None
    result: Result
    snapshot: Snapshot | None = None

    @property
    def message(self) -> str:
        """How the run ended, in words; a batch's endings as one text."""
        return str(cast(Any, Result)[self.result])

    @property
    def is_flow(self) -> bool:
        """Whether this is a gradient flow, and no descent."""
        return self.step_size is None and self.times is not None

    @property
    def positions(self) -> Array:
        """Where the records are, as certificates count: the times of a flow, the steps of a descent."""
        return self.times if self.is_flow else self.steps

    @property
    def losses(self) -> Array:
        """Loss at each record."""
        return self.records["loss"]

    @property
    def excess(self) -> Array:
        """Loss over the theoretical minimum, L − L*, at each record (computed without cancellation where possible)."""
        return self.records["excess"]

    @property
    def weights(self) -> tuple[Array, ...]:
        """Final weights, W_1 first. (Weights on the way: record=("weights", …), then .records["weights"].)"""
        return self.network.weights

    def __getitem__(self, name: str) -> Array:
        """A record by name."""
        if name not in self.records:
            raise KeyError(f"{name!r} was not recorded; recorded are {', '.join(self.records)}.")
        return self.records[name]

    def check(self, certificates: Iterable[Certificate], *, tolerance: float = 1e-7) -> tuple[Check, ...]:
        """Hold this run against certificates of its start, as `certify` gives them.

        Parameters
        ----------
        certificates : iterable of Certificate
            Those about gradient flow apply to runs of `gradient_flow`, those about descent to plain descent with a step
            size that they speak of.
        tolerance : float
            Error of the run in distance: more than this above a bound is a violation. Relative to √(L(0) + tr Σ0) for a
            flow, to √e(0) for descent.

        Returns
        -------
        tuple of Check
            One for each, in order: whether it applies, whether and where it was violated, observed over certified
            rate.

        Raises
        ------
        ValueError
            For a batch of runs, or certificates of another start.

        Examples
        --------
        >>> import deepbures as db
        >>> target, loss = db.Target.from_spectrum([4.0, 1.0], key=0), db.BuresWasserstein()
        >>> start = db.initialize((2, 2), "close", target=target, key=1)
        >>> run = db.gradient_descent(start, target, loss, 100, "certified")
        >>> checks = run.check(db.certify(start, target, loss))
        >>> [str(check).split(';')[0] for check in checks if check.applies and check.certificate.is_guarantee]
        ['descent-exact: held', 'descent-constant: held']
        """
        excess = np.asarray(self.excess)
        self._refuse_batch("check", excess)
        return tuple(self._check(certificate, excess, tolerance) for certificate in certificates)

    def certified(self, certificates: Iterable[Certificate], *, tolerance: float = 1e-7) -> Proof:
        """From which record on a guarantee holds of this run, what it promises from there, and how the rest kept it.

        A run is certified on its way: most starts are too far for any theorem, but what theorems need of a start, a run
        may have at a record. Gradient flow, and descent with a constant step size, go on from there as from a start.
        What they need of it is computed from the records alone: the loss and its excess, and where they are recorded
        the balancedness gap and the smallest singular value.

        Parameters
        ----------
        certificates : iterable of Certificate
            Those of the start of the run, as `certify` gives them, whether their assumptions are met or not.
        tolerance : float
            As for `check`.

        Returns
        -------
        Proof
            True where a guarantee holds from a record on; of those that hold at the first such record, the one that
            promises most.

        Raises
        ------
        ValueError
            For a batch of runs.

        Examples
        --------
        >>> import deepbures as db
        >>> target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0), db.BuresWasserstein()
        >>> start = db.initialize((2, 2, 3), "balanced", key=0, target=target)
        >>> run = db.gradient_flow(start, target, loss, 20.0)
        >>> certificates = db.certify(start, target, loss)
        >>> any(c.holds for c in certificates if c.is_guarantee and c.method == "flow")
        False
        >>> proof = run.certified(certificates)
        >>> proof.certificate.name, bool(run.excess[0] > 1 > proof.certificate.excess), proof.check.violated
        ('flow-below-saddle', True, False)
        >>> bool((run.excess <= proof.bound(run.times) * (1 + 1e-6) + 1e-12).all())
        True
        """
        excess = np.asarray(self.excess)
        self._refuse_batch("certified", excess)
        if excess.dtype != np.float64:
            return Proof(
                missed=(f"the run was computed in {excess.dtype}, and bounds are checked in double precision only",)
            )
        if not self.is_flow and self.step_size is None:
            return Proof(missed=("theorems on descent are about plain descent with a constant step size",))
        method = "flow" if self.is_flow else "descent"
        return prove(
            [certificate for certificate in certificates if certificate.method == method],
            self.positions,
            self.records,
            step_size=None if self.step_size is None else float(self.step_size),
            tolerance=tolerance,
        )

    def _refuse_batch(self, name: str, excess: Array) -> None:
        if excess.ndim != 1:
            raise ValueError(
                f"{name} takes a single run, but this is a batch of shape {excess.shape[:-1]}: hold the times and "
                "excess of each run against its certificates with Certificate.check."
            )

    def _check(self, certificate: Certificate, excess: Array, tolerance: float) -> Check:
        if certificate.method == "flow":
            if not self.is_flow:
                return Check(certificate, applies=False, reason="it is about gradient flow, and this is a descent")
            return certificate.check(self.positions, excess, tolerance=tolerance)
        if self.step_size is None:
            what = "a flow" if self.is_flow else "not plain descent"
            return Check(certificate, applies=False, reason=f"it is about plain descent, and this is {what}")
        step = float(self.step_size)
        if certificate.holds and not certificate.speaks_of(step):
            reason = f"it speaks of step sizes up to {certificate.max_step_size:.4g}, and this run took {step:.4g}"
            return Check(certificate, applies=False, reason=reason)
        return certificate.check(self.positions, excess, step_size=step, tolerance=tolerance)

    def to_dict(self) -> Mapping[str, Array]:
        """Grid and records as one flat mapping of arrays, for saving."""
        grid = {"steps": self.steps} | ({} if self.times is None else {"times": self.times})
        return {**grid, **{name: value for name, value in self.records.items() if not isinstance(value, tuple)}}
