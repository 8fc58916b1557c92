"""Certificates: constants against 60-digit arithmetic, bounds against runs, and runs that break them."""

import math

import equinox as eqx
import jax
import mpmath
import numpy as np
import pytest

import deepbures as db
from deepbures.certificates import Assumption, as_plain
from deepbures.report._proof import _outcome

TARGET = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0)
EXACT, SMOOTHED = db.BuresWasserstein(), db.BuresWasserstein(0.2)


def close(depth, tau=0.0, k=3, share=0.5, key=1):
    best = math.sqrt(TARGET.eigenvalues[k - 1] - tau)
    return db.initialize((k,) * depth + (3,), "close", target=TARGET, tau=tau, margin=share * best, key=key)


def by_name(net, loss=EXACT, target=TARGET):
    return {certificate.name: certificate for certificate in db.certify(net, target, loss)}


@pytest.mark.parametrize(("depth", "tau"), [(1, 0.2), (3, 0.2), (100, 0.2), (3, 0.0), (100, 0.0)])
def test_constants_are_those_of_the_formulas(depth, tau):
    """With 60 digits, from the loss alone: nothing over- or underflows at depth 100."""
    net, loss = close(depth, tau), db.BuresWasserstein(tau)
    found = by_name(net, loss)
    with mpmath.workdps(60):
        n, p = mpmath.mpf(depth), mpmath.mpf(2 * (depth - 1)) / depth
        start = mpmath.mpf(float(loss.value(net.end_to_end, TARGET)))
        tau, trace, first, last = (mpmath.mpf(x) for x in (tau, 7, 4, 1))
        c = mpmath.sqrt((mpmath.sqrt(last) - mpmath.sqrt(start)) ** 2 - tau)
        c0 = 2 * (start + trace)
        big = (mpmath.sqrt(start) + mpmath.sqrt(trace)) ** 2
        derived = last / (2 * mpmath.sqrt(first) * big ** mpmath.mpf("1.5"))
        expected = {"flow-derived": 8 * n * derived * c ** (p + 2)}
        if tau > 0:
            paper = mpmath.sqrt(tau * last) / (2 * c0**2)
            expected["flow-paper"] = 8 * n * paper * c ** (p + 2)
            rough = 1 - mpmath.sqrt(start)
            expected["flow-authors-code"] = 8 * n * paper * rough ** (p + 2)
        else:
            expected["flow-exact"] = 4 * n * c**p
        for name, rate in expected.items():
            assert found[name].log_rate == pytest.approx(float(mpmath.log(rate)), rel=1e-9, abs=1e-9), name
        m = mpmath.sqrt(c0)
        delta = 2 ** (n + 1) * c ** (-2 * n) * n**2 * m ** ((4 * n - 3) / n) * mpmath.sqrt(first)
        if depth > 1:
            delta += 8 * n * (n - 1) * m ** ((3 * n - 4) / n) * (m ** (1 / n) + trace)
        steps = (c**2 / (8 * m * mpmath.sqrt(start)), n * c**p / (2 * delta), 1 / (4 * n * c**p))
        own = found["descent-derived"]
        assert own.constants["log_delta"] == pytest.approx(float(mpmath.log(delta)), rel=1e-9)
        assert own.log_max_step_size == pytest.approx(float(mpmath.log(min(steps))), rel=1e-9)
        assert found["descent-paper"].constants["log_contraction"] == pytest.approx(
            float(mpmath.log(2 * min(steps) * n * c**p)), rel=1e-9
        )
    # The paper's contraction needs ‖∇L‖² ≥ 4 e, hence τ = 0.
    assert found["descent-paper"].holds == (tau == 0)


def test_constants_of_the_bottleneck():
    net = close(3, k=2)
    certificate = by_name(net)["flow-bottleneck"]
    excess = float(EXACT.value(net.end_to_end, TARGET)) - 1.0
    c = math.sqrt(2) - math.sqrt(excess)
    assert certificate.holds
    assert certificate.excess == pytest.approx(excess, rel=1e-9)
    assert certificate.rate == pytest.approx(4 * 0.5 * c ** (4 / 3), rel=1e-9)
    big = excess / (1 - excess) * math.exp(-certificate.rate * 0.3)
    assert certificate.bound(0.3) == pytest.approx(big / (1 + big), rel=1e-9)
    assert certificate.bound(0.0) == pytest.approx(excess, rel=1e-12)


@pytest.mark.parametrize(("depth", "tau", "k"), [(1, 0.0, 3), (2, 0.0, 3), (2, 0.2, 3), (3, 0.0, 2), (1, 0.0, 2)])
def test_runs_stay_below_every_bound_that_holds(depth, tau, k):
    loss = db.BuresWasserstein(tau)
    for key, share in ((1, 0.15), (2, 0.5), (3, 0.9)):
        net = close(depth, tau, k, share, key)
        run = db.gradient_flow(net, TARGET, loss, 20.0, space="end-to-end", num_records=40, record=("loss",))
        checks = [check for check in run.check(db.certify(net, TARGET, loss)) if check.applies]
        guarantees = [check for check in checks if check.certificate.is_guarantee]
        assert guarantees and not any(check.violated for check in guarantees)
        assert all(check.tightness > 0.999 for check in guarantees)
        (late,) = [check for check in checks if check.certificate.name == "flow-asymptotic"]
        assert late.tightness == pytest.approx(1.0, rel=0.1)


