"""Warnings that point at the line of the user's that called this package, however deep inside they arise."""

import sys
import warnings

# Wrappers of equinox and jax stand between functions of ours.
_INSIDE = ("deepbures", "equinox", "jax")


def warn(message: str) -> None:
    """Give a UserWarning at the nearest line outside of this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
