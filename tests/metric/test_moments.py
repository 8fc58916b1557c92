"""Moments of blocks, against rational arithmetic."""

import copy
import pickle
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import torch

import deepbures as db
from deepbures.metric import _moments, moments_of


def exact(x):
    """Mean and 1/N covariance, rounded once."""
    rows = [[Fraction(float(entry)) for entry in row] for row in np.asarray(x, np.float64)]
    num, n = len(rows), len(rows[0])
    mean = [sum(row[j] for row in rows) / num for j in range(n)]
    centered = [[row[j] - mean[j] for j in range(n)] for row in rows]
    covariance = [[float(sum(row[i] * row[j] for row in centered) / num) for j in range(n)] for i in range(n)]
    return np.array([float(m) for m in mean]), np.array(covariance)


def in_blocks(x, sizes):
    moments, start = db.Moments(), 0
    for size in sizes:
        assert moments.update(x[start : start + size]) is moments
        start += size
    assert start == len(x)
    return moments


def check(moments, x, rtol=1e-13):
    """Entries of the covariance relative to the standard deviations; the mean to its last digits, or theirs."""
    mean, covariance = exact(x)
    deviations = np.sqrt(np.diag(covariance))
    assert moments.count == len(x) and moments.dim == x.shape[1]
    assert (np.abs(moments.mean - mean) <= 5e-16 * (np.abs(mean) + 2 * deviations)).all()
    assert (np.abs(moments.covariance() - covariance) <= rtol * np.outer(deviations, deviations)).all()
    assert (moments.covariance() == moments.covariance().T).all()
    factor, (along, axes) = moments.factor(), moments.principal_axes()
    assert factor.shape[1] <= min(x.shape) and (np.diff(along) <= 0).all()
    np.testing.assert_allclose(factor @ factor.T, moments.covariance(), rtol=1e-14)
    assert (np.abs((axes * along**2) @ axes.T - covariance) <= rtol * np.trace(covariance)).all()


SIZES = pytest.mark.parametrize(
    "sizes", [[40], [1] * 40, [0, 7, 0, 1, 32], [38, 1, 0, 1]], ids=["one", "rows", "mixed", "last"]
)


@pytest.fixture(params=["kept whole", "in triangles"])
def few_rows(request, monkeypatch):
    """Blocks of 8 rows as if they were of 16384."""
    if request.param == "in triangles":
        monkeypatch.setattr(_moments, "_ROWS_PER_BLOCK", 8)


@SIZES
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_blocks_of_any_size_add_up(sizes, dtype, few_rows, rng):
    x = (100 + 30 * rng.standard_normal((40, 3)) @ rng.standard_normal((3, 3))).astype(dtype)
    check(in_blocks(x, sizes), x)


def test_fewer_samples_than_features(few_rows, rng):
    check(in_blocks(x := rng.standard_normal((12, 13)), [5, 1, 6]), x)


@pytest.mark.parametrize("ratio", [1e6, 1e12])
@SIZES
def test_a_mean_far_from_the_data_costs_nothing(ratio, sizes, few_rows, rng):
    """At 1e12 the entries themselves have four digits left below the mean, which are all used."""
    check(in_blocks(x := ratio + rng.standard_normal((40, 2)), sizes), x)


@SIZES
def test_blocks_may_lie_far_apart(sizes, few_rows, rng):
    check(in_blocks(x := np.sort(1e5 * rng.standard_normal((40, 2)), axis=0), sizes), x)


def test_merging_is_associative_and_commutes(few_rows, rng):
    x = 1e4 + rng.standard_normal((40, 3)) * [1, 1e-3, 10]
    parts = [x[:1], x[1:12], x[12:12], x[12:40]]
    of = lambda *which: [db.Moments().update(parts[i]) for i in which]  # noqa: E731
    a, b, empty, c = of(0, 1, 2, 3)
    check(a.merge(b).merge(empty).merge(c), x)
    a, b, empty, c = of(0, 1, 2, 3)
    check(a.merge(empty.merge(b.merge(c))), x)
    c, b, a = of(3, 1, 0)
    check(c.merge(a).merge(b), x)
    assert (a.count, b.count) == (1, 11)  # what is taken in stays as it is
    check(copy.copy(a).merge(pickle.loads(pickle.dumps(b))).update(parts[3]), x)


def test_constant_samples_have_no_variance(few_rows):
    x = np.full((40, 2), 0.1)
    for moments in (in_blocks(x, [40]), in_blocks(x, [1] * 40), in_blocks(x, [13, 27])):
        assert (moments.covariance() == 0).all() and (moments.mean == 0.1).all()
        assert (moments.principal_axes()[0] == 0).all()
    assert db.squared_frechet_distance(x, x[:1]) == 0


@SIZES
def test_directions_without_variance_are_exact_zeros(sizes, few_rows, rng):
    x = rng.integers(-1000, 1000, (40, 3))
    x = np.concatenate([x, x[:, :1] + x[:, 1:2], np.ones_like(x[:, :1])], axis=1)
    deviations, _ = in_blocks(x, sizes).principal_axes()
    assert (deviations[:3] > 1).all() and (deviations[3:] == 0).all() and len(deviations) == 5


