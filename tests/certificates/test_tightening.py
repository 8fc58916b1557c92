"""Bounds that tighten: against SciPy's solution of their equations, closed forms, and runs from ordinary starts."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import deepbures as db

SPECTRUM = [4.0, 2.0, 1.0]
TARGET = db.Target.from_spectrum(SPECTRUM, key=0)
EXACT, SMOOTHED = db.BuresWasserstein(), db.BuresWasserstein(0.2)
NAMES = ("flow-global", "flow-any-layers", "flow-below-saddle")


def certified(net, loss=EXACT, target=TARGET):
    return {c.name: c for c in db.certify(net, target, loss) if c.name in NAMES}


def numbers(**changes):
    """The numbers of a start as they could be, not of a network."""
    widths = (changes["bottleneck"], 3)
    start = db.certify(db.initialize(widths, "balanced", key=0), TARGET, EXACT)[0].start
    return dataclasses.replace(start, largest_singular_value=0.0, unbalancedness=0.0, **changes)


def integrated(equations, initial, times):
    """Decay u = ln(e(0)/y) by SciPy, from the equations of u and ln s."""
    found = solve_ivp(
        lambda t, y: equations(y[0], math.exp(y[1])),
        (0, times[-1]),
        [0.0, math.log(initial)],
        method="Radau",
        rtol=1e-10,
        atol=1e-11,
        t_eval=times,
    )
    return found.y[0]


def assert_solves(certificate, equations, initial, decay=15.0):
    """The bound is the solution, and `time_to` its inverse."""
    assert certificate.holds, certificate.missed
    e = certificate.excess
    horizon = certificate.time_to(e * math.exp(-decay))
    times = np.concatenate([[0.0], np.geomspace(1e-4, 1, 12) * horizon])
    decays = np.log(e / certificate.bound(times))
    np.testing.assert_allclose(decays, integrated(equations, initial, times), rtol=1e-7, atol=1e-9)
    seen = decays > 1e-5  # below, y itself is too coarse to tell u
    np.testing.assert_allclose([certificate.time_to(e * math.exp(-u)) for u in decays[seen]], times[seen], rtol=1e-9)
    assert certificate.bound(horizon) == pytest.approx(e * math.exp(-decay), rel=1e-12)
    speed = equations(0.0, initial)[0]
    assert certificate.rate == pytest.approx(speed, rel=1e-9)
    late = certificate.time_to(e * math.exp(-301)) - certificate.time_to(e * math.exp(-300))
    assert 1 / late == pytest.approx(certificate.asymptotic_rate, rel=1e-9)


@pytest.mark.parametrize(
    ("depth", "tau", "smallest"), [(1, 0.3, 0.1), (2, 0.0, 1e-3), (3, 0.5, 4.0), (10, 0.9, 0.05), (100, 0.0, 0.3)]
)
def test_the_global_bound_solves_its_equation(depth, tau, smallest):
    start = numbers(bottleneck=3, depth=depth, tau=tau, smallest_singular_value=smallest)
    theorem = next(t for t in db.theorems_of(EXACT) if t.name == "flow-global")
    p = 2 * (depth - 1) / depth

    def equations(_, s):
        return (4 * depth * s ** (p + 2) / (s**2 + tau), 2 * depth * s**p * (math.sqrt(1 / (s**2 + tau)) - 1))

    assert_solves(db.Certificate(theorem, start), equations, smallest)


@pytest.mark.parametrize(("depth", "tau", "loss"), [(1, 0.0, 0.9), (3, 0.0, 0.999), (4, 0.3, 0.1)])
def test_the_bound_from_any_layers_solves_its_equation(depth, tau, loss):
    start = numbers(bottleneck=3, depth=depth, tau=tau, loss=loss, excess=loss)
    theorem = next(t for t in db.theorems_of(EXACT) if t.name == "flow-any-layers")

    def equations(u, _):
        square = (1 - math.sqrt(loss * math.exp(-u))) ** 2 - tau
        return (4 * depth * square ** (2 - 1 / depth) / (square + tau), 0.0)

    assert_solves(db.Certificate(theorem, start), equations, 1.0)


@pytest.mark.parametrize(
    ("depth", "excess", "smallest"), [(1, 0.4, 0.5), (2, 0.99999, 0.9), (3, 0.5, 3.0), (10, 1e-3, 1.4), (100, 0.3, 0.9)]
)
def test_the_bound_below_the_saddle_solves_its_equations(depth, excess, smallest):
    """λ_k = 2, λ_{k+1} = 1."""
    start = numbers(bottleneck=2, depth=depth, excess=excess, smallest_singular_value=smallest)
    theorem = next(t for t in db.theorems_of(EXACT) if t.name == "flow-below-saddle")
    p = 2 * (depth - 1) / depth

    def equations(u, s):
        y = excess * math.exp(-u)
        return (4 * (1 - y) / 2 * s**p, 2 * depth * s ** (p - 1) * (math.sqrt(2 - y) - s))

    assert_solves(db.Certificate(theorem, start), equations, max(smallest, math.sqrt(2) - math.sqrt(excess)))


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_data_in_other_units_have_the_same_bounds(scale):
    """Excess and eigenvalues are variances, rates are in their (1 − 1/N)-th power, here their root."""
    for name, k in zip(NAMES, (3, 3, 2), strict=True):
        theorem = next(t for t in db.theorems_of(EXACT) if t.name == name)
        start = numbers(bottleneck=k, depth=2, loss=0.3, excess=0.3, smallest_singular_value=0.6)
        squares = ("loss", "excess", "trace", "first_eigenvalue", "kept_eigenvalue", "left_out_eigenvalue")
        changes = {name: scale * getattr(start, name) for name in squares}
        smallest = math.sqrt(scale) * start.smallest_singular_value
        other = dataclasses.replace(start, smallest_singular_value=smallest, **changes)
        one, same = db.Certificate(theorem, start), db.Certificate(theorem, other)
        times = np.array([0.1, 1.0, 5.0])
        np.testing.assert_allclose(same.bound(times / math.sqrt(scale)) / scale, one.bound(times), rtol=1e-9)
        np.testing.assert_allclose(same.time_to(1e-3 * scale) * math.sqrt(scale), one.time_to(1e-3), rtol=1e-12)


def test_at_depth_one_without_smoothing_they_are_equalities():
    found = certified(db.initialize((3, 3), "gaussian", key=5))
    times = np.array([0.0, 0.1, 1.0, 20.0, 150.0])
    np.testing.assert_allclose(found["flow-global"].bound(times), found["flow-global"].excess * np.exp(-4 * times))
    assert found["flow-global"].time_to(1e-6 * found["flow-global"].excess) == pytest.approx(1.5 * math.log(10))


def start_of(case):
    rng = np.random.default_rng(3)
    close = db.initialize((3, 3, 3), "close", target=TARGET, key=1)
    turn = np.eye(3) + 0.4 * rng.standard_normal((3, 3))
    return {
        "far": db.balanced_network(100 * rng.standard_normal((3, 3)), (3, 3, 3)),
        "generic": db.initialize((3, 3, 3), "balanced", key=2),
        "unbalanced": db.DeepLinearNetwork([turn @ close.weights[0], close.weights[1] @ np.linalg.inv(turn)]),
        "below the saddle": db.initialize((2, 2, 3), "close", target=TARGET, margin=0.45, key=1),
    }[case]


@pytest.mark.parametrize(
    ("case", "name", "loss"),
    [
        ("far", "flow-global", EXACT),
        ("generic", "flow-global", SMOOTHED),
        ("unbalanced", "flow-any-layers", EXACT),
        ("below the saddle", "flow-below-saddle", EXACT),
    ],
)
def test_runs_stay_below_and_near(case, name, loss):
    net = start_of(case)
    certificate = certified(net, loss)[name]
    assert certificate.holds
    horizon = certificate.time_to(1e-6 * certificate.excess)
    options = {"num_records": 30, "tolerance": 0.0, "record": ("loss",)}
    run = db.gradient_flow(net, TARGET, loss, horizon, **options)
    (check,) = run.check([certificate])
    assert not check.violated and 1 - 1e-6 <= check.tightness < 3
    assert run.excess[-1] <= 1e-6 * certificate.excess * (1 + 1e-6)
    slow = certificate.bound(run.times / 1.2)
    assert certificate.check(run.times, slow).violated


def test_what_they_need_and_do_not_need():
    balanced = db.initialize((3, 3, 3), "close", target=TARGET, key=1)
    scaled = db.DeepLinearNetwork([2 * balanced.weights[0], balanced.weights[1] / 2])
    found = certified(scaled)
    assert found["flow-any-layers"].holds and not found["flow-global"].holds
    assert "unbalancedness of the layers, (N − 1)/2 of it" in str(found["flow-global"].missed[0])
    above = certified(balanced, db.BuresWasserstein(1.0))
    assert "smoothing τ, which must lie below λ_n" in str(above["flow-global"].missed[0])
    bottleneck = certified(db.initialize((2, 2, 3), "close", target=TARGET, key=1))
    assert [name for name, certificate in bottleneck.items() if certificate.holds] == ["flow-below-saddle"]
    singular = db.balanced_network(np.diag([2.0, 1.0, 0.0]), (3, 3, 3))
    assert "σ_n of the start, less rounding" in str(certified(singular)["flow-global"].missed[0])


def test_the_time_to_a_tolerance_of_every_kind():
    """Exponential rates, the transformed excess of the bottleneck, steps of descent."""
    found = {c.name: c for c in db.certify(db.initialize((3, 3), "close", target=TARGET, key=1), TARGET, EXACT)}
    exact, descent = found["flow-exact"], found["descent-exact"]
    assert exact.time_to(exact.excess * math.exp(-8)) == pytest.approx(2.0)
    assert exact.time_to(2 * exact.excess) == 0.0 and exact.time_to(0.0) == math.inf
    assert found["flow-paper"].time_to(1e-3) == math.inf  # does not hold
    steps = descent.time_to(1e-3 * descent.excess, step_size=0.1)
    assert steps == math.ceil(math.log(1e3) / (-2 * math.log(0.8)))
    assert descent.bound(steps, step_size=0.1) <= 1e-3 * descent.excess < descent.bound(steps - 1, step_size=0.1)
    assert descent.time_to(1e-3 * descent.excess) == 1.0  # (1 − 2η)² = 0 at η = ½, but not without a step
    bottleneck = {c.name: c for c in db.certify(db.initialize((2, 3), "close", target=TARGET, key=1), TARGET, EXACT)}[
        "flow-bottleneck"
    ]
    time = bottleneck.time_to(1e-3 * bottleneck.excess)
    assert bottleneck.bound(time) == pytest.approx(1e-3 * bottleneck.excess, rel=1e-9)
    with pytest.raises(ValueError, match="tolerance must be finite and not negative"):
        exact.time_to(-1.0)
