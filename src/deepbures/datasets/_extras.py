"""Optional dependencies, imported at the moment they are needed."""

import importlib
from typing import Any

_PACKAGES = {"sklearn": "scikit-learn", "skimage": "scikit-image", "pyarrow": "pyarrow", "PIL": "pillow"}


def import_extra(module: str, purpose: str) -> Any:
    """A module of an optional dependency, or an error that says what to install.

    Typed Any: most of these libraries have no type stubs.
    """
    package = _PACKAGES[module.partition(".")[0]]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{purpose} needs {package}, which could not be imported ({error}): pip install "deepbures[data]"'
        ) from None
