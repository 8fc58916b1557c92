"""The flow of the end-to-end matrix against that of the layers and against exact solutions; long runs of layers."""

import mpmath
import numpy as np
import pytest

import deepbures as db
from deepbures.training import _fields

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
    options = {"tolerance": 0.0, "rtol": 1e-11, "num_records": 100}
    run = db.balanced_flows(start.end_to_end[None], 100, TARGET, loss, 0.01, **options)
    expected = db.aligned_flow(s0, SPECTRUM, loss, run.times[0], depth=100)
    cost = loss.value(BASIS * expected[-1], TARGET) - loss.value(db.rank_k_minimizer(TARGET, 4, loss), TARGET)
    np.testing.assert_allclose(run.excess[0, -1], cost, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(run["smallest_singular_value"][0], expected.min(1), rtol=1e-8)


def test_balanced_flows_are_flows_of_their_balanced_networks():
    """Records, rates and ends of `gradient_flow` from the lifts, for depths, targets and losses of their own."""
    rng = np.random.default_rng(0)
    starts, depths = 0.4 * rng.standard_normal((2, 4, 3)), [1, 3]
    starts[1] = starts[1, :, :2] @ starts[1, :2]  # rank 2
    targets = [TARGET, db.Target.from_spectrum(SPECTRUM[::-1] + 1, key=1)]
    both = db.Target.from_covariance(np.stack([t.matmul(np.eye(4)) for t in targets]))
    options = {"times": [0.1, 0.4], "tolerance": 0.0, "rtol": 1e-11, "solver": "dopri8"}
    record = ("rate", "smallest_singular_value", "singular_values", "balancedness_gap")
    runs = db.balanced_flows(starts, depths, both, LOSSES["smoothed"], 0.5, record=record[:-1], **options)
    assert len(runs) == 2 and runs.times.shape == (2, 4) and runs["singular_values"].shape == (2, 4, 3)
    for i, depth in enumerate(depths):
        lift = db.balanced_network(starts[i], (3, *[3] * (depth - 1), 4))
        alone = db.gradient_flow(lift, targets[i], LOSSES["smoothed"], 0.5, record=record, **options)
        for name in ("loss", "excess", "gradient_norm", *record[:-1]):
            np.testing.assert_allclose(runs[name][i], alone[name], rtol=1e-7, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(runs.network(i).end_to_end, alone.network.end_to_end, atol=1e-9)
        assert runs.network(i).depth == depth and runs.network(i).balancedness_gap() < 1e-12
        np.testing.assert_allclose(runs.minimal_loss[i], alone.minimal_loss, rtol=1e-12)
        slopes = -np.gradient(np.log(alone.excess), alone.times)
        assert slopes[2] == pytest.approx(runs["rate"][i, 2], rel=0.3)  # the rate is a derivative, not its negative
    assert (runs.result == db.Result.finished).tolist() == [True, True]


def test_balanced_flows_hand_over_to_the_stabilized_method_and_stop():
    loss, start, spectrum = LOSSES["exact"], 0.1 * np.eye(4), [400.0, 2.0, 1.0, 1e-3]
    target = db.Target.from_spectrum(spectrum)
    runs = db.balanced_flows([start, start], 2, target, loss, 1e3, num_records=40)
    assert (runs.result == db.Result.converged).all() and runs.times.max() > 2000 / 80
    np.testing.assert_array_equal(runs.excess[0], runs.excess[1])
    expected = db.aligned_flow([0.1] * 4, spectrum, loss, runs.times[0], depth=2)
    np.testing.assert_allclose(runs["smallest_singular_value"][0], expected.min(1), rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end_to_end": np.eye(4)}, r"shape \(B, n, m\), one matrix for each run, with n = 4.*but has shape \(4, 4\)"),
        ({"end_to_end": np.ones((2, 3, 3))}, r"with n = 4, the dimension of the target, but has shape \(2, 3, 3\)"),
        ({"rank": 1}, r"end_to_end\[0\] has a rank above 1, which no network of that bottleneck has"),
        ({"rank": 5}, "rank must be at least 1 and at most 4"),
        ({"depth": [1, 2, 3]}, "depth must be one number, or one for each of the 2 runs, but has 3"),
        ({"depth": 0}, "depth must be at least 1, but 0 was given"),
        ({"record": ("weights",)}, "weights is a record of layers, which these runs do not have: take gradient_flow"),
        ({"target": db.Target.from_covariance(np.stack([np.eye(4)] * 3))}, "There are 2 runs, but 3 targets"),
        ({"solver": "euler"}, "solver must be .* but 'euler' was given"),
    ],
)
def test_what_is_no_batch_of_balanced_flows_is_refused(change, message):
    arguments = {"end_to_end": np.stack([np.eye(4)] * 2), "depth": 2, "target": TARGET, "loss": LOSSES["exact"]}
    with pytest.raises(ValueError, match=message):
        db.balanced_flows(**{**arguments, "horizon": 1.0, **change})


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
