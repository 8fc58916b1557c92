"""Gradient flow against solutions known in closed form or to twelve digits, and against its conservation laws."""

import functools
import itertools

import numpy as np
import pytest
import scipy.integrate

import deepbures as db

from . import naive
from .problems import BASIS, COVARIANCE, SPECTRUM, TARGET, aligned, unbalanced, widths

TIMES = [0.1, 0.3, 1.0, 2.5]
STARTS = np.array([0.05, 1.6, 0.4, 0.9])  # some below, some above √λ = 2, 1.41, 1, 0.71
TIGHT = {"rtol": 1e-12, "atol": 1e-13, "tolerance": 0.0}
PATH = ("end_to_end", "weights", "balancedness_gap")


def right_side(s, eigenvalue, depth, tau):
    """ds/dt of one mode of an aligned balanced network."""
    return -2 * depth * s ** (3 - 2 / depth) * (1 - np.sqrt(eigenvalue / (s**2 + tau)))


@functools.cache
def scalar_flow(start, eigenvalue, depth, tau, times=tuple(TIMES)):
    """Truth for one mode: closed forms where there are, else an integration of order 8 at 1e-13."""
    t, root = np.array(times), np.sqrt(eigenvalue)
    if tau == 0 and depth == 1:
        return root + (start - root) * np.exp(-2 * t)
    if tau == 0 and depth == 2:
        return root / (1 + (root / start - 1) * np.exp(-4 * root * t))
    done = scipy.integrate.solve_ivp(
        lambda _, s: right_side(s, eigenvalue, depth, tau),
        (0, t[-1]),
        [start],
        "DOP853",
        t_eval=t,
        rtol=1e-13,
        atol=1e-15,
    )
    return done.y[0]


def modes(run, basis, v):
    """Ωᵀ W V along a run: diagonal where the network is aligned."""
    return basis.T @ run["end_to_end"] @ v


# Of the adaptive methods, each at a tolerance that its order can reach in reasonable time.
SOLVERS = {
    "dopri8": ({"solver": "dopri8", **TIGHT}, 1e-11),
    "tsit5": ({"solver": "tsit5", "rtol": 1e-10, "atol": 1e-12, "tolerance": 0.0}, 1e-8),
    "chebyshev": ({"solver": "chebyshev", "rtol": 1e-8, "atol": 1e-10, "tolerance": 0.0}, 2e-6),
}


@pytest.mark.parametrize(
    "solver, depth, tau",
    [("dopri8", d, t) for d, t in itertools.product((1, 2, 3), (0.0, 0.1))]
    + [("tsit5", 1, 0.0), ("tsit5", 3, 0.1), ("chebyshev", 1, 0.0), ("chebyshev", 3, 0.1)],
)
def test_aligned_modes_follow_their_scalar_equations(solver, depth, tau, rng):
    net, v = aligned(rng, depth, STARTS)
    options, accuracy = SOLVERS[solver]
    run = db.gradient_flow(net, TARGET, db.BuresWasserstein(tau), TIMES[-1], times=TIMES, record=PATH, **options)
    np.testing.assert_array_equal(run.times, [0.0, *TIMES])
    expected = np.array([scalar_flow(s, e, depth, tau) for s, e in zip(STARTS, SPECTRUM, strict=True)])
    followed = modes(run, BASIS, v)
    for i in range(len(TIMES)):
        np.testing.assert_allclose(followed[i + 1], np.diag(expected[:, i]), atol=accuracy)
    np.testing.assert_allclose(run.losses[1:], _aligned_loss(expected, tau), rtol=10 * accuracy, atol=10 * accuracy)
    np.testing.assert_allclose(
        run.excess[1:], _aligned_loss(expected, tau) - (tau > 0.5), rtol=10 * accuracy, atol=10 * accuracy
    )
    assert run["balancedness_gap"].max() < 10 * accuracy


def _aligned_loss(s, tau):
    return ((np.sqrt(s**2 + tau) - np.sqrt(SPECTRUM)[:, None]) ** 2).sum(0)


def test_frobenius_modes_follow_their_scalar_equation(rng):
    """ds/dt = −4 N s^{2−2/N} (s³ − λ s)."""
    net, v = aligned(rng, 2, STARTS)
    times = [0.01, 0.1, 0.5]
    run = db.gradient_flow(net, TARGET, db.Frobenius(), 0.5, times=times, record=PATH, solver="dopri8", **TIGHT)
    for j, (start, eigenvalue) in enumerate(zip(STARTS, SPECTRUM, strict=True)):
        done = scipy.integrate.solve_ivp(
            lambda _, s, e=eigenvalue: -8 * s * (s**3 - e * s),
            (0, 0.5),
            [start],
            "DOP853",
            t_eval=times,
            rtol=1e-13,
            atol=1e-15,
        )
        np.testing.assert_allclose(modes(run, BASIS, v)[1:, j, j], done.y[0], atol=1e-11)
    assert np.all(np.diff(run.losses) <= 0)


