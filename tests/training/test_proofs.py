"""What is proved of a run on its way, against flows in closed form and runs of SciPy's integrator."""

import math

import equinox as eqx
import numpy as np
import pytest
from tests.certificates.layers import balanced_layers, losses_along_the_flow

import deepbures as db
from deepbures.certificates import prove
from deepbures.training import _host as host

LOSS = db.BuresWasserstein()


@pytest.fixture(scope="module")
def trained():
    """A run that begins above the best saddle, its start and what is certified of that."""
    target = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0)
    start = db.initialize((2, 2, 3), "balanced", key=0, target=target)
    run = db.gradient_flow(start, target, LOSS, 20.0)
    return run, start, target, db.certify(start, target, LOSS)


def test_a_run_is_certified_at_the_first_record_below_the_best_saddle(trained):
    run, _, _, certificates = trained
    proof = run.certified(certificates)
    assert proof and proof.certificate.name == "flow-below-saddle"
    below = np.flatnonzero(run.excess < 1.0)  # λ_2 − λ_3
    assert proof.record == below[0] > 0 and proof.position == run.times[below[0]]
    assert not proof.check.violated and 1 <= proof.check.tightness < 1.5
    assert np.isinf(proof.bound(run.times)[: proof.record]).all()
    assert (run.excess <= proof.bound(run.times) * (1 + 1e-6) + 1e-12).all()
    by = proof.time_to(1e-6)
    assert by > run.times[np.flatnonzero(run.excess < 1e-6)[0]]
    assert float(proof.bound(by)) == pytest.approx(1e-6, rel=1e-9)


