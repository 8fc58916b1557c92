"""Gradients and second derivatives in JAX against 60-digit arithmetic: of the formulas for them, or differences."""

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings

import deepbures.metric as dbm

from . import oracle, pairs

FEW = settings(max_examples=20, deadline=None, derandomize=True)
FIELDS = pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])


def both(function):
    """The two gradients of a function of two arrays, as JAX gives them (of complex arguments, conjugates)."""
    return jax.grad(function, argnums=(0, 1))


def curvature(function):
    """The derivative of both gradients in a direction."""
    return jax.jit(lambda x, y, dx, dy: jax.jvp(both(function), (x, y), (dx, dy))[1])


EAGER = both(dbm.squared_bures_wasserstein_factors)
OF_FACTORS, OF_COVARIANCES = jax.jit(EAGER), jax.jit(both(dbm.squared_bures_wasserstein))
CURVATURE_OF_FACTORS = curvature(dbm.squared_bures_wasserstein_factors)
CURVATURE_OF_COVARIANCES = curvature(dbm.squared_bures_wasserstein)


def evaluated(function, *arrays):
    """Results in NumPy, as gradients for the inner product Re tr(AᴴB), which are the conjugates of JAX's."""
    return [np.conj(np.asarray(result)) for result in function(*map(jnp.asarray, arrays))]


def norm(*arrays):
    return np.sqrt(sum(np.linalg.norm(x.astype(complex)) ** 2 for x in arrays))


def inner(x, y):
    return float(np.sum(x.conj() * y).real)


def gram(f):
    a = f @ f.conj().T
    return (a + a.conj().T) / 2


def hermitian(rng, n, is_complex):
    x = pairs.normal(rng, (n, n), is_complex)
    return (x + x.conj().T) / 2


@oracle.precisely
def slope(function, *arguments):
    """The derivative of a function of matrices (first half of the arguments) in a direction (second half).

    A central difference: its error is (1e-15)², as there are 60 digits.
    """
    step, half = mpmath.mpf(10) ** -15, len(arguments) // 2
    moved = list(zip(arguments[:half], arguments[half:], strict=True))
    ahead, behind = function(*(x + step * d for x, d in moved)), function(*(x - step * d for x, d in moved))
    if not isinstance(ahead, tuple):
        return (ahead - behind) / (2 * step)
    return tuple((p - m) / (2 * step) for p, m in zip(ahead, behind, strict=True))


@oracle.precisely
def second_slope(function, *arguments):
    step, half = mpmath.mpf(10) ** -12, len(arguments) // 2
    moved = list(zip(arguments[:half], arguments[half:], strict=True))
    ahead, behind = function(*(x + step * d for x, d in moved)), function(*(x - step * d for x, d in moved))
    return (ahead - 2 * function(*arguments[:half]) + behind) / step**2


@oracle.precisely
def factor_gradients(f, g, rank=None):
    """2 (F − G Qᴴ) and 2 (G − F Q), with Q = U Vᴴ over the leading `rank` singular values of Fᴴ G."""
    x = f.H * g
    rank = min(f.rows, f.cols, g.cols) if rank is None else rank
    q = mpmath.zeros(f.cols, g.cols)
    if rank:
        u, _, vh = mpmath.svd(x)
        q = u[:, :rank] * vh[:rank, :]
    return 2 * (f - g * q.H), 2 * (g - f * q)


@oracle.precisely
def covariance_gradients(a, b):
    """I − T from a to b, and I − T from b to a."""
    eye = mpmath.eye(a.rows)
    return eye - oracle.transport_map(a, b), eye - oracle.transport_map(b, a)


@oracle.precisely
def squared_distance_of_factors(f, g):
    return oracle.squared_distance(f * f.H, g * g.H)


# ------------------------------------------------------------------------------------------ gradients of two factors

