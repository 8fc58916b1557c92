"""Certificates where they are easily wrong: rounding, single precision, degenerate starts, and made-up violations."""

import math
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deepbures as db

SPECTRUM = np.array([4.0, 2.0, 1.0])
TARGET = db.Target.from_spectrum(SPECTRUM, key=0)
EXACT, SMOOTHED = db.BuresWasserstein(), db.BuresWasserstein(0.2)
RECORD = ("loss",)


def by_name(net, target=TARGET, loss=EXACT):
    return {certificate.name: certificate for certificate in db.certify(net, target, loss)}


def near_minimizer(distance, widths, rng):
    k = min(widths)
    w = db.rank_k_minimizer(TARGET, k, EXACT)
    off = rng.standard_normal(w.shape)
    return db.balanced_network(w + distance * off / np.linalg.norm(off), widths)


def guarantees(run, certificates):
    return [check for check in run.check(certificates) if check.applies and check.certificate.is_guarantee]


@pytest.mark.parametrize("widths", [(3, 3), (3, 3, 3), (2, 2, 3)])
def test_what_rounding_does_at_the_minimum_is_no_violation(widths, rng):
    """Bounds go to zero, runs end at rounding: from 1e-3 to 1e-13 and zero away, without a tolerance to stop at."""
    for distance in (1e-3, 1e-7, 1e-9, 1e-11, 1e-13, 0.0):
        net = near_minimizer(distance, widths, rng)
        certificates = db.certify(net, TARGET, EXACT)
        flow = db.gradient_flow(net, TARGET, EXACT, 8.0, num_records=30, tolerance=0.0, record=RECORD)
        checks = guarantees(flow, certificates)
        if widths[0] == 3:
            step = by_name(net)["descent-exact" if len(widths) == 2 else "descent-paper"].max_step_size
            options = {"num_records": 30, "tolerance": 0.0, "record": RECORD}
            checks += guarantees(db.gradient_descent(net, TARGET, EXACT, 200, step, **options), certificates)
        assert checks
        for check in checks:
            assert not check.violated, str(check)
            assert np.isfinite(check.certificate.bound([0.0, 1.0, 1e6])).all()


def test_fifteen_random_starts_keep_every_guarantee(rng):
    """Spectra over two orders, scales over four, smoothing up to λ_n, margins from nearly none to nearly all."""
    seen = set()
    for trial in range(15):
        values = 10 ** rng.uniform(-2, 2) * np.sort(10 ** rng.uniform(-1.2, 0.5, 3))[::-1]
        k = (3, 3, 2)[trial % 3]
        tau = (0.0, 0.1, 0.0)[trial % 3]
        values *= 0.1 / (rng.uniform(0.02, 0.8) * values[-1]) if tau else 1.0
        target, loss = db.Target.from_spectrum(values, key=trial), db.BuresWasserstein(tau)
        margin = rng.uniform(0.05, 0.95) * math.sqrt(values[k - 1] - tau)
        net = db.initialize((k, k, 3), "close", target=target, tau=tau, margin=margin, key=trial)
        horizon = 100 / float(db.sharpness(target, k, loss, depth=2))
        options = {"space": "end-to-end", "num_records": 30, "record": ("loss", "smallest_singular_value")}
        run = db.gradient_flow(net, target, loss, horizon, **options)
        for check in guarantees(run, db.certify(net, target, loss)):
            assert not check.violated and check.tightness > 1 - 1e-6, str(check)
            seen.add(check.certificate.name)
            if "log_margin" in check.certificate.constants:
                reach = math.exp(check.certificate.constants["log_margin"])
                assert reach >= margin * (1 - 1e-9)
                assert run["smallest_singular_value"].min() >= reach * (1 - 1e-6)
    old = {"flow-paper", "flow-derived", "flow-exact", "flow-bottleneck"}
    assert seen == old | {"flow-global", "flow-any-layers", "flow-below-saddle"}


