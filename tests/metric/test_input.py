"""What is accepted, what is refused and in which words, and that NumPy in means NumPy all the way."""

import subprocess
import sys
import textwrap
from pathlib import Path

import array_api_strict as strict
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures.metric as dbm
from deepbures.metric import _validation

EYE = np.eye(3)
SPREAD = np.diag([1.0, 4.0, 9.0])
NAN = np.array([[1.0, 0.0], [0.0, np.nan]])

OF_COVARIANCES = [dbm.squared_bures_wasserstein, dbm.bures_wasserstein_distance, dbm.transport_map]
OF_FACTORS = [dbm.squared_bures_wasserstein_factors, dbm.bures_wasserstein_distance_factors]
OF_TWO = [*OF_COVARIANCES, *OF_FACTORS, dbm.squared_frechet_distance]

each = pytest.mark.parametrize


def name_of(function):
    return function.__name__


# ----------------------------------------------------------------------------------------------------- what is refused


@each("function", OF_TWO, ids=name_of)
class TestEveryFunction:
    def test_two_libraries(self, function):
        with pytest.raises(
            TypeError, match=r"arrays of one library, but \w is numpy.ndarray and \w is array_api_strict"
        ):
            function(EYE, strict.asarray(EYE))

    def test_two_dtypes(self, function):
        with pytest.raises(TypeError, match=r"one dtype, but \w has float64 and \w has float32"):
            function(EYE, EYE.astype(np.float32))
        with pytest.raises(TypeError, match=r"\w has complex128 and \w has float64"):
            function(EYE + 0j, EYE)
        with pytest.raises(TypeError, match=r"\w has float32 and \w has float64 \(promoted from int64\)"):
            function(EYE.astype(np.float32), EYE.astype(np.int64))

    @each("bad", [EYE.astype(object), np.array([["a", "b"]] * 2), np.array(["2020-01-01"], "M8[D]")])
    def test_not_numbers(self, function, bad):
        with pytest.raises(TypeError, match=r"must be an array of numbers, but has dtype"):
            function(bad, EYE)

    def test_ragged(self, function):
        with pytest.raises(TypeError, match="must be a rectangular array of numbers"):
            function([[1.0, 2.0], [3.0]], EYE)

    def test_half_precision(self, function):
        with pytest.raises(
            TypeError, match=r"float16, in which there is no linear algebra\. Convert it to float32 or float64"
        ):
            function(EYE.astype(np.float16), EYE.astype(np.float16))

    @each("xp", [np, jnp], ids=["numpy", "jax"])
    def test_not_finite(self, function, xp):
        with pytest.raises(ValueError, match=r"has 1 entry that is not finite .* at index \(1, 1\)"):
            function(xp.asarray(NAN), xp.eye(2))
        with pytest.raises(ValueError, match="has 4 entries that are not finite"):
            function(xp.eye(2), xp.full((2, 2), -np.inf))

    @each("bad", [np.float64(3.0), np.ones(3)])
    def test_too_few_axes(self, function, bad):
        with pytest.raises(ValueError, match=r"must have shape \(\.\.\., .*\), but has shape \(3?,?\)"):
            function(bad, EYE)

    def test_dimensions_differ(self, function):
        with pytest.raises(
            ValueError, match=r"same dimension n, but \w has shape \(3, 3\) \(n = 3\) and \w .* \(n = 2\)"
        ):
            function(EYE, EYE[:2, :2])

    def test_batches_do_not_broadcast(self, function):
        with pytest.raises(ValueError, match=r"do not broadcast"):
            function(np.stack([EYE] * 2), np.stack([EYE] * 3))

    def test_empty(self, function):
        with pytest.raises(ValueError, match=r"ha(s|ve) shapes? \(0, 0\)"):
            function(np.zeros((0, 0)), np.zeros((0, 0)))


