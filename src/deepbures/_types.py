"""Arrays in annotations: `Float[Array, "n m"]` is an array of floating point numbers of shape (n, m).

The notation is that of `jaxtyping`. An `Array` is one of NumPy or JAX (or traced by it), in the metric also of another
library; "..." stands for any number of leading dimensions, those of a batch. In a signature, equal names are
equal sizes, and "{k}" is the argument k. While the tests run, these shapes are checked; otherwise they cost nothing.
What is annotated `ArrayLike` is what people may hold, which functions look at themselves, with messages that say what
to do.
"""

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Float64 as Float64
    from jaxtyping import Inexact as Inexact
    from jaxtyping import Int as Int
    from jaxtyping import Shaped as Shaped
else:
    # Loading jaxtyping takes a twelfth of the time in which the metric is imported. What checks the shapes puts its
    # names here, before any other module of the package is imported.
    Bool = Float = Float64 = Inexact = Int = Shaped = Annotated

Array = Any
ArrayLike = Any
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