# The rank of Fᴴ G is min(r, k, n) but for these. There it can grow, B² has a kink, and the gradient is to be the one of
# least norm: a zero singular value contributes zero to Q. (Only where the other factor lacks the direction is it unique
# nevertheless.) The ranks are those of the construction; rounding of the entries makes singular values of 1e-16.
RANKS = {
    "identical, rank 3": 3,
    "rank 0, full": 0,
    "no columns, full": 0,
    "zero, zero": 0,
    "rank 3, rank 2": 2,
    "orthogonal ranges": 0,
}
# All singular values of Fᴴ G are 1e-6, where ‖F‖ ‖G‖ = 1: an error eps in an entry of F turns Q by eps √cond.
ILL_POSED = {"condition 1e12, commuting": 1e6}
SQUARE = [name for name in pairs.NAMES if pairs.pair(name, 6, False)[0].shape == pairs.pair(name, 6, False)[1].shape]
TABLE = [(name, 6, is_complex) for is_complex in (False, True) for name in pairs.NAMES]
TABLE += [(name, 20, False) for name in ("generic", "condition 1e12, another factor")]
# Compiling for each shape is what takes the time.
COMPILED = [case for case in TABLE if not case[2] or case[0] in ("tall", "wide", *SQUARE)]


@functools.cache
def true_gradients(name, n, is_complex, dtype=None):
    f, g, _ = pairs.pair(name, n, is_complex, dtype)
    gradients = factor_gradients(oracle.matrix(f), oracle.matrix(g), RANKS.get(name))
    return [oracle.numbers(x)[:, : y.shape[1]] for x, y in zip(gradients, (f, g), strict=True)]


def assert_gradients(function, name, n, is_complex, dtype, relative, absolute):
    f, g, _ = pairs.pair(name, n, is_complex, dtype)
    room = ILL_POSED.get(name, 1)
    for given_, gradient, expected in zip(
        (f, g), evaluated(function, f, g), true_gradients(name, n, is_complex, dtype), strict=True
    ):
        assert gradient.shape == given_.shape and gradient.dtype == given_.dtype
        assert np.isfinite(gradient).all()
        error = norm(gradient - expected)
        assert error <= max(relative * norm(expected), absolute * norm(f, g)) * room


@pytest.mark.parametrize("name, n, is_complex", COMPILED)
def test_factors(name, n, is_complex):
    dtype = complex if is_complex else float
    assert_gradients(OF_FACTORS, name, n, is_complex, dtype, 1e-13, 2e-14)


@pytest.mark.parametrize("name", SQUARE)
def test_factors_without_jit(name):
    assert_gradients(EAGER, name, 6, False, float, 1e-13, 2e-14)


@pytest.mark.parametrize("name", SQUARE)
def test_factors_in_single_precision(name):
    assert_gradients(OF_FACTORS, name, 6, False, np.float32, 1e-5, 5e-6)


@FIELDS
def test_columns_of_zeros(is_complex):
    rng = np.random.default_rng(1)
    f, g = pairs.normal(rng, (6, 6), is_complex), pairs.normal(rng, (6, 6), is_complex)
    f[:, 2] = 0
    g[:, [1, 4]] = 0
    expected = factor_gradients(oracle.matrix(f), oracle.matrix(g), 4)
    for gradient, true in zip(evaluated(OF_FACTORS, f, g), map(oracle.numbers, expected), strict=True):
        np.testing.assert_allclose(gradient, true, atol=1e-14 * norm(f, g))
    gradient, _ = evaluated(OF_FACTORS, f, g)
    np.testing.assert_allclose(gradient[:, 2], 0, atol=1e-15 * norm(f, g))  # nothing pulls at a zero column


def test_gradient_exists_where_only_one_factor_is_deficient():
    # F has rank 2 and G is full: B² is smooth in G, and its gradient there is no matter of convention.
    rng = np.random.default_rng(2)
    f, g, d = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 6)), rng.normal(size=(6, 6)), rng.normal(size=(6, 6))
    exact = oracle.matrix(f[:, :2]) * oracle.matrix(np.linalg.lstsq(f[:, :2], f, rcond=None)[0])  # rank 2 in all digits
    slope_in_g = slope(lambda y: squared_distance_of_factors(exact, y), oracle.matrix(g), oracle.matrix(d))
    _, gradient = evaluated(OF_FACTORS, oracle.numbers(exact).real, g)
    assert inner(gradient, d) == pytest.approx(float(slope_in_g), rel=1e-13)


def test_batches():
    rng = np.random.default_rng(3)
    f, g = jnp.asarray(rng.normal(size=(4, 6, 6))), jnp.asarray(rng.normal(size=(4, 6, 6)))
    f = f.at[1].set(g[1]).at[2].set(0)
    stacked = jax.jit(jax.vmap(EAGER))(f, g)
    for i in range(4):
        for gradients, gradient in zip(stacked, OF_FACTORS(f[i], g[i]), strict=True):
            np.testing.assert_allclose(gradients[i], gradient, rtol=0, atol=1e-13)
    # One factor against many, by broadcasting: its gradients add up.
    total = jax.jit(jax.grad(lambda f, g: dbm.squared_bures_wasserstein_factors(f, g).sum()))(f[0], g)
    np.testing.assert_allclose(total, sum(OF_FACTORS(f[0], y)[0] for y in g), rtol=0, atol=1e-13)


