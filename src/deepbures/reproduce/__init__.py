"""The experiments by name, computed piece by piece into a folder that an interrupted run goes on from.

Edge of the package: runs what `deepbures.experiments` defines and draws it with `deepbures.plot`. Importing it loads
neither; the work is in `deepbures.reproduce._run`, which the command imports when it works.
"""

from deepbures.reproduce._registry import EXPERIMENTS as EXPERIMENTS
from deepbures.reproduce._registry import Drawing as Drawing
from deepbures.reproduce._registry import Experiment as Experiment
from deepbures.reproduce._registry import Record as Record
from deepbures.reproduce._registry import choose as choose
