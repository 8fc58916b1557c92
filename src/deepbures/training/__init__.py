"""Training: gradient flow, gradient descent, the closed form, and the records of runs."""

from deepbures.certificates import Assumption as Assumption
from deepbures.certificates import Certificate as Certificate
from deepbures.certificates import Check as Check
from deepbures.certificates import Proof as Proof
from deepbures.certificates import certify as certify
from deepbures.training._aligned import aligned_flow
from deepbures.training._balanced_flows import BalancedFlows, balanced_flows
from deepbures.training._descent import Descent, gradient_descent
from deepbures.training._features import FeatureDeviations
from deepbures.training._fit import Fit, fit
from deepbures.training._flow import Flow, gradient_flow
from deepbures.training._host import Progress as Progress
from deepbures.training._plateaus import Plateau, plateaus
from deepbures.training._preparation import fit_problem as fit_problem
from deepbures.training._preparation import fit_start as fit_start
from deepbures.training._preparation import fit_widths as fit_widths
from deepbures.training._result import Result
from deepbures.training._result import code_of as code_of
from deepbures.training._result import name_of as name_of
from deepbures.training._snapshot import Snapshot as Snapshot
from deepbures.training._snapshot import load_snapshot as load_snapshot
from deepbures.training._snapshot import save_snapshot as save_snapshot
from deepbures.training._solver import AbstractSolver, Trained
from deepbures.training._solvers import SOLVERS as SOLVERS
from deepbures.training._solvers import ClosedForm
from deepbures.training._solvers import as_solver as as_solver
from deepbures.training._solvers import owners_of as owners_of
from deepbures.training._trajectory import Trajectory

__all__ = [
    "AbstractSolver",
    "BalancedFlows",
    "ClosedForm",
    "Descent",
    "FeatureDeviations",
    "Fit",
    "Flow",
    "Plateau",
    "Result",
    "Trained",
    "Trajectory",
    "aligned_flow",
    "balanced_flows",
    "fit",
    "gradient_descent",
    "gradient_flow",
    "plateaus",
]
