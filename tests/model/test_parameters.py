"""Parameters of losses at the ends of the range of numbers, of the wrong shape, and traced."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures as db

SPECTRUM = [4.0, 1.0, 0.5]
W = np.array([[1.0, 0.5], [-0.5, 2.0], [0.25, 1.0]])


def numbers(loss, target=None):
    """Value, gradient, least loss of rank 2, excess, sharpness and the two lowest critical values."""
    target = db.Target.from_spectrum(SPECTRUM, key=0) if target is None else target
    problem = db.Problem(target, loss, 2)
    points = db.critical_points(target, 2, loss)
    return {
        "value": float(loss.value(W, target)),
        "grad": loss.grad(W, target),
        "hvp": loss.hvp(W, target, W[::-1]),
        "least": float(problem.minimal_value),
        "excess": float(problem.excess(W)),
        "sharpness": float(db.sharpness(target, 2, loss)),
        "points": points.value[:2],
    }


@pytest.mark.parametrize("parameter", [1e-300, 1e-160])
@pytest.mark.parametrize("make", [db.BuresWasserstein, db.EntropicWasserstein, db.SinkhornDivergence])
def test_of_a_tiny_parameter_is_left_what_the_exact_loss_is(make, parameter):
    # The three tend to it as τ and ε tend to zero, by less than √τ.
    exact = numbers(db.BuresWasserstein())
    for name, found in numbers(make(parameter)).items():
        np.testing.assert_allclose(found, exact[name], rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("epsilon", [1e160, 1e300])
def test_of_a_huge_epsilon_is_left_the_square_loss_over_it(epsilon):
    # φ(x) → −x/σ², so that the divergence tends to ‖W Wᵀ − Σ0‖²/ε, and the entropic loss to ‖W‖² + tr Σ0.
    target = db.Target.from_spectrum(SPECTRUM, key=0)
    square = numbers(db.Frobenius())
    for name, found in numbers(db.SinkhornDivergence(epsilon)).items():
        np.testing.assert_allclose(found * epsilon, square[name], rtol=1e-12, atol=1e-12, err_msg=name)
    loss = db.EntropicWasserstein(epsilon)
    assert float(loss.value(W, target)) == pytest.approx((W**2).sum() + sum(SPECTRUM), rel=1e-14)
    assert float(db.minimal_loss(target, 2, loss)) == pytest.approx(sum(SPECTRUM), rel=1e-14)


def test_of_a_huge_tau_is_left_the_logarithm():
    # With λ ≪ τ the divergence is ½ Σ (ln(τ/λ) − 1), and its Hessian at zero 1/τ.
    target, loss = db.Target.from_spectrum(SPECTRUM, key=0), db.GaussianLikelihood(1e300)
    expected = 0.5 * sum(np.log(1e300) - np.log(value) - 1 for value in SPECTRUM)
    assert float(db.minimal_loss(target, 2, loss)) == pytest.approx(expected, rel=1e-14)
    assert float(db.sharpness(target, 2, loss)) == pytest.approx(1e-300, rel=1e-14)


@pytest.mark.parametrize(
    "ask", [lambda target, loss: loss.value(W, target), lambda target, loss: db.minimal_loss(target, 2, loss)]
)
@pytest.mark.parametrize(
    "loss, message",
    [
        (db.GaussianLikelihood(1e-300), r"tau = 1e-300 is too small for a target of total variance 5\.5"),
        (db.BuresWasserstein(1e-320), r"tau = 9\.99989e-321 is out of the range of float64"),
        (db.SinkhornDivergence(1e-320), r"epsilon = 9\.99989e-321 is out of the range of float64"),
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(loss, message, ask):
    with pytest.raises(ValueError, match=message):
        ask(db.Target.from_spectrum(SPECTRUM, key=0), loss)


def test_at_the_least_noise_that_is_taken_all_is_finite():
    target = db.Target.from_spectrum(SPECTRUM, key=0)
    with pytest.raises(ValueError, match="Use tau ≥") as refusal:
        db.GaussianLikelihood(1e-300).value(W, target)
    least = float(re.search(r"tau ≥ (\S+),", str(refusal.value)).group(1))
    for found in numbers(db.GaussianLikelihood(1.1 * least), target).values():
        assert np.isfinite(found).all()


def test_float32_has_a_range_of_its_own():
    target = db.Target.from_spectrum(np.array(SPECTRUM, np.float32), key=0)
    for parameter in (1e-60, 1e60):
        with pytest.raises(ValueError, match=r"epsilon = 1e[+-]60 is out of the range of float32"):
            db.EntropicWasserstein(parameter).grad(W.astype(np.float32), target)


def test_small_data_may_have_small_noise():
    # In units of 1e-145 a standard deviation is 1: the divergence has no units.
    small, ordinary = (db.Target.from_spectrum(c * np.array(SPECTRUM), key=0) for c in (1e-290, 1.0))
    found = db.minimal_loss(small, 1, db.GaussianLikelihood(2e-291))
    assert float(found) == pytest.approx(float(db.minimal_loss(ordinary, 1, db.GaussianLikelihood(0.2))), rel=1e-12)


def test_a_warning_speaks_in_the_units_of_the_user():
    target = db.Target.from_spectrum(1e-280 * np.array(SPECTRUM), key=0)
    with pytest.warns(UserWarning, match=r"tau = 2e-280 is not below 1 of the 2 .*λ_2 = 1e-280"):
        db.fit(target, 2, db.BuresWasserstein(2e-280), "closed-form")


@pytest.mark.parametrize("make", [db.BuresWasserstein, db.GaussianLikelihood, db.SinkhornDivergence])
def test_several_parameters_at_once_are_refused(make):
    with pytest.raises(ValueError, match=r"must be one number, but has shape \(2,\)"):
        make(np.array([1.0, 2.0]))
    target, w = db.Target.from_spectrum(jnp.array(SPECTRUM)), jnp.asarray(W)
    several = jnp.array([1.0, 2.0])
    with pytest.raises(ValueError, match=r"has shape \(2,\), a batch of losses: map over it"):
        make(several).value(w, target)


@pytest.mark.parametrize("what", ["its parameters", "the target"])
def test_derivatives_in_anything_but_w_are_refused(what):
    w = jnp.asarray(W)

    def value(x):
        tau, scale = (x, 1.0) if what == "its parameters" else (0.5, x)
        return db.BuresWasserstein(tau).value(w, db.Target.from_spectrum(scale * jnp.array(SPECTRUM)))

    with pytest.raises(TypeError, match=f"differentiable by JAX in w alone, but a derivative in {what}"):
        jax.grad(value)(0.5)