# -------------------------------------------------------------------------------------------------- drawn factors

DRAWN = ((5, 3, 2), (4, 4, 4), (2, 3, 4))


@st.composite
def factors(draw, deficient):
    """Two factors of a few shapes; where `deficient`, of any rank, some ill-conditioned, some zero."""
    rng, is_complex = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.booleans())
    n, *columns = draw(st.sampled_from(DRAWN))
    drawn = []
    for k in columns:
        f = pairs.normal(rng, (n, k), is_complex) * draw(st.sampled_from([1.0, 1e-3, 1e3]))
        if deficient:
            rank = draw(st.integers(0, min(n, k)))
            f = f * np.logspace(0, -draw(st.sampled_from([0, 3, 6])), k) @ pairs.unitary(rng, k, is_complex)
            f = f @ np.diag(np.arange(k) < rank) @ pairs.unitary(rng, k, is_complex)
        drawn.append(f)
    return drawn, is_complex, rng


@FEW
@given(factors(deficient=False))
def test_gradient_is_the_slope(drawn):
    (f, g), is_complex, rng = drawn
    values = np.linalg.svd(f.conj().T @ g, compute_uv=False)[: f.shape[0]]
    if values[-1] < 1e-4 * values[0]:
        return  # close to a kink
    df, dg = norm(f) * pairs.normal(rng, f.shape, is_complex), norm(g) * pairs.normal(rng, g.shape, is_complex)
    expected = float(slope(squared_distance_of_factors, *map(oracle.matrix, (f, g, df, dg))))
    gf, gg = evaluated(OF_FACTORS, f, g)
    assert abs(inner(gf, df) + inner(gg, dg) - expected) <= 1e-11 * norm(f, g) ** 2


@FEW
@given(factors(deficient=True))
def test_euler_identity(drawn):
    # B² is homogeneous of degree two, at kinks too.
    (f, g), _, _ = drawn
    gf, gg = evaluated(OF_FACTORS, f, g)
    twice = 2 * dbm.squared_bures_wasserstein_factors(f, g)
    assert abs(inner(gf, f) + inner(gg, g) - twice) <= 1e-13 * norm(f, g) ** 2


@FEW
@given(factors(deficient=False))
def test_equivariance(drawn):
    # B²(P F U, P G V) = B²(F, G) for unitary P, U, V.
    (f, g), is_complex, rng = drawn
    p, u, v = (pairs.unitary(rng, size, is_complex) for size in (f.shape[0], f.shape[1], g.shape[1]))
    values = np.linalg.svd(f.conj().T @ g, compute_uv=False)[: f.shape[0]]
    gf, gg = evaluated(OF_FACTORS, f, g)
    turned = evaluated(OF_FACTORS, p @ f @ u, p @ g @ v)
    tolerance = 1e-14 * norm(f, g) * max(10, values[0] / values[-1])
    for gradient, expected in zip(turned, (p @ gf @ u, p @ gg @ v), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance)


# ------------------------------------------------------------------------------------ second derivatives, two factors


def assert_close(results, expected, tolerance):
    size = max(np.abs(x).max() for x in expected)
    for result, true in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, true, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize("shape, is_complex", [((5, 3, 2), False), ((2, 3, 4), False), ((2, 3, 4), True)], ids=str)
def test_second_derivative(shape, is_complex):
    rng = np.random.default_rng(4)
    n, r, k = shape
    f, df = pairs.normal(rng, (2, n, r), is_complex)
    g, dg = pairs.normal(rng, (2, n, k), is_complex)
    expected = slope(factor_gradients, *map(oracle.matrix, (f, g, df, dg)))
    assert_close(evaluated(CURVATURE_OF_FACTORS, f, g, df, dg), map_numbers(expected), 1e-12)


def map_numbers(matrices):
    return [oracle.numbers(x) for x in matrices]


