"""Targets of data with very many rows, of low precision, or far from the origin, against constructions."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import deepbures as db

from .oracle import orthonormal

N = 2**17


def hadamard_samples(values: np.ndarray, num: int) -> np.ndarray:
    """±√λ_i in columns of a Hadamard matrix without its constant one: mean 0, covariance diag(λ), exactly.

    Entry (row, column) of the Hadamard matrix of size 2^p has the sign of the parity of the bits that both share.
    """
    rows, columns = np.arange(num)[:, None], np.arange(1, len(values) + 1)[None, :]
    signs = 1 - 2 * (np.bitwise_count(rows & columns) % 2).astype(np.int8)
    return signs * np.sqrt(values)


def strong_and_weak() -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations that are powers of two, so that λ, a quarter of it and so on are exact in float32 too."""
    values = np.array([2.0 ** (6 - 2 * (i // 4)) for i in range(16)] + [2.0**-22] * 16)
    return values, hadamard_samples(values, N)


@pytest.mark.parametrize("kind", ["float32", "mapped float32", "mapped float64", "mapped float16", "jax float32"])
def test_no_variance_is_lost_to_the_number_of_samples(kind, tmp_path):
    """λ_32 = 2^−28 λ_1: far below (N eps)² λ_1 in single precision, which is 2.4e-4 λ_1 here."""
    values, x = strong_and_weak()
    x = x.astype(kind.split()[-1])
    if kind.startswith("mapped"):
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    target = db.Target.from_samples(jnp.asarray(x) if kind.startswith("jax") else x)
    single = kind.endswith("float32")
    assert target.dtype == (np.float32 if single else np.float64)
    assert isinstance(target.eigenvalues, jax.Array) == kind.startswith("jax")
    # Singular values are right to about eps s_1: the small ones, 2^−14 s_1, to 1e-11.
    np.testing.assert_allclose(target.eigenvalues, values, rtol=1e-6 if single else 1e-10)
    least = db.minimal_loss(target, 16, db.BuresWasserstein())
    np.testing.assert_allclose(least, 16 * 2.0**-22, rtol=1e-6 if single else 1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wide_factors_keep_small_eigenvalues(dtype):
    values, x = strong_and_weak()
    wide = (x.T / np.float64(2**8)).astype(dtype)  # F Fᵀ = N / 2^16 diag(λ)
    for factor in (wide, jnp.asarray(wide)):
        target = db.Target.from_factor(factor)
        assert target.dtype == dtype
        np.testing.assert_allclose(target.eigenvalues, 2 * values, rtol=1e-6 if dtype == np.float32 else 1e-10)


def test_traced_samples_are_cut_by_the_rounding_of_their_precision():
    """In float32 inside jit: λ known to a few hundred eps² λ_1, not to (N eps)² λ_1."""
    values, x = strong_and_weak()
    found = jax.jit(lambda rows: db.Target.from_samples(rows).eigenvalues)(jnp.asarray(x, jnp.float32))
    assert found.dtype == np.float32
    # The level is (√N + 32) eps s_1 = 5e-5 s_1, the weak modes 6e-5 s_1.
    np.testing.assert_allclose(found[:16], values[:16], rtol=1e-3)
    assert (np.asarray(found[16:]) > 0).all()


@pytest.mark.parametrize("num", [3, 300, 2**17])
def test_rank_deficient_data_have_exact_zeros(num):
    """Whole numbers, one column the sum of two others; the mean is not a whole number."""
    rng = np.random.default_rng(0)
    x = rng.integers(-1000, 1000, (num, 3)).astype(np.int32)
    x = np.concatenate([x, x[:, :1] + x[:, 1:2]], axis=1)
    for data in (x, x.astype(np.float32), x + 2.0**20):
        values = np.asarray(db.Target.from_samples(data).eigenvalues)
        assert (values[:2] > 0).all() and values[-1] == 0
        assert (values[2] > 0) == (num > 3)
    repeated = np.repeat(x[:, :1], 2, axis=1)
    assert db.Target.from_factor(repeated.T).eigenvalues[1] == 0
    assert db.Target.from_factor(repeated).eigenvalues[1] == 0


@pytest.mark.parametrize("offset", [0.0, 2.0**10, 2.0**30, -(2.0**40)])
def test_a_large_offset_costs_nothing(offset):
    """Deviations that are exact beside the offset: the centered data are the same numbers."""
    values = np.array([4.0, 1.0, 2.0**-10])
    x = hadamard_samples(values, 2**12) + offset
    for data in (x, x[::-1]):
        target = db.Target.from_samples(data)
        np.testing.assert_allclose(target.eigenvalues, values, rtol=1e-12)
        np.testing.assert_allclose(target.mean, offset, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_the_covariance_of_rows_in_order_of_size(offset, dtype, rng):
    """A trend, where partial sums are large, not a multiple of the block, against sums of whole numbers of any size."""
    x = np.sort(offset + rng.standard_normal((20_001, 2)) @ [[1.0, 0.5], [0.0, 0.01]], axis=0).astype(dtype)
    integers = (np.asarray(x, np.float64) * 2**52).astype(object)
    integers = np.array([[int(entry) for entry in row] for row in integers], object)  # exact: no entry below 1
    num, total = len(x), integers.sum(0)
    # N² times the covariance: N Σ x_i x_j − Σ x_i Σ x_j.
    exact = [[num * (integers[:, i] * integers[:, j]).sum() - total[i] * total[j] for j in (0, 1)] for i in (0, 1)]
    with mpmath.workdps(60):
        scale = mpmath.mpf(num) ** 2 * mpmath.mpf(2) ** 104
        matrix = mpmath.matrix([[mpmath.mpf(int(entry)) / scale for entry in row] for row in exact])
        expected = sorted((float(value) for value in mpmath.eigsy(matrix, eigvals_only=True)), reverse=True)
        mean = [float(mpmath.mpf(int(t)) / num / mpmath.mpf(2) ** 52) for t in total]
    target = db.Target.from_samples(x)
    single = dtype == np.float32
    np.testing.assert_allclose(target.eigenvalues, expected, rtol=2e-7 if single else 1e-10)
    np.testing.assert_allclose(target.mean, mean, rtol=1e-7 if single else 1e-15)


@pytest.mark.parametrize("dtype", [">f8", ">f4", "<f2", np.uint8, np.int16, bool, np.longdouble])
def test_every_kind_of_number_in_memory_or_mapped(dtype, tmp_path, rng):
    x = rng.integers(0, 2 if dtype is bool else 200, (50, 3)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    expected = np.cov(x.astype(np.float64).T, bias=True)
    for data in (x, np.load(tmp_path / "x.npy", mmap_mode="r"), x[::-1], np.asfortranarray(x)):
        target = db.Target.from_samples(data)
        assert target.dtype == (np.float32 if dtype == ">f4" else np.float64) and target.dtype.isnative
        np.testing.assert_allclose(
            target.matmul(np.eye(3, dtype=target.dtype)), expected, rtol=1e-6 if dtype == ">f4" else 1e-13, atol=1e-4
        )


def test_fewer_single_precision_samples_than_features(rng):
    """Deviations of 1e-3 about 100, and a second mode of 1e-6 of the first one's variance."""
    left = orthonormal(rng, 5, 5)[:, :2]
    left = np.linalg.qr(left - left.mean(0))[0]
    right = orthonormal(rng, 8, 2)
    x = (100 + left * np.sqrt(5) * [1e-1, 1e-4] @ right.T).astype(np.float32)
    exact = x.astype(np.float64) - x.astype(np.float64).mean(0)
    target = db.Target.from_samples(x)
    assert target.dtype == np.float32
    expected = np.linalg.svd(exact, compute_uv=False) ** 2 / 5
    np.testing.assert_allclose(target.eigenvalues[:4], expected[:4], rtol=1e-5)
    assert (np.asarray(target.eigenvalues[4:]) == 0).all()  # five centered rows have rank four


def test_single_precision_covariances_are_decomposed_in_double():
    """The eigenvalues of [[1, 1], [1, 1 + 2^−18]], close to singular: 2^−19 is the small one, to first order."""
    covariance = np.array([[1.0, 1.0], [1.0, 1 + 2.0**-18]], np.float32)
    with mpmath.workdps(40):
        h = mpmath.mpf(2) ** -18
        small = float(((2 + h) - mpmath.sqrt(4 + h * h)) / 2)
    for given in (covariance, jnp.asarray(covariance)):
        target = db.Target.from_covariance(given)
        assert target.dtype == np.float32
        np.testing.assert_allclose(target.eigenvalues, [2 + 2.0**-18 - small, small], rtol=1e-7)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: db.Target.from_samples(np.array([[1e-170], [2e-170]])),
            r"below the range of float64, with standard deviations of at most 5\.0e-171: scale the data up",
        ),
        (lambda: db.Target.from_samples(np.array([[1e-25], [2e-25]], np.float32)), "below the range of float32"),
        (lambda: db.Target.from_factor(np.array([[1e-170]])), "below the range of float64"),
        (lambda: db.Target.from_samples(np.array([[1e25], [2e25]], np.float32)), "beyond the range of float32"),
        (lambda: db.Target.from_samples(np.array([[1e308], [-1e308]])), "beyond the range of float64: scale the data"),
    ],
)
def test_variance_out_of_range_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
