"""From a target to a network in one call: every solver, depth and smoothing against the theoretical minimum."""

import contextlib
import dataclasses
import math
import warnings

import equinox as eqx
import numpy as np
import pytest
import scipy.sparse.linalg

import deepbures as db
from deepbures.certificates import Assumption, as_plain, in_words
from deepbures.landscape import _problem
from deepbures.training._verification import hold_against

from . import naive

SPECTRUM = np.array([4.0, 2.5, 1.5, 0.6, 0.4, 0.3, 0.2, 0.1])
TARGET = db.Target.from_spectrum(SPECTRUM, key=3, mean=np.arange(8.0))
RANK = 3
ABOVE = 2.0  # above λ_3 = 1.5: two of three modes can be used
DEPTHS = (1, 2, 3, 10)


def least(tau):
    """Σ over the modes that are not used of (√λ − √τ)²."""
    used = (np.arange(8) < RANK) & (tau < SPECTRUM)
    return ((np.sqrt(SPECTRUM) - np.sqrt(tau)) ** 2)[~used].sum()


def expected_warning(tau):
    if tau < SPECTRUM[RANK - 1]:
        return contextlib.nullcontext()
    return pytest.warns(UserWarning, match=r"mode\(s\) 3 \(λ_3 = 1.5\) cannot be used.*Lower tau or the rank")


def covariance(fitted):
    w = naive.product(fitted.network.weights)
    return w @ w.T


def minimizer_covariance(tau):
    values = np.maximum(SPECTRUM[:RANK] - tau, 0)
    basis = TARGET.covariance.basis[:, :RANK]
    return basis * values @ basis.T


@pytest.mark.parametrize("tau", [0.0, 0.05, ABOVE])
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_closed_form_is_the_minimum(depth, tau):
    with expected_warning(tau):
        fitted = db.fit(TARGET, RANK, depth=depth, tau=tau, solver="closed-form")
    assert fitted.network.widths == (*[RANK] * depth, 8)
    np.testing.assert_allclose(covariance(fitted), minimizer_covariance(tau), atol=1e-12)
    np.testing.assert_allclose(fitted.minimal_loss, least(tau), rtol=1e-13)
    np.testing.assert_allclose(fitted.final_loss, least(tau), rtol=1e-10)
    assert 0 <= fitted.relative_excess < 1e-10
    assert fitted.network.balancedness_gap() < 1e-13
    assert fitted.result == db.Result.converged
    assert (fitted.start, fitted.trajectory, fitted.horizon) == (None, None, None)
    assert fitted.unusable_modes == ((3,) if tau == ABOVE else ())


# One layer, few and many; no smoothing, some, and more than some eigenvalue: each with each solver. Other depths differ
# in the number of layers alone; test_flow and test_descent hold them against exact solutions and naive loops.
TRAINED = [
    *(("flow", depth, 0.0) for depth in (1, 2, 10)),
    *(("descent", depth, 0.0) for depth in (1, 3, 10)),
    ("flow", 10, 0.05),
    ("flow", 2, ABOVE),
    ("descent", 3, 0.05),
    ("descent", 3, ABOVE),
]


@pytest.mark.parametrize("solver, depth, tau", TRAINED)
def test_training_reaches_the_minimum(solver, depth, tau):
    with expected_warning(tau):
        fitted = db.fit(TARGET, RANK, depth=depth, tau=tau, solver=solver, num_records=60)
    assert fitted.result == db.Result.converged
    minimum = least(tau)
    np.testing.assert_allclose(fitted.minimal_loss, minimum, rtol=1e-13)
    assert 0 <= fitted.relative_excess <= 1e-7
    # The loss itself, by the defining formula, from the weights alone.
    value = naive.bures_wasserstein_loss(naive.product(fitted.network.weights), naive_target(), tau)
    np.testing.assert_allclose(value, minimum, rtol=2e-7)
    np.testing.assert_allclose(fitted.final_loss - minimum, fitted.excess, atol=1e-13)
    np.testing.assert_allclose(fitted.relative_excess, fitted.excess / minimum, rtol=1e-12)
    if tau < ABOVE:
        # Excess e puts W Wᵀ within O(√e) of the minimizer.
        np.testing.assert_allclose(covariance(fitted), minimizer_covariance(tau), atol=3e-3)
    np.testing.assert_allclose(fitted.trajectory.excess[-1], fitted.excess, rtol=1e-6)
    np.testing.assert_array_equal(fitted.network.mean, TARGET.mean)


