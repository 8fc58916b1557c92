"""What holds no matrix of numbers is refused with one clear message, by every function alike."""

import warnings

import jax.experimental.sparse
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch

import deepbures as db
from deepbures import torch as dbt

from .forms import FRAME, DataFrame, Dataset, LazyFrame, Series, X

each = pytest.mark.parametrize


def with_column(values):
    return lambda: FRAME.assign(e=values)


DAYS = pd.date_range("2020-01-01", periods=40)


MASKED = np.ma.array(X, mask=False)
MASKED[3, 1] = MASKED[7, 0] = np.ma.masked


def quietly(make):
    """What PyTorch makes with a warning that it is to change, or go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return make()


REFUSED = {
    "pd.NA": (
        with_column(pd.array([*range(17), None, *range(22)], dtype="Int64")),
        "column 'e' of {} has 1 missing .* row 17 ",
    ),
    "NaN": (
        with_column([1.0] * 38 + [np.nan] * 2),
        r"column 'e' of {} has 2 missing values, the first in row 38 \(counted from 0\).* \(dropna\), .* \(fillna\)\.",
    ),
    "nullable boolean": (
        with_column(pd.array([None, True] * 20, dtype="boolean")),
        "column 'e' of {} has 20 missing .* row 0 ",
    ),
    "objects": (with_column(["x"] * 40), r"column 'e' of {} must hold numbers, but has dtype \w+\. Leave it out"),
    "numbers as objects": (
        with_column(pd.Series([1, 2.5] * 20, dtype=object)),
        "column 'e' .* dtype object.*to_numeric",
    ),
    "dates": (with_column(DAYS), r"column 'e' of {} must hold numbers, but has dtype datetime64\["),
    "durations": (with_column(DAYS - DAYS[0]), r"column 'e' of {} must hold numbers, but has dtype timedelta64\["),
    "categories": (
        with_column(pd.Categorical(["u", "v"] * 20)),
        "column 'e' of {} must hold numbers, but has dtype cat",
    ),
    "of a tuple": (lambda: pd.DataFrame([["x"]], columns=[("a", 1)]), r"column \('a', 1\) of {} must hold numbers"),
    "polars null": (
        lambda: DataFrame(Series("a", X[:, 0]), Series("b", X[:, 1], missing=(4, 6))),
        r"'b' of {} has 2 missing values, the first in row 4 .* \(drop_nulls\), .* \(fill_null\)\.",
    ),
    "polars NaN": (
        lambda: DataFrame(Series("a", [1.0, np.nan])),
        r"'a' of {} has 1 missing value, in row 1 .* \(drop_nans\), .* \(fill_nan\)\.",
    ),
    "polars text": (
        lambda: DataFrame(Series("a", ["x", "y"], "String")),
        r"'a' of {} must hold numbers, but has dtype String\. .* it: \.cast to a f",
    ),
    "polars arrays": (lambda: DataFrame(Series("a", X, "Array")), "'a' of {} must hold numbers, but has dtype Array"),
    "lazy": (LazyFrame, r"{} must be in memory, but a lazy LazyFrame was given\. Pass {}\.collect\(\)"),
    "arrow null": (
        lambda: pa.table({"a": [1, None, 3]}),
        r"'a' of {} has 1 missing value, in row 1 .*\(drop_null\), .* \(fill_null\)",
    ),
    "arrow text": (lambda: pa.table({"a": ["x", "y"]}), "'a' of {} must hold numbers, but has dtype string"),
    "xarray data set": (Dataset, r"{} must be one array, but a Dataset of the variables \['u'\] .* {}\['u'\]"),
    "masked": (lambda: MASKED, r"{} has 2 masked entries, the first at index \(3, 1\)\. .* {}\.filled"),
    "sparse matrix": (
        lambda: scipy.sparse.csr_matrix(X),
        r"a sparse csr_matrix of shape \(40, 4\) .* {}\.toarray\(\).*from_operator",
    ),
    "sparse array": (lambda: scipy.sparse.coo_array(X), r"a sparse coo_array of shape \(40, 4\) .* {}\.toarray\(\)"),
    "sparse tensor": (lambda: torch.tensor(X).to_sparse(), r"a sparse Tensor of shape \(40, 4\) .* {}\.to_dense\(\)"),
    "sparse of JAX": (
        lambda: jax.experimental.sparse.BCOO.fromdense(jnp.asarray(X)),
        r"a sparse BCOO .* {}\.todense\(\)",
    ),
    "file": (
        lambda: "data.csv",
        r"the text 'data\.csv' was given\. A file is read by deepbures\.datasets\.load_dataset",
    ),
    "tensor without values": (
        lambda: torch.ones(40, 4, device="meta"),
        r"but a Tensor of shape \(40, 4\) on the device 'meta' was given, which has none\. Make it on another device",
    ),
    "quantized tensor": (
        lambda: quietly(lambda: torch.quantize_per_tensor(torch.ones(40, 4), 0.1, 0, torch.qint8)),
        r"a Tensor in the form 'quantized' was given\. Pass {}\.dequantize\(\)",
    ),
    "nested tensor": (
        lambda: quietly(lambda: torch.nested.nested_tensor([torch.ones(40, 4), torch.ones(3, 4)])),
        r"a Tensor in the form 'nested' was given\. Pass one matrix, or .* torch\.stack\({}\.unbind\(\)\)",
    ),
    "tensor of another library": (lambda: torch.ones(40, 4).to_mkldnn(), r"the form 'mkldnn' .* {}\.to_dense\(\)"),
    "dates of an array": (
        lambda: np.full((40, 4), "2020-01-01", "M8[D]"),
        r"dtype datetime64\[D\] .* Make times of the dates: \(x - x\.min\(\)\) / numpy\.timedelta64\(1, 's'\)",
    ),
    "durations of an array": (
        lambda: np.ones((40, 4), "m8[s]"),
        r"dtype timedelta64\[s\] .* Make numbers of the durations: x / numpy\.timedelta64\(1, 's'\)",
    ),
    "half precision of an array": (
        lambda: X.astype(jnp.bfloat16),
        r"dtype bfloat16 .* Convert it with \.astype\(numpy\.float32\) or \.astype\(numpy\.float64\)\.$",
    ),
    "half precision as it is saved": (
        lambda: X.astype(jnp.bfloat16).view("V2"),
        r"dtype \|V2 .* If they are bfloat16, .* x\.view\(ml_dtypes\.bfloat16\)\.astype\(numpy\.float32\)",
    ),
    "generator": (lambda: iter(X.tolist()), "{} must be .* but a list_iterator was given"),
    "text": (
        lambda: [["1", "2"], ["3", "4"]],
        r"numbers, but has dtype <U1 .* the first '1': convert them with \.astype",
    ),
    "objects of an array": (
        lambda: np.array([[1, 2], [None, 3]], object),
        r"dtype object .* is None, at index \(1, 0\)",
    ),
    "numbers of an array": (
        lambda: X.astype(object),
        r"dtype object .* All of its entries are numbers: pass it with \.as",
    ),
    "records": (
        lambda: FRAME[["a", "b"]].to_records(index=False),
        r"Its fields \('a', 'b'\) become columns by numpy\.lib",
    ),
    "ragged": (lambda: [[1.0, 2.0], [3.0]], "{} must be a rectangular array of numbers"),
    "nothing": (lambda: None, r"{} must be (a Target|an array of numbers).* but a NoneType was given"),
    "moments": (
        lambda: db.Moments().update(X),
        "{} must be (a Target|an array of (real )?numbers).*, but a Moments was given",
    ),
    "dict": (lambda: {"a": [1.0]}, "{} must be an array of (real )?numbers, but a dict was given"),
}


@each("kind", REFUSED)
def test_what_is_refused(kind):
    make, message = REFUSED[kind]
    for call, name in (
        (lambda x: db.fit(x, 1), "target"),
        (dbt.BuresWassersteinLoss, "target"),
        (lambda x: db.squared_frechet_distance(x, X), "x"),
        (lambda x: db.squared_frechet_distance(X, x), "y"),
    ):
        with pytest.raises((TypeError, ValueError), match=message.replace("{}", name)):
            call(make())
    if kind != "nothing":
        with pytest.raises((TypeError, ValueError), match=message.replace("{}", "samples")):
            db.Target.from_samples(make())
        with pytest.raises((TypeError, ValueError), match=message.replace("{}", "factor")):
            db.Target.from_factor(make())


def test_a_covariance_is_not_taken_for_samples():
    covariance = np.cov(X.T)
    for call in (lambda s: db.fit(s, 1), dbt.BuresWassersteinLoss):
        with pytest.raises(
            ValueError, match=r"symmetric matrix of shape \(4, 4\), as covariances are: pass Target\.from_c"
        ):
            call(covariance)
    assert db.Target.from_samples(covariance).dim == 4  # who says that they are samples is believed


def test_what_is_no_target():
    """Where samples are not taken either."""
    net, loss = db.DeepLinearNetwork([np.ones((4, 1))]), db.BuresWasserstein()
    run = db.gradient_flow(net, db.Target.from_samples(X), loss, 0.01, record=("end_to_end",))
    for call in (
        lambda t: db.gradient_flow(net, t, loss, 1.0),
        lambda t: db.gradient_descent(net, t, loss, 1),
        lambda t: db.certify(net, t, loss),
        lambda t: db.plateaus(run, t, loss),
        lambda t: db.critical_points(t, 1, loss),
        lambda t: db.classify(net, t, loss),
        lambda t: db.minimal_loss(t, 1, loss),
        lambda t: db.rank_k_minimizer(t, 1, loss),
        lambda t: db.sharpness(t, 1, loss),
        lambda t: db.asymptotic_rate(t, 1, loss),
        lambda t: db.hessian_extremes(net, t, loss),
        lambda t: db.initialize((1, 4), "close", key=0, target=t),
        lambda t: loss.value(np.ones((4, 1)), t),
        lambda t: loss.grad(np.ones((4, 1)), t),
        lambda t: db.Frobenius().hvp(np.ones((4, 1)), t, np.ones((4, 1))),
    ):
        with pytest.raises(
            TypeError, match=r"target must be a Target, but a \w+ was given\. Build one with Target\.from_s"
        ):
            call(X)
