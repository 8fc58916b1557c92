"""The flow of the end-to-end matrix against that of the layers and against exact solutions; long runs of layers."""

import mpmath
import numpy as np
import pytest

import deepbures as db
from deepbures.training import _fields
from deepbures.training._ensemble import end_to_end_flows

SPECTRUM = np.array([4.0, 2.0, 1.0, 0.5])
TARGET = db.Target.from_spectrum(SPECTRUM, key=0)
BASIS = TARGET.covariance.basis
LOSSES = {"exact": db.BuresWasserstein(), "smoothed": db.BuresWasserstein(0.1), "frobenius": db.Frobenius()}
FINE = {"rtol": 1e-11, "solver": "dopri8", "record": ("end_to_end", "balancedness_gap"), "tolerance": 0.0}


@pytest.mark.parametrize(
    ("widths", "loss"),
    [
        ((5, 4), "smoothed"),
        ((2, 2, 2, 4), "exact"),
        ((5, 3, 4), "smoothed"),
        ((3, 6, 4), "frobenius"),
    ],
)
def test_both_spaces_agree(widths, loss):
    start = db.initialize(widths, key=1)
    layers, whole = (
        db.gradient_flow(start, TARGET, LOSSES[loss], 0.6, times=[0.1, 0.3], space=space, **FINE)
        for space in ("layers", "end-to-end")
    )
    np.testing.assert_allclose(whole["end_to_end"], layers["end_to_end"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(whole["gradient_norm"], layers["gradient_norm"], rtol=1e-7)
    assert whole.network.widths == widths
    assert whole["balancedness_gap"].max() < 1e-12


@pytest.mark.parametrize("name", ["exact", "smoothed"])
def test_depth_one_hundred_against_the_scalar_equations(name):
    s0, loss = np.array([0.3, 0.2, 1.5, 0.1]), LOSSES[name]
    start = db.balanced_network(BASIS * s0, (4,) * 101)
    run = end_to_end_flows(
        start.end_to_end[None],
        np.array([100]),
        4,
        TARGET,
        loss,
        0.01,
        fastest=np.array([1e3]),
        tolerance=0.0,
        rtol=1e-11,
    )
    expected = db.aligned_flow(s0, SPECTRUM, loss, run.times[0], depth=100)
    cost = loss.value(BASIS * expected[-1], TARGET) - loss.value(db.rank_k_minimizer(TARGET, 4, loss), TARGET)
    np.testing.assert_allclose(run.excess[0, -1], cost, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(run.smallest_singular_value[0], expected.min(1), rtol=1e-8)


def test_rates_of_an_ensemble_are_derivatives():
    start = db.initialize((4, 4), key=3).end_to_end
    run = end_to_end_flows(
        np.stack([start, start]),
        np.array([1, 3]),
        4,
        TARGET,
        LOSSES["exact"],
        0.5,
        fastest=np.array([2.0, 15.0]),
        tolerance=0.0,
        num_records=400,
    )
    for times, excess, rate in zip(run.times, run.excess, run.rate, strict=True):
        middle = slice(300, 380)
        slopes = -np.gradient(np.log(excess[middle]), times[middle])
        np.testing.assert_allclose(rate[middle][2:-2], slopes[2:-2], rtol=2e-3)


def test_a_rank_deficient_balanced_start_stays_so():
    start = db.balanced_network(BASIS[:, :2] * np.array([0.5, 0.3]), (2, 2, 4))
    wide = db.balanced_network(np.concatenate([start.end_to_end, np.zeros((4, 2))], 1), (4, 4, 4))
    run = db.gradient_flow(wide, TARGET, LOSSES["smoothed"], 5.0, space="end-to-end", record=("singular_values",))
    assert (run["singular_values"][:, 2:] < 1e-12).all()
    np.testing.assert_allclose(run["singular_values"][-1, :2], np.sqrt([3.9, 1.9]), rtol=1e-3)


def test_an_interrupted_run_goes_on_with_the_same_bits():
    start, loss = db.initialize((3, 3, 4), key=2), LOSSES["exact"]
    options = {"space": "end-to-end", "num_records": 20}
    whole = db.gradient_flow(start, TARGET, loss, 4.0, **options)
    stopped = []

    def stop(progress):
        stopped.append(progress.snapshot())
        raise KeyboardInterrupt

    part = db.gradient_flow(start, TARGET, loss, 4.0, callback=stop, **options)
    if part.result == db.Result.interrupted:
        part = db.gradient_flow(start, TARGET, loss, 4.0, resume=part.snapshot, **options)
    np.testing.assert_array_equal(part.excess, whole.excess)


def test_the_run_stops_at_the_step_at_which_it_has_converged():
    start = db.initialize((4, 4), "gaussian", key=0)
    run = db.gradient_flow(start, TARGET, LOSSES["exact"], 1000.0, times=[500.0], tolerance=1e-6)
    assert run.result == db.Result.converged
    assert 0 < run.times[-1] < 20
    assert run.excess[-1] <= 1e-6 * SPECTRUM.sum()


def test_long_runs_of_layers_are_one_array(monkeypatch):
    widths = (3, *[3] * 9, 4)
    start = db.initialize(widths, "gaussian", scale=1.2, key=0)
    options = {"times": [0.1], "record": ("weights",), "tolerance": 0.0, "rtol": 1e-10, "solver": "dopri8"}
    stacked = db.gradient_flow(start, TARGET, LOSSES["exact"], 0.2, **options)
    monkeypatch.setattr(_fields, "LONG", 100)
    apart = db.gradient_flow(start, TARGET, LOSSES["exact"], 0.2, **options)
    assert _fields.LayerField.of(start).runs == (1,) * 10
    for one, other in zip(stacked["weights"], apart["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_bad_input():
    start = db.initialize((4, 4, 4), "gaussian", key=0)
    with pytest.raises(ValueError, match=r"balancedness gap of this one is [\d.]+ of the largest squared layer"):
        db.gradient_flow(start, TARGET, LOSSES["exact"], 1.0, space="end-to-end")
    with pytest.raises(ValueError, match='space must be "layers" or "end-to-end", but \'whole\' was given'):
        db.gradient_flow(start, TARGET, LOSSES["exact"], 1.0, space="whole")


class TestAligned:
    """Scalar equations of the modes."""

    def test_closed_forms(self):
        t = np.array([1.0, 0.0, 0.3])
        s = db.aligned_flow([0.1, 3.0], [4.0, 1.0], LOSSES["exact"], t, depth=2)
        expected = [2 / (1 + 19 * np.exp(-8 * t)), 1 / (1 + (1 / 3 - 1) * np.exp(-4 * t))]
        np.testing.assert_allclose(s, np.stack(expected, -1), rtol=1e-13)
        s = db.aligned_flow([0.0], [4.0], LOSSES["exact"], t)
        np.testing.assert_allclose(s[:, 0], 2 - 2 * np.exp(-2 * t), rtol=1e-13, atol=1e-15)

    @pytest.mark.parametrize(("name", "depth"), [("exact", 3), ("smoothed", 1), ("smoothed", 4), ("frobenius", 2)])
    def test_scalar_equations_by_quadrature(self, name, depth):
        """t(s) = ∫ ds / (ds/dt), with 30 digits."""
        lam, s0, tau = 2.0, 0.05, 0.1

        def speed(s):
            root = mpmath.sqrt(lam)
            if name == "exact":
                return -2 * depth * s ** (2 - mpmath.mpf(2) / depth) * (s - root)
            if name == "smoothed":
                slope = 1 - mpmath.sqrt(lam / (s**2 + tau))
                return -2 * depth * s ** (3 - mpmath.mpf(2) / depth) * slope
            return -4 * depth * s ** (3 - mpmath.mpf(2) / depth) * (s**2 - lam)

        with mpmath.workdps(30):
            time = float(mpmath.quad(lambda s: 1 / speed(s), [s0, 0.1, 0.3, 1.0]))
        found = db.aligned_flow([s0], [lam], LOSSES[name], [time], depth=depth)
        assert found[0, 0] == pytest.approx(1.0, rel=1e-9)

    def test_zero_modes_stay_and_modes_of_zero_decay(self):
        s = db.aligned_flow([0.0, 1.0], [4.0, 0.0], LOSSES["smoothed"], [5.0], depth=2)
        assert s[0, 0] == 0.0
        assert 0 < s[0, 1] < 0.2

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"equal length and times a vector, but have shapes \(1,\), \(2,\)"):
            db.aligned_flow([1.0], [1.0, 2.0], LOSSES["exact"], [0.0])
        with pytest.raises(ValueError, match="times must be finite and not negative"):
            db.aligned_flow([1.0], [1.0], LOSSES["exact"], [-1.0])
        with pytest.raises(TypeError, match="loss must be a loss such as"):
            db.aligned_flow([1.0], [1.0], "bw", [1.0])


def test_a_numpy_zero_as_tau_is_a_zero():
    start = db.initialize((2, 4), "gaussian", key=0)
    runs = [
        db.gradient_flow(start, TARGET, db.BuresWasserstein(zero), 0.5, num_records=3) for zero in (0.0, np.float64(0))
    ]
    np.testing.assert_array_equal(runs[0].excess, runs[1].excess)
    assert not db.BuresWasserstein(np.zeros(())).is_smooth
