"""Data far from one in size: fits are those of the same data in ordinary units, with every number converted."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deepbures as db

DEVIATIONS = np.array([3.0, 2.0, 1.0, 0.5])
FAR = [-498, 498]  # 2^e: 1e-150 and 1e150


def samples(rng):
    return rng.standard_normal((40, 4)) * DEVIATIONS + 1.0


def power(x, exponent):
    return np.ldexp(np.asarray(x, np.float64), int(exponent))


def assert_scaled(fit, plain, e, depth, degree=1):
    """Every number of a fit of data multiplied by 2^e: losses by 2^{2de}, layers by 2^{e/N}, times by 2^{−(2d − 2/N)e}.

    Exponents are whole where the tests take the multiples of N that they need. The runs differ by rounding.
    """
    layer, loss = e // depth, 2 * degree * e
    for weight, expected in zip(fit.network.weights, plain.network.weights, strict=True):
        np.testing.assert_allclose(power(weight, -layer), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(power(fit.network.mean, -e), plain.network.mean, rtol=1e-12)
    curvature = loss - 2 * layer
    for name, exponent in (
        ("final_loss", loss),
        ("minimal_loss", loss),
        ("sharpness", curvature),
        ("asymptotic_rate", curvature),
    ):
        np.testing.assert_allclose(power(getattr(fit, name), -exponent), getattr(plain, name), rtol=1e-9)
    np.testing.assert_allclose(fit.relative_excess, plain.relative_excess, rtol=1e-6, atol=1e-14)
    assert fit.unusable_modes == plain.unusable_modes and bool(fit.result == plain.result)
    if plain.trajectory is None:
        return
    run, expected = fit.trajectory, plain.trajectory
    np.testing.assert_array_equal(run.steps, expected.steps)
    np.testing.assert_allclose(power(run.times, curvature), expected.times, rtol=1e-9)
    exponents = {"loss": loss, "gradient_norm": loss - layer, "smallest_singular_value": e}
    for name, exponent in exponents.items():
        # The last gradients are differences: right to rounding of the first.
        scale = np.asarray(expected[name]).max()
        np.testing.assert_allclose(power(run[name], -exponent), expected[name], rtol=1e-6, atol=1e-9 * scale)
    if run.step_size is not None:
        np.testing.assert_allclose(power(run.step_size, curvature), expected.step_size, rtol=1e-12)
    assert [c.holds for c in fit.certificates] == [c.holds for c in plain.certificates]
    assert not any(check.violated for check in fit.checks)


@pytest.mark.parametrize(
    "solver, depth, tau",
    [
        *[(solver, depth, 0.0) for solver in ("flow", "descent", "closed-form") for depth in (1, 2, 3)],
        *[(solver, 2, 0.25) for solver in ("flow", "descent", "closed-form")],
    ],
)
def test_a_fit_of_scaled_data_is_the_scaled_fit(solver, depth, tau, rng):
    x = samples(rng)
    options = {"rank": 2, "depth": depth, "solver": solver}
    plain = db.fit(db.Target.from_samples(x), tau=tau, **options)
    assert bool(plain.result == db.Result.converged)
    for e in (*FAR, *((-330, 330) if solver == "descent" else ())):
        fit = db.fit(db.Target.from_samples(power(x, e)), tau=float(power(tau, 2 * e)), **options)
        assert_scaled(fit, plain, e, depth)


@pytest.mark.parametrize("e", [-120, 120])
def test_the_frobenius_loss_too(e, rng):
    """1e-36 and 1e36, a loss of 1e-144 and 1e144."""
    x, options = samples(rng), {"rank": 2, "depth": 2, "solver": "descent", "loss": "frobenius"}
    plain = db.fit(db.Target.from_samples(x), **options)
    assert_scaled(db.fit(db.Target.from_samples(power(x, e)), **options), plain, e, 2, degree=2)


@pytest.mark.parametrize("e", [-120, -34])
def test_a_small_frobenius_gradient_is_not_that_of_a_critical_point(e, rng):
    """Gradients of this loss are smaller than those of a distance: at 1e-10 the start counted as critical."""
    fit = db.fit(db.Target.from_samples(power(samples(rng), e)), 2, depth=2, loss="frobenius")
    assert bool(fit.result == db.Result.converged) and fit.relative_excess < 1e-7


def test_every_way_to_know_a_target(rng):
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    values = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.25])
    e = -400

    def targets(scale):
        s = basis * (values * scale) @ basis.T
        s = (s + s.T) / 2
        yield db.Target.from_covariance(s)
        yield db.Target.from_spectrum(values * scale, basis)
        yield db.Target.from_factor(basis[:, :4] * np.sqrt((values[:4] - 0.25) * scale), 0.25 * scale)
        yield db.Target.from_operator(lambda w: s @ w, 6, np.trace(s))

    for plain, far in zip(targets(1.0), targets(2.0 ** (2 * e)), strict=True):
        one, other = (db.fit(target, 2, depth=2, solver="descent") for target in (plain, far))
        assert bool(other.result == db.Result.converged)
        np.testing.assert_allclose(power(other.network.end_to_end, -e), one.network.end_to_end, atol=1e-9)
        np.testing.assert_allclose(power(other.final_loss, -2 * e), one.final_loss, rtol=1e-9)


@pytest.mark.parametrize("e", [-50, 50])
def test_single_precision_and_jax(e, rng):
    """Variances of 1e-30 and 1e30, whose gradients squared are out of the range of float32."""
    x = samples(rng).astype(np.float32)
    plain = db.fit(db.Target.from_samples(x), 2, depth=2, solver="descent", tolerance=1e-4)
    for array in (power(x, e).astype(np.float32), jnp.asarray(power(x, e), jnp.float32)):
        target = db.Target.from_samples(array)
        fit = db.fit(target, 2, depth=2, solver="descent", tolerance=1e-4)
        assert bool(fit.result == db.Result.converged) and fit.network.weights[0].dtype == np.float32
        assert type(fit.network.weights[0]) is type(target.mean) and type(fit.final_loss) is type(target.mean)
        np.testing.assert_allclose(power(fit.final_loss, -2 * e), plain.final_loss, rtol=1e-3)
        np.testing.assert_allclose(power(fit.network.end_to_end, -e), plain.network.end_to_end, atol=0.05)


def test_steps_horizons_and_progress_are_in_units_of_the_user(rng):
    x, e, seen = samples(rng), -450, []
    target, far = (db.Target.from_samples(power(x, k)) for k in (0, e))
    # Depth 2: curvatures are proportional to the deviation, times to its inverse.
    step = 0.3 / float(db.sharpness(target, 2, db.BuresWasserstein(), depth=2))
    options = {"rank": 2, "depth": 2, "solver": "descent", "num_steps": 50, "tolerance": 0.0}
    plain = db.fit(target, step_size=step, **options)
    fit = db.fit(far, step_size=float(power(step, -e)), callback=seen.append, **options)
    assert_scaled(fit, plain, e, 2)
    assert fit.horizon == 50
    plain = db.fit(target, 2, depth=2, horizon=0.5, tolerance=0.0)
    fit = db.fit(far, 2, depth=2, horizon=float(power(0.5, -e)), tolerance=0.0, callback=seen.append)
    assert fit.horizon == float(power(0.5, -e))
    assert_scaled(fit, plain, e, 2)
    for progress in seen:
        assert progress.end in (50, float(power(0.5, -e))) and progress.position <= progress.end
        assert power(progress.loss, -2 * e) < 1e3


def test_a_fit_far_away_goes_on_where_it_was_interrupted(rng):
    target = db.Target.from_samples(power(samples(rng), -450))
    kept = []

    def interrupt(progress):
        kept.append(progress.snapshot())
        raise KeyboardInterrupt

    options = {"rank": 2, "depth": 2, "solver": "descent", "num_steps": 200_000, "tolerance": 0.0}
    whole = db.fit(target, step_size=float(power(1e-6, 450)), **options)
    part = db.fit(target, step_size=float(power(1e-6, 450)), callback=interrupt, **options)
    if kept:  # not on a machine that needs less than a tenth of a second
        assert bool(part.result == db.Result.interrupted)
        again = db.fit(target, step_size=float(power(1e-6, 450)), resume=part.trajectory.snapshot, **options)
        np.testing.assert_array_equal(again.network.end_to_end, whole.network.end_to_end)
        np.testing.assert_array_equal(again.trajectory.losses, whole.trajectory.losses)


def test_flow_and_descent_by_themselves(rng):
    """Not scaled, but their norms do not vanish: at 1e-150 the gradient squared is 1e-500."""
    target = db.Target.from_spectrum(power(DEVIATIONS**2, -2 * 498))
    loss = db.BuresWasserstein()
    start = db.balanced_network(power(rng.standard_normal((4, 2)), -498), (2, 2, 2, 4))
    for run in (
        db.gradient_flow(start, target, loss, 1e290, tolerance=1e-3, num_records=5, solver="tsit5"),
        db.gradient_descent(start, target, loss, 2000, tolerance=1e-3),
    ):
        assert float(run["gradient_norm"][0]) > 0
        assert float(run.losses[-1]) < 0.7 * float(run.losses[0])


@pytest.mark.parametrize(
    "e, options, message",
    [
        (-333, {"loss": "frobenius"}, r"Frobenius loss of these data is of the order of 10\^-39\d.*scale the data up"),
        (333, {"loss": "frobenius"}, r"Frobenius loss of these data is of the order of 10\^40\d.*scale the data down"),
        (-508, {}, r"BuresWasserstein loss of these data is of the order of 10\^-30\d.*scale the data up"),
        (-400, {"solver": "descent", "step_size": optax.adam(0.1)}, r"about 10\^-1\d\d\) are computed in other units"),
    ],
)
def test_what_cannot_be_honored_is_refused(e, options, message, rng):
    with pytest.raises(ValueError, match=message):
        db.fit(db.Target.from_samples(power(samples(rng), e)), 2, depth=2, **options)


def test_smoothed_curvatures_of_far_data():
    """λ_i τ is 1e-600, its root 1e-300: 2 (λ_1 − λ_2)/(λ_1 + √(λ_2 τ)) does not depend on units."""
    values = np.array([4.0, 1.0, 0.25])
    for e in (-900, 900):
        loss, target = db.BuresWasserstein(float(power(0.5, e))), db.Target.from_spectrum(power(values, e))
        plain, near = db.BuresWasserstein(0.5), db.Target.from_spectrum(values)
        spectra = [db.hessian_spectrum(t, (0,), each) for t, each in ((target, loss), (near, plain))]
        np.testing.assert_allclose(spectra[0].eigenvalues, spectra[1].eigenvalues, rtol=1e-14)
        rates = [float(db.asymptotic_rate(t, 1, each)) for t, each in ((target, loss), (near, plain))]
        np.testing.assert_allclose(rates[0], rates[1], rtol=1e-14)


@pytest.mark.parametrize(
    "loss", [db.EntropicWasserstein(1e300), db.SinkhornDivergence(1e300)], ids=["entropic", "sinkhorn"]
)
@pytest.mark.filterwarnings("ignore:epsilon / 2")
def test_a_regularization_far_above_the_variances(loss, rng):
    """The entropic minimum is the zero network, of loss tr Σ0: OT_ε(0, Σ0) for any ε. The divergence has no bias."""
    target = db.Target.from_samples(samples(rng))
    fit = db.fit(target, 2, loss=loss, solver="closed-form")
    variances = np.linalg.svd(fit.network.end_to_end, compute_uv=False) ** 2
    if isinstance(loss, db.EntropicWasserstein):
        assert fit.unusable_modes == (1, 2) and not variances.any()
        np.testing.assert_allclose(fit.minimal_loss, target.trace, rtol=1e-12)
    else:
        np.testing.assert_allclose(variances, target.eigenvalues[:2], rtol=1e-12)
