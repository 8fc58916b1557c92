"""A distance of one's own, as the documentation shows it, is as right as the others, in every library and order."""

import doctest
import pickle
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import torch

import deepbures.metric as dbm

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is:DeprecationWarning")
each = pytest.mark.parametrize


def shown() -> dict:
    """The names that the example of docs/metric.md defines."""
    page = (Path(__file__).parents[2] / "docs" / "metric.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```pycon\n(.*?)```", page, re.DOTALL)
    test = doctest.DocTestParser().get_doctest(code, {}, "metric.md", None, 0)
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
    return test.globs


STEIN = shown()["stein"]


class Euclidean(dbm.Kernel):
    """The squared Euclidean distance; of this module, as pickle asks."""

    def decompose(self, x, y):
        return (x - y,)

    def value(self, x, y, pieces):
        return (pieces[0] ** 2).sum((-2, -1))

    def gradient(self, which, x, y, pieces):
        return -2 * pieces[0] if which else 2 * pieces[0]

    def hessian_product(self, x, y, pieces, dx, dy):
        return 2 * (dx - dy), 2 * (dy - dx)


def covariances(count: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    f = np.random.default_rng(seed).normal(size=(count, dim, dim + 2))
    return f @ f.mT / dim


def symmetric(count: int, dim: int = 4, seed: int = 1) -> np.ndarray:
    d = np.random.default_rng(seed).normal(size=(count, dim, dim))
    return d + d.mT


def by_definition(a: np.ndarray, b: np.ndarray) -> float:
    with mpmath.workdps(60):
        a, b = mpmath.matrix(a.tolist()), mpmath.matrix(b.tolist())
        return float(mpmath.log(mpmath.det((a + b) / 2)) - mpmath.log(mpmath.det(a) * mpmath.det(b)) / 2)


A, B = covariances(2)
DA, DB = symmetric(2)


@each("b", [B, 1e6 * B, A + 1e-3 * DA, A + 1e-7 * DA, A], ids=["far", "large", "near", "nearer", "equal"])
def test_values(b):
    expected = by_definition(A, b)
    np.testing.assert_allclose(STEIN(A, b), expected, rtol=1e-8 if 0 < expected < 1e-10 else 1e-12, atol=0)
    np.testing.assert_array_equal(STEIN(b, b), 0)


def differences(function, step=1e-5):
    """The derivative at zero of a function of one variable, of fourth order."""
    near, far = ((function(t) - function(-t)) / (2 * t) for t in (step, 2 * step))
    return (4 * near - far) / 3


def gradients(a, b, da, db):
    """(∂D[da, db], ∂∂D[da, db]) by `torch.func`."""
    of_both = torch.func.grad(STEIN, (0, 1))
    return of_both(a, b), torch.func.jvp(of_both, (a, b), (da, db))[1]


def test_derivatives_in_torch():
    a, b, da, db = map(torch.tensor, (A, B, DA, DB))
    (gx, gy), (hx, hy) = gradients(a, b, da, db)
    slope = differences(lambda t: float(STEIN(A + t * DA, B + t * DB)))
    np.testing.assert_allclose((gx * da).sum() + (gy * db).sum(), slope, rtol=1e-9)
    for found, which in ((hx, 0), (hy, 1)):
        moved = differences(lambda t, i=which: gradients(a + t * da, b + t * db, da, db)[0][i].numpy())
        np.testing.assert_allclose(found, moved, atol=1e-8 * np.abs(moved).max())
    x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
    first = torch.autograd.grad(STEIN(x, y), (x, y), create_graph=True)
    second = torch.autograd.grad((first[0] * da).sum() + (first[1] * db).sum(), (x, y), create_graph=True)
    for found, expected in zip((*first, *second), (gx, gy, hx, hy), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(NotImplementedError, match="a third one was asked for"):
        torch.autograd.grad(second[0].sum(), x)


def test_derivatives_in_jax():
    of_both = jax.grad(STEIN, (0, 1))

    def derivatives(x, y, dx, dy):
        first, forward = jax.jvp(of_both, (x, y), (dx, dy))
        reverse = jax.grad(
            lambda x, y: sum(jnp.vdot(d, g) for d, g in zip((dx, dy), of_both(x, y), strict=True)), (0, 1)
        )
        mapped = jax.vmap(of_both)(jnp.stack([x, y]), jnp.stack([y, x]))
        return *first, *forward, *reverse(x, y), *(slopes[0] for slopes in mapped)

    expected = [np.asarray(each) for pair in gradients(*map(torch.tensor, (A, B, DA, DB))) for each in pair]
    with jax.enable_x64(True):
        found = jax.jit(derivatives)(*map(jnp.asarray, (A, B, DA, DB)))
        for result, wanted in zip(found, (*expected, *expected[2:], *expected[:2]), strict=True):
            np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-11 * np.abs(wanted).max())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as in test_compiled.py
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
def test_compiled_and_mapped_in_torch():
    torch._dynamo.reset()
    b, stack = torch.tensor(B), torch.tensor(covariances(3))
    compiled = torch.compile(lambda a: STEIN(a, b), fullgraph=True, backend="aot_eager")
    x = stack[0].clone().requires_grad_()
    gradient = torch.func.grad(lambda a: STEIN(a, b))
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x)[0], gradient(stack[0]), rtol=1e-12, atol=1e-12)
    one_by_one = torch.stack([gradient(a) for a in stack])
    torch.testing.assert_close(torch.func.vmap(gradient)(stack), one_by_one, rtol=1e-12, atol=1e-12)


