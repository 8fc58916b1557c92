"""The samples of these tests as a frame, and stand-ins for libraries that the tests do not install.

A stand-in imitates the part of the protocol that tells its library.
"""

import numpy as np
import pandas as pd

# Column 2 holds whole numbers, column 3 zeros and ones: all are exact in half precision.
X = np.round(np.random.default_rng(0).normal(size=(40, 4)) * [12, 8, 4, 0.4])
X[:, :2] /= 4
X[:, 3] = X[:, 3] > 0
X[0] = [1, 2, 3, 0]
X[1] = [0.5, -1, 2, 1]
FRAME = pd.DataFrame(X, columns=list("abcd")).astype({"c": "Int64", "d": "bool"})


class Series:
    """A column of Polars."""

    def __init__(self, name, values, dtype="Float64", missing=()):
        self.name, self.values, self.dtype, self.missing = name, np.asarray(values), dtype, missing

    def __array__(self, dtype=None, copy=None):
        return self.values

    def to_numpy(self):
        return self.values

    def is_null(self):
        return Series(self.name, np.isin(np.arange(len(self.values)), self.missing), "Boolean")

    def null_count(self):
        return len(self.missing)

    def refuse(self, *arguments):
        raise AssertionError("only named in messages")

    drop_nulls = fill_null = drop_nans = fill_nan = cast = refuse


class DataFrame:
    """A frame of Polars."""

    def __init__(self, *series):
        self.series = series

    @property
    def columns(self):
        return [series.name for series in self.series]

    def iter_columns(self):
        return iter(self.series)

    def to_numpy(self):
        raise AssertionError("by columns, which have names")

    def __len__(self):
        return len(self.series[0].values)


class LazyFrame:
    @property
    def columns(self):
        raise AssertionError("resolving the schema of a lazy frame is expensive")

    def collect(self):
        pass


class DataArray:
    """One of xarray."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __len__(self):
        return len(self.values)

    def to_numpy(self):
        return self.values

    def isnull(self):
        raise AssertionError("as an array, where NaN is told by its index")


class Dataset:
    """One of xarray."""

    data_vars = {"u": X}  # noqa: RUF012

    def __len__(self):
        return 1