@each("function", OF_COVARIANCES, ids=name_of)
class TestCovariances:
    def test_not_square(self, function):
        with pytest.raises(ValueError, match=r"a must be a square matrix .* \(3, 2\)\. For a factor F"):
            function(EYE[:, :2], EYE)

    @each("xp", [np, jnp], ids=["numpy", "jax"])
    def test_not_symmetric(self, function, xp):
        bad = xp.asarray([[1.0, 0.5], [0.4, 1.0]])
        with pytest.raises(
            ValueError, match=r"b must be symmetric .* up to 0\.1 where the largest entry is 1 .*symmetrize"
        ):
            function(xp.eye(2), bad)

    def test_symmetric_but_not_hermitian(self, function):
        bad = np.array([[1.0, 0.5j], [0.5j, 1.0]])
        with pytest.raises(ValueError, match="must be symmetric"):
            function(bad, np.eye(2) + 0j)

    @each("xp", [np, jnp], ids=["numpy", "jax"])
    def test_indefinite(self, function, xp):
        bad = xp.asarray(np.diag([4.0, 1.0, -1e-3]))
        with pytest.raises(
            ValueError, match=r"b must be positive semidefinite, but has an eigenvalue of -0\.00025 times"
        ):
            function(xp.eye(3), bad)
        with pytest.raises(ValueError, match="a must be positive semidefinite"):
            function(xp.asarray(np.stack([EYE, -EYE])), xp.eye(3))

    @each("dtype", [np.float32, np.float64])
    def test_rounding_is_forgiven(self, function, dtype):
        eps = float(np.finfo(dtype).eps)
        a = np.diag([1.0, 1.0, -10 * eps]).astype(dtype)
        a[0, 1] = 10 * eps
        assert np.isfinite(function(a, EYE.astype(dtype))).all()
        if function is not dbm.transport_map:
            expected = function(np.diag([1.0, 1.0, 0.0]).astype(dtype), EYE.astype(dtype))
            assert function(a, EYE.astype(dtype)) == pytest.approx(expected, rel=20 * eps)


def test_no_samples():
    with pytest.raises(ValueError, match=r"y must hold at least one sample .* \(0, 3\)"):
        dbm.squared_frechet_distance(EYE, np.zeros((0, 3)))


def test_one_sample_unbiased():
    with pytest.raises(
        ValueError, match=r"y holds one sample \(shape \(1, 3\)\), and unbiased=True divides by N - 1 = 0"
    ):
        dbm.squared_frechet_distance(EYE, EYE[:1], unbiased=True)


def test_moments_that_do_not_fit():
    frechet = dbm.squared_frechet_distance_from_moments
    with pytest.raises(ValueError, match=r"mean_y must have shape \(\.\.\., 3\) .* but has shape \(2,\)"):
        frechet(np.zeros(3), EYE, np.zeros(2), EYE)
    with pytest.raises(ValueError, match=r"mean_x must have shape"):
        frechet(np.float64(0.0), EYE, np.zeros(3), EYE)
    with pytest.raises(ValueError, match="mean_x has 1 entry that is not finite"):
        frechet(np.array([0.0, np.nan, 0.0]), EYE, np.zeros(3), EYE)
    with pytest.raises(ValueError, match="cov_y must be positive semidefinite"):
        frechet(np.zeros(3), EYE, np.zeros(3), -EYE)
    with pytest.raises(ValueError, match="cov_x must be symmetric"):
        frechet(np.zeros(3), EYE + np.triu(np.ones((3, 3)), 1), np.zeros(3), EYE)
    with pytest.raises(TypeError, match="mean_x has float32 and cov_x has float64"):
        frechet(np.zeros(3, np.float32), EYE, np.zeros(3), EYE)


# ---------------------------------------------------------------------------------------------------- what is accepted


@each("function", OF_TWO, ids=name_of)
def test_integers_and_lists(function):
    expected = function(EYE, SPREAD)
    for value in (function(EYE.astype(int), SPREAD.astype(np.int8)), function(EYE.tolist(), SPREAD.tolist())):
        assert value.dtype == np.float64
        np.testing.assert_array_equal(value, expected)
    assert function(EYE.astype(bool), EYE).dtype == np.float64
    value = function(jnp.asarray(EYE, dtype=int), jnp.asarray(SPREAD))
    assert isinstance(value, jax.Array) and value.dtype == jnp.float64
    np.testing.assert_allclose(value, expected, rtol=1e-14)


@each("function", [dbm.squared_bures_wasserstein, dbm.squared_bures_wasserstein_factors], ids=name_of)
def test_default_precision_of_jax(function):
    with jax.enable_x64(False):
        value = jax.jit(function)(jnp.asarray(EYE, dtype=int), jnp.asarray(SPREAD, dtype=int))
        assert value.dtype == jnp.float32
        assert function(EYE, SPREAD).dtype == np.float64  # NumPy is not asked to follow
    np.testing.assert_allclose(value, function(EYE, SPREAD), rtol=1e-5, atol=1e-6)


