"""Losses and their derivatives against 120-digit arithmetic, and what they promise without formulas."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deepbures as db

from .oracle import BASIS, LOSSES, PROBLEMS, Oracle, cases, exact, orthonormal

EPS = np.finfo(float).eps


def every_case(shift):
    """Every target under every loss, with fewer columns than dimensions, as many or more in turn."""
    sizes = itertools.cycle((2, 4, 6))
    for _ in range(shift):
        next(sizes)
    return pytest.mark.parametrize("problem, loss, m", [(*case, next(sizes)) for case in cases()])


def scale_of(w, problem, loss):
    """What the rounding of a value is relative to: the sizes of the two covariances (Frobenius: squared)."""
    total = (w**2).sum() + problem.eigenvalues.sum() + 4 * getattr(loss, "tau", 0.0)
    return total**2 if isinstance(loss, db.Frobenius) else total


@every_case(0)
def test_value(problem, loss, m, rng):
    """To 64 eps of its scale: tens of operations in 4 dimensions; also at condition 1e12, as the factor is graded.

    The gram form (operator) takes roots of eigenvalues that are right to eps · r_1², r_1/r_j < 10 here.
    """
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    w = rng.standard_normal((4, m))
    tolerance = (640 if problem.is_operator else 64) * EPS * scale_of(w, problem, loss)
    np.testing.assert_allclose(loss.value(w, problem.target), problem.oracle(loss).value(w), rtol=0, atol=tolerance)


def derivative_tolerance(problem, loss, w):
    """The polar factor of X = Fᵀ[W, √τ I] is right to eps ‖X‖/gap, gap = s_r + s_{r−1} or s_r if X is not square.

    Another factor of ten for the second derivative is granted by the caller.
    """
    x = problem.factor.T @ w
    s = np.linalg.svd(x, compute_uv=False)
    s = s[s > 1e-14 * s[0]]
    if isinstance(loss, db.Frobenius):
        return 100 * EPS * scale_of(w, problem, loss)
    return 100 * EPS * (np.linalg.norm(w) + s[0] ** 2 / s[-1] ** (2 if problem.is_operator else 1))


@every_case(1)
def test_gradient(problem, loss, m, rng):
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    w = rng.standard_normal((4, m))
    gradient, oracle = loss.grad(w, problem.target), problem.oracle(loss)
    for _ in range(3):
        a = rng.standard_normal((4, m))
        tolerance = derivative_tolerance(problem, loss, w)
        np.testing.assert_allclose((gradient * a).sum(), oracle.slope(w, a), rtol=0, atol=tolerance)


@every_case(2)
def test_hessian_vector_product(problem, loss, m, rng):
    problem, loss = PROBLEMS[problem], LOSSES[loss]
    w, a = rng.standard_normal((2, 4, m))
    product, oracle = loss.hvp(w, problem.target, a), problem.oracle(loss)
    for _ in range(2):
        b = rng.standard_normal((4, m))
        expected = oracle.curvature(w, a, b)
        tolerance = 10 * derivative_tolerance(problem, loss, w) * max(1, abs(expected))
        np.testing.assert_allclose((product * b).sum(), expected, rtol=0, atol=tolerance)


# ------------------------------------------------------------------ what JAX makes of them


DIFFERENTIATED = pytest.mark.parametrize(
    "problem, loss",
    [
        *itertools.product(["singular", "spiked"], ["tau=0", "tau=0.1"]),
        *itertools.product(["operator"], ["tau=0", "frobenius"]),
    ],
)


@DIFFERENTIATED
def test_jax_derivatives_are_the_closed_forms(problem, loss, rng):
    target, loss = PROBLEMS[problem].target, LOSSES[loss]
    w, a, b = jnp.asarray(rng.standard_normal((3, 4, 3)))
    value = lambda x: loss.value(x, target)  # noqa: E731
    grad = lambda x: loss.grad(x, target)  # noqa: E731
    gradient, product = loss.grad(w, target), loss.hvp(w, target, a)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)  # noqa: E731

    @jax.jit
    def derivatives(w, a):
        slope, change = jax.jvp(value, (w,), (a,))[1], jax.jvp(grad, (w,), (a,))[1]
        return jax.grad(value)(w), slope, change, jnp.tensordot(jax.hessian(value)(w), a, 2)

    for found, expected in zip(derivatives(w, a), (gradient, (gradient * a).sum(), product, product), strict=True):
        close(found, expected)
    every = lambda x: (value(x), grad(x), loss.hvp(x, target, a))  # noqa: E731
    for found, one, other in zip(jax.jit(jax.vmap(every))(jnp.stack([w, b])), every(w), every(b), strict=True):
        close(found, jnp.stack([one, other]))


@DIFFERENTIATED
def test_reverse_over_reverse(problem, loss, rng):
    """Transposes the Hessian-vector product in its direction, so it must be linear in it, step by step."""
    target, loss = PROBLEMS[problem].target, LOSSES[loss]
    w, a = jnp.asarray(rng.standard_normal((2, 4, 3)))
    slope = lambda x: (jax.grad(lambda y: loss.value(y, target))(x) * a).sum()  # noqa: E731
    np.testing.assert_allclose(jax.grad(slope)(w), loss.hvp(w, target, a), rtol=1e-12, atol=1e-12)


def test_tau_and_target_may_be_mapped_over(rng):
    w = jnp.asarray(rng.standard_normal((4, 3)))
    taus, spectra = jnp.array([0.1, 0.7]), jnp.array([[4.0, 2.0, 1.0, 0.5], [3.0, 3.0, 1.0, 0.2]])

    def value(tau, spectrum):
        return db.BuresWasserstein(tau).value(w, db.Target.from_spectrum(spectrum, jnp.asarray(BASIS)))

    for tau, spectrum, found in zip(taus, spectra, jax.jit(jax.vmap(value))(taus, spectra), strict=True):
        truth = Oracle(BASIS * np.sqrt(spectrum), tau=float(tau)).value(w)
        np.testing.assert_allclose(found, truth, rtol=1e-13)


# ------------------------------------------------------------------ where naive formulas fail


@pytest.mark.parametrize(
    "problem, angle",
    [*itertools.product(["condition 1e12"], [1e-3, 1e-8, 1e-14]), ("low rank", 1e-8), ("few samples", 1e-8)],
)
def test_value_near_the_optimum_keeps_its_digits(problem, angle):
    """A loss of order angle² · 1e-12 and more, at condition 1e12, where the trace formula sees nothing below 1e-16.

    Condition of the value as a function of the entries of W: the difference W − F Q, of order angle, has the
    rounding error eps of W itself; nothing more is lost, so that the relative error is ≲ 100 eps / angle.
    """
    problem = PROBLEMS[problem]
    r = problem.factor.shape[1]
    move = np.random.default_rng(3).standard_normal((r, r))
    w = problem.factor * (1 + angle * np.random.default_rng(4).standard_normal(r)) @ np.linalg.qr(move)[0]
    truth = problem.oracle(db.BuresWasserstein()).value(w)
    assert 0 < truth < 100 * angle**2
    np.testing.assert_allclose(
        np.sqrt(db.BuresWasserstein().value(w, problem.target)), np.sqrt(truth), rtol=1e-13, atol=100 * EPS
    )


@pytest.mark.parametrize("tau", [0.1, 0.45])
def test_smoothed_value_near_zero_keeps_its_digits(tau):
    """W Wᵀ + τI = Σ0 up to a relative 1e-9: a loss of order 1e-18, and its root still right to rounding of W."""
    problem = PROBLEMS["generic"]
    w = BASIS * np.sqrt(problem.eigenvalues - tau) * (1 + 1e-9 * np.array([1.0, -2.0, 0.5, 3.0]))
    loss = db.BuresWasserstein(tau)
    truth = problem.oracle(loss).value(w)
    assert 1e-19 < truth < 1e-16
    np.testing.assert_allclose(np.sqrt(loss.value(w, problem.target)), np.sqrt(truth), atol=100 * EPS)


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p != "operator"])
@pytest.mark.parametrize("tau", [0.1, 1.5])
def test_smoothed_loss_is_the_exact_loss_of_a_wider_matrix(problem, tau, rng):
    target = PROBLEMS[problem].target
    w = rng.standard_normal((4, 3))
    wide = np.concatenate([w, np.sqrt(tau) * np.eye(4)], axis=1)
    smooth, hard = db.BuresWasserstein(tau), db.BuresWasserstein()
    np.testing.assert_allclose(smooth.value(w, target), hard.value(wide, target), rtol=1e-13)
    gradient = hard.grad(wide, target)[:, :3]
    np.testing.assert_allclose(smooth.grad(w, target), gradient, atol=1e-12 if problem != "condition 1e12" else 1e-8)


# ------------------------------------------------------------------ kinks and rank-deficient matrices


@pytest.mark.parametrize("problem", ["generic", "singular", "spiked", "operator"])
def test_kinks_are_finite_and_of_least_norm(problem, rng):
    """One-sided derivatives at a kink are ⟨2(W − FQ), A⟩ plus a nuclear norm; Q over the nonzero singular values."""
    problem = PROBLEMS[problem]
    loss = db.BuresWasserstein()
    zero = np.zeros((4, 3))
    np.testing.assert_array_equal(loss.grad(zero, problem.target), zero)
    np.testing.assert_allclose(loss.value(zero, problem.target), problem.eigenvalues.sum(), rtol=1e-14)
    np.testing.assert_allclose(loss.hvp(zero, problem.target, zero + 1), 2 * (zero + 1))
    column = rng.standard_normal((4, 1))
    for w in (np.concatenate([column, np.zeros((4, 2))], axis=1), column @ rng.standard_normal((1, 3))):
        # One singular triple: F Q = Σ0 W/‖Σ0^½ W‖, whatever the factor.
        covariance = problem.covariance
        expected = 2 * (w - covariance @ w / np.sqrt(np.trace(w.T @ covariance @ w)))
        np.testing.assert_allclose(loss.grad(w, problem.target), expected, atol=1e-12)
        assert np.isfinite(loss.hvp(w, problem.target, rng.standard_normal((4, 3)))).all()
        assert np.isfinite(loss.value(w, problem.target))


@pytest.mark.parametrize("problem", ["generic", "repeated", "condition 1e12", "spiked", "operator"])
@pytest.mark.parametrize("columns", [3, 4, 6])
def test_hvp_along_rank_deficient_products(problem, columns, rng):
    """Through a bottleneck of two, L(W_2(t) W_1(t)) along straight lines of the layers is twice differentiable:

    d²L/dt² = ⟨∇²L[Ẇ], Ẇ⟩ + ⟨∇L, 2 A_2 A_1⟩, Ẇ = A_2 W_1 + W_2 A_1, A the velocities.
    """
    problem = PROBLEMS[problem]
    w2, a2 = rng.standard_normal((2, 4, 2))
    w1, a1 = rng.standard_normal((2, 2, columns))
    loss, w, move = db.BuresWasserstein(), w2 @ w1, a2 @ w1 + w2 @ a1
    expected = problem.oracle(loss).curvature_along(lambda t: (exact(w2) + t * exact(a2)) * (exact(w1) + t * exact(a1)))
    found = (loss.hvp(w, problem.target, move) * move).sum()
    found += (loss.grad(w, problem.target) * (2 * a2 @ a1)).sum()
    tolerance = 1e-11 if problem.target.eigenvalues is None else 1e-12
    if problem is PROBLEMS["condition 1e12"]:
        tolerance = 1e-9  # second singular value about 1e-2 of the first: amplified by its square, and some
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("problem", ["generic", "singular", "spiked", "operator"])
def test_one_sided_derivatives_at_kinks(problem, rng):
    """In direction A: ⟨∇L, A⟩ − 2 ‖P_L Σ0^½ A P_R‖_*, P_L off range(Σ0^½ W), P_R onto ker(Σ0^½ W)."""
    problem = PROBLEMS[problem]
    loss, truth = db.BuresWasserstein(), problem.oracle(db.BuresWasserstein())
    values, vectors = np.linalg.eigh(problem.covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    for w in (np.zeros((4, 3)), rng.standard_normal((4, 1)) @ [[1.0, -2.0, 0.0]]):
        u, s, vh = np.linalg.svd(root @ w)
        rank = int((s > 1e-12).sum())
        left = np.eye(4) - u[:, :rank] @ u[:, :rank].T
        right = vh[rank:].T @ vh[rank:]
        for _ in range(3):
            a = rng.standard_normal((4, 3))
            kink = np.linalg.svd(left @ root @ a @ right, compute_uv=False).sum()
            expected = truth.slope_ahead(w, a)
            np.testing.assert_allclose((loss.grad(w, problem.target) * a).sum() - 2 * kink, expected, rtol=1e-7)


# ------------------------------------------------------------------ what ties the loss to its gradient


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p != "operator"])
@pytest.mark.parametrize("m", [1, 3, 6])
def test_the_loss_is_a_quarter_of_the_squared_gradient_and_what_no_column_reaches(problem, m, rng):
    """L = ¼‖∇L‖² + ‖F − F U Uᵀ‖²; with m ≥ n columns and full rank the second term is zero."""
    problem, loss = PROBLEMS[problem], db.BuresWasserstein()
    w = rng.standard_normal((4, m))
    f = np.concatenate([problem.factor, np.sqrt(problem.floor) * np.eye(4)], axis=1)
    u, s, _ = np.linalg.svd(f.T @ w, full_matrices=False)
    u = u[:, s > 1e-13 * s[0]]
    expected = (loss.grad(w, problem.target) ** 2).sum() / 4 + ((f - f @ u @ u.T) ** 2).sum()
    np.testing.assert_allclose(loss.value(w, problem.target), expected, rtol=1e-9)


def nearby(rng, factor, num):
    """Matrices at all distances from a minimizer, 1e-3 to 1 of it."""
    size = 10 ** rng.uniform(-3, 0, (num, 1, 1))
    return jnp.asarray(factor + size * rng.standard_normal((num, *factor.shape)))


@pytest.mark.parametrize("spectrum", [[4.0, 2.0, 1.0, 0.5], [4.0, 3.9, 3.0, 1e-3], [1.0, 1.0, 0.1, 0.1]])
def test_gradient_inequality_of_a_bottleneck(spectrum, rng):
    """‖∇L‖² ≥ 4 (1 − λ_{k+1}/λ_k)(1 − e/gap) e on rank-k matrices with e = L − L* < gap = λ_k − λ_{k+1}."""
    target, loss, k = db.Target.from_spectrum(spectrum, BASIS), db.BuresWasserstein(), 2
    gap, ratio = spectrum[k - 1] - spectrum[k], spectrum[k] / spectrum[k - 1]
    values, gradients = jax.jit(jax.vmap(lambda w: (loss.value(w, target), loss.grad(w, target))))(
        nearby(rng, BASIS[:, :k] * np.sqrt(spectrum[:k]), 2000)
    )
    excess = np.asarray(values) - sum(spectrum[k:])
    squares = (np.asarray(gradients) ** 2).sum((1, 2))
    inside = excess < gap
    assert inside.sum() > 300
    bound = 4 * (1 - ratio) * (1 - excess / gap) * excess
    assert (squares[inside] >= bound[inside] - 1e-13).all()
    assert (squares[inside] < 30 * bound[inside]).any()  # and no idle bound


@pytest.mark.parametrize("tau", [0.0, 0.2])
def test_gradient_inequality_of_full_rank(tau, rng):
    """‖∇L_τ‖² ≥ 8 K c² (L_τ − L*), c the smallest singular value of W, for both constants K of the certificates."""
    spectrum = np.array([4.0, 2.0, 1.0, 0.5])
    target, loss = db.Target.from_spectrum(spectrum, BASIS), db.BuresWasserstein(tau)
    w = nearby(rng, BASIS * np.sqrt(spectrum - tau), 2000)
    values, gradients = jax.jit(jax.vmap(lambda w: (loss.value(w, target), loss.grad(w, target))))(w)
    values, squares = np.asarray(values), (np.asarray(gradients) ** 2).sum((1, 2))  # L* = 0
    c = np.linalg.svd(np.asarray(w), compute_uv=False)[:, -1]
    size = (np.sqrt(values) + np.sqrt(spectrum.sum())) ** 2
    derived = spectrum[-1] / (2 * np.sqrt(spectrum[0]) * size**1.5)
    paper = np.sqrt(tau * spectrum[-1]) / (2 * (2 * (values + spectrum.sum())) ** 2)
    for constant in (derived, paper):
        assert (squares >= 8 * constant * c**2 * values - 1e-14).all()


# ------------------------------------------------------------------ spiked targets in many dimensions


def shapes_in(jaxpr):
    """Shapes of every array that a computation makes, inner computations included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for parameter in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns")):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from shapes_in(inner)