@pytest.mark.parametrize("name", ["flow-derived", "flow-exact", "flow-bottleneck", "descent-paper", "descent-exact"])
def test_an_excess_shifted_up_is_a_violation_at_its_place(name):
    """One part in 10⁵ of the start is a violation; rounding of the bound itself is none."""
    widths = {"flow-bottleneck": (2, 2, 3), "descent-exact": (3, 3)}.get(name, (3, 3, 3))
    certificate = by_name(db.initialize(widths, "close", target=TARGET, key=1))[name]
    assert certificate.holds
    step = None if certificate.method == "flow" else certificate.max_step_size / 3
    unit = 1 / certificate.rate if step is None else 1 / certificate.check([0], [certificate.excess]).certificate.rate
    at = np.arange(8) * (0.3 * unit if step is None else max(1.0, round(0.3 * unit)))
    bound = certificate.bound(at, step_size=step)
    assert not certificate.check(at, bound * (1 + 1e-9), step_size=step).violated
    raised = np.where(np.arange(8) >= 5, bound * (1 + 2e-6) + 1e-5 * certificate.excess, bound)
    check = certificate.check(at, raised, step_size=step)
    assert check.violated and check.first_violation == at[5]
    assert check.largest_ratio == pytest.approx((raised / bound).max())
    assert certificate.check(at, raised, step_size=step, tolerance=1e-3).violated is False


def test_single_precision(rng):
    """Lifts made in float32 count as balanced, their steps are certified, and rounding in float32 is no violation."""
    values = SPECTRUM.astype(np.float32)
    single = db.Target.from_spectrum(values, TARGET.covariance.basis.astype(np.float32))
    for widths, target in (((3, 3), single), ((3, 3, 3), TARGET)):
        net = jax.tree.map(lambda x: x.astype(np.float32), db.initialize(widths, "close", target=TARGET, key=1))
        certificates = db.certify(net, target, EXACT)
        flow = db.gradient_flow(net, target, EXACT, 2.0, num_records=20, tolerance=0.0, record=RECORD, rtol=1e-5)
        descent = db.gradient_descent(net, target, EXACT, 100, "certified", num_records=20, record=RECORD)
        assert flow.excess.dtype == descent.excess.dtype == np.result_type(*net.weights, target.mean)
        for run in (flow, descent):
            checks = guarantees(run, certificates)
            assert checks and not any(check.violated for check in checks)


def test_a_certified_step_below_single_precision_is_refused():
    """Layers of norms 20 and 1/20 in turns: an ω^{2N−2} of 20⁹⁰."""
    target = db.Target.from_spectrum(SPECTRUM.astype(np.float32), TARGET.covariance.basis.astype(np.float32))
    near = db.rank_k_minimizer(target, 3, EXACT).astype(np.float32)
    layers = [np.eye(3, dtype=np.float32) * 20.0 ** (-1) ** at for at in range(46)]
    net = db.DeepLinearNetwork([near * np.float32(1.01), *layers])
    step = by_name(net, target)["descent-constant"].max_step_size
    assert 1e-130 < step < 1e-110
    with pytest.raises(ValueError, match=r"certified\" is 10\^-\d+ for this start, below the range of floating point"):
        db.gradient_descent(net, target, EXACT, 3, "certified")


def test_depth_one_hundred_in_logarithms():
    """ln η2 ≈ −2N ln 2 + 2N ln c − N ln 2: of the order of −500 ln 10 for c = 10^{−1.9}, and no warning on the way."""
    values = np.array([4.0, 1.0, 10**-3.6])
    target = db.Target.from_spectrum(values, key=0)
    net = db.initialize((3,) * 101, "close", target=target, margin=10**-1.9, key=2)
    paper = by_name(net, target)["descent-paper"]
    c = math.exp(paper.constants["log_margin"])
    assert 10**-1.9 <= c < 10**-1.8
    m = math.sqrt(2 * (float(EXACT.value(net.end_to_end, target)) + values.sum()))
    leading = 101 * math.log(2) - 200 * math.log(c) + 2 * math.log(100) + 3.97 * math.log(m) + math.log(2)
    assert paper.constants["log_delta"] == pytest.approx(leading, rel=1e-9)
    expected = math.log(50) + 1.98 * math.log(c) - leading
    assert paper.log_max_step_size == pytest.approx(expected, rel=1e-9)
    assert -530 < paper.log_max_step_size / math.log(10) < -380
    assert paper.max_step_size == 0.0 and paper.rate == 0.0
    np.testing.assert_array_equal(paper.bound([0, 1, 10**9]), paper.excess)
    with pytest.raises(ValueError, match="speaks of step sizes up to 0, but 1e-300 was given"):
        paper.bound([1], step_size=1e-300)