def test_depth_one_goes_straight_to_the_nearest_minimizer(rng):
    """Any full-rank start with m ≥ n: W(t) = F Q0 + (W0 − F Q0) e^{−2t}, F Q0 the closest matrix with W Wᵀ = Σ0."""
    w0 = rng.standard_normal((4, 5))
    f = BASIS * np.sqrt(SPECTRUM)
    u, _, vt = np.linalg.svd(f.T @ w0, full_matrices=False)
    nearest = f @ u @ vt
    run = db.gradient_flow(
        db.DeepLinearNetwork([w0]),
        TARGET,
        db.BuresWasserstein(),
        TIMES[-1],
        times=TIMES,
        record=PATH,
        solver="dopri8",
        **TIGHT,
    )
    decay = np.exp(-2 * np.array(TIMES))[:, None, None]
    np.testing.assert_allclose(run["end_to_end"][1:], nearest + (w0 - nearest) * decay, atol=1e-11)
    np.testing.assert_allclose(run.losses, ((w0 - nearest) ** 2).sum() * np.exp(-4 * run.times), rtol=1e-9)


@pytest.mark.parametrize("depth, rank, tau", [(3, 4, 0.0), (3, 2, 0.0), (3, 4, 0.1)])
def test_the_flow_conserves_what_it_should(depth, rank, tau, rng):
    """With default settings, to convergence, from an unbalanced and a balanced start in one batch."""
    lopsided = unbalanced(rng, depth, rank)
    balanced = db.balanced_network(lopsided.end_to_end, widths(depth, rank))
    both = db.stack_networks([lopsided, balanced])
    run = db.gradient_flow(both, TARGET, db.BuresWasserstein(tau), 40.0, record=PATH, num_records=30)
    assert run["balancedness_gap"][0].max() > 0.1
    for r in range(2):
        start = naive.conserved([w[r, 0] for w in run["weights"]])
        for i in range(run.losses.shape[-1]):
            for now, then in zip(naive.conserved([w[r, i] for w in run["weights"]]), start, strict=True):
                assert np.linalg.norm(now - then) < 1e-8
    assert run["balancedness_gap"][1].max() < 1e-8
    assert np.all(np.diff(run.losses, axis=-1) <= 1e-13)
    assert np.all(run.excess >= 0)
    assert run.losses[0, -1] < run.losses[0, 0] / 2


def test_the_end_to_end_matrix_follows_its_own_equation(rng):
    """dW/dt = −Σ_l (W Wᵀ)^{(N−l)/N} ∇L(W) (Wᵀ W)^{(l−1)/N} from a balanced start; left by five-point differences."""
    depth, h = 3, 1e-3
    net = db.balanced_network(unbalanced(rng, depth).end_to_end, widths(depth))
    centers = np.array([0.02, 0.1, 0.4])
    offsets = h * np.arange(-2, 3)
    times = (centers[:, None] + offsets).ravel()
    run = db.gradient_flow(net, TARGET, db.BuresWasserstein(), 0.5, times=times, record=PATH, solver="dopri8", **TIGHT)
    path = run["end_to_end"][1 : 1 + times.size].reshape(3, 5, 4, 4)
    for w in path:
        derivative = (w[0] - 8 * w[1] + 8 * w[3] - w[4]) / (12 * h)
        gradient = naive.bures_wasserstein_gradient(w[2], COVARIANCE, 0.0)
        expected = -sum(
            naive.power_of(w[2] @ w[2].T, (depth - layer) / depth)
            @ gradient
            @ naive.power_of(w[2].T @ w[2], (layer - 1) / depth)
            for layer in range(1, depth + 1)
        )
        assert np.linalg.norm(expected) > 0.01
        np.testing.assert_allclose(derivative, expected, atol=1e-7 * np.linalg.norm(expected))


# Time for a mode to leave s0 ≪ √λ, to leading order in s0, and an s0 small enough for that.
ESCAPES = {
    (1, 0.1): (1e-12, lambda s0, e, tau: np.log(np.sqrt(e) / s0) / (2 * (np.sqrt(e / tau) - 1))),
    (2, 0.0): (1e-8, lambda s0, e, tau: np.log(np.sqrt(e) / s0 - 1) / (4 * np.sqrt(e))),
    (3, 0.0): (1e-6, lambda s0, e, tau: s0 ** (-1 / 3) / (2 * np.sqrt(e))),
    (3, 0.1): (1e-3, lambda s0, e, tau: s0 ** (-4 / 3) / (8 * (np.sqrt(e / tau) - 1))),
}


