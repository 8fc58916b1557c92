"""What the functions of Python accept: everything that holds a matrix of numbers. The truth is NumPy's, of float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import deepbures as db
from deepbures import torch as dbt

from .forms import FRAME, DataArray, DataFrame, Series, X

each = pytest.mark.parametrize


def memory_map(tmp_path, dtype):
    held = np.memmap(tmp_path / "x.dat", dtype=dtype, mode="w+", shape=X.shape)
    held[:] = X
    return held


ACCEPTED = {
    "pandas, mixed with Int64 and bool": lambda _: FRAME,
    "pandas, nullable": lambda _: FRAME.astype({"a": "Float64", "d": "boolean"}),
    "pandas, arrow": lambda _: pa.Table.from_pandas(FRAME).to_pandas(types_mapper=pd.ArrowDtype),
    "pandas, sparse": lambda _: FRAME.astype(float).astype(pd.SparseDtype("float64")),
    "pandas, names twice": lambda _: pd.DataFrame(X, columns=list("aabb")).astype({"b": "float32"}),
    "pandas, big-endian": lambda _: pd.DataFrame(X.astype(">f8")),
    "arrow": lambda _: pa.Table.from_pandas(FRAME),
    "arrow, a batch": lambda _: pa.Table.from_pandas(FRAME).to_batches()[0],
    "polars": lambda _: DataFrame(*(Series(str(i), X[:, i]) for i in range(3)), Series("3", X[:, 3] > 0, "Boolean")),
    "xarray": lambda _: DataArray(X),
    "nothing masked": lambda _: np.ma.array(X, mask=False),
    "big-endian": lambda _: X.astype(">f8"),
    "big-endian, memory-mapped": lambda path: memory_map(path, ">f4"),
    "memory-mapped": lambda path: memory_map(path, "<f8"),
    "lists": lambda _: X.tolist(),
    "matrix": lambda _: np.asmatrix(X),
    "Fortran order": lambda _: np.asfortranarray(X),
    "negative strides": lambda _: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "every second": lambda _: np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
    "read-only": lambda _: np.broadcast_to(X, X.shape),
    "torch": lambda _: torch.tensor(X),
    "torch, transposed": lambda _: torch.tensor(X.T.copy()).T,
    "jax": lambda _: jnp.asarray(X),
}


IN_THE_MODEL_ONLY = {
    "float16": lambda _: X.astype(np.float16),
    "longdouble": lambda _: X.astype(np.longdouble),
    "torch, with gradient": lambda _: torch.tensor(X, requires_grad=True),
    "torch, float16": lambda _: torch.tensor(X).half(),
    "torch, bfloat16": lambda _: torch.tensor(X).bfloat16(),
    "jax, bfloat16": lambda _: jnp.asarray(X, jnp.bfloat16),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass is not the recommended way")
@each("kind", [*ACCEPTED, *IN_THE_MODEL_ONLY])
def test_samples_in_every_form(kind, tmp_path):
    given = {**ACCEPTED, **IN_THE_MODEL_ONLY}[kind](tmp_path)
    target = db.Target.from_samples(given)
    tolerance = 20 * float(jnp.finfo(target.mean.dtype).eps)
    np.testing.assert_allclose(target.mean, X.mean(0), rtol=tolerance, atol=tolerance)
    covariance = np.cov(X.T, bias=True)
    found = target.matmul(np.eye(4, dtype=target.dtype))
    np.testing.assert_allclose(found, covariance, atol=5 * tolerance * covariance.max())


@each("kind", ["pandas, mixed with Int64 and bool", "memory-mapped", "torch, with gradient"])
def test_fits_take_what_targets_take(kind, tmp_path):
    given = {**ACCEPTED, **IN_THE_MODEL_ONLY}[kind](tmp_path)
    fitted = db.fit(given, 2, solver="closed-form")
    np.testing.assert_allclose(fitted.final_loss, np.linalg.eigvalsh(np.cov(X.T, bias=True))[:2].sum(), rtol=1e-12)
    np.testing.assert_array_equal(fitted.network.mean, db.Target.from_samples(given).mean)


@pytest.mark.filterwarnings("ignore:the matrix subclass is not the recommended way")
@each("kind", ACCEPTED)
def test_the_metric_in_every_form(kind, tmp_path):
    given = ACCEPTED[kind](tmp_path)
    y = X[::-1] * 2 + 1
    other = (
        torch.tensor(y) if isinstance(given, torch.Tensor) else jnp.asarray(y) if isinstance(given, jax.Array) else y
    )
    if kind == "big-endian, memory-mapped":
        other = y.astype(np.float32)
    expected = ((X.mean(0) - y.mean(0)) ** 2).sum() + X.var(0).sum()  # of A and 4 A
    value = db.squared_frechet_distance(given, other)
    np.testing.assert_allclose(np.asarray(value), expected, rtol=1e-5 if "jax" in kind or "mapped" in kind else 1e-13)


def test_covariances_factors_and_vectors_of_frames():
    covariance = pd.DataFrame(np.cov(X.T, bias=True), index=list("abcd"), columns=list("abcd"))
    target = db.Target.from_covariance(covariance, mean=FRAME.astype(float).mean())
    np.testing.assert_allclose(target.matmul(np.eye(4)), covariance, atol=1e-13)
    np.testing.assert_allclose(target.mean, X.mean(0), rtol=1e-14)
    assert db.squared_bures_wasserstein(covariance, covariance.to_numpy()) == 0
    np.testing.assert_allclose(db.Target.from_factor(FRAME.astype(float).T).trace, (X**2).sum(), rtol=1e-14)
    spectrum = db.Target.from_spectrum(pd.Series([3, 1, 2], dtype="Int64"))
    assert spectrum.eigenvalues.tolist() == [3.0, 2.0, 1.0]
    with pytest.raises(ValueError, match=r"eigenvalues has 1 missing value, in row 1"):
        db.Target.from_spectrum(pd.Series([3, None, 2], dtype="Int64"))
    weights = [torch.nn.Parameter(torch.ones(3, 2)), torch.ones(4, 3, requires_grad=True)]
    assert db.DeepLinearNetwork(weights).widths == (2, 3, 4)


def test_precision_of_a_frame():
    """The one dtype that holds all columns: float32 stays, whole numbers are float64."""
    single = FRAME.astype({"a": "float32", "b": "float32"})
    assert db.Target.from_samples(single[["a", "b", "d"]]).dtype == np.float32
    assert db.Target.from_samples(single[["a", "c"]]).dtype == np.float64
    assert db.Target.from_samples(FRAME[["c", "d"]]).dtype == np.float64


def test_a_loss_of_torch_takes_what_a_target_takes():
    x = torch.tensor(X[:30])
    expected = dbt.BuresWassersteinLoss(torch.tensor(X))(x)
    for given in (FRAME, X.astype(">f8"), X.tolist(), db.Target.from_samples(X), torch.tensor(X, requires_grad=True)):
        torch.testing.assert_close(dbt.BuresWassersteinLoss(given)(x), expected)