@each("function", OF_TWO, ids=name_of)
@each("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_dtype_of_the_result(function, dtype):
    value = function(EYE.astype(dtype), SPREAD.astype(dtype))
    assert value.dtype == (dtype if function is dbm.transport_map else np.finfo(dtype).dtype)


@each("function", [dbm.squared_bures_wasserstein_factors, dbm.transport_map], ids=name_of)
@each("dtype", [np.float32, np.complex64, np.complex128])
def test_dtype_of_the_result_in_jax(function, dtype):
    value = jax.jit(function)(jnp.asarray(EYE, dtype=dtype), jnp.asarray(SPREAD, dtype=dtype))
    assert value.dtype == (dtype if function is dbm.transport_map else np.finfo(dtype).dtype)


@each("function", OF_TWO, ids=name_of)
@each("shapes", [((), (4,)), ((2, 1), (4,)), ((2, 1), (1, 4)), ((0,), ()), ((2, 4), (2, 4))], ids=str)
def test_leading_dimensions(function, shapes):
    check_leading_dimensions(function, shapes, np)


@each("function", [dbm.squared_bures_wasserstein, dbm.squared_frechet_distance], ids=name_of)
def test_leading_dimensions_in_jax(function):
    check_leading_dimensions(function, ((2, 1), (3,)), jnp)


def check_leading_dimensions(function, shapes, xp):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(*shape, 3, 3)) for shape in shapes)
    if function in OF_COVARIANCES:
        a, b = a @ a.mT, b @ b.mT
    values = np.asarray(function(xp.asarray(a), xp.asarray(b)))
    batch = np.broadcast_shapes(*shapes)
    tail = (3, 3) if function is dbm.transport_map else ()
    assert values.shape == batch + tail
    a, b = (np.broadcast_to(x, (*batch, 3, 3)) for x in (a, b))
    for index in np.ndindex(*batch):
        np.testing.assert_allclose(values[index], function(a[index], b[index]), rtol=1e-11, atol=1e-13)


@each("function", [*OF_COVARIANCES[1:], OF_FACTORS[0], dbm.squared_frechet_distance], ids=name_of)
def test_transformations_of_jax(function):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4, 3, 3))
    if function in OF_COVARIANCES:
        a, b = a @ a.mT, b @ b.mT
    expected = function(a, b)
    a, b = jnp.asarray(a), jnp.asarray(b)
    np.testing.assert_allclose(jax.jit(jax.vmap(function))(a, b), expected, rtol=1e-11)
    np.testing.assert_allclose(jax.jit(jax.vmap(function, in_axes=(None, 0)))(a[0], b)[0], expected[0], rtol=1e-11)


def test_vmap_alone():
    f, g = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3, 2)))
    function = dbm.squared_bures_wasserstein_factors
    np.testing.assert_allclose(jax.vmap(function)(f, g), function(np.asarray(f), np.asarray(g)), rtol=1e-12)


def test_stack_with_singular_and_regular_matrices():
    stack = np.stack([np.zeros((3, 3)), SPREAD, np.diag([1.0, 0.0, 0.0])])
    np.testing.assert_allclose(dbm.squared_bures_wasserstein(stack, EYE), [3.0, 5.0, 2.0], rtol=1e-14)


def test_arguments_are_left_as_they_are():
    a, b = SPREAD.copy(), EYE.copy()
    a.flags.writeable = b.flags.writeable = False
    for function in OF_TWO:
        function(a, b)


def test_traced_values_are_not_looked_at():
    # An indefinite matrix cannot be refused under jit; its negative eigenvalues are rounded to zero, not to NaN.
    value = jax.jit(dbm.squared_bures_wasserstein)(jnp.diag(jnp.asarray([1.0, -1.0])), jnp.eye(2))
    assert float(value) == pytest.approx(1.0, rel=1e-14)
    assert not _validation.is_traced(jnp.eye(2), np.eye(2))


def test_numpy_alone():
    # The room by itself, in a process where JAX cannot be imported.
    package = Path(dbm.__file__).parents[1]
    script = f"""
        import sys, types
        sys.modules["jax"] = None
        parent = types.ModuleType("deepbures")
        parent.__path__ = [{str(package)!r}]
        sys.modules["deepbures"] = parent
        import numpy as np
        import deepbures.metric as dbm
        a = np.diag([4.0, 1.0])
        assert dbm.squared_bures_wasserstein(a, 4 * a) == 5.0
        assert dbm.squared_frechet_distance(a, a) == 0.0
        dbm.transport_map(a, a)
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(script)], check=True)