def naive_target():
    basis = TARGET.covariance.basis
    return basis * SPECTRUM @ basis.T


def test_frobenius(rng):
    fitted = db.fit(TARGET, RANK, depth=2, loss="frobenius", solver="descent", num_records=60)
    assert fitted.result == db.Result.converged
    np.testing.assert_allclose(fitted.minimal_loss, (SPECTRUM[RANK:] ** 2).sum(), rtol=1e-13)
    w = fitted.network.end_to_end
    value = ((w @ w.T - naive_target()) ** 2).sum()
    np.testing.assert_allclose(value, fitted.minimal_loss, rtol=2e-7)


def test_the_start_is_scaled_to_the_data_and_hidden_widths_are_free():
    """Targets 10⁴ times larger are fitted alike: same steps, losses 10⁴ times larger."""
    small = db.fit(TARGET, RANK, depth=2, hidden=5, solver="descent", num_records=60)
    large_target = db.Target.from_spectrum(1e4 * SPECTRUM, TARGET.covariance.basis)
    large = db.fit(large_target, RANK, depth=2, hidden=5, solver="descent", num_records=60)
    assert small.network.widths == (3, 5, 8)
    np.testing.assert_allclose(large.trajectory.losses, 1e4 * small.trajectory.losses, rtol=1e-6)
    np.testing.assert_array_equal(large.trajectory.steps, small.trajectory.steps)


