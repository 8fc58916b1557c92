"""Arrays in annotations: `Float[Array, "n m"]` is an array of floating point numbers of shape (n, m).

The notation is that of `jaxtyping`. An `Array` is one of NumPy or JAX (or traced by it); "..." stands for any number of
leading dimensions, those of a batch. In a signature, equal names are equal sizes. While the tests run, these shapes are
checked; otherwise they cost nothing. What is annotated `ArrayLike` is what people may hold, which functions look at
themselves, with messages that say what to do.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool as Bool
from jaxtyping import Float as Float
from jaxtyping import Float64 as Float64
from jaxtyping import Int as Int
from jaxtyping import Shaped as Shaped
from numpy.typing import NDArray

Array = Any
ArrayLike = Any
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
