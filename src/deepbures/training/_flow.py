"""Gradient flow: descent in the limit of small steps, integrated adaptively."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from deepbures._checks import check_integer, check_number
from deepbures._precision import any_traced, is_tracer, numpy_in_numpy_out
from deepbures._types import Array
from deepbures.landscape import Problem
from deepbures.model import (
    AbstractLoss,
    DeepLinearNetwork,
    Target,
    balancedness_tolerance,
    relative_balancedness_gap,
)
from deepbures.training._dynamics import curvatures, natural_horizon, rate_at_the_start
from deepbures.training._enclosure import train_enclosed
from deepbures.training._fields import AbstractField, EndToEndField, LayerField
from deepbures.training._host import Callback
from deepbures.training._integration import STIFF, Accuracy, Integration, Relay, integration, integrator_named
from deepbures.training._method import Goal
from deepbures.training._observables import Record
from deepbures.training._run import pose, train
from deepbures.training._snapshot import Snapshot
from deepbures.training._solver import AbstractSolver, Trained
from deepbures.training._trajectory import Trajectory
from deepbures.training._units import Units

SPACES = ("layers", "end-to-end")
"""What can be integrated."""


class Flow(AbstractSolver):
    """Gradient flow, as `gradient_flow` runs it.

    Parameters
    ----------
    horizon : float, optional
        Largest time. Left open, long enough for the asymptotic rate, 40/rate; with a rate of zero (the approach is
        slower than exponential) 10⁶/λ_max.
    space : str
        "layers" or "end-to-end", as for `gradient_flow`.
    times : array, optional
        Times to record, as for `gradient_flow`.
    integrator : str or diffrax solver
        As `solver` of `gradient_flow`.
    rtol, atol : float, optional
        Relative and absolute tolerance of a step, as for `gradient_flow`.
    max_steps : int
        Largest number of steps of the integrator.

    Raises
    ------
    ValueError
        For a horizon or a tolerance that is not positive and finite, an unknown integrator or space.

    Examples
    --------
    >>> import deepbures as db
    >>> fitted = db.fit(db.Target.from_spectrum([4.0, 1.0]), 1, depth=50, solver=db.Flow(space="end-to-end"))
    >>> bool(fitted.result == db.Result.converged), fitted.network.depth
    (True, 50)
    """

    horizon: float | None = None
    space: str = "layers"
    times: Any = None
    integrator: Any = "auto"
    rtol: float = 1e-8
    atol: float | None = None
    max_steps: int = 1_000_000

    def __check_init__(self) -> None:
        if self.horizon is not None:
            check_number(self.horizon, "horizon", positive=True)
        check_number(self.rtol, "rtol", positive=True)
        if self.atol is not None:
            check_number(self.atol, "atol", positive=True)
        check_integer(self.max_steps, "max_steps", 1)
        integrator_named(self.integrator)
        if self.space not in SPACES:
            raise ValueError(f'space must be "layers" or "end-to-end", but {self.space!r} was given.')

    @property
    def name(self) -> str:
        """Flow."""
        return "flow"

    @property
    def words(self) -> str:
        """Gradient flow."""
        return "gradient flow"

    @property
    def limits(self) -> dict[str, float]:
        """The horizon, once it is decided."""
        return {} if self.horizon is None else {"horizon": self.horizon}

    def in_units(self, units: Units) -> "Flow":
        """The same flow, whose times and absolute tolerance are in other units."""
        of_weights = units.of_layer if self.space == "layers" else units.of_matrix
        return dataclasses.replace(
            self,
            horizon=None if self.horizon is None else units.of_time(self.horizon),
            times=None if self.times is None else np.array([units.of_time(time) for time in np.ravel(self.times)]),
            atol=None if self.atol is None else of_weights(self.atol),
        )

    def train(
        self,
        problem: Problem,
        start: DeepLinearNetwork,
        *,
        tolerance: float = 1e-10,
        num_records: int = 200,
        record: Record | None = None,
        callback: Callback | None = None,
        resume: Snapshot | None = None,
    ) -> Trained:
        """The flow from a start, recorded; see `gradient_flow`."""
        num_records = check_integer(num_records, "num_records", 1)
        check_number(tolerance, "tolerance")
        decided = self._decided(problem, start)
        integrate = decided._integration(num_records, record, resume)
        run = train_enclosed(integrate, start, problem, record, tolerance, callback)
        return Trained(run.network, run, run.result, decided)

    def _decided(self, problem: Problem, start: DeepLinearNetwork) -> "Flow":
        if self.horizon is not None:
            return self
        return dataclasses.replace(self, horizon=natural_horizon(problem, start, "horizon"))

    def _integration(
        self, num_records: int, record: Record | None, resume: Snapshot | None
    ) -> Callable[[DeepLinearNetwork, Problem, float, Callback | None], Trajectory]:
        """What integrates from a start towards the minimum of a problem, in the whole space or in a subspace of it."""
        assert self.horizon is not None  # it is decided
        horizon, integrator = float(self.horizon), integrator_named(self.integrator)
        accuracy = Accuracy(self.rtol, self.atol, int(self.max_steps))
        asked = None if self.times is None else times_within(self.times, horizon)

        def integrate(
            net: DeepLinearNetwork, problem: Problem, tolerance: float, callback: Callback | None
        ) -> Trajectory:
            rate = fastest_rate(problem, net.depth, net.latent_dim, lambda: net)
            # Known on the host even inside a transformation, if the problem is.
            known = None if is_tracer(rate) else float(np.max(np.asarray(rate)))
            is_long, first = (True, 1e-6 * horizon) if known is None else (horizon * known > STIFF, 0.1 / known)
            speed = jnp.max(jnp.asarray(rate))
            field, state = _state(net, self.space)

            def make(goal: Goal) -> Integration | Relay:
                return integration(field, state.depth, goal, speed, integrator, accuracy, is_long=is_long)

            marks = record_times(horizon, first, num_records) if asked is None else asked
            outcome, network, _ = train(make, state, problem, marks, tolerance, record, callback, resume)
            return Trajectory(
                times=outcome.positions,
                steps=outcome.steps,
                records=outcome.records,
                network=network,
                minimal_loss=problem.minimal_value,
                step_size=None,
                result=outcome.state.result,
                snapshot=outcome.snapshot,
            )

        return integrate


@numpy_in_numpy_out
def gradient_flow(
    net: DeepLinearNetwork,
    target: Target,
    loss: AbstractLoss,
    horizon: float,
    *,
    space: str = "layers",
    times: Any = None,
    num_records: int = 200,
    tolerance: float = 1e-10,
    solver: Any = "auto",
    rtol: float = 1e-8,
    atol: float | None = None,
    max_steps: int = 1_000_000,
    record: Record | None = None,
    callback: Callback | None = None,
    resume: Snapshot | None = None,
) -> Trajectory:
    """Gradient flow on the layers, dW_l/dt = −∂L^N/∂W_l, integrated adaptively until convergence or the horizon.

    The flow conserves W_{l+1}ᵀW_{l+1} − W_lW_lᵀ; how well the integration keeps them is its accuracy, and is recorded.

    Parameters
    ----------
    net : DeepLinearNetwork
        Start. With a leading batch dimension (on the network, the target or both) all runs of the batch go together;
        inside `jax.vmap` or `jax.jit` the whole run is traced.
    target : Target
        What is fitted.
    loss : BuresWasserstein or Frobenius
        The loss.
    horizon : float
        Largest time T > 0. One unit of time is 1/η steps of gradient descent with step size η.
    space : "layers" or "end-to-end"
        What is integrated. "end-to-end": the n×m matrix W, by dW/dt = −Σ_l (W Wᵀ)^{(N−l)/N} ∇L(W) (WᵀW)^{(l−1)/N},
        at a cost that does not depend on the depth N. For balanced starts only, which stay balanced: the result is the
        balanced lift of W.
    times : array, optional
        Times to record at, within [0, horizon]. Default: 0 and `num_records` times evenly spaced in log(time) up to the
        horizon. The solver steps exactly onto every record: records are not interpolated.
    num_records : int
        How many times to record, if `times` is not given.
    tolerance : float
        Stop once L − L* ≤ tolerance · L* (· the loss of the zero network, where L* vanishes). Judged after every step:
        the last record is there.
    solver : "auto", "dopri8", "tsit5", "chebyshev" or an adaptive diffrax solver
        "auto": Dormand-Prince of order 8; from 2000 of the fastest time scales 1/λ_max (`sharpness`) on, if the horizon
        is longer, a stabilized Runge-Kutta-Chebyshev method, at a tolerance of at least 1e-7.
    rtol, atol : float
        Local error tolerances, relative and absolute (default: rtol times the largest singular value of a layer of the
        balanced minimizer).
    max_steps : int
        Limit on the steps of the solver.
    record : names or mapping, optional
        What to record, as for `gradient_descent`.
    callback : function, optional
        Called a few times a second with a `Progress`.
    resume : Snapshot, optional
        Continue an interrupted run, `trajectory.snapshot`, with otherwise the same arguments: same bits.

    Returns
    -------
    Trajectory
        A collapse of the step size (at a kink of the loss), and Ctrl-C, are results, not exceptions.

    Raises
    ------
    ValueError
        For a horizon that is not positive and finite, times outside it, an unknown solver or space, shapes that do not
        fit; for space = "end-to-end", if the start is not balanced (saying by how much).

    Examples
    --------
    One mode, depth 2, aligned start: s(t) = √λ / (1 + (√λ/s(0) − 1) exp(−4√λ t)).

    >>> import numpy as np
    >>> import deepbures as db
    >>> start = db.balanced_network(np.array([[0.1]]), (1, 1, 1))
    >>> run = db.gradient_flow(start, db.Target.from_spectrum([4.0]), db.BuresWasserstein(), 1.0, times=[0.5])
    >>> s = 2 / (1 + (2 / 0.1 - 1) * np.exp(-4 * 2 * 0.5))
    >>> bool(abs(run.losses[1] - (2 - s) ** 2) < 1e-7)
    True
    """
    flow = Flow(horizon, space, times, solver, rtol, atol, max_steps)
    trained = flow.train(
        pose(net, target, loss),
        net,
        tolerance=tolerance,
        num_records=num_records,
        record=record,
        callback=callback,
        resume=resume,
    )
    assert trained.trajectory is not None  # it has one; tells the type checker
    return trained.trajectory


def record_times(horizon: float, first: float, num_records: int) -> np.ndarray:
    """Times to record at: 0, then evenly spaced in log(time) from the fastest time scale to the horizon."""
    if num_records == 1 or horizon <= first:
        return np.linspace(0.0, horizon, num_records + 1)
    return np.concatenate([[0.0], np.geomspace(first, horizon, num_records)])


def times_within(times: Any, horizon: float) -> np.ndarray:
    """The times to record at, checked, with 0 and the horizon."""
    marks = np.unique(np.concatenate([[0.0], np.asarray(times, float).ravel(), [horizon]]))
    if not np.isfinite(marks).all() or marks[0] < 0 or marks[-1] > horizon:
        raise ValueError(f"times must be finite and lie in [0, horizon] = [0, {horizon}].")
    return marks


def fastest_rate(problem: Problem, depth: int, latent_dim: int, start: Callable[[], DeepLinearNetwork]) -> Array:
    """The inverse of the fastest time scale: at the minimizer, or if that is flat at the start, or else 1."""
    rate = curvatures(problem, depth, latent_dim)[0]
    if not is_tracer(rate) and bool(np.all(np.asarray(rate) > 0)):
        return rate
    begin = rate_at_the_start(start(), problem).max()
    return jnp.where(jnp.asarray(rate) > 0, rate, jnp.where(begin > 0, begin, 1.0))


def _state(net: DeepLinearNetwork, space: str) -> tuple[AbstractField, DeepLinearNetwork]:
    """The vector field of a space, and the start as its state."""
    if space == "layers":
        return LayerField.of(net), net
    if not any_traced(net):
        gap, limit = relative_balancedness_gap(net), balancedness_tolerance(net)
        if gap > limit:
            raise ValueError(
                f"The end-to-end flow is that of balanced networks, but the balancedness gap of this one is {gap:.3g} "
                f'of the largest squared layer (at most {limit:.2g}): take space="layers", or start from '
                "balanced_network(net.end_to_end, net.widths)."
            )
    return EndToEndField(jnp.asarray(net.depth), net.widths), DeepLinearNetwork([net.end_to_end], net.mean)
