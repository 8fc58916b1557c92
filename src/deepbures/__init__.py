"""Generative deep linear networks under the Bures-Wasserstein loss: fit, explain, certify.

The public names are those that the rooms promise in their `__all__`. They are resolved on first use, so that importing
the package is quick and loads nothing that is not needed.
"""

import ast
import importlib
import os
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from deepbures.certificates import *  # noqa: F403
    from deepbures.landscape import *  # noqa: F403
    from deepbures.metric import *  # noqa: F403
    from deepbures.model import *  # noqa: F403
    from deepbures.training import *  # noqa: F403
else:  # A type checker that saw `__getattr__` would take any misspelled name for a public one.

    def _promised(room: str) -> list[str]:
        """The `__all__` of a room, read off its source, since importing the room would load JAX."""
        try:
            source = __spec__.loader.get_data(os.path.join(os.path.dirname(__file__), room, "__init__.py"))
        except OSError:  # compiled or frozen, without sources
            return importlib.import_module(f"deepbures.{room}").__all__
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
                return ast.literal_eval(statement.value)
        raise AssertionError(f"deepbures.{room} has no __all__")

    _PUBLIC_ROOMS = ("certificates", "landscape", "metric", "model", "training")
    _ROOM_OF = {name: room for room in _PUBLIC_ROOMS for name in _promised(room)}

    __all__ = ["__version__", *_ROOM_OF]  # noqa: PLE0604

    def __getattr__(name: str) -> object:
        if name not in _ROOM_OF:
            raise AttributeError(f"module 'deepbures' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"deepbures.{_ROOM_OF[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
