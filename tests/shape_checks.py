"""The checker of annotations that the import hook of jaxtyping applies: of arrays only.

Everything else that is given to a function is looked at by the function, with messages of its own, which are tested.
"""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def arrays_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and results whose annotations are arrays of jaxtyping."""
    annotations = {name: each for name, each in function.__annotations__.items() if _is_of_arrays(each)}
    if not annotations:
        return function
    function.__annotations__ = annotations
    return beartype(function)


def _is_of_arrays(annotation: Any) -> bool:
    is_array = isinstance(annotation, type) and issubclass(annotation, AbstractArray)
    return is_array or any(_is_of_arrays(part) for part in get_args(annotation))