@pytest.mark.parametrize("depth, tau", ESCAPES)
def test_a_small_mode_escapes_when_theory_says(depth, tau, rng):
    """Half height is crossed within 8 % of the predicted time. The other modes rest at the minimum.

    It is the mode of the smallest eigenvalue: any other would be overtaken, as a larger mode that is missing replaces a
    smaller one that is there (negative curvature, along which rounding errors grow).
    """
    mode = 3
    heights = np.sqrt(SPECTRUM - tau)
    s0, formula = ESCAPES[depth, tau]
    values = heights.copy()
    values[mode] = s0
    net, _ = aligned(rng, depth, values)
    times = formula(s0, SPECTRUM[mode], tau) * np.array([0.92, 1.08])
    loss = db.BuresWasserstein(tau)
    options = {"record": PATH, "solver": "dopri8", **TIGHT}
    run = db.gradient_flow(net, TARGET, loss, float(times[1]), times=times, **options)
    before, after = np.linalg.norm(BASIS[:, mode] @ run["end_to_end"][1:], axis=-1)
    assert before < heights[mode] / 2 < after


@pytest.mark.parametrize(
    "depth, rank, loss",
    [
        (1, 2, db.BuresWasserstein()),
        (3, 2, db.BuresWasserstein()),
        (3, 4, db.BuresWasserstein(0.1)),
        (2, 4, db.Frobenius()),
    ],
)
def test_late_decay_is_the_asymptotic_rate(depth, rank, loss, rng):
    latent = widths(depth, rank)[0]
    rate = float(db.asymptotic_rate(TARGET, rank, loss, depth=depth, latent_dim=latent))
    w = db.rank_k_minimizer(TARGET, rank, loss)
    near = w + 0.02 * rng.standard_normal(w.shape)
    net = db.balanced_network(near, widths(depth, rank))
    times = np.array([14.0, 18.0]) / rate
    run = db.gradient_flow(net, TARGET, loss, float(times[1]), times=times, solver="dopri8", **TIGHT)
    assert run.excess[-1] > 0
    np.testing.assert_allclose(np.log(run.excess[1] / run.excess[2]) / (times[1] - times[0]), rate, rtol=0.02)


def test_auto_changes_method_on_a_long_run(rng):
    """Eigenvalues 2 and 3 differ by 1e-3: 40,000 of the fastest time scales, 5000 of them by the first method."""
    target = db.Target.from_spectrum([4.0, 2.0, 1.998, 0.5], key=0)
    loss = db.BuresWasserstein()
    net = unbalanced(rng, 3, rank=2)
    fastest = db.sharpness(target, 2, loss, depth=3)
    rate = db.asymptotic_rate(target, 2, loss, depth=3)
    horizon = float(30 / rate)
    assert horizon * fastest > 5 * 5000
    auto = db.gradient_flow(net, target, loss, horizon, tolerance=1e-9, num_records=60, record=PATH)
    assert auto.result == db.Result.converged
    # What the second method adds, at its looser tolerance of 1e-6 a step.
    start, end = naive.conserved(net.weights), naive.conserved(auto.weights)
    for now, then in zip(end, start, strict=True):
        assert np.linalg.norm(now - then) < 3e-4
    # An explicit method is bound to about λ_max T / 6 steps by stability.
    assert auto.steps[-1] < auto.times[-1] * fastest / 40
    assert np.all(np.diff(auto.losses) <= 1e-13)


@pytest.mark.parametrize("depth, tau", [(1, 0.0), (3, 0.1)])
def test_a_start_at_a_critical_point_is_stationary(depth, tau):
    """A saddle, Ω_J diag(√λ_J) for J = {1, 3}, and the zero network, both with gradients that vanish exactly."""
    target = db.Target.from_spectrum([9.0, 4.0, 1.0, 0.25])
    w = np.diag([3.0, 2.0, 1.0, 0.5])[:, [0, 2]] if depth == 1 else np.zeros((4, 2))
    start = db.balanced_network(w, widths(depth, 2))
    run = db.gradient_flow(start, target, db.BuresWasserstein(tau), 5.0, record=PATH, num_records=30)
    assert run.result == db.Result.stationary
    assert "saddle" in run.message
    expected = 4.0 - 1.0 if depth == 1 else ((np.sqrt([9.0, 4.0]) - np.sqrt(tau)) ** 2).sum()
    np.testing.assert_allclose(run.excess, [expected], rtol=1e-12)