@FIELDS
def test_second_derivative_at_fixed_rank(is_complex):
    # F = L R keeps its rank along dL R + L dR, where the gradient of least norm is smooth. Null vectors of the square
    # Fᴴ G are arbitrary, and nothing may depend on them.
    rng = np.random.default_rng(16)
    left, d_left = (oracle.matrix(x) for x in pairs.normal(rng, (2, 4, 2), is_complex))
    right, d_right = (oracle.matrix(x) for x in pairs.normal(rng, (2, 2, 4), is_complex))
    g, dg = (oracle.matrix(x) for x in pairs.normal(rng, (2, 4, 4), is_complex))
    with mpmath.workdps(oracle.DIGITS):
        f, df = left * right, d_left * right + left * d_right
    expected = slope(lambda f, g: factor_gradients(f, g, 2), f, g, df, dg)
    given = [x if is_complex else x.real for x in map_numbers((f, g, df, dg))]
    assert_close(evaluated(CURVATURE_OF_FACTORS, *given), map_numbers(expected), 1e-12)


@FIELDS
@pytest.mark.parametrize("repeated", [False, True])
def test_second_derivative_at_equal_factors(is_complex, repeated):
    # There the gradient vanishes, and differentiating through singular vectors would divide by zero.
    rng = np.random.default_rng(5)
    f, df, dg = pairs.normal(rng, (3, 4, 4), is_complex)
    if repeated:
        f = pairs.unitary(rng, 4, is_complex) * [2.0, 2.0, 2.0, 1.0]
    expected = slope(factor_gradients, *map(oracle.matrix, (f, f, df, dg)))
    assert_close(evaluated(CURVATURE_OF_FACTORS, f, f, df, dg), map_numbers(expected), 1e-12)
    # Along F Ω with Ω skew, F Fᴴ does not move.
    skew = df - df.conj().T
    for result in evaluated(CURVATURE_OF_FACTORS, f, f, f @ skew, 0 * f):
        np.testing.assert_allclose(result, 0 * f, atol=1e-13 * norm(f @ skew))


def test_second_derivative_at_the_identity():
    # B²((I + t D)(I + t D)ᵀ, I) = t² ‖(D + Dᵀ) / 2‖² + …, and no other term of second order.
    d = np.random.default_rng(6).normal(size=(4, 4))
    of_first, of_second = evaluated(CURVATURE_OF_FACTORS, np.eye(4), np.eye(4), d, 0 * d)
    np.testing.assert_allclose(of_first, d + d.T, atol=1e-14)
    np.testing.assert_allclose(of_second, -(d + d.T), atol=1e-14)


def test_hessian():
    rng = np.random.default_rng(7)
    f, g, d = rng.normal(size=(3, 4, 4))
    for other in (g, f):
        hessian = jax.jit(jax.hessian(dbm.squared_bures_wasserstein_factors))(jnp.asarray(f), jnp.asarray(other))
        matrix = np.asarray(hessian).reshape(16, 16)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        expected, _ = slope(factor_gradients, *map(oracle.matrix, (f, other, d, 0 * d)))
        np.testing.assert_allclose(matrix @ d.ravel(), oracle.numbers(expected).real.ravel(), atol=1e-11)


@pytest.mark.parametrize("name", SQUARE)
def test_second_derivative_is_finite_at_kinks(name):
    f, g, _ = pairs.pair(name, 6, False)
    d = np.ones((6, 6))
    for result in evaluated(CURVATURE_OF_FACTORS, f, g, norm(f) * d, norm(g) * d):
        assert np.isfinite(result).all()


# ----------------------------------------------------------------------------------------------------- two covariances


@FIELDS
@pytest.mark.parametrize("condition, tolerance", [(1e2, 1e-13), (1e6, 1e-9)])
def test_covariances(is_complex, condition, tolerance):
    rng = np.random.default_rng(8)
    a, b = gram(pairs.conditioned(rng, 4, is_complex, condition)), gram(pairs.normal(rng, (4, 4), is_complex))
    expected = map_numbers(covariance_gradients(oracle.matrix(a), oracle.matrix(b)))
    assert_close(evaluated(OF_COVARIANCES, a, b), expected, tolerance)