def test_same_seed_same_bits_other_seed_another_run():
    options = {"rank": RANK, "depth": 2, "solver": "descent", "num_steps": 50, "num_records": 60}
    one, two, three = (db.fit(TARGET, seed=seed, **options) for seed in (7, 7, 8))
    for a, b, c in zip(one.network.weights, two.network.weights, three.network.weights, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 1e-3
    assert one.horizon == 50


@pytest.mark.parametrize("solver", ["closed-form", "flow", "descent"])
@pytest.mark.parametrize("rank", [3, 5])
def test_a_singular_target_whose_rank_is_reached_has_the_minimum_zero(solver, rank):
    """Rank 3 in 8 dimensions: L* = 0, and the excess is measured by the loss of the zero network, tr Σ0."""
    basis = TARGET.covariance.basis[:, :3]
    target = db.Target.from_covariance(basis * [4.0, 2.0, 1.0] @ basis.T)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = db.fit(target, rank, depth=2, solver=solver, num_records=60)
    assert fitted.result == db.Result.converged
    np.testing.assert_allclose(fitted.minimal_loss, 0.0, atol=1e-14)
    np.testing.assert_allclose(fitted.relative_excess, fitted.excess / 7.0, rtol=1e-12)
    assert fitted.relative_excess <= 1e-7
    # Spare modes shrink like ds/dt = −4 s², a power of t; otherwise the exchange of mode 3, of curvature 2 · √1.
    np.testing.assert_allclose(fitted.asymptotic_rate, 0.0 if rank == 5 else 4.0, rtol=1e-12)
    np.testing.assert_allclose(covariance(fitted), target.matmul(np.eye(8)), atol=5e-3)


@pytest.mark.parametrize(
    "spectrum, options",
    [
        ([4.0, 2.0, 0.0, 0.0], {"loss": "frobenius"}),  # L* = 0: relative to the loss of zero, Σ λ² = 20
        ([4.0, 2.0, 0.0, 0.0], {}),  # Σ λ = 6
        ([4.0, 2.0, 1.0, *[0.1] * 9], {"loss": "frobenius"}),  # trained in a subspace, where L* is another
        ([4e-140, 2e-140, 1e-140, 1e-140], {"loss": "frobenius"}),  # computed in other units
    ],
)
def test_progress_tells_the_relative_excess_of_the_fit(spectrum, options, monkeypatch):
    monkeypatch.setattr("deepbures.training._host._SECONDS_PER_CALLBACK", 0.0)
    told = []
    target = db.Target.from_spectrum(spectrum, key=0)
    fitted = db.fit(target, 2, solver="descent", num_steps=3, num_records=2, callback=told.append, **options)
    degree = 2 if options else 1
    least = np.sum(np.array(spectrum[2:]) ** degree)
    reference = least if least else np.sum(np.array(spectrum) ** degree)
    last = told[-1]
    np.testing.assert_allclose(last.relative_excess, float(fitted.final_loss - least) / reference, 1e-6, 1e-12)
    np.testing.assert_allclose(last.relative_excess, fitted.relative_excess, rtol=1e-12)
    np.testing.assert_allclose([last.tolerance, last.share], [1e-7, 1.0], rtol=1e-12)


def test_what_theory_says_of_the_problem():
    fitted = db.fit(TARGET, RANK, depth=2, solver="closed-form")
    np.testing.assert_allclose(fitted.sharpness, 2 * 2 * np.sqrt(4.0), rtol=1e-13)
    # The slowest of the exchanges i→j, w_j^p 2(1 − λ_i/λ_j) with p = 1, and the scales.
    slowest = min(np.sqrt(e) * 2 * (1 - SPECTRUM[3] / e) for e in SPECTRUM[:3])
    np.testing.assert_allclose(fitted.asymptotic_rate, 2 * slowest, rtol=1e-13)


def test_a_run_that_is_cut_short_says_so():
    fitted = db.fit(TARGET, RANK, depth=2, solver="descent", num_steps=5, num_records=60)
    assert fitted.result == db.Result.finished
    assert fitted.relative_excess > 1e-3
    flow = db.fit(TARGET, RANK, depth=2, solver="flow", horizon=0.05, num_records=60)
    assert flow.result == db.Result.finished
    assert flow.trajectory.times[-1] == flow.horizon == 0.05


FULL = db.Target.from_spectrum([4.0, 2.5, 1.5, 1.0], key=3)


@pytest.fixture(scope="module")
def descended():
    return db.fit(FULL, 4, solver="descent", init="close", step_size=0.01, num_steps=200, num_records=60)


@pytest.mark.parametrize(
    "rank, options, expected",
    [
        (4, {"depth": 2}, ["flow-derived", "flow-exact", "flow-global", "flow-any-layers"]),
        (4, {"depth": 2, "tau": 0.05}, ["flow-paper", "flow-derived", "flow-global", "flow-any-layers"]),
        (2, {"depth": 2}, ["flow-bottleneck", "flow-below-saddle"]),
    ],
)
def test_the_run_keeps_the_guarantees_of_its_start(rank, options, expected):
    fitted = db.fit(FULL, rank, init="close", num_records=60, **options)
    certificates = db.certify(fitted.start, FULL, fitted.loss)
    assert [c.name for c in fitted.certificates] == [c.name for c in certificates]
    assert [c.log_rate for c in fitted.certificates if c.holds] == [c.log_rate for c in certificates if c.holds]
    kept = [check for check in fitted.checks if check.applies and check.certificate.is_guarantee]
    assert [check.certificate.name for check in kept] == expected
    assert not any(check.violated for check in fitted.checks)
    assert all(check.tightness > 1 for check in kept)


def test_what_is_certified_of_descent_is_exact_at_depth_one(descended):
    (exact,) = [check for check in descended.checks if check.certificate.name == "descent-exact"]
    assert exact.applies and not exact.violated
    np.testing.assert_allclose([exact.tightness, exact.largest_ratio], 1, rtol=1e-6)


def test_certificates_need_a_start_and_know_targets_of_products():
    closed = db.fit(FULL, 2, solver="closed-form")
    assert (closed.certificates, closed.checks) == ((), ())
    variances = np.arange(40.0, 0, -1)
    calls = []

    def matmul(w):
        calls.append(w.shape)
        return variances[:, None] * w

    products = db.Target.from_operator(matmul, 40, variances.sum())
    fitted = db.fit(products, 2, solver="descent", num_steps=3)
    told = {certificate.name: certificate for certificate in fitted.certificates}
    assert told["flow-bottleneck"].constants["gap"] == pytest.approx(1.0)
    assert told["descent-sharpness"].constants["sharpness"] == pytest.approx(2.0)
    assert len(fitted.checks) == len(fitted.certificates)


@pytest.mark.parametrize(
    "solver", [db.ClosedForm(), db.Flow(1e-3, integrator="tsit5"), db.Descent(3)], ids=lambda solver: solver.name
)
def test_what_is_known_of_a_problem_is_found_once(solver, monkeypatch):
    """From the start of a fit to its certificates: one minimum, and one Lanczos iteration on a target of products."""
    calls = []

    def counted(place, name):
        function = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: (calls.append(name), function(*a, **k))[1])

    counted(scipy.sparse.linalg, "eigsh")
    counted(_problem, "_minimal_value")
    variances = np.arange(40.0, 0, -1)
    target = db.Target.from_operator(lambda w: variances[:, None] * w, 40, variances.sum())
    fitted = db.fit(target, 2, solver=solver, num_records=2)
    assert sorted(calls) == ["_minimal_value", "eigsh"]
    np.testing.assert_allclose(fitted.minimal_loss, variances[2:].sum(), rtol=1e-12)
    assert bool(fitted.certificates) == solver.needs_start


