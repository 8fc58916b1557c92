"""Features of the same names in another order are refused, with how to bring them into one."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import deepbures as db

from .forms import FRAME, DataFrame, Series, X

x = FRAME.astype(float)
y = x[list("badc")]
A, B = x.cov(), y.cov()
F, G = (
    pd.DataFrame(X[:4, :2], index=frame.columns, columns=names) for frame, names in ((x, ["u", "v"]), (y, ["v", "u"]))
)


def refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_samples():
    message = r"y\.columns are x\.columns in another order: 'b' is number 1 of y, .* as the other, y\[x\.columns\]\."
    refused(lambda: db.squared_frechet_distance(x, y), message)
    assert db.squared_frechet_distance(x, y[x.columns]) == 0
    assert db.squared_frechet_distance(x, y.set_axis(list("pqrs"), axis=1)) > 0
    first, second = map(pa.Table.from_pandas, (x, y))
    message = r"y\.column_names are x\.column_names in another order: .* the other, y\.select\(x\.column_names\)\."
    refused(lambda: db.squared_frechet_distance(first, second), message)
    assert db.squared_frechet_distance(first, second.select(first.column_names)) == 0
    polars = [DataFrame(*(Series(name, frame[name]) for name in frame)) for frame in (x, y)]
    refused(lambda: db.squared_frechet_distance(*polars), r"as the other, y\.select\(x\.columns\)\.")


def test_covariances():
    message = r"b\.columns are a\.columns in another order: .* as the other, b\.loc\[a\.columns, a\.columns\]\."
    for distance in (db.squared_bures_wasserstein, db.bures_wasserstein_distance, db.transport_map):
        refused(lambda distance=distance: distance(A, B), message)
    assert db.squared_bures_wasserstein(A, B.loc[A.columns, A.columns]) == 0
    turned = A[list("badc")]  # rows in one order, columns in another
    refused(lambda: db.nearest_covariance(turned), r"a\.index are a\.columns in another order")
    message = r"covariance\.index are .*, covariance\.loc\[covariance\.columns, covariance\.columns\]\."
    refused(lambda: db.Target.from_covariance(turned), message)
    np.testing.assert_array_equal(db.nearest_covariance(turned.loc[turned.columns, turned.columns])[0], B)


def test_means():
    message = r"cov_y\.columns are cov_x\.columns in another order"
    refused(lambda: db.squared_frechet_distance_from_moments(x.mean(), A, y.mean(), B), message)
    message = r"mean_y\.index are cov_x\.columns in another order: .* as the other, mean_y\.loc\[cov_x\.columns\]\."
    refused(lambda: db.squared_frechet_distance_from_moments(x.mean(), A, y.mean(), A), message)
    for make in (
        lambda mean: db.Target.from_covariance(A, mean=mean),
        lambda mean: db.Target.from_factor(F, mean=mean),
    ):
        refused(lambda make=make: make(y.mean()), r"mean\.index are .* in another order")
        np.testing.assert_array_equal(make(y.mean().loc[A.columns]).mean, x.mean())


def test_factors_have_features_in_rows():
    message = r"g\.index are f\.index in another order: 'b' is number 1 of g, .* as the other, g\.loc\[f\.index\]\."
    for distance in (db.squared_bures_wasserstein_factors, db.bures_wasserstein_distance_factors):
        refused(lambda distance=distance: distance(F, G), message)
    message = r"g\.index are a\.columns in another order: .* as the other, g\.loc\[a\.columns\]\."
    for distance in (db.squared_bures_wasserstein_mixed, db.bures_wasserstein_distance_mixed):
        refused(lambda distance=distance: distance(A, G), message)
    # The order of columns of factors is free: the covariance does not depend on it.
    same = F[["v", "u"]]
    assert db.squared_bures_wasserstein_factors(F, same) < 1e-28 * (X**2).sum()
    assert db.squared_bures_wasserstein_mixed(A, G.loc[A.columns]) > 0