def test_the_numbers_of_a_record_are_those_of_a_start_there(trained):
    run, start, target, certificates = trained
    proof = run.certified(certificates)
    there = db.gradient_flow(start, target, LOSS, proof.position, tolerance=0.0).network
    anew = {c.name: c for c in db.certify(there, target, LOSS)}[proof.certificate.name]
    assert proof.certificate.log_rate == pytest.approx(anew.log_rate, abs=1e-5)
    assert proof.time_to(1e-6) == pytest.approx(proof.position + anew.time_to(1e-6), rel=1e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_bound_of_an_aligned_flow_in_closed_form(depth):
    """One mode, one dropped: e(t) = (√λ_1 − s)², s known; its equation is the one of the theorem but for gap − y."""
    eigenvalues, times = np.array([4.0, 1.0]), np.linspace(0, 3, 40)
    s = db.aligned_flow([0.1], [4.0], LOSS, times, depth=depth)[:, 0]
    excess = (2 - s) ** 2
    start = db.balanced_network(np.array([[0.1], [0.0]]), (1,) * depth + (2,))
    certificates = [c for c in db.certify(start, db.Target.from_spectrum(eigenvalues), LOSS) if c.method == "flow"]
    records = {"loss": excess + 1, "excess": excess, "smallest_singular_value": s, "balancedness_gap": 0 * s}
    proof = prove(certificates, times, records)
    assert proof.record == np.flatnonzero(excess < 3)[0] > 0  # gap = λ_1 − λ_2
    bound = proof.bound(times)[proof.record :]
    assert (excess[proof.record :] <= bound * (1 + 1e-9)).all() and not proof.check.violated
    # Late, the rate is 4 (1 − 1/4) 2^p against the 2 N 2 of the run's own equation: the first is below.
    power = 2 * (depth - 1) / depth
    late = -np.diff(np.log(bound[-2:]))[0] / (times[-1] - times[-2])
    assert late == pytest.approx(3 * 2**power, rel=0.02)


def test_flows_of_another_integrator_are_below_the_bound_from_the_record_on(rng):
    eigenvalues = np.array([3.0, 1.5, 0.5])
    w = 0.4 * rng.standard_normal((3, 2))
    layers = balanced_layers(w, 2, 3)
    times = np.linspace(0, 2.5, 26)
    losses = losses_along_the_flow(layers, lambda w: bures_wasserstein_of(w, eigenvalues), times)
    target = db.Target.from_spectrum(eigenvalues)
    start = db.balanced_network(w, (2, 2, 2, 3))
    certificates = [c for c in db.certify(start, target, LOSS) if c.method == "flow"]
    excess = losses - 0.5
    # σ_k was not recorded: √λ_k − √e bounds it.
    proof = prove(certificates, times, {"loss": losses, "excess": excess, "balancedness_gap": 0 * excess})
    assert proof and proof.record == np.flatnonzero(excess < 1.0)[0]
    assert not proof.check.violated and proof.check.tightness >= 1
    assert (excess[proof.record :] <= proof.bound(times)[proof.record :] * (1 + 1e-6)).all()


def bures_wasserstein_of(w, eigenvalues):
    """L and ∇L by the polar factor: W Wᵀ is singular here."""
    roots = np.sqrt(eigenvalues)[:, None]
    u, s, vt = np.linalg.svd(roots * w, full_matrices=False)
    return (w * w).sum() + eigenvalues.sum() - 2 * s.sum(), 2 * (w - roots * (u @ vt))


def test_a_run_that_stays_above_the_bound_is_reported_as_violated(trained):
    run, _, _, certificates = trained
    proof = run.certified(certificates)
    late = run.times > proof.position + 1
    slower = np.where(late, 1.01 * proof.bound(np.maximum(run.times, proof.position)), run.excess)
    false = eqx.tree_at(lambda run: run.records["excess"], run, slower)
    found = false.certified(certificates)
    assert found and found.record == proof.record and found.check.violated
    assert found.check.first_violation == run.times[late][0]
    assert found.check.largest_ratio == pytest.approx(1.01, rel=1e-9)
    exceeded = false.certified(certificates, tolerance=0.1)
    assert exceeded.check.is_exceeded and exceeded.check.exceeded_by == pytest.approx(
        (slower - proof.bound(run.times))[late].max(), rel=1e-9
    )
    told = exceeded.sentence(run.times, slower)
    assert f"which the run exceeded by {exceeded.check.exceeded_by:.3g}, within the tolerance" in told
    slower[-1] = math.nan
    lost = eqx.tree_at(lambda run: run.records["excess"], run, np.where(late, np.nan, run.excess)).certified(
        certificates
    )
    assert lost.check.violated and lost.check.first_violation == run.times[late][0]


def test_where_nothing_is_proved_the_misses_are_in_words(trained):
    run, start, target, certificates = trained
    early = db.gradient_flow(start, target, LOSS, 0.1)
    proof = early.certified(certificates)
    assert not proof and proof.check is None and proof.record == -1
    assert any("must lie below that height" in words for words in proof.missed)
    assert np.isinf(proof.bound([0.0, 1.0])).all() and proof.time_to(1.0) == math.inf
    assert "no theorem" in run.certified([]).missed[0]
    quick = db.gradient_descent(start, target, LOSS, 5, "accelerated").certified(certificates)
    assert "constant step size" in quick.missed[0]


def test_descents_are_certified_on_their_way_with_their_step_size():
    """At depth 1 and k = n the excess falls by (1 − 2η)² at every step."""
    target = db.Target.from_spectrum([4.0, 1.0], key=0)
    start = db.initialize((2, 2), key=0)
    run = db.gradient_descent(start, target, LOSS, 40, 0.25)
    proof = run.certified(db.certify(start, target, LOSS))
    assert proof and proof.step_size == 0.25 and proof.record == 0
    np.testing.assert_allclose(proof.bound([0, 3]), run.excess[0] * np.array([1.0, 0.25**3]), rtol=1e-12)
    assert not proof.check.violated


def test_what_is_proved_in_a_sentence(trained):
    run, _, _, certificates = trained
    proof = run.certified(certificates)
    sentence = proof.sentence(run.times, run.excess)
    assert sentence.startswith(f"from time {proof.position:.3g} on") and "which it kept" in sentence
    lost = np.where(run.times > proof.position + 1, np.nan, run.excess)
    false = eqx.tree_at(lambda run: run.records["excess"], run, lost)
    assert "VIOLATED" in false.certified(certificates).sentence(run.times, lost)


def test_a_resumed_run_keeps_its_proof(monkeypatch):
    monkeypatch.setattr(host, "_SECONDS_PER_CALLBACK", 0.0)
    target = db.Target.from_spectrum([4.0, 2.0, 1.0], key=0)

    def stop(_):
        raise KeyboardInterrupt

    def run(**options):
        return db.fit(target, 2, solver="descent", depth=2, step_size=0.02, num_steps=600, **options)

    whole, part = run(), run(callback=stop)
    assert part.result == db.Result.interrupted and len(part.trajectory.losses) < len(whole.trajectory.losses)
    done = run(resume=part.trajectory.snapshot)
    assert whole.proof.record > 0 and done.proof == whole.proof and done.proved == whole.proved
