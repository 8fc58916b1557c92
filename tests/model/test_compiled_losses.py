"""Losses of known numbers are compiled: once for each shape, and to the same numbers as operation by operation."""

import functools
import gc
import weakref

import jax
import numpy as np
import pytest

import deepbures as db
from deepbures.model import _compiled

LOSSES = [
    db.BuresWasserstein(),
    db.BuresWasserstein(0.3),
    db.Frobenius(),
    db.GaussianLikelihood(0.3),
    db.EntropicWasserstein(0.3),
    db.SinkhornDivergence(0.3),
]
with_each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{type(loss).__name__}{bool(vars(loss))}")


def targets(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4, 4))
    return [
        db.Target.from_covariance(x @ x.T),
        db.Target.from_factor(x[:, :2]),
        db.Target.from_factor(x[:, :2], floor=0.5),
    ]


def call_all(loss, target, w, direction):
    return loss.value(w, target), loss.grad(w, target), loss.hvp(w, target, direction)


def with_another_parameter(loss):
    return type(loss)(**{name: 2 * value for name, value in vars(loss).items()})


@with_each_loss
def test_other_numbers_of_the_same_shapes_compile_nothing(loss, caplog):
    w, direction = np.random.default_rng(0).normal(size=(2, 4, 2))
    for target in targets(1):
        call_all(loss, target, w, direction)
    caplog.clear()
    with jax.log_compiles():
        for target in targets(2):
            call_all(with_another_parameter(loss), target, direction, w)
        assert "Compiling" not in caplog.text
        loss.value(np.ones((4, 5)), targets(1)[0])
    assert "Compiling" in caplog.text  # the log is what it is taken for


@with_each_loss
def test_compiled_numbers_are_those_of_single_operations(loss):
    w, direction = np.random.default_rng(0).normal(size=(2, 4, 2))
    for target in targets(1):
        with jax.disable_jit():
            expected = loss._value(jax.numpy.asarray(w), target), loss._gradient(jax.numpy.asarray(w), target)
        value, gradient, product = call_all(loss, target, w, direction)
        assert all(type(found) in (np.ndarray, np.float64) for found in (value, gradient, product))
        np.testing.assert_allclose(value, expected[0], rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-12, atol=1e-13)
        step = 1e-5 * direction
        difference = (loss.grad(w + step, target) - loss.grad(w - step, target)) / 2e-5
        np.testing.assert_allclose(product, difference, rtol=1e-6, atol=1e-7)


def test_precision_is_that_of_what_is_given(x64_disabled):
    w = np.random.default_rng(0).normal(size=(4, 2))
    target, loss = targets(1)[1], db.BuresWasserstein(0.3)
    double = loss.grad(w, target)
    single = loss.grad(jax.numpy.asarray(w), target)
    assert double.dtype == np.float64 and isinstance(single, jax.Array) and single.dtype == np.float32
    np.testing.assert_allclose(double, single, rtol=1e-4, atol=1e-5)


def test_operators_that_are_traced_and_operators_on_the_host():
    w, loss, variances = (
        np.random.default_rng(0).normal(size=(4, 2)),
        db.BuresWasserstein(),
        np.array([4.0, 3.0, 2.0, 1.0]),
    )
    traced = db.Target.from_operator(lambda w: variances[:, None] * w, 4, 10.0)
    on_host = db.Target.from_operator(lambda w: np.multiply(variances[:, None], np.array(w)), 4, 10.0)
    assert (traced.covariance.calls_host, on_host.covariance.calls_host) == (False, True)
    assert on_host.covariance.in_units(1).calls_host
    expected = loss.grad(w, db.Target.from_spectrum(variances))
    for target in (traced, on_host):
        np.testing.assert_allclose(loss.grad(w, target), expected, rtol=1e-10)


def test_a_program_that_is_forgotten_forgets_its_operator(monkeypatch):
    monkeypatch.setattr(_compiled, "_program", functools.lru_cache(maxsize=1)(_compiled._program.__wrapped__))

    class Operator:
        def __call__(self, w):
            return 2 * w

    kept = []
    for _ in range(3):
        operator = Operator()
        kept.append(weakref.ref(operator))
        db.Frobenius().grad(np.ones((4, 2)), db.Target.from_operator(operator, 4, 8.0))
    gc.collect()
    assert [reference() is None for reference in kept] == [True, True, False]


@with_each_loss
def test_value_gradient_and_second_derivative_share_their_decomposition(loss):
    """One singular value or eigenvalue decomposition in a program of all three; two of the Sinkhorn divergence.

    Two that do not wait for each other would be computed twice, and at once: decompositions of large stacks then have
    waited for each other for ever, each for threads that the other one holds (jaxlib 0.10.2, two processors).
    """
    target = targets(0)[0]
    w = np.random.default_rng(1).normal(size=(3, 4, 2))
    program = jax.jit(jax.vmap(lambda w: call_all(loss, target, w, w))).lower(w).compile().as_text()
    kinds = [
        kind for kind in ("dgesvd", "dgesdd", "dsyevd", "dgeqrf") for _ in range(program.count(f'"lapack_{kind}_ffi"'))
    ]
    decompositions = [kind for kind in kinds if kind != "dgeqrf"]
    several = 2 if isinstance(loss, db.SinkhornDivergence) else 0 if isinstance(loss, db.Frobenius) else 1
    assert len(decompositions) == several and kinds.count("dgeqrf") <= 1
