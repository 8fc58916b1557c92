"""How the import hook of jaxtyping checks annotations: of arrays only, and at the first calls of a function only.

Everything else that is given to a function is looked at by the function, with messages of its own, which are tested. A
check takes longer than many of the functions themselves, of which some are called a hundred thousand times.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Annotated, Any, get_args

import jaxtyping
from beartype import beartype

from deepbures import _types

MOST_CHECKS = 5
"""Calls of a function that are checked, until `check_again`."""

_jaxtyped = jaxtyping.jaxtyped
_calls: dict[Any, int] = {}


def install(rooms: tuple[str, ...]) -> None:
    """Check the rooms, which must not have been imported yet."""
    for name in [name for name, notation in vars(_types).items() if notation is Annotated and name != "Annotated"]:
        setattr(_types, name, getattr(jaxtyping, name))
    jaxtyping.jaxtyped = _checked_at_first  # which the hook decorates all functions and classes with
    jaxtyping.install_import_hook(rooms, f"{__name__}.arrays_only")


def check_again() -> None:
    """Begin to count the calls anew."""
    _calls.clear()


def arrays_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and results whose annotations are arrays of jaxtyping."""
    annotations = {name: each for name, each in function.__annotations__.items() if _is_of_arrays(each)}
    if not annotations:
        return function
    function.__annotations__ = annotations
    return beartype(function)


def _checked_at_first(*, typechecker: Any) -> Callable[[Any], Any]:
    def decorate(given: Any) -> Any:
        annotations = getattr(given, "__annotations__", {}).values()
        if not any(_is_of_arrays(each) for each in annotations):
            return given
        if not isinstance(given, type):
            return _at_first(given, _jaxtyped(given, typechecker=typechecker))
        if not dataclasses.is_dataclass(given):
            return given
        plain = given.__init__
        given = _jaxtyped(given, typechecker=typechecker)
        given.__init__ = _at_first(plain, given.__init__)
        return given

    return decorate


def _at_first(plain: Callable[..., Any], checked: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if "torch" in sys.modules and sys.modules["torch"].compiler.is_compiling():
            return plain(*args, **kwargs)
        count = _calls.get(plain, 0)
        if count >= MOST_CHECKS:
            return plain(*args, **kwargs)
        _calls[plain] = count + 1
        return checked(*args, **kwargs)

    return wrapped


def _is_of_arrays(annotation: Any) -> bool:
    is_array = isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray)
    return is_array or any(_is_of_arrays(part) for part in get_args(annotation))
