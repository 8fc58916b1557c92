"""Training: gradient flow, gradient descent, the closed form, and the records of runs."""

from deepbures.certificates import Assumption as Assumption
from deepbures.certificates import Certificate as Certificate
from deepbures.certificates import Check as Check
from deepbures.certificates import certify as certify
from deepbures.training._aligned import aligned_flow
from deepbures.training._descent import gradient_descent
from deepbures.training._features import FeatureDeviations
from deepbures.training._fit import Fit, fit
from deepbures.training._flow import gradient_flow
from deepbures.training._host import Progress as Progress
from deepbures.training._plateaus import Plateau, plateaus
from deepbures.training._result import Result
from deepbures.training._result import name_of as name_of
from deepbures.training._snapshot import Snapshot as Snapshot
from deepbures.training._snapshot import load_snapshot as load_snapshot
from deepbures.training._snapshot import save_snapshot as save_snapshot
from deepbures.training._trajectory import Trajectory

__all__ = [
    "FeatureDeviations",
    "Fit",
    "Plateau",
    "Result",
    "Trajectory",
    "aligned_flow",
    "fit",
    "gradient_descent",
    "gradient_flow",
    "plateaus",
]