@pytest.mark.parametrize("tau", [0.0, 0.3])
def test_spiked_targets_equal_the_dense_computation_and_form_no_large_matrix(tau, rng):
    n, r, m = 64, 3, 4
    f, w, a = rng.standard_normal((n, r)), rng.standard_normal((n, m)), rng.standard_normal((n, m))
    spiked = db.Target.from_factor(f, floor=0.2)
    dense = db.Target.from_covariance(f @ f.T + 0.2 * np.eye(n))
    loss = db.BuresWasserstein(tau)
    calls = {
        "value": lambda w, target: loss.value(w, target),
        "grad": lambda w, target: loss.grad(w, target),
        "hvp": lambda w, target: loss.hvp(w, target, a),
    }
    for name, call in calls.items():
        np.testing.assert_allclose(call(w, spiked), call(w, dense), rtol=1e-11, atol=1e-11, err_msg=name)
        large = lambda target: [  # noqa: E731
            s
            for s in shapes_in(jax.make_jaxpr(lambda x: call(x, target))(jnp.asarray(w)).jaxpr)  # noqa: B023
            if sum(size >= n for size in s) >= 2
        ]
        assert not large(spiked), name
        assert large(dense) or name == "grad"  # the search finds what it looks for


# ------------------------------------------------------------------ invariances, for any draw

