"""The oracle of the tests of models serves here too; test folders share no parent package, so it comes by path."""

import importlib.util
import sys
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("landscape_oracle", Path(__file__).parents[1] / "model" / "oracle.py")
assert _SPEC is not None and _SPEC.loader is not None
oracle = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = oracle
_SPEC.loader.exec_module(oracle)