def test_at_depth_one_the_exact_bounds_are_equalities():
    net = db.initialize((3, 3), "gaussian", key=5)
    flow = db.gradient_flow(net, TARGET, EXACT, 2.0, num_records=20, record=("loss",), tolerance=0.0)
    certificates = by_name(net)
    np.testing.assert_allclose(certificates["flow-exact"].bound(flow.times), flow.excess, rtol=1e-6)
    run = db.gradient_descent(net, TARGET, EXACT, 20, 0.1, num_records=10, record=("loss",), tolerance=0.0)
    bound = certificates["descent-exact"].bound(run.steps, step_size=0.1)
    np.testing.assert_allclose(bound, run.excess, rtol=1e-9)
    assert certificates["descent-exact"].bound([0, 1]).tolist() == [certificates["descent-exact"].excess, 0.0]


def test_a_run_above_a_bound_is_reported(monkeypatch):
    """A made-up run: twice as slow as the bound from the record at time 1 on."""
    certificate = by_name(close(2))["flow-exact"]
    times = np.linspace(0, 4, 9)
    bound = certificate.bound(times)
    slow = np.where(times < 1, bound, certificate.excess * np.exp(-certificate.rate * times / 2))
    check = certificate.check(times, slow)
    assert check.violated and check.first_violation == 1.0
    assert check.largest_ratio > 2
    assert check.tightness == pytest.approx(0.5, rel=0.01)
    assert "VIOLATED, first at 1," in str(check)
    assert not certificate.check(times, bound).violated
    assert certificate.check(times, bound).tightness == pytest.approx(1.0)
    # Above the bound by half of the tolerance in distance: neither held nor violated.
    within = (np.sqrt(bound) + np.where(times > 0, 0.5e-3 * np.sqrt(certificate.excess), 0)) ** 2
    check = certificate.check(times, within, tolerance=1e-3)
    assert check.is_exceeded and not check.violated and check.first_violation is None
    assert check.exceeded_by == pytest.approx((within - bound).max(), rel=1e-12)
    assert f"exceeded by {(within - bound).max():.3g}, within the tolerance;" in str(check)
    assert as_plain(certificate, check)["outcome"] == check.outcome
    assert "exceeded by" in _outcome(check) and "within the tolerance; observed rate" in _outcome(check)
    assert certificate.check(times, within).outcome == "VIOLATED"
    assert certificate.check(times, bound).outcome == "held" and certificate.check(times, bound).exceeded_by == 0
    # What guarantees nothing is not violated.
    monkeypatch.setattr(type(certificate.theorem), "kind", "prediction")
    assert not certificate.check(times, slow).violated


def test_the_certified_step_falls_at_every_step_below_its_bound():
    net = close(2, share=0.9)
    run = db.gradient_descent(net, TARGET, EXACT, 200, "certified", steps=np.arange(201), record=("loss",))
    certificates = by_name(net)
    assert float(run.step_size) == pytest.approx(certificates["descent-constant"].max_step_size, rel=1e-12)
    assert (np.diff(run.excess) < 0).all()
    checks = {check.certificate.name: check for check in run.check(certificates.values())}
    assert checks["descent-constant"].applies and not checks["descent-constant"].violated
    assert "speaks of step sizes up to" in checks["descent-paper"].reason
    assert "gradient flow" in checks["flow-exact"].reason
    starts = db.stack_networks([net, close(2, share=0.5)])
    batch = db.gradient_descent(starts, TARGET, EXACT, 2, "certified", record=("loss",))
    assert float(batch.step_size) == pytest.approx(by_name(close(2, share=0.5))["descent-constant"].max_step_size)


def test_the_papers_contraction_is_false_with_smoothing():
    """Near λ_n = τ the flow itself is slower than 2 N c^p, half of which a step of descent can take at most."""
    loss = db.BuresWasserstein(0.9)
    net = close(1, 0.9, share=0.5)
    run = db.gradient_flow(net, TARGET, loss, 30.0, num_records=60, record=("loss",))
    late = slice(-10, None)
    rate = -np.polyfit(run.times[late], np.log(run.excess[late]), 1)[0]
    assert rate < 2  # N = 1: 2 N c^p = 2
    assert not by_name(net, loss)["descent-paper"].holds