@FIELDS
def test_a_singular_covariance(is_complex):
    # With A = F Fᴴ of rank 2, B² is smooth in B, with the gradient I − T. In A its slope out of the range is infinite;
    # the gradient there is that within the range, where A^½ is that of a smaller matrix: a pseudo-inverse.
    rng = np.random.default_rng(9)
    f, b = pairs.normal(rng, (4, 2), is_complex), gram(pairs.normal(rng, (4, 4), is_complex))
    a, half = oracle.covariance(f), mpmath.mpf(1) / 2
    with mpmath.workdps(oracle.DIGITS):
        root = oracle.function_of(oracle.matrix(b), half)
        inner_ = root * a * root
        inverse = oracle.function_of(oracle.matrix(b), -half)
        expected = [
            mpmath.eye(4) - root * oracle.function_of(inner_, -half) * root,
            mpmath.eye(4) - inverse * oracle.function_of(inner_, half) * inverse,
        ]
    assert_close(evaluated(OF_COVARIANCES, gram(f), b), map_numbers(expected), 1e-12)


@pytest.mark.parametrize("name", pairs.NAMES)
def test_covariances_have_finite_gradients(name):
    f, g, _ = pairs.pair(name, 6, False)
    for gradient in evaluated(OF_COVARIANCES, gram(f), gram(g)):
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient, gradient.T, atol=1e-15 * np.abs(gradient).max())


@FIELDS
def test_second_derivative_of_covariances(is_complex):
    rng = np.random.default_rng(10)
    a, b = (gram(pairs.conditioned(rng, 4, is_complex, 1e2)) for _ in range(2))
    da, db = hermitian(rng, 4, is_complex), hermitian(rng, 4, is_complex)
    expected = map_numbers(slope(covariance_gradients, *map(oracle.matrix, (a, b, da, db))))
    assert_close(evaluated(CURVATURE_OF_COVARIANCES, a, b, da, db), expected, 1e-11)


@FIELDS
@pytest.mark.parametrize("eigenvalues", [(1, 1, 1, 1), (4, 4, 1, 1), (9, 4, 2, 1), (3, 1, 1, 1)], ids=str)
def test_second_derivative_at_equal_covariances(is_complex, eigenvalues):
    # Differentiating T A T = B at T = I: dT A + A dT = dB − dA.
    rng = np.random.default_rng(11)
    basis = pairs.unitary(rng, 4, is_complex)
    a, da, db = gram(basis * np.sqrt(eigenvalues)), hermitian(rng, 4, is_complex), hermitian(rng, 4, is_complex)
    sums = np.add.outer(eigenvalues, eigenvalues)
    moved = basis @ (basis.conj().T @ (db - da) @ basis / sums) @ basis.conj().T
    assert_close(evaluated(CURVATURE_OF_COVARIANCES, a, a, da, db), [-moved, moved], 1e-13)
    for gradient in evaluated(OF_COVARIANCES, a, a):
        np.testing.assert_allclose(gradient, 0 * a, atol=1e-14)


def test_hessian_at_equal_covariances():
    # At the identity, B²(I + H, I) = ‖H‖² / 4 + …: the Hessian is half the projection to symmetric matrices.
    hessian = np.asarray(jax.jit(jax.hessian(dbm.squared_bures_wasserstein))(jnp.eye(4), jnp.eye(4)))
    eye = np.eye(4)
    swap = np.einsum("il,jk->ijkl", eye, eye)
    np.testing.assert_allclose(hessian, (np.einsum("ik,jl->ijkl", eye, eye) + swap) / 4, atol=1e-15)


@FIELDS
def test_derivative_of_the_transport_map(is_complex):
    rng = np.random.default_rng(12)
    a, b = (gram(pairs.conditioned(rng, 4, is_complex, 1e2)) for _ in range(2))
    da, db = hermitian(rng, 4, is_complex), hermitian(rng, 4, is_complex)
    expected = oracle.numbers(slope(oracle.transport_map, *map(oracle.matrix, (a, b, da, db))))
    derivative = jax.jit(lambda a, b, da, db: jax.jvp(dbm.transport_map, (a, b), (da, db))[1])(a, b, da, db)
    assert_close([derivative], [expected], 1e-11)
    if not is_complex:
        jacobian = jax.jit(jax.jacfwd(dbm.transport_map, argnums=(0, 1)))(a, b)
        assert_close([sum(np.tensordot(j, d) for j, d in zip(jacobian, (da, db), strict=True))], [expected], 1e-11)
        backwards = jax.jit(jax.jacrev(dbm.transport_map, argnums=(0, 1)))(a, b)
        for back, forth in zip(backwards, jacobian, strict=True):
            np.testing.assert_allclose(back, forth, atol=1e-11 * np.abs(forth).max())


# ------------------------------------------------------------------------------------------------------------- samples


