"""Training: gradient flow, gradient descent, the closed form, and the records of runs."""

from deepbures.training._aligned import aligned_flow as aligned_flow
from deepbures.training._certificate import Assumption as Assumption
from deepbures.training._certificate import Certificate as Certificate
from deepbures.training._certificate import Check as Check
from deepbures.training._certify import certify as certify
from deepbures.training._descent import gradient_descent as gradient_descent
from deepbures.training._driver import Progress as Progress
from deepbures.training._driver import load_snapshot as load_snapshot
from deepbures.training._driver import save_snapshot as save_snapshot
from deepbures.training._features import FeatureDeviations as FeatureDeviations
from deepbures.training._fit import Fit as Fit
from deepbures.training._fit import fit as fit
from deepbures.training._flow import gradient_flow as gradient_flow
from deepbures.training._plateaus import Plateau as Plateau
from deepbures.training._plateaus import plateaus as plateaus
from deepbures.training._trajectory import Result as Result
from deepbures.training._trajectory import Snapshot as Snapshot
from deepbures.training._trajectory import Trajectory as Trajectory
