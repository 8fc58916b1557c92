"""What the functions of Python accept: everything that holds a matrix of numbers; the rest with one clear message.

The truth is NumPy's, of plain float64 arrays. Of libraries that the tests do not install, small stand-ins imitate the
part of the protocol that tells them.
"""

import jax
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

each = pytest.mark.parametrize

# Column 2 holds whole numbers, column 3 zeros and ones: all are exact in half precision.
X = np.round(np.random.default_rng(0).normal(size=(40, 4)) * [12, 8, 4, 0.4])
X[:, :2] /= 4
X[:, 3] = X[:, 3] > 0
X[0] = [1, 2, 3, 0]
X[1] = [0.5, -1, 2, 1]
FRAME = pd.DataFrame(X, columns=list("abcd")).astype({"c": "Int64", "d": "bool"})


# -------------------------------------------------------------------------------------------- stand-ins


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


def memory_map(tmp_path, dtype):
    held = np.memmap(tmp_path / "x.dat", dtype=dtype, mode="w+", shape=X.shape)
    held[:] = X
    return held


# -------------------------------------------------------------------------------------------- accepted

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
    fitted = db.fit(given, 2, solver="closed-form")
    lowest = np.linalg.eigvalsh(covariance)[:2].sum()
    np.testing.assert_allclose(fitted.final_loss, lowest, rtol=500 * tolerance)
    np.testing.assert_array_equal(fitted.network.mean, target.mean)


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
    with pytest.raises(ValueError, match=r"eigenvalues has 1 missing values, the first in row 1"):
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


# -------------------------------------------------------------------------------------------- refused


def with_column(values):
    return lambda: FRAME.assign(e=values)


