"""The record that every source of data is turned into."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepbures.datasets._features import Features

Array = NDArray[Any]

_BLOCK_BYTES = 2**24
"""Arrays are scanned and hashed in blocks of rows of about this size: a memory-mapped one is never read whole."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Samples, or a covariance matrix, with what is needed to show and to identify them.

    Exactly one of `samples` and `covariance` is given; the other is None.

    Attributes
    ----------
    name : str
        The built-in name with all its options, or the name of the file or folder.
    samples : ndarray (N, n) or None
        Samples in rows, N ≥ 2. float64 in memory; or a read-only `numpy.memmap` of the dtype of the file where a
        .npy file is large.
    covariance : ndarray (n, n) or None
        Covariance matrix of the target. Square; whether it is symmetric and positive semidefinite is checked by
        `deepbures.Target.from_covariance`.
    image_shape : tuple of int or None
        Shape in which one sample is shown as an image: (height, width) for gray, (height, width, channels) for color
        with channels last; None where the data are not images.
    description : str
        One sentence: what the data are, their units, their source and license.
    feature_names : tuple of str or None
        Names of the n columns; None where the source has none. They may repeat.
    feature_dtypes : tuple of str or None
        Types in which the source stores the columns, as NumPy calls them; None where it has none (text).

    Raises
    ------
    ValueError
        If not exactly one of `samples` and `covariance` is given, or its shape is not as above, or does not fit
        `image_shape`, `feature_names` or `feature_dtypes`.

    Examples
    --------
    >>> import numpy as np
    >>> from deepbures.datasets import Dataset
    >>> data = Dataset(name="pair", samples=np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    >>> data.dim, data.num_samples, data.digest()[:8]
    (3, 2, 'a96e91c8')
    """

    name: str
    samples: Array | None = None
    covariance: Array | None = None
    image_shape: tuple[int, ...] | None = None
    description: str = ""
    feature_names: tuple[str, ...] | None = None
    feature_dtypes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.samples is None) == (self.covariance is None):
            raise ValueError("a Dataset holds either samples or a covariance: give exactly one of them.")
        if self._array.ndim != 2:
            raise ValueError(f"the array of a Dataset must be a matrix, but has shape {self._array.shape}.")
        if self.covariance is not None and self.covariance.shape[0] != self.covariance.shape[1]:
            raise ValueError(f"the covariance of a Dataset must be square, but has shape {self.covariance.shape}.")
        if self.image_shape is not None and math.prod(self.image_shape) != self.dim:
            raise ValueError(f"image_shape {self.image_shape} does not fit samples of dimension {self.dim}.")
        for field in ("feature_names", "feature_dtypes"):
            words = getattr(self, field)
            if words is not None and len(words) != self.dim:
                raise ValueError(f"{field} must be {self.dim}, one for each column, but {len(words)} are given.")

    @property
    def _array(self) -> Array:
        array = self.covariance if self.samples is None else self.samples
        assert array is not None  # by __post_init__; tells the type checker
        return array

    @property
    def dim(self) -> int:
        """Data dimension n."""
        return int(self._array.shape[1])

    @property
    def num_samples(self) -> int | None:
        """Number of samples N; None where the data are a covariance matrix."""
        return None if self.samples is None else int(self.samples.shape[0])

    @property
    def features(self) -> Features:
        """What a model of these data keeps of their columns. Of images, all values are read once for their range.

        Images whose values lie in [0, 1] are shown with 0 as black and 1 as white; others with their least and their
        largest value.
        """
        limits = None if self.image_shape is None or self.samples is None else _pixel_range(self.samples)
        return Features(self.feature_names, self.feature_dtypes, self.image_shape, limits)

    def digest(self) -> str:
        """SHA-256 of the contents, so that a run can record exactly which data it was fitted to.

        Covers whether the data are samples or a covariance, their dtype, shape and values; neither names nor the kind
        of file. The same numbers have the same digest on every machine, whatever their byte order or layout in
        memory. Reads all the data once.

        Returns
        -------
        str
            64 hexadecimal digits.

        Examples
        --------
        >>> from deepbures.datasets import load_dataset
        >>> first, second = load_dataset("gaussian:dim=3"), load_dataset("gaussian:dim=3,seed=1")
        >>> first.digest() == load_dataset("gaussian:dim=3,seed=0").digest(), first.digest() == second.digest()
        (True, False)
        """
        array = self._array
        dtype = array.dtype.newbyteorder("<")
        kind = "covariance" if self.samples is None else "samples"
        shape = "x".join(str(size) for size in array.shape)
        digest = hashlib.sha256(f"{kind} {dtype.str} {shape}\n".encode())
        for _, block in row_blocks(array):
            digest.update(np.ascontiguousarray(block, dtype=dtype).data)
        return digest.hexdigest()


def _pixel_range(samples: Array) -> tuple[float, float]:
    least, largest = math.inf, -math.inf
    for _, block in row_blocks(samples):
        least, largest = min(least, float(block.min())), max(largest, float(block.max()))
    return (0.0, 1.0) if least >= 0 and largest <= 1 else (least, largest)


def row_blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """(first row, rows) for consecutive blocks of rows of a matrix."""
    rows = max(1, _BLOCK_BYTES // max(1, array.itemsize * int(array.shape[1])))
    for start in range(0, array.shape[0], rows):
        yield start, array[start : start + rows]