ZERO = db.Target.from_spectrum(np.zeros(3))
SINGULAR = db.Target.from_spectrum([4.0, 1.0, 0.0], key=0)
EQUAL = db.Target.from_spectrum([1.0, 1.0, 1.0], key=0)
DEGENERATE = [
    (widths, scale, target, loss)
    for widths in ((3, 3), (2, 3), (5, 3), (3, 3, 3), (2, 4, 3))
    for scale in (0.0, 1.0)
    for target in (TARGET, SINGULAR, EQUAL, ZERO)
    for loss in (EXACT, db.BuresWasserstein(1.0), db.BuresWasserstein(5.0), db.Frobenius())
]


def test_nothing_crashes_from_degenerate_starts():
    """Zero networks; singular, equal and zero targets; τ at and above eigenvalues: words, and no NaN in a bound."""
    for widths, scale, target, loss in DEGENERATE:
        w = scale * np.random.default_rng(0).standard_normal((3, min(widths))) @ np.eye(min(widths), widths[0])
        for certificate in db.certify(db.balanced_network(w, widths), target, loss):
            assert all(str(assumption) for assumption in certificate.assumptions)
            assert not certificate.is_guarantee or certificate.holds != bool(certificate.missed)
            bound = certificate.bound([0.0, 1.0, 1e9])
            assert not np.isnan(bound).any()
            assert certificate.holds or np.isinf(bound).all()
            check = certificate.check([0.0, 1.0], [certificate.excess, certificate.excess])
            assert isinstance(str(check), str)


def test_a_prediction_of_a_step_size_alone_has_no_bound():
    stability = by_name(db.initialize((3, 3, 3), key=0))["descent-stability"]
    assert stability.holds and np.isinf(stability.bound([0, 1])).all()


def test_what_is_missed_says_by_how_much():
    eye = np.eye(3)
    lopsided = by_name(db.DeepLinearNetwork([eye, 1.1 * eye]))["flow-paper"]
    gap = 0.21 * math.sqrt(3) / (1.21 * 3)
    assert lopsided.missed[0].value == pytest.approx(gap)
    assert f"missed by {gap:.4g}" in str(lopsided.missed[0])
    exact = by_name(db.balanced_network(db.rank_k_minimizer(TARGET, 3, EXACT), (3, 3, 3)))["flow-exact"]
    assert exact.holds and {a.statement[:14]: a.slack for a in exact.assumptions}["squared margin"] == pytest.approx(
        1.0
    )
    # At the minimizer of L_τ the margin is √(λ_n − τ): it closes at τ = λ_n.
    for tau, holds in ((0.999, True), (1.0, False), (1.5, False)):
        loss = db.BuresWasserstein(tau)
        w = db.rank_k_minimizer(TARGET, 3, db.BuresWasserstein(min(tau, 1.0) - (tau >= 1) * 1e-3))
        derived = by_name(db.balanced_network(w, (3, 3, 3)), loss=loss)["flow-derived"]
        assert derived.holds == holds
    bottleneck = by_name(db.initialize((2, 3), key=0))["flow-exact"]
    assert "n − k: 1 (needed = 0, missed by 1)" in str(bottleneck.missed[0])


def test_step_sizes_out_of_range_are_refused():
    paper = by_name(db.initialize((3, 3, 3), "close", target=TARGET, key=1))["descent-paper"]
    for step in (0.0, -1e-9, np.nan, np.inf):
        with pytest.raises(ValueError, match="step_size must be finite and positive"):
            paper.bound([1], step_size=step)
    with pytest.raises(ValueError, match="speaks of step sizes up to"):
        paper.bound([1], step_size=1.01 * paper.max_step_size)
    half = paper.bound([1], step_size=paper.max_step_size / 2) / paper.excess
    c = math.exp(paper.constants["log_margin"])
    assert half[0] == pytest.approx(1 - 2 * 2 * c * paper.max_step_size / 2, rel=1e-12)