# Solvers by name and as objects.


def test_solvers_as_objects_are_those_of_the_names():
    options = {"depth": 2, "num_records": 20}
    for name, solver in (("flow", db.Flow(0.3)), ("descent", db.Descent(20, 0.05))):
        given = {"horizon": 0.3} if name == "flow" else {"num_steps": 20, "step_size": 0.05}
        one = db.fit(TARGET, RANK, solver=name, **given, **options)
        other = db.fit(TARGET, RANK, "bw", solver, **options)
        np.testing.assert_array_equal(one.trajectory.losses, other.trajectory.losses)
        assert one.solver.name == other.solver.name == name
        assert one.solver.limits == other.solver.limits == solver.limits
    decided = db.fit(TARGET, RANK, solver=db.Descent(step_size="accelerated"), **options).solver
    assert (decided.step_size, decided.num_steps) == ("accelerated", 1000)
    # Straight on a problem, the same run.
    again = db.Descent(20, 0.05).train(
        db.Problem(TARGET, db.BuresWasserstein(), RANK), other.start, tolerance=1e-7, num_records=20
    )
    np.testing.assert_array_equal(again.trajectory.losses, other.trajectory.losses)


def test_options_of_solvers_are_in_the_units_of_the_user():
    """Variances of 2^-800: the run of those of 1, in powers of two; depth 1 has times without units."""
    far, exponent = db.Target.from_spectrum(np.ldexp(SPECTRUM, -800), TARGET.covariance.basis), -400
    for solver in (db.Flow(0.5, space="end-to-end", times=[0.25], atol=1e-9), db.Descent(30, 0.1, [10])):
        scaled = dataclasses.replace(solver, atol=np.ldexp(1e-9, exponent)) if solver.name == "flow" else solver
        one, other = (db.fit(t, RANK, solver=s) for t, s in ((TARGET, solver), (far, scaled)))
        np.testing.assert_array_equal(np.ldexp(other.trajectory.times, 0), one.trajectory.times)
        np.testing.assert_allclose(np.ldexp(other.trajectory.losses, 800), one.trajectory.losses, rtol=1e-9)
        assert other.solver.limits == solver.limits and other.horizon == one.horizon


class Pull(db.AbstractSolver):
    """Half way to the minimizer, a number of times."""

    times: int

    def train(self, problem, start, **options):
        w = start.end_to_end
        for _ in range(self.times):
            w = (w + problem.minimizer()) / 2
        return db.Trained(db.balanced_network(w, start.widths))


def test_a_solver_of_ones_own():
    near = db.fit(TARGET, RANK, depth=2, solver=Pull(40))
    assert near.result == db.Result.converged and near.relative_excess < 1e-7
    assert near.solver.name == near.solver.words == "Pull" and near.trajectory is None and near.horizon is None
    assert near.start is not None and near.certificates and not near.checks
    far = db.fit(TARGET, RANK, "frobenius", Pull(1))
    assert far.result == db.Result.finished and far.relative_excess > 0.1