def test_convergence_stops_the_run_at_the_tolerance(rng):
    net = unbalanced(rng, 3, rank=2)
    run = db.gradient_flow(net, TARGET, db.BuresWasserstein(), 40.0, record=PATH, num_records=30, tolerance=1e-3)
    least = SPECTRUM[2:].sum()
    assert run.result == db.Result.converged
    assert run.excess[-1] <= 1e-3 * least < run.excess[-2]
    np.testing.assert_allclose(run.minimal_loss, least, rtol=1e-14)
    assert run.times[-1] < 40.0 and len(run.times) < 31


def test_limits_of_the_solver_are_results(rng):
    net = unbalanced(rng, 3, rank=2)
    few = db.gradient_flow(net, TARGET, db.BuresWasserstein(), 40.0, record=PATH, num_records=30, max_steps=5)
    assert few.result == db.Result.max_steps
    assert few.steps[-1] == 5 and few.times[-1] < 40.0
    # No step can be accurate to 1e-40 (relative): the step size collapses.
    stuck = db.gradient_flow(
        net, TARGET, db.BuresWasserstein(), 1.0, record=PATH, num_records=3, rtol=1e-40, atol=1e-40
    )
    assert stuck.result == db.Result.stalled
    assert all(np.isfinite(w).all() for w in stuck.weights)


def test_float32_stays_float32(rng):
    net, v = aligned(rng, 3, STARTS)
    single = db.DeepLinearNetwork([w.astype(np.float32) for w in net.weights])
    target = db.Target.from_spectrum(SPECTRUM.astype(np.float32), BASIS.astype(np.float32))
    run = db.gradient_flow(
        single, target, db.BuresWasserstein(0.1), TIMES[-1], times=TIMES, record=PATH, rtol=1e-5, tolerance=0.0
    )
    assert {w.dtype for w in run.weights} == {np.dtype(np.float32)}
    assert run.losses.dtype == run.times.dtype == np.float32
    expected = [scalar_flow(s, e, 3, 0.1)[-1] for s, e in zip(STARTS, SPECTRUM, strict=True)]
    np.testing.assert_allclose(modes(run, BASIS, v)[-1], np.diag(expected), atol=1e-4)


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"horizon": 0.0}, ValueError, "horizon must be finite and positive, but 0.0 was given"),
        ({"horizon": -1.0}, ValueError, "horizon must be finite and positive, but -1.0"),
        ({"horizon": np.nan}, ValueError, "horizon must be finite and positive, but nan"),
        ({"horizon": np.inf}, ValueError, "horizon must be finite and positive, but inf"),
        ({"horizon": "long"}, TypeError, "horizon must be a number, but 'long' was given"),
        ({"times": [0.5, 2.0]}, ValueError, r"times must be finite and lie in \[0, horizon\] = \[0, 1.0\]"),
        ({"times": [-0.5]}, ValueError, r"times must be finite and lie in \[0, horizon\]"),
        ({"times": [np.nan]}, ValueError, r"times must be finite and lie in \[0, horizon\]"),
        ({"num_records": 0}, ValueError, "num_records must be at least 1, but 0 was given"),
        ({"num_records": 2.5}, TypeError, "num_records must be a whole number, but 2.5 was given"),
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1, but 0"),
        ({"tolerance": -1e-3}, ValueError, "tolerance must be finite and not negative, but -0.001"),
        ({"tolerance": np.nan}, ValueError, "tolerance must be finite and not negative, but nan"),
        ({"rtol": 0.0}, ValueError, "rtol must be finite and positive, but 0.0"),
        ({"atol": -1.0}, ValueError, "atol must be finite and positive, but -1.0"),
        (
            {"solver": "euler"},
            ValueError,
            "solver must be \"auto\", 'tsit5', 'dopri8', 'chebyshev' .* but 'euler' was given",
        ),
        ({"solver": 3}, TypeError, "solver must be .* but a int was given"),
        ({"record": ("speed",)}, ValueError, "Unknown observable 'speed'"),
        ({"net": [np.eye(4)]}, TypeError, "net must be a DeepLinearNetwork, but a list was given"),
        ({"target": COVARIANCE}, TypeError, "target must be a Target, but a ndarray was given"),
        (
            {"target": db.Target.from_spectrum([2.0, 1.0])},
            ValueError,
            "The network has 4 outputs, but the target has dimension 2",
        ),
    ],
)
def test_bad_input(change, error, message):
    arguments = {
        "net": db.DeepLinearNetwork([np.eye(4)]),
        "target": TARGET,
        "loss": db.BuresWasserstein(),
        "horizon": 1.0,
        **change,
    }
    with pytest.raises(error, match=message):
        db.gradient_flow(**arguments)