@pytest.mark.parametrize("transform", ["jit", "vmap", "constants inside jit"])
def test_transformations_are_refused_in_words(transform):
    net = jax.tree.map(jnp.asarray, db.initialize((3, 3, 3), "close", target=TARGET, key=1))
    run = lambda n: db.gradient_descent(n, TARGET, EXACT, 3, "certified").losses  # noqa: E731
    attempts = {
        "jit": lambda: eqx.filter_jit(run)(net),
        "vmap": lambda: eqx.filter_vmap(run)(db.stack_networks([net, net])),
        "constants inside jit": lambda: jax.jit(lambda x: x * run(net))(1.0),
    }
    with pytest.raises(ValueError, match="needs concrete numbers"):
        attempts[transform]()


def test_why_the_papers_contraction_demands_no_smoothing():
    """One mode, λ = 1, depth 1: −dL/dt = 4 s² (1 − 1/√(s² + τ))², e = (√(s² + τ) − 1)², so that the rate is

    4 s²/(s² + τ), and below 2 N c^p = 2 wherever s² < τ, though c² = (1 − √L)² − τ = s² is a margin.
    """
    target, tau, s = db.Target.from_spectrum([1.0]), 0.5, 0.5
    net, loss = db.DeepLinearNetwork([np.full((1, 1), s)]), db.BuresWasserstein(tau)
    found = by_name(net, target, loss)
    assert math.exp(found["flow-derived"].constants["log_margin"]) == pytest.approx(s)
    fall = float((loss.grad(net.end_to_end, target) ** 2).sum()) / float(loss.value(net.end_to_end, target))
    assert fall == pytest.approx(4 * s**2 / (s**2 + tau)) and fall < 2
    assert not found["descent-paper"].holds and "smoothing τ: 0.5" in str(found["descent-paper"].missed[0])
    derived = found["descent-derived"]
    eta = derived.max_step_size
    run = db.gradient_descent(net, target, loss, 50, eta, steps=np.arange(51), record=RECORD)
    assert run.excess[1] > run.excess[0] * (1 - 2 * eta)
    (check,) = guarantees(run, [derived])
    assert not check.violated and check.tightness > 1


def test_a_flat_minimizer():
    """Where the zero network is the minimizer: no certificate, no curvature to take a step from, and yet the flow goes.

    A zero target at depth 2: ds/dt = −4 s², s = s0/(1 + 4 s0 t). All eigenvalues equal to τ at depth 1: λ_max = 0.
    """
    net = db.balanced_network(np.diag([1.0, 0.5, 0.25]), (3, 3, 3))
    run = db.gradient_flow(net, ZERO, EXACT, 3.0, times=[1.0], record=("singular_values",))
    expected = [s / (1 + 4 * s) for s in (1.0, 0.5, 0.25)]
    np.testing.assert_allclose(run["singular_values"][1], expected, rtol=1e-6)
    with pytest.raises(ValueError, match="needs a minimizer with curvature, but here that is the zero network"):
        db.gradient_descent(net, ZERO, EXACT, 3)
    one, loss = db.DeepLinearNetwork([np.eye(3)]), db.BuresWasserstein(1.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="tau = 1.0 is not below")
        flow = db.gradient_flow(one, EQUAL, loss, 1.0, num_records=2, record=("singular_values",))
        steps = db.gradient_descent(one, EQUAL, loss, 1000, 1e-3, steps=[1000], record=("singular_values",))
    followed = db.aligned_flow([1.0], [1.0], loss, [1.0])[0, 0]
    np.testing.assert_allclose(flow["singular_values"][-1], followed, rtol=1e-6)
    np.testing.assert_allclose(steps["singular_values"][-1], followed, rtol=1e-3)