class HandsBack(db.AbstractSolver):
    what: object

    def train(self, problem, start, **options):
        return self.what


@pytest.mark.parametrize(
    "what, error, message",
    [
        (db.initialize((3, 8), key=0), TypeError, r"must return Trained\(network\), but returned a DeepLinearNetwork"),
        (db.Trained(np.eye(8)), TypeError, "but a? ?.*ndarray"),
        (db.Trained(db.initialize((3, 7), key=0)), ValueError, r"dimension 8 .* rank of at most 3, .* \(3, 7\)"),
        (db.Trained(db.initialize((4, 8), key=0)), ValueError, r"dimension 8 .* rank of at most 3, .* \(4, 8\)"),
    ],
)
def test_what_a_solver_should_not_hand_back_is_refused(what, error, message):
    with pytest.raises(error, match=message):
        db.fit(TARGET, RANK, solver=HandsBack(what))


def test_a_violated_guarantee_is_a_warning(monkeypatch):
    (exact,) = [type(theorem) for theorem in db.theorems_of(db.BuresWasserstein()) if theorem.name == "flow-exact"]
    log_rate = exact.log_rate
    monkeypatch.setattr(exact, "log_rate", lambda self, start: log_rate(self, start) + 1)
    with pytest.warns(UserWarning, match=r"flow-exact: VIOLATED, first at .* please report it, with the data"):
        fitted = db.fit(FULL, 4, init="close", num_records=60)
    assert [check.certificate.name for check in fitted.checks if check.violated] == ["flow-exact"]
    plain = {entry["name"]: entry for entry in map(as_plain, fitted.certificates, fitted.checks)}
    assert plain["flow-exact"]["violated"] and not plain["flow-derived"]["violated"]


def lost_from(run, record):
    excess = np.array(run.excess)
    excess[record:] = np.nan
    return eqx.tree_at(lambda t: t.records["excess"], run, excess)


def test_a_loss_that_is_not_finite_is_above_every_bound(descended):
    run = lost_from(descended.trajectory, 10)
    checks = {check.certificate.name: check for check in hold_against(run, descended.certificates)}
    assert [name for name, check in checks.items() if check.violated] == ["descent-exact", "descent-constant"]
    assert checks["descent-exact"].first_violation == run.steps[10]
    assert checks["descent-sharpness"].applies and "about gradient flow" in checks["flow-exact"].reason
    nothing = hold_against(lost_from(run, 0), descended.certificates)
    assert {check.reason for check in nothing} == {"the loss is not finite at the start"}


def test_a_run_in_single_precision_is_held_against_nothing():
    target = db.Target.from_covariance(np.diag([4.0, 2.5, 1.5, 1.0]).astype(np.float32))
    fitted = db.fit(target, 4, init="gaussian", solver="descent", step_size=0.1, num_steps=30, num_records=10)
    assert any(certificate.holds and certificate.is_guarantee for certificate in fitted.certificates)
    assert {check.applies for check in fitted.checks} == {False}
    assert {check.reason for check in fitted.checks if check.certificate.holds} == {
        "the run was computed in float32, and bounds are checked in double precision only"
    }


def test_certificates_in_words_and_plain_values(descended):
    kinds = {certificate.name: certificate.kind for certificate in descended.certificates}
    assert {kinds[name] for name in ("flow-paper", "descent-exact")} == {"guarantee"}
    assert (kinds["flow-authors-code"], kinds["flow-asymptotic"]) == ("comparison", "prediction")
    assert in_words(Assumption("depth N", 3, "=", 1)) == "depth N: 3 (needed = 1, missed by 2)"
    assert in_words(Assumption("depth N", 1, "=", 1)) == "depth N: 1 = 1"
    assert in_words(Assumption("gap", math.nan, ">", 0.0)) == "gap: undefined here"
    paper = as_plain(next(c for c in descended.certificates if c.name == "descent-paper"))
    np.testing.assert_allclose(10 ** paper["log10_rate"], paper["rate"], rtol=1e-12)
    np.testing.assert_allclose(10 ** paper["log10_max_step_size"], paper["max_step_size"], rtol=1e-12)
    assert "violated" not in paper and paper["missed"] == [] and paper["holds"]


