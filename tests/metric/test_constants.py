"""Constants beside what a transformation of JAX traces: arrays that are closed over, of JAX and of NumPy.

What is expected is what the same call gives outside of every transformation.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures.metric as dbm

each = pytest.mark.parametrize


def gram(f):
    a = f @ f.mT
    return (a + a.mT) / 2


RNG = np.random.default_rng(0)
F, G, X, M = RNG.normal(size=(3, 2)), RNG.normal(size=(3, 2)), RNG.normal(size=(4, 2)), RNG.normal(size=3)
A, B = gram(RNG.normal(size=(3, 6))), gram(RNG.normal(size=(3, 6)))
PAIR, PAIRS = np.stack([A, B]), np.stack([B, 2 * A])
FACTOR, FACTORS = np.stack([F, G]), np.stack([G, 2 * F])
INDEFINITE = np.diag([2.0, 1.0, -1e-3])


def moments(mean, covariance):
    """The covariance is traced, or the mean is: everything else is a constant."""
    return lambda x, t: dbm.squared_frechet_distance_from_moments(
        x if mean else M, A if mean else x, t if mean else 2 * M, B if mean else t
    )


# A function of what is traced and of a constant, and the two.
CASES = {
    "covariances": (dbm.squared_bures_wasserstein, A, B),
    "first covariance": (lambda x, t: dbm.bures_wasserstein_distance(t, x), A, B),
    "map": (dbm.transport_map, A, B),
    "factors": (dbm.squared_bures_wasserstein_factors, F, G),
    "first factor": (lambda x, t: dbm.bures_wasserstein_distance_factors(t, x), F, G),
    "mixed": (dbm.squared_bures_wasserstein_mixed, A, G),
    "first of mixed": (lambda x, t: dbm.bures_wasserstein_distance_mixed(t, x), G, A),
    "samples": (dbm.squared_frechet_distance, X, RNG.normal(size=(5, 2))),
    "moments": (moments(False, True), A, B),
    "means": (moments(True, False), M, 2 * M),
    "pairs": (dbm.pairwise_squared_bures_wasserstein, PAIR, PAIRS),
    "distances of pairs of factors": (dbm.pairwise_bures_wasserstein_distance_factors, FACTOR, FACTORS),
    "rounded": (lambda x, t: dbm.squared_bures_wasserstein(x, t, rtol=1e-2), A, INDEFINITE),
    "rounded, mixed": (lambda x, t: dbm.squared_bures_wasserstein_mixed(t, x, rtol=1e-2), G, INDEFINITE),
    # Nothing is traced but what has nothing to do with it.
    "constants only": (lambda x, t: x.sum() + dbm.squared_bures_wasserstein(t, jnp.asarray(A)), A, B),
    "constant factors only": (lambda x, t: x.sum() + dbm.squared_bures_wasserstein_factors(t, jnp.asarray(F)), F, G),
    "constant mixed only": (lambda x, t: x.sum() + dbm.squared_bures_wasserstein_mixed(jnp.asarray(A), t), F, G),
    "constant samples only": (lambda x, t: x.sum() + dbm.squared_frechet_distance(jnp.asarray(X), t), X, X[1:]),
    "nearest of a constant": (lambda x, t: x.sum() + dbm.nearest_covariance(t, rtol=1e-2).distance, A, INDEFINITE),
    "constant pairs only": (lambda x, t: x.sum() + dbm.pairwise_squared_bures_wasserstein(t), PAIR, PAIRS),
}
KINDS = {"jax": jnp.asarray, "numpy": np.asarray}


def total(function):
    return lambda x: jnp.sum(function(x))


def loop(function):
    def run(x):
        start = jnp.zeros_like(jax.eval_shape(function, x))
        return jax.lax.while_loop(lambda state: state[0] < 1, lambda state: (1, function(x)), (0, start))[1]

    return run


TRANSFORMATIONS = {
    "jit": jax.jit,
    "vmap": lambda function: lambda x: jax.vmap(function)(x[None])[0],
    "scan": lambda function: lambda x: jax.lax.scan(lambda x, _: (x, function(x)), x, None, length=1)[1][0],
    "while": loop,
    "cond": lambda function: lambda x: jax.lax.cond(x.sum() > -1e9, function, lambda x: 0 * function(x), x),
    "checkpoint": jax.checkpoint,
    "map": lambda function: lambda x: jax.lax.map(function, x[None])[0],
    "pmap": lambda function: lambda x: jax.pmap(function)(x[None])[0],
}
DERIVATIVES = {
    "grad": lambda function: jax.grad(total(function)),
    "gradient within jit": lambda function: jax.jit(jax.grad(total(function))),
    "gradient of jit": lambda function: jax.grad(total(jax.jit(function))),
    "gradient of checkpoint": lambda function: jax.grad(total(jax.checkpoint(function))),
    "jvp": lambda function: lambda x: jax.jvp(total(function), (x,), (x,)),
    "hessian": lambda function: jax.jit(jax.hessian(total(function))),
}
EVERY_WAY = TRANSFORMATIONS | DERIVATIVES


def assert_close(results, expected):
    for result, wanted in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-9, atol=1e-9)


@each("name", CASES)
def test_every_function_compiles(name):
    function, x, constant = CASES[name]
    value = jax.jit(lambda x: function(x, jnp.asarray(constant)))(x)
    assert isinstance(value, jax.Array)
    np.testing.assert_allclose(value, function(x, constant), rtol=1e-9, atol=1e-9)


# The second argument of a function, and constants of which nothing is traced, take the same way as the first.
ONCE = ("covariances", "map", "factors", "mixed", "samples", "moments", "pairs", "rounded", "constants only")
# Of a map, "hessian" is the third derivative of a distance, which is refused.
TRACED = [
    (name, way) for name in CASES for way in (EVERY_WAY if name in ONCE else ("vmap", "while", "gradient of jit"))
]


@each("name, way", [case for case in TRACED if case != ("map", "hessian")])
def test_every_function_is_traced(name, way):
    # Under an outer trace nothing is computed: this takes no time to compile.
    function, x, constant = CASES[name]
    fixed = KINDS["numpy" if way == "jit" else "jax"](constant)
    shapes = jax.eval_shape(EVERY_WAY[way](lambda x: function(x, fixed)), x)
    assert all(shape.dtype == np.float64 for shape in jax.tree.leaves(shapes))


@each("way", EVERY_WAY)
@each("name, kind", [("covariances", "jax"), ("factors", "numpy")])
def test_every_transformation(name, way, kind):
    function, x, constant = CASES[name]
    x, constant = jnp.asarray(x), KINDS[kind](constant)
    result = EVERY_WAY[way](lambda x: function(x, constant))(x)
    assert_close(result, expected(name, "value" if way in TRANSFORMATIONS else way))


@functools.cache
def expected(name, way):
    """Without a constant that is closed over: both are arguments."""
    function, x, constant = CASES[name]
    if way == "value":
        return function(x, constant)

    def summed(x, constant):
        return jnp.sum(function(x, constant))

    if way == "hessian":
        return jax.jit(jax.hessian(summed))(x, constant)
    if way == "jvp":
        return summed(x, constant), np.sum(expected(name, "grad") * x)
    return jax.jit(jax.grad(summed))(x, constant) if way == "grad" else expected(name, "grad")


class TestChecks:
    """Constants are looked at inside a transformation too."""

    @each("kind", KINDS)
    @each("way", ["jit", "vmap", "scan", "grad"])
    def test_of_values(self, way, kind):
        def refused(function, x, constant, message):
            constant = KINDS[kind](constant)
            with pytest.raises(ValueError, match=message):
                jax.make_jaxpr(EVERY_WAY[way](lambda x: function(x, constant)))(x)

        not_finite, skew = np.where(np.eye(3) > 0, np.nan, B), B + np.triu(np.ones((3, 3)), 1)
        refused(dbm.squared_bures_wasserstein, A, not_finite, r"b has 3 entries that are not finite .* index \(0, 0\)")
        refused(dbm.squared_bures_wasserstein, A, skew, "b must be symmetric")
        refused(dbm.squared_bures_wasserstein_factors, F, np.inf * G, "g has 6 entries that are not finite")
        refused(CASES["first of mixed"][0], G, not_finite, "a has 3 entries that are not finite")
        refused(CASES["first of mixed"][0], G, skew, "a must be symmetric")

    def test_of_what_is_traced_are_left_out(self):
        assert np.isnan(jax.jit(lambda a: dbm.squared_bures_wasserstein(a, B))(np.nan * A))


class TestDtypes:
    """NumPy's arrays beside those of JAX follow JAX's rules of promotion."""

    @each(
        "given, constant, wanted",
        [
            (np.float32, np.float64, np.float64),
            (np.float64, np.float32, np.float64),
            (np.float32, np.int64, np.float32),
            (np.int64, np.float32, np.float32),
            (np.float32, np.float32, np.float32),
            (np.float32, np.complex64, np.float32),
            (np.int32, np.int64, np.float64),
        ],
    )
    def test_promotion(self, given, constant, wanted):
        # B(diag(4, 1), diag(9, 9))² = (3 - 2)² + (3 - 1)²
        x, t = jnp.asarray(np.diag([4, 1]), given), np.diag([9, 9]).astype(constant)
        value = jax.jit(lambda x: dbm.squared_bures_wasserstein(t, x))(x)
        assert isinstance(value, jax.Array)
        assert value.dtype == wanted == jnp.real(x[0, 0] * t).dtype if given != np.int32 else np.float64
        np.testing.assert_allclose(value, 5, rtol=1e-6)

    def test_without_64_bits(self, x64_disabled):
        x, t = jnp.asarray(np.diag([4.0, 1.0])), np.diag([9.0, 9.0])
        assert x.dtype == np.float32
        assert t.dtype == np.float64
        gradient = jax.jit(jax.grad(lambda x: dbm.squared_bures_wasserstein(x, t)))(x)
        assert gradient.dtype == np.float32
        # ∂B²/∂A = I − T, with T = diag(3/2, 3/1).
        np.testing.assert_allclose(gradient, np.diag([-0.5, -2.0]), atol=1e-5)

    def test_lists(self):
        assert_close(dbm.squared_bures_wasserstein([[4, 0], [0, 1]], jnp.asarray(np.diag([9.0, 9.0]))), 5.0)

    def test_two_dtypes_within_jax(self):
        with pytest.raises(TypeError, match="one dtype, but mean_x has float32 and cov_x has float64"):
            dbm.squared_frechet_distance_from_moments(jnp.zeros(2, np.float32), jnp.eye(2), np.zeros(2), np.eye(2))

    @each("dtype", [np.float16, jnp.bfloat16], ids=str)
    def test_half_precision(self, dtype):
        for x, y in ((jnp.eye(2, dtype=dtype), np.eye(2)), (np.eye(2, dtype=dtype), jnp.eye(2))):
            with pytest.raises(TypeError, match=r"float16|numbers"):
                dbm.squared_bures_wasserstein(x, y)


def test_no_transfer_is_made():
    # What tells whether a program is being written moves nothing to a device.
    x, t = jnp.asarray(A), jnp.asarray(B)
    dbm.squared_bures_wasserstein_factors(x, t)
    with jax.transfer_guard_host_to_device("disallow_explicit"):
        jax.block_until_ready(jax.jit(lambda x: dbm.squared_bures_wasserstein_factors(x, t))(x))
