"""ARPACK with its restarts seeded: same input, same bits."""

import inspect
from typing import Any

import numpy as np
import scipy.sparse.linalg

# From SciPy 1.17 on ARPACK draws vectors for restarts from the operating system's entropy, unless told otherwise;
# before, it had a fixed seed of its own.
_TAKES_RNG = "rng" in inspect.signature(scipy.sparse.linalg.eigsh).parameters


def seeded_eigsh(*args: Any, **options: Any) -> Any:
    """`scipy.sparse.linalg.eigsh`; pass `v0` too."""
    if _TAKES_RNG:
        options["rng"] = np.random.default_rng(0)
    return scipy.sparse.linalg.eigsh(*args, **options)