@oracle.precisely
def frechet(x, y):
    """‖x̄ − ȳ‖² + B² of the covariances of samples in rows."""
    means, covariances = [], []
    for samples in (x, y):
        mean = mpmath.ones(1, samples.rows) * samples / samples.rows
        centered = samples - mpmath.ones(samples.rows, 1) * mean
        means.append(mean)
        covariances.append(centered.T * centered / samples.rows)
    difference = means[0] - means[1]
    return mpmath.re((difference * difference.T)[0, 0]) + oracle.squared_distance(*covariances)


@jax.jit
def derivatives_of_frechet(x, y, dx, dy):
    gradients, curvatures = jax.jvp(both(dbm.squared_frechet_distance), (x, y), (dx, dy))
    return *gradients, *curvatures


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("count, n", [(7, 3), (3, 5)])
def test_frechet_distance_of_samples(count, n, same):
    # At equal samples the distance itself is zero without any arithmetic, but its derivatives are those of the formula.
    rng = np.random.default_rng(13)
    x, dx, dy = rng.normal(size=(3, count, n))
    y = x if same else rng.normal(size=(count, n))
    exact = [oracle.matrix(z) for z in (x, y, dx, dy)]
    of_x, of_y, *curvatures = evaluated(derivatives_of_frechet, x, y, dx, dy)
    first = inner(of_x, dx) + inner(of_y, dy)
    second = inner(curvatures[0], dx) + inner(curvatures[1], dy)
    assert first == pytest.approx(float(slope(frechet, *exact)), rel=1e-12, abs=1e-14)
    assert second == pytest.approx(float(second_slope(frechet, *exact)), rel=1e-11)
    if same:
        assert dbm.squared_frechet_distance(jnp.asarray(x), jnp.asarray(y)) == 0
        near = evaluated(derivatives_of_frechet, x, x * (1 + 1e-10), dx, dy)[2:]
        assert_close(curvatures, near, 1e-8)


def test_frechet_distance_from_moments():
    rng = np.random.default_rng(14)
    mean_x, mean_y = rng.normal(size=(2, 4))
    a, b = (gram(pairs.conditioned(rng, 4, False, 1e2)) for _ in range(2))
    gradients = jax.jit(jax.grad(dbm.squared_frechet_distance_from_moments, argnums=(0, 1, 2, 3)))(mean_x, a, mean_y, b)
    of_a, of_b = map_numbers(covariance_gradients(oracle.matrix(a), oracle.matrix(b)))
    difference = 2 * (mean_x - mean_y)
    for gradient, expected in zip(gradients, (difference, of_a, -difference, of_b), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-12)


# ----------------------------------------------------------------------------------------------- the distance itself


@pytest.mark.parametrize(
    "distance, squared",
    [
        (dbm.bures_wasserstein_distance_factors, OF_FACTORS),
        (dbm.bures_wasserstein_distance, OF_COVARIANCES),
    ],
    ids=["factors", "covariances"],
)
def test_distance(distance, squared):
    # d√D = dD / 2√D; at zero there is a kink, and zero is one of its subgradients.
    rng = np.random.default_rng(15)
    a, b = (jnp.asarray(gram(pairs.conditioned(rng, 4, False, 1e2))) for _ in range(2))
    gradient, value = jax.jit(both(distance)), distance(np.asarray(a), np.asarray(b))
    for result, of_square in zip(gradient(a, b), squared(a, b), strict=True):
        np.testing.assert_allclose(result, of_square / (2 * value), rtol=1e-12, atol=1e-14)
    for result in gradient(a, a):
        np.testing.assert_array_equal(result, np.zeros((4, 4)))
    hessian = jax.jit(jax.hessian(distance))
    assert np.isfinite(hessian(a, a)).all()
    assert np.isfinite(hessian(a, b)).all()


@pytest.mark.parametrize(
    "function",
    [dbm.squared_bures_wasserstein_factors, dbm.squared_bures_wasserstein, dbm.squared_bures_wasserstein_mixed],
)
def test_third_derivative_is_refused(function):
    third = jax.jacfwd(jax.hessian(lambda x: function(x, jnp.eye(3))))
    with pytest.raises(NotImplementedError, match=r"first and second derivatives; a third one was asked for.* at most"):
        jax.eval_shape(third, jnp.eye(3))
    backwards = jax.grad(lambda t: jax.hessian(lambda x: function(x, jnp.eye(3)))(t * jnp.eye(3)).sum())
    with pytest.raises(NotImplementedError, match="first and second derivatives"):
        jax.eval_shape(backwards, 2.0)