DAYS = pd.date_range("2020-01-01", periods=40)
MASKED = np.ma.array(X, mask=False)
MASKED[3, 1] = MASKED[7, 0] = np.ma.masked
REFUSED = {
    "pd.NA": (
        with_column(pd.array([*range(17), None, *range(22)], dtype="Int64")),
        "column 'e' of {} has 1 missing .* row 17 ",
    ),
    "NaN": (
        with_column([1.0] * 38 + [np.nan] * 2),
        r"column 'e' of {} has 2 missing values, .* row 38 \(counted from 0\)",
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
        "'b' of {} has 2 missing values, the first in row 4",
    ),
    "polars text": (
        lambda: DataFrame(Series("a", ["x", "y"], "String")),
        "'a' of {} must hold numbers, but has dtype String",
    ),
    "polars arrays": (lambda: DataFrame(Series("a", X, "Array")), "'a' of {} must hold numbers, but has dtype Array"),
    "lazy": (LazyFrame, r"{} must be in memory, but a lazy LazyFrame was given\. Pass {}\.collect\(\)"),
    "arrow null": (lambda: pa.table({"a": [1, None, 3]}), "'a' of {} has 1 missing values, the first in row 1"),
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


# -------------------------------------------------------------------------------------------- large integers

BIG = 2**60 + 2 * np.arange(12).reshape(6, 2) + 1  # odd, and so not multiples of 2**8, which is what float64 has there


@each("dtype", ["int64", "uint64", ">i8"])
@each("sign", [1, -1])
def test_integers_that_float64_does_not_hold(dtype, sign, tmp_path):
    """Rounded in silence, their variance would be that of the rounding."""
    if sign < 0 and dtype == "uint64":
        return
    x = np.full((20_000, 2), sign * 2**60, dtype)
    x[17_000, 1] = sign * BIG[0, 1]
    held = np.memmap(tmp_path / "x.dat", dtype=dtype, mode="w+", shape=x.shape)
    held[:] = x
    message = r"has the whole number -?1152921504606846979 at index \(17000, 1\), which float64 cannot .* Subtract"
    for given in (x, held, pd.DataFrame(x.astype(x.dtype.newbyteorder("=")))):
        with pytest.raises(ValueError, match=message):
            db.Target.from_samples(given)
    with pytest.raises(ValueError, match=message):
        db.squared_frechet_distance(np.zeros((2, 2)), x)
    with pytest.raises(ValueError, match=message):
        db.Target.from_factor(x)
    with pytest.raises(ValueError, match=r"column 'a' of samples has the whole number -?11.* at index \(17000,\)"):
        db.Target.from_samples(pd.DataFrame({"a": x[:, 1].astype(x.dtype.newbyteorder("=")), "b": 0.5}))


@each("extreme", [2**63 - 1, -(2**63) + 1, 2**64 - 1, 2**53 + 1])
def test_the_first_and_last_integers_are_refused(extreme):
    x = np.array([[0, 0], [0, extreme]], np.uint64 if extreme >= 2**63 else np.int64)
    with pytest.raises(ValueError, match=rf"the whole number {extreme} at index \(1, 1\)"):
        db.Target.from_samples(x)


@each("value", [2**53, 2**63 - 2**10, -(2**63), 3 * 2**60, 2**63, 2**64 - 2**11])
def test_integers_that_float64_holds_are_taken(value):
    x = np.array([[0], [value]], np.uint64 if value >= 2**63 else np.int64)
    assert db.Target.from_samples(x).eigenvalues[0] == pytest.approx((value / 2) ** 2, rel=1e-14)
    assert db.squared_frechet_distance(x, x.astype(float)) == 0


def test_integers_of_other_libraries():
    """Their default float may be single, which holds whole numbers up to 2**24."""
    with pytest.raises(
        ValueError, match=r"x has the whole number 16777217 at index \(0, 1\), which float32 .* float64"
    ):
        db.squared_frechet_distance(torch.tensor([[0, 2**24 + 1], [0, 0]]), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"samples has the whole number 1152921504606846977 at index \(0, 0\)"):
        db.Target.from_samples(torch.tensor(BIG))


def test_names_in_another_order():
    x, y = FRAME.astype(float), FRAME.astype(float)[list("badc")]
    message = r"y\.columns are x\.columns in another order: 'b' is number 1 of y.* y\[x\.columns\]"
    with pytest.raises(ValueError, match=message):
        db.squared_frechet_distance(x, y)
    assert db.squared_frechet_distance(x, y[x.columns]) == 0
    assert db.squared_frechet_distance(x, y.set_axis(list("pqrs"), axis=1)) > 0
    a, b = x.cov(), y.cov()
    with pytest.raises(ValueError, match=r"b\.columns are a\.columns in another order"):
        db.squared_bures_wasserstein(a, b)
    with pytest.raises(ValueError, match=r"cov_y\.columns are cov_x\.columns in another order"):
        db.squared_frechet_distance_from_moments(x.mean(), a, y.mean(), b)
    with pytest.raises(ValueError, match=r"covariance\.index are covariance\.columns in another order"):
        db.Target.from_covariance(a[list("badc")])
    with pytest.raises(ValueError, match=r"mean\.index are covariance\.columns in another order"):
        db.Target.from_covariance(a, mean=y.mean())


# -------------------------------------------------------------------------------------------- networks


def test_latent_vectors():
    net = db.DeepLinearNetwork([np.ones((2, 3)), np.ones((4, 2))], mean=np.arange(4.0))
    z = np.random.default_rng(1).normal(size=(5, 3))
    expected = 2 * z.sum(1, keepdims=True) + np.arange(4.0)
    for given in (z, z.tolist(), pd.DataFrame(z), torch.tensor(z, requires_grad=True), z.astype(">f8")):
        np.testing.assert_allclose(net(given), expected, rtol=1e-14)
    np.testing.assert_allclose(net(z[0]), expected[0], rtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda z: net(z))(jnp.asarray(z)), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(net)(jnp.asarray(z)), expected, rtol=1e-5)