SEEDS = st.integers(0, 2**32 - 1)
NAMES = st.sampled_from([p for p in PROBLEMS if p not in ("operator", "condition 1e12")])
TAUS = st.sampled_from([0.0, 0.1, 1.5])


def draw(seed, problem):
    rng = np.random.default_rng(seed)
    problem = PROBLEMS[problem]
    factor = np.concatenate([problem.factor, np.sqrt(problem.floor) * np.eye(4)], axis=1)
    return rng, problem, factor, rng.standard_normal((4, 3)) * 10.0 ** rng.integers(-2, 3)


@given(SEEDS, NAMES, TAUS)
def test_rotation_equivariance(seed, problem, tau):
    rng, problem, factor, w = draw(seed, problem)
    q, loss = orthonormal(rng, 4, 4), db.BuresWasserstein(tau)
    rotated = db.Target.from_factor(q @ factor)
    tolerance = 200 * EPS * scale_of(w, problem, loss)
    np.testing.assert_allclose(loss.value(q @ w, rotated), loss.value(w, problem.target), rtol=0, atol=tolerance)
    np.testing.assert_allclose(loss.grad(q @ w, rotated), q @ loss.grad(w, problem.target), rtol=1e-6, atol=1e-9)


@given(SEEDS, NAMES, st.sampled_from(list(LOSSES)))
def test_gauge_and_lower_bound(seed, problem, loss):
    """W V has the covariance of W; and no matrix of three columns is better than the closed-form minimum."""
    rng, problem, _, w = draw(seed, problem)
    loss, v = LOSSES[loss], orthonormal(rng, 3, 3)
    tolerance = 200 * EPS * scale_of(w, problem, loss)
    value = loss.value(w, problem.target)
    np.testing.assert_allclose(loss.value(w @ v, problem.target), value, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        loss.grad(w @ v, problem.target),
        loss.grad(w, problem.target) @ v,
        rtol=1e-6,
        atol=1e-9 * (1 + np.abs(w).max()) ** 3,
    )
    assert value >= db.minimal_loss(problem.target, 3, loss) - tolerance


