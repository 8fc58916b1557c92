"""The closed form, and the solvers by their names."""

from typing import Any, ClassVar, cast

from deepbures.landscape import Problem, warn_unusable
from deepbures.model import DeepLinearNetwork, balanced_network
from deepbures.training._descent import Descent
from deepbures.training._flow import Flow
from deepbures.training._host import Callback
from deepbures.training._result import Result
from deepbures.training._snapshot import Snapshot
from deepbures.training._solver import AbstractSolver, Trained


class ClosedForm(AbstractSolver):
    """The balanced lift of the minimizer (`rank_k_minimizer`): no training.

    Examples
    --------
    >>> import deepbures as db
    >>> fitted = db.fit(db.Target.from_spectrum([4.0, 2.0, 1.0]), rank=1, solver=db.ClosedForm())
    >>> round(float(fitted.final_loss), 12), fitted.trajectory is None
    (3.0, True)
    """

    needs_start: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """closed-form."""
        return "closed-form"

    @property
    def words(self) -> str:
        """The closed-form minimizer."""
        return "the closed-form minimizer"

    def train(
        self,
        problem: Problem,
        start: DeepLinearNetwork,
        *,
        tolerance: float = 0.0,
        num_records: int = 0,
        callback: Callback | None = None,
        resume: Snapshot | None = None,
    ) -> Trained:
        """The balanced network of the widths of `start` whose end-to-end matrix is the minimizer."""
        warn_unusable(problem)
        return Trained(balanced_network(problem.minimizer(), start.widths), result=cast(Any, Result.converged))


SOLVERS: dict[str, type[AbstractSolver]] = {"closed-form": ClosedForm, "flow": Flow, "descent": Descent}
"""Names accepted by `fit`."""


def owners_of(option: str) -> tuple[str, ...]:
    """The names of the solvers that have an option; of those that need a start, for ``"init"`` and ``"resume"``.

    Examples
    --------
    >>> from deepbures.training import owners_of
    >>> owners_of("horizon"), owners_of("init")
    (('flow',), ('flow', 'descent'))
    """
    of_training = option in ("init", "resume")
    return tuple(
        name
        for name, kind in SOLVERS.items()
        if option in kind.__dataclass_fields__ or (of_training and kind.needs_start)
    )


def as_solver(solver: str | AbstractSolver, **options: Any) -> AbstractSolver:
    """A solver as it is, or that of a name, with its options; options that are None are left out.

    Examples
    --------
    >>> from deepbures.training import as_solver
    >>> as_solver("flow", horizon=2.0, num_steps=None).limits
    {'horizon': 2.0}
    """
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(solver, AbstractSolver):
        if given:
            name, value = next(iter(given.items()))
            raise ValueError(
                f"{name} = {value!r} was given beside a solver with options of its own: make it one of them, as in "
                f"Descent({name}=…), or leave it out."
            )
        return solver
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise ValueError(
            f"solver must be one of {', '.join(SOLVERS)}, but {solver!r} was given. (Or pass a solver with its "
            "options, such as Descent(num_steps=1000).)"
        )
    for name in given:
        owners = owners_of(name)
        if solver not in owners:
            raise ValueError(
                f"{name} belongs to the solver {' or '.join(map(repr, owners))}, but solver = {solver!r}: leave it out."
            )
    return SOLVERS[solver](**given)