@each(
    "z, error, message",
    [
        (np.ones((5, 4)), ValueError, r"z must have shape \(…, 3\), .*widths \(3, 2, 4\)\), but has shape \(5, 4\)\.$"),
        (np.ones((3, 5)), ValueError, r"but has shape \(3, 5\)\. Pass z\.T: vectors are in rows\."),
        (1.0, ValueError, r"z must have shape \(…, 3\), .* but has shape \(\)"),
        ("z", TypeError, "z must be an array of numbers, but the text 'z' was given"),
        (np.ones((5, 3)) * 1j, TypeError, "z must be an array of real numbers, not complex"),
        (scipy.sparse.eye_array(3), TypeError, "z must be a dense array"),
    ],
)
def test_latent_vectors_that_do_not_fit(z, error, message):
    with pytest.raises(error, match=message):
        db.DeepLinearNetwork([np.ones((2, 3)), np.ones((4, 2))])(z)


def test_latent_vectors_of_a_batch():
    """Each network has its mean: two rows of z are not two networks."""
    nets = [db.DeepLinearNetwork([s * np.ones((3, 2))], mean=s * np.arange(3.0)) for s in (1.0, 2.0)]
    batch = db.stack_networks(nets)
    z = np.random.default_rng(1).normal(size=(2, 2))
    np.testing.assert_allclose(batch(z), np.stack([net(z) for net in nets]), rtol=1e-14)
    np.testing.assert_allclose(batch(z[0]), np.stack([net(z[0]) for net in nets]), rtol=1e-14)
    of_each = np.stack([z, 2 * z])
    np.testing.assert_allclose(batch(of_each), np.stack([net(rows) for net, rows in zip(nets, of_each, strict=True)]))
    with pytest.raises(ValueError, match=r"z of shape \(3, 5, 2\) does not fit a batch of networks of shape \(2,\)"):
        batch(np.ones((3, 5, 2)))


@each(
    "key, num, error, message",
    [
        ("0", 3, TypeError, "key must be a whole number, but '0' was given"),
        (0.5, 3, TypeError, r"key must be a whole number, but 0\.5 was given"),
        (-1, 3, ValueError, "key must be at least 0"),
        (
            jnp.ones(2),
            3,
            TypeError,
            r"key must be a key of jax\.random or a whole number, but a JAX array of dtype float",
        ),
        (0, 2.5, TypeError, r"num must be a whole number, but 2\.5 was given"),
        (0, 0, ValueError, "num must be at least 1, but 0 was given"),
    ],
)
def test_arguments_of_sample(key, num, error, message):
    net = db.DeepLinearNetwork([np.ones((2, 1))])
    with pytest.raises(error, match=message):
        net.sample(key, num)
    assert net.sample(jax.random.PRNGKey(0), 3).shape == (3, 2)  # keys of the old form are arrays


@each(
    "make, error, message",
    [
        (lambda: np.ones((2, 2)), TypeError, "A stack of nn.Linear layers is asked for, but a ndarray was given"),
        (
            lambda: torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(4, 5)),
            ValueError,
            "Layer 1 of the stack takes 4 inputs, but layer 0 has 3 outputs",
        ),
        (
            lambda: torch.nn.Linear(2, 3, dtype=torch.complex64),
            TypeError,
            r"Layer 0 .* must be real, but has dtype torch.complex64",
        ),
    ],
)
def test_stacks_of_torch_that_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        dbt.from_torch(make())


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_stacks_of_torch():
    module = torch.nn.Sequential(torch.nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"Layer 0 of the stack is lazy .* call the module once first"):
        dbt.from_torch(module)
    module(torch.ones(1, 2))
    assert dbt.from_torch(module).widths == (2, 3)


def test_to_torch_takes_networks():
    with pytest.raises(TypeError, match="net must be a DeepLinearNetwork, but a ndarray was given"):
        dbt.to_torch(np.ones((2, 2)))