@given(SEEDS, NAMES, TAUS, st.floats(-6, 6))
def test_scaling(seed, problem, tau, exponent):
    """L(√t W; tΣ0, tτ) = t L(W; Σ0, τ)."""
    _, problem, factor, w = draw(seed, problem)
    t, loss = 10**exponent, db.BuresWasserstein(tau)
    scaled = db.BuresWasserstein(t * tau).value(np.sqrt(t) * w, db.Target.from_factor(np.sqrt(t) * factor))
    np.testing.assert_allclose(
        scaled / t, loss.value(w, problem.target), rtol=0, atol=200 * EPS * scale_of(w, problem, loss)
    )


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("tau", [-0.1, np.inf, np.nan])
def test_bad_tau(tau):
    with pytest.raises(ValueError, match=r"tau must be finite and not negative, but (-0\.1|inf|nan) was given"):
        db.BuresWasserstein(tau)


@pytest.mark.parametrize("tau", ["large", "0.5", True, 0.5j, np.array(["0.5"])])
def test_tau_that_is_no_number(tau):
    with pytest.raises(TypeError, match=rf"tau must be a number, but {re.escape(repr(tau))} was given"):
        db.BuresWasserstein(tau)


def test_shapes_that_do_not_fit():
    target, loss = PROBLEMS["generic"].target, db.BuresWasserstein()
    for method in (loss.value, loss.grad):
        with pytest.raises(ValueError, match=r"shape \(n, m\) with n = 4, .* but has shape \(3, 2\).*net\.end_to_end"):
            method(np.ones((3, 2)), target)
    with pytest.raises(ValueError, match=r"has shape \(4,\)"):
        loss.value(np.ones(4), target)
    with pytest.raises(ValueError, match=r"direction must have the shape of w, \(4, 2\), but has shape \(4, 3\)"):
        loss.hvp(np.ones((4, 2)), target, np.ones((4, 3)))
    with pytest.raises(TypeError, match=r"w must be an array of real numbers, not complex"):
        loss.value(np.ones((4, 2)) * 1j, target)


def test_smoothing_needs_the_spectrum():
    target, loss = PROBLEMS["operator"].target, db.BuresWasserstein(0.1)
    for call in (lambda: loss.value(np.ones((4, 2)), target), lambda: db.minimal_loss(target, 2, loss)):
        with pytest.raises(ValueError, match=r"smoothed loss \(tau = 0\.1\) of a target of dimension 4 known through"):
            call()