@pytest.mark.parametrize(
    "change, error, message",
    [
        (
            {"rank": 0},
            ValueError,
            r"rank must be at least 1 and at most 8 \(the dimension of the data\), but 0 was given",
        ),
        (
            {"rank": 9},
            ValueError,
            r"rank must be at least 1 and at most 8 \(the dimension of the data\), but 9 was given",
        ),
        ({"rank": 2.0}, TypeError, "rank must be a whole number, but 2.0 was given"),
        ({"rank": True}, TypeError, "rank must be a whole number, but True was given"),
        ({"depth": 0}, ValueError, "depth must be at least 1, but 0 was given"),
        ({"depth": "deep"}, TypeError, "depth must be a whole number, but 'deep' was given"),
        (
            {"depth": 2, "hidden": 2},
            ValueError,
            r"hidden must be at least 3 \(the rank: narrower hidden layers .* but 2 was given",
        ),
        ({"depth": 1, "hidden": 4}, ValueError, "hidden = 4 was given, but a network of depth 1 has no hidden layer"),
        ({"tau": -0.1}, ValueError, "tau must be finite and not negative, but -0.1 was given"),
        ({"tau": np.nan}, ValueError, "tau must be finite and not negative, but nan"),
        ({"tau": np.inf}, ValueError, "tau must be finite and not negative, but inf"),
        ({"loss": "frobenius", "tau": 0.1}, ValueError, "tau 0.1 was given, but loss frobenius does not take it"),
        (
            {"loss": "square"},
            ValueError,
            'loss must be one of "bw", "frobenius", .*, or a loss such as .*, but \'square\' was given',
        ),
        ({"solver": db.Flow(), "horizon": 1.0}, ValueError, r"horizon = 1.0 was given beside a solver with options"),
        (
            {"solver": "flow", "step_size": 0.1},
            ValueError,
            "step_size belongs to the solver 'descent', but",
        ),
        *(
            (
                {"loss": db.BuresWasserstein(tau), "depth": 2, "solver": solver},
                ValueError,
                f"that is the zero network, which is flat at depth 2 .*: pass {needed}",
            )
            for solver, needed, tau in (("flow", "horizon", 4.0), ("descent", "num_steps and step_size", 5.0))
        ),
        ({"solver": "newton"}, ValueError, "solver must be one of closed-form, flow, descent, but 'newton' was given"),
        (
            {"solver": "descent", "horizon": 1.0},
            ValueError,
            "horizon belongs to the solver 'flow', but solver = 'descent': leave it out",
        ),
        ({"solver": "closed-form", "horizon": 1.0}, ValueError, "horizon belongs to the solver 'flow'"),
        (
            {"solver": "flow", "num_steps": 10},
            ValueError,
            "num_steps belongs to the solver 'descent', but solver = 'flow'",
        ),
        ({"solver": "flow", "horizon": 0.0}, ValueError, "horizon must be finite and positive, but 0.0"),
        ({"solver": "descent", "num_steps": 0}, ValueError, "num_steps must be at least 1, but 0"),
        ({"solver": "descent", "step_size": -1.0}, ValueError, "step_size must be finite and positive, but -1.0"),
        (
            {"solver": "descent", "step_size": "big"},
            ValueError,
            "step_size must be a positive number, .* but 'big' was given",
        ),
        ({"solver": "flow", "tolerance": -1.0}, ValueError, "tolerance must be finite and not negative, but -1.0"),
        ({"seed": -1}, ValueError, "seed must be at least 0 and at most 9223372036854775807, but -1 was given"),
        (
            {"solver": "flow", "init": "zeros"},
            ValueError,
            "Unknown initialization scheme 'zeros': choose one of balanced",
        ),
        ({"target": np.eye(8)}, ValueError, r"symmetric matrix of shape \(8, 8\), as covariances are: pass"),
        ({"target": 3.0}, TypeError, "target must be a Target, or an array or frame of samples in rows, but a float"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"target": TARGET, "rank": RANK, **change}
    with pytest.raises(error, match=message):
        db.fit(**arguments)