def test_pairs_and_batches_that_broadcast():
    stack, others = covariances(3), covariances(2, seed=5)
    expected = [[by_definition(a, b) for b in others] for a in stack]
    np.testing.assert_allclose(dbm.pairwise(STEIN, stack, others), expected, rtol=1e-12)
    found = torch.func.grad(lambda b: STEIN(torch.tensor(stack), b).sum())(torch.tensor(others[0]))
    wanted = sum(torch.func.grad(lambda b, a=a: STEIN(torch.tensor(a), b))(torch.tensor(others[0])) for a in stack)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_refused():
    with pytest.raises(TypeError, match=r"instance of a subclass of deepbures\.Kernel, but <class"):
        dbm.differentiable(dbm.Kernel)
    with pytest.raises(ValueError, match="entries that are not finite"):
        STEIN(np.nan * A, B)
    with pytest.raises(TypeError, match="one dtype, but x has"):
        STEIN(A, B.astype(np.float32))
    with pytest.raises(ValueError, match="do not broadcast"):
        STEIN(covariances(2), covariances(3))


class Negligent(dbm.Kernel):
    """Half the squared norm of x; each of its results in turn lacks an axis, which would broadcast."""

    def __init__(self, wrong: str):
        self.wrong = wrong

    def decompose(self, x, y):
        return (x,)

    def returned(self, array, method):
        return array[..., 0] if method == self.wrong else array

    def value(self, x, y, pieces):
        squares = (x**2).sum(-1) / 2
        return squares if self.wrong == "value" else squares.sum(-1)

    def gradient(self, which, x, y, pieces):
        return self.returned(0 * y if which else pieces[0], "gradient")

    def hessian_product(self, x, y, pieces, dx, dy):
        return self.returned(dx, "hessian_product"), 0 * dy


@each("wrong", ["value", "gradient", "hessian_product"])
def test_a_kernel_that_returns_another_shape_is_refused(wrong):
    x, direction = np.arange(4.0).reshape(2, 2), np.ones((2, 2))

    def calls(distance):
        torch_x, jax_x = torch.tensor(x), jnp.asarray(x, jnp.float32)
        if wrong == "value":
            return [lambda: distance(x, x), lambda: distance(torch_x, torch_x), lambda: distance(jax_x, jax_x)]
        in_torch, in_jax = torch.func.grad(distance), jax.grad(distance)
        if wrong == "gradient":
            return [lambda: in_torch(torch_x, torch_x), lambda: in_jax(jax_x, jax_x)]
        return [
            lambda: torch.func.jvp(lambda z: in_torch(z, torch_x), (torch_x,), (torch.tensor(direction),)),
            lambda: jax.jvp(lambda z: in_jax(z, jax_x), (jax_x,), (jnp.asarray(direction, jnp.float32),)),
        ]

    expected = r"\(\)" if wrong == "value" else r"\(2, 2\)"
    for call in calls(dbm.differentiable(Negligent(wrong))):
        with pytest.raises(ValueError, match=rf"Negligent\.{wrong}.* an array of shape {expected}, but returned shape"):
            call()
    for call in calls(dbm.differentiable(Negligent("nothing"))):
        call()


def test_the_function_of_a_kernel_that_can_be_pickled_can_be_pickled():
    distance, (x, y) = dbm.differentiable(Euclidean()), covariances(2)
    assert pickle.loads(pickle.dumps(distance))(x, y) == distance(x, y)
