"""The experiments by name, computed piece by piece into a folder that an interrupted run goes on from.

Edge of the package: runs what `deepbures.experiments` defines and draws it with `deepbures.plot`. Importing it loads
neither: what does the work (`run`, `Folder`, …) is imported when it is asked for.
"""

import importlib
from typing import TYPE_CHECKING

from deepbures.reproduce._registry import EXPERIMENTS as EXPERIMENTS
from deepbures.reproduce._registry import Drawing as Drawing
from deepbures.reproduce._registry import Experiment as Experiment
from deepbures.reproduce._registry import Record as Record
from deepbures.reproduce._registry import choose as choose

if TYPE_CHECKING:
    from deepbures.reproduce._folder import INDEX as INDEX
    from deepbures.reproduce._folder import Folder as Folder
    from deepbures.reproduce._folder import Options as Options
    from deepbures.reproduce._keeper import FolderKeeper as FolderKeeper
    from deepbures.reproduce._keeper import PartsFailedError as PartsFailedError
    from deepbures.reproduce._keeper import UnwritableError as UnwritableError
    from deepbures.reproduce._page import tally as tally
    from deepbures.reproduce._run import Ending as Ending
    from deepbures.reproduce._run import Plan as Plan
    from deepbures.reproduce._run import run as run
else:
    _WORK = {
        "_folder": ("INDEX", "Folder", "Options"),
        "_keeper": ("FolderKeeper", "PartsFailedError", "UnwritableError"),
        "_page": ("tally",),
        "_run": ("Ending", "Plan", "run"),
    }
    _MODULE_OF = {name: module for module, names in _WORK.items() for name in names}

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'deepbures.reproduce' has no attribute {name!r}")
        return getattr(importlib.import_module(f"deepbures.reproduce.{_MODULE_OF[name]}"), name)