NOT_MET = [
    (db.initialize((3, 3, 3), "gaussian", key=0), TARGET, EXACT, "squared margin"),
    (db.initialize((3, 3), "gaussian", key=0), TARGET, SMOOTHED, "squared margin"),
    (db.initialize((2, 2, 3), key=0), TARGET, EXACT, "n − k: 1 (needed = 0, missed by 1)"),
    (db.initialize((3, 3, 3), key=0), db.Target.from_spectrum([2.0, 1.0, 0.0]), EXACT, "λ_n of the target: 0"),
    (close(2), TARGET, db.BuresWasserstein(1.0), "squared margin"),
    (close(2), TARGET, db.BuresWasserstein(3.0), "squared margin"),
    (db.DeepLinearNetwork([np.zeros((3, 3)), np.zeros((3, 3))]), TARGET, EXACT, "squared margin"),
]


@pytest.mark.parametrize(("net", "target", "loss", "text"), NOT_MET)
@pytest.mark.filterwarnings("ignore:tau = .* is not below:UserWarning")
def test_what_is_not_met_is_said(net, target, loss, text):
    derived = by_name(net, loss, target)["flow-derived"]
    assert not derived.holds
    assert text in "; ".join(str(assumption) for assumption in derived.missed)
    assert np.isinf(derived.bound([0.0, 1.0])).all()
    with pytest.raises(ValueError, match=r'step_size = "certified" has no certificate from this start \('):
        db.gradient_descent(net, target, loss, 10, "certified")


def test_the_minimizer_itself_and_the_frobenius_loss():
    net = db.balanced_network(db.rank_k_minimizer(TARGET, 3, EXACT), (3, 3, 3))
    for certificate in db.certify(net, TARGET, EXACT):
        assert certificate.excess < 1e-14
    found = by_name(net, db.Frobenius())
    assert list(found)[-3:] == ["flow-asymptotic", "descent-sharpness", "descent-stability"]
    assert {name: found[name].holds for name in list(found)[:-3]} == {
        "flow-frobenius-global": True,
        "flow-frobenius-any-layers": True,
        "flow-frobenius-below-saddle": False,
    }
    with pytest.raises(ValueError, match=r"has no theorem on descent under a Frobenius\. Pass"):
        db.gradient_descent(net, TARGET, db.Frobenius(), 10, "certified")


def test_predictions_of_descent():
    found = by_name(close(2))
    steepest = float(db.sharpness(TARGET, 3, EXACT, depth=2))
    assert found["descent-sharpness"].max_step_size == pytest.approx(1 / steepest)
    assert found["descent-stability"].max_step_size == pytest.approx(2 / steepest)
    assert not found["descent-sharpness"].is_guarantee and not found["descent-stability"].is_guarantee


def test_a_step_too_small_to_be_seen_is_warned_of():
    near = close(1, share=0.9).weights[0]
    lopsided = db.DeepLinearNetwork([near, *(np.eye(3) * 30.0 ** (-1) ** at for at in range(10))])
    with pytest.warns(UserWarning, match=r"shrinks by a share of 10\^-\d+ a step") as told:
        db.gradient_descent(lopsided, TARGET, EXACT, 2, "certified", record=("loss",))
    assert told[0].filename == __file__


def test_bad_input():
    net = close(2)
    certificate = by_name(net)["flow-exact"]
    run = db.gradient_flow(net, TARGET, EXACT, 1.0, num_records=5, record=("loss",))
    with pytest.raises(ValueError, match="certificate is for a start with"):
        run.check(db.certify(close(2, key=7), TARGET, EXACT))
    with pytest.raises(ValueError, match="finite, but hold NaN"):
        certificate.check([0.0, 1.0], [certificate.excess, np.nan])
    with pytest.raises(ValueError, match=r"vectors of equal length, but have shapes \(2,\) and \(1,\)"):
        certificate.check([0.0, 1.0], [1.0])
    with pytest.raises(ValueError, match="positions must be finite and not negative"):
        certificate.bound([-1.0])
    with pytest.raises(ValueError, match="flow-exact has no rate per step"):
        certificate.bound([1.0], step_size=0.1)
    with pytest.raises(ValueError, match=r"speaks of step sizes up to 0\.5, but 0\.6 was given"):
        by_name(close(1))["descent-exact"].bound([1], step_size=0.6)
    with pytest.raises(TypeError, match="net must be a DeepLinearNetwork"):
        db.certify(np.eye(3), TARGET, EXACT)
    batch = db.stack_networks([net, net])
    with pytest.raises(ValueError, match="certify takes one network and one target"):
        db.certify(batch, TARGET, EXACT)
    several = eqx.tree_at(lambda r: r.records["excess"], run, np.zeros((2, 6)))
    with pytest.raises(ValueError, match=r"check takes a single run, but this is a batch of shape \(2,\)"):
        several.check(db.certify(net, TARGET, EXACT))
    with pytest.raises(ValueError, match="certify needs concrete numbers"):
        jax.jit(lambda w: db.certify(db.DeepLinearNetwork([w]), TARGET, EXACT)[0].excess)(np.eye(3))


def test_assumptions_say_by_how_much():
    assert str(Assumption("gap", 3e-3, "≤", 1e-8)) == "not met: gap: 0.003 (needed ≤ 1e-08, missed by 0.003)"
    assert Assumption("depth", 2, "=", 1).slack == -1
    assert not Assumption("margin", math.nan, ">", 0.0).holds
