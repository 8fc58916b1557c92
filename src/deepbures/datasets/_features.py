"""What the columns of data are called and how they were stored: kept with a model, given back with its samples."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Features:
    """What is known of the n columns of data besides their values; None stands for what is not known.

    Attributes
    ----------
    names : tuple of str or None
        Names of the columns, as they were given: they may repeat, and may be empty.
    dtypes : tuple of str or None
        Names of the types that the columns were stored in, as NumPy calls them ("float32", "int64", "bool", …).
    image_shape : tuple of int or None
        Shape of a row shown as an image.
    pixel_range : tuple of two floats or None
        The values that are shown as black and as white.

    Examples
    --------
    >>> from deepbures.datasets import Features
    >>> kept = Features(names=("height", "weight"), dtypes=("float32", "float32")).to_arrays()
    >>> sorted(kept), Features.from_arrays(kept, dim=2).names
    (['feature_dtypes', 'feature_names'], ('height', 'weight'))
    """

    names: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    image_shape: tuple[int, ...] | None = None
    pixel_range: tuple[float, float] | None = None

    def to_arrays(self) -> dict[str, Array]:
        """What is known, as arrays without objects, for an .npz archive."""
        known: dict[str, Array | None] = {
            "feature_names": _text(self.names),
            "feature_dtypes": _text(self.dtypes),
            "image_shape": None if self.image_shape is None else np.array(self.image_shape, np.int64),
            "pixel_range": None if self.pixel_range is None else np.array(self.pixel_range, np.float64),
        }
        return {name: array for name, array in known.items() if array is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], dim: int) -> "Features":
        """Read what `to_arrays` wrote; what is missing, or does not fit `dim` columns, is not known."""
        shape, limits = arrays.get("image_shape"), arrays.get("pixel_range")
        is_of_sizes = shape is not None and shape.ndim == 1 and shape.dtype.kind in "iu" and bool((shape > 0).all())
        is_shape = is_of_sizes and shape is not None and math.prod(shape.tolist()) == dim
        is_range = limits is not None and limits.shape == (2,) and limits.dtype.kind == "f"
        return cls(
            names=_words(arrays.get("feature_names"), dim),
            dtypes=_words(arrays.get("feature_dtypes"), dim),
            image_shape=tuple(int(size) for size in shape) if shape is not None and is_shape else None,
            pixel_range=(float(limits[0]), float(limits[1])) if limits is not None and is_range else None,
        )


def require_same_order(first: tuple[str, ...] | None, second: tuple[str, ...] | None, sources: tuple[str, str]) -> None:
    """Refuse columns that have the same name in two sources, but another place: they would be taken for each other.

    Raises
    ------
    ValueError
        Naming the first of them. Names that only one source has, or one has twice, are not compared.

    Examples
    --------
    >>> from deepbures.datasets import require_same_order
    >>> require_same_order(("age", "height"), ("age", "size"), ("x.csv", "y.csv"))
    >>> require_same_order(("age", "height"), ("height", "age"), ("x.csv", "y.csv"))
    Traceback (most recent call last):
        ...
    ValueError: 'age' is column 1 of x.csv, but column 2 of y.csv: give the same columns in the same order.
    """
    if first is None or second is None:
        return
    counts = Counter(first), Counter(second)
    places = {name: place for place, name in enumerate(second)}
    for place, name in enumerate(first):
        if name and counts[0][name] == counts[1][name] == 1 and places[name] != place:
            raise ValueError(
                f"{name!r} is column {place + 1} of {sources[0]}, but column {places[name] + 1} of {sources[1]}: give "
                "the same columns in the same order."
            )


def _text(words: tuple[str, ...] | None) -> Array | None:
    # With its own type: NumPy would make a float64 array of no words.
    return None if words is None else np.array(words, dtype=np.str_)


def _words(array: Array | None, dim: int) -> tuple[str, ...] | None:
    if array is None or array.dtype.kind != "U" or array.shape != (dim,):
        return None
    return tuple(array.tolist())
