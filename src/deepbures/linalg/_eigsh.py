"""ARPACK with its restarts seeded: same input, same bits."""

import inspect
from typing import Any

import numpy as np


def seeded_eigsh(*args: Any, **options: Any) -> Any:
    """`scipy.sparse.linalg.eigsh`; pass `v0` too."""
    from scipy.sparse.linalg import eigsh

    # From SciPy 1.17 on ARPACK draws vectors for restarts from the operating system's entropy, unless told otherwise;
    # before, it had a fixed seed of its own.
    if "rng" in inspect.signature(eigsh).parameters:
        options["rng"] = np.random.default_rng(0)
    return eigsh(*args, **options)
