"""What every kind of file is read into, and what all readers share."""

import dataclasses
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """What a file holds: an array, and the names and types of its columns where it tells them.

    One type stands for that of all columns. `is_listed` tells that rows are records, of which the first column may be
    the number.
    """

    array: Array
    names: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | str | None = None
    image_shape: tuple[int, ...] | None = None
    is_listed: bool = False