def test_memory_mapped_single_precision(tmp_path, rng):
    np.save(tmp_path / "x.npy", (1e6 + 10 * rng.standard_normal((60, 2))).astype(np.float32))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    check(db.Moments().update(x), x)
    check(db.Moments().update(torch.tensor(x[:20])).update(jnp.asarray(x[20:])), x)


def test_unbiased(rng):
    x = rng.standard_normal((7, 2))
    moments = db.Moments().update(x)
    expected = np.cov(x.T)
    factor, (along, axes) = moments.factor(unbiased=True), moments.principal_axes(unbiased=True)
    for found in (moments.covariance(unbiased=True), factor @ factor.T, (axes * along**2) @ axes.T):
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_nothing_is_added_where_something_is_wrong(monkeypatch, rng):
    monkeypatch.setattr(_moments, "_ROWS_PER_BLOCK", 8)
    x = rng.standard_normal((40, 2))
    moments = db.Moments().update(x)
    broken = x.copy()
    broken[20, 1] = np.nan
    with pytest.raises(ValueError, match=r"not finite \(NaN or infinite\), the first at index \(20, 1\)"):
        moments.update(broken)
    with pytest.raises(ValueError, match="samples must have 2 features, as the samples before, but have 3"):
        moments.update(np.ones((4, 3)))
    with pytest.raises(ValueError, match="other must have 2 features, as the samples before, but have 3"):
        moments.merge(db.Moments().update(np.ones((4, 3))))
    with pytest.raises(ValueError, match=r"one sample a row and at least one column, but have shape \(2,\)"):
        moments.update(x[0])
    with pytest.raises(ValueError, match=r"have shape \(4, 0\)"):
        moments.update(np.ones((4, 0)))
    with pytest.raises(TypeError, match="samples must be an array of real numbers"):
        moments.update(1j * x)
    with pytest.raises(TypeError, match=r"a ndarray was given\. Samples go to update"):
        moments.merge(x)
    with pytest.raises(ValueError, match="beyond the range of float64: scale the data down"):
        moments.update(np.array([[1e308, 0], [-1e308, 0]]))
    with pytest.raises(ValueError, match="the whole number 9007199254740993 at index"):
        moments.update(np.array([[1, 2**53 + 1]]))
    check(moments, x)


def test_features_in_another_order():
    frame = pd.DataFrame({"height": [1.0, 2.0], "weight": [3.0, 5.0]})
    moments = db.Moments().update(frame)
    with pytest.raises(ValueError, match="in another order: number 1 is 'weight' instead of 'height'"):
        moments.update(frame[["weight", "height"]])
    with pytest.raises(ValueError, match="columns of other are those of the samples before in another order"):
        moments.merge(db.Moments().update(frame[["weight", "height"]]))
    assert moments.update(frame.to_numpy()).count == 4


def test_too_few_samples():
    moments = db.Moments().update(np.zeros((0, 3)))
    assert repr(moments) == "Moments(count=0, dim=None)"
    for ask in (lambda: moments.mean, moments.factor, moments.covariance, moments.principal_axes):
        with pytest.raises(ValueError, match="no samples yet"):
            ask()
    moments.update(np.ones((1, 3)))
    assert (moments.covariance() == 0).all() and moments.factor().shape == (3, 1)
    with pytest.raises(ValueError, match="one sample, and unbiased=True divides by N - 1 = 0"):
        moments.covariance(unbiased=True)


def test_derivatives_keep_the_digits_of_the_precision(rng):
    """In float32, of 30,000 samples: of the first one too, from which the others are measured."""
    x, m = rng.standard_normal((30_000, 2)).astype(np.float32), rng.standard_normal((2, 2))

    def torch_value(x):
        factor = moments_of(x).columns()
        return (torch.tensor(m, dtype=x.dtype) * (factor @ factor.mT)).sum()

    def jax_value(x):
        factor = moments_of(x).columns()
        return (m.astype(x.dtype) * (factor @ factor.mT)).sum()

    expected = (x.astype(float) - x.astype(float).mean(0)) @ (m + m.T) / len(x)
    tensor = torch.tensor(x, requires_grad=True)
    (ours,) = torch.autograd.grad(torch_value(tensor), tensor)
    for found in (ours, jax.grad(jax_value)(jnp.asarray(x))):
        assert (np.abs(np.asarray(found) - expected) <= 2e-6 * np.abs(expected).max()).all()


def test_a_covariance_beyond_float64_is_refused_and_its_factor_is_not():
    rows = np.array([[1e200, 0.0], [-1e200, 0.0], [0.0, 1.0], [0.0, -1.0]])
    moments = db.Moments().update(rows)
    with pytest.raises(
        ValueError, match=r"covariance is beyond the range of float64, .* Use factor\(\) or principal_axes"
    ):
        moments.covariance()
    np.testing.assert_allclose(moments.principal_axes()[0][0], 1e200 / np.sqrt(2), rtol=1e-14)
    # 1e150 squared is within the range: half of it, as two of four rows have it.
    np.testing.assert_allclose(db.Moments().update(rows * 1e-50).covariance()[0, 0], 0.5e300, rtol=1e-13)


def test_a_tensor_that_is_negated_when_it_is_read_has_its_moments():
    samples = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    lazily = torch.complex(samples, -samples).conj().imag
    assert lazily.is_neg()
    assert db.Moments().update(lazily).covariance().tolist() == db.Moments().update(samples).covariance().tolist()
