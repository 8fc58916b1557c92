"""Gradient descent against a plain loop, closed forms, and the theory of its stability."""

import jax
import numpy as np
import optax
import pytest

import deepbures as db

from . import naive
from .problems import BASIS, COVARIANCE, SPECTRUM, TARGET, aligned, unbalanced, widths

LAST = {"num_records": 1, "tolerance": 0.0}


@pytest.mark.parametrize(
    "depth, rank, tau",
    [(1, 4, 0.0), (1, 2, 0.1), (2, 2, 0.0), (3, 2, 0.1), (3, 4, 0.0), (10, 4, 0.1), (10, 2, 0.0)],
)
def test_a_thousand_steps_are_those_of_a_plain_loop(depth, rank, tau, rng):
    net = unbalanced(rng, depth, rank, scale=0.9)
    eta = 0.1 / float(db.sharpness(TARGET, rank, db.BuresWasserstein(tau), depth=depth, latent_dim=net.latent_dim))
    run = db.gradient_descent(net, TARGET, db.BuresWasserstein(tau), 1000, eta, **LAST)
    assert run.steps[-1] == 1000
    assert np.linalg.norm(run.network.end_to_end - net.end_to_end) > 0.1
    for weight, expected in zip(run.weights, naive.descend(net.weights, COVARIANCE, tau, eta, 1000), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-12)


@pytest.mark.parametrize("eta", [0.01, 0.3, 0.5])
def test_depth_one_shrinks_the_distance_to_the_minimizer_by_a_constant_factor(eta, rng):
    """W_t = F Q0 + (1 − 2η)^t (W0 − F Q0), for m ≥ n and any start of full rank."""
    w0 = rng.standard_normal((4, 5))
    f = BASIS * np.sqrt(SPECTRUM)
    u, _, vt = np.linalg.svd(f.T @ w0, full_matrices=False)
    nearest = f @ u @ vt
    options = {"steps": [1, 2, 7], "tolerance": 0.0, "record": ("end_to_end",)}
    run = db.gradient_descent(db.DeepLinearNetwork([w0]), TARGET, db.BuresWasserstein(), 7, eta, **options)
    count = run.steps[:, None, None]
    np.testing.assert_allclose(run["end_to_end"], nearest + (1 - 2 * eta) ** count * (w0 - nearest), atol=1e-13)
    np.testing.assert_array_equal(run.steps, [0, 1, 2, 7][: len(run.steps)])
    np.testing.assert_allclose(run.times, eta * run.steps, rtol=1e-14)
    assert run.step_size == eta


def test_small_steps_follow_the_flow_to_first_order(rng):
    """Halving the step halves the distance to the flow at the same time."""
    net = unbalanced(rng, 3, 2)
    loss, horizon = db.BuresWasserstein(), 0.5
    flow = db.gradient_flow(net, TARGET, loss, horizon, solver="dopri8", rtol=1e-12, atol=1e-13, **LAST)
    errors = []
    for num_steps in (100, 200, 400):
        run = db.gradient_descent(net, TARGET, loss, num_steps, horizon / num_steps, **LAST)
        errors.append(np.linalg.norm(run.network.end_to_end - flow.network.end_to_end))
    np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 2.0, rtol=0.03)
    assert errors[-1] < 0.01 * np.linalg.norm(flow.network.end_to_end - net.end_to_end)


@pytest.mark.parametrize("loss", [db.BuresWasserstein(), db.BuresWasserstein(0.1), db.Frobenius()])
@pytest.mark.parametrize("depth, rank", [(3, 2)])
def test_the_stability_limit_is_two_over_the_sharpness(loss, depth, rank, rng):
    """From near the balanced minimizer: descent decays at 0.98 of the limit, and leaves at 1.02."""
    minimizer = db.balanced_network(db.rank_k_minimizer(TARGET, rank, loss), widths(depth, rank))
    near = db.DeepLinearNetwork([w + 1e-5 * rng.standard_normal(w.shape) for w in minimizer.weights])
    limit = 2 / float(db.sharpness(TARGET, rank, loss, depth=depth))
    below = db.gradient_descent(near, TARGET, loss, 400, 0.98 * limit, **LAST)
    with pytest.warns(UserWarning, match=r"above the stability limit 2/λ_max"):
        above = db.gradient_descent(near, TARGET, loss, 400, 1.02 * limit, **LAST)
    assert below.excess[-1] < 1e-3 * below.excess[0]
    assert above.excess[-1] > 1e3 * above.excess[0]


@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_the_sharpness_step_is_one_over_it_and_converges(tau, rng):
    net = db.balanced_network(unbalanced(rng, 3, 2).end_to_end, widths(3, 2))
    loss = db.BuresWasserstein(tau)
    run = db.gradient_descent(net, TARGET, loss, 2000, "sharpness", tolerance=1e-10)
    np.testing.assert_allclose(run.step_size, 1 / db.sharpness(TARGET, 2, loss, depth=3), rtol=1e-14)
    assert run.result == db.Result.converged
    least = ((np.sqrt(SPECTRUM[2:]) - np.sqrt(tau)) ** 2).sum()
    np.testing.assert_allclose(run.losses[-1], least, rtol=2e-10)
    assert 0 <= run.excess[-1] <= 1e-10 * least < run.excess[-2]


def steps_to_converge(gap, step_size):
    """From near the minimizer; exchange of modes 2 and 3, whose eigenvalues differ by the gap, is slow."""
    target = db.Target.from_spectrum([2.0, 1.0, 1.0 - gap, 0.5], key=0)
    loss = db.BuresWasserstein()
    w = db.rank_k_minimizer(target, 2, loss)
    net = db.balanced_network(w + 0.03 * np.random.default_rng(1).standard_normal(w.shape), widths(2, 2))
    # The height of the slow direction is proportional to the gap: ask for the same reduction of it.
    run = db.gradient_descent(net, target, loss, 1_000_000, step_size, tolerance=1e-8 * gap)
    assert run.result == db.Result.converged
    return int(run.steps[-1])


def test_acceleration_takes_the_square_root_of_the_condition_number():
    """λ_3/λ_2 = 1 − 1/50 and 1 − 1/5000: κ and the steps of plain descent grow 100 times, accelerated ones 10 times."""
    gaps = (2e-2, 2e-4)
    plain, accelerated = ([steps_to_converge(gap, rule) for gap in gaps] for rule in ("sharpness", "accelerated"))
    assert 80 < plain[1] / plain[0] < 125
    assert 6 < accelerated[1] / accelerated[0] < 14
    assert 20 * accelerated[1] < plain[1]


def adam(weights, tau, eta, num_steps, b1=0.9, b2=0.999, eps=1e-8):
    """Kingma and Ba's Adam, written out."""
    weights = [np.array(w) for w in weights]
    first, second = [0.0 * w for w in weights], [0.0 * w for w in weights]
    for t in range(1, num_steps + 1):
        gradient = naive.bures_wasserstein_gradient(naive.product(weights), COVARIANCE, tau)
        for i, g in enumerate(naive.layer_gradients(weights, gradient)):
            first[i] = b1 * first[i] + (1 - b1) * g
            second[i] = b2 * second[i] + (1 - b2) * g**2
            weights[i] = weights[i] - eta * (first[i] / (1 - b1**t)) / (np.sqrt(second[i] / (1 - b2**t)) + eps)
    return weights


def test_optax_adam_is_adam(rng):
    net = unbalanced(rng, 3, 2)
    run = db.gradient_descent(net, TARGET, db.BuresWasserstein(0.1), 50, optax.adam(0.02), **LAST)
    assert run.times is None and run.step_size is None
    for weight, expected in zip(run.weights, adam(net.weights, 0.1, 0.02, 50), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-10)


def test_optax_schedules_are_followed(rng):
    net = unbalanced(rng, 3, 2)
    schedule = optax.exponential_decay(0.05, transition_steps=10, decay_rate=0.5)
    run = db.gradient_descent(net, TARGET, db.BuresWasserstein(0.1), 50, optax.sgd(schedule), **LAST)
    expected = naive.descend(net.weights, COVARIANCE, 0.1, lambda step: 0.05 * 0.5 ** (step / 10), 50)
    for weight, other in zip(run.weights, expected, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-12)


def test_a_step_above_the_limit_may_suit_a_flatter_factorization():
    """λ = (1, 0), τ = 0.7: the balanced minimizer has λ_max = 1.095, that with W_1² = 0.3 has 0.78."""
    target, loss = db.Target.from_spectrum([1.0, 0.0]), db.BuresWasserstein(tau=0.7)
    net = db.DeepLinearNetwork([np.array([[0.3**0.5]]), np.array([[1.001], [1e-3]])])
    with pytest.warns(UserWarning, match="leaves the balanced minimizer: it can converge only to layers that are not"):
        run = db.gradient_descent(net, target, loss, 200, 2.0)
    assert run.excess[-1] < 1e-10
    with pytest.warns(UserWarning, match="every minimizer, however it is factored: it cannot converge there"):
        db.gradient_descent(net, target, loss, 1, 4.0)


@pytest.mark.filterwarnings("ignore:.* above the stability limit:UserWarning")
def test_divergence_is_a_result(rng):
    """The run ends with the last weights with Σ‖W_l‖² ≤ 10⁴ (Σ‖W_l(0)‖² + N k^{1−1/N} tr(Σ0)^{1/N})."""
    # At depth 1 the distance to the minimizer doubles with every step: the step at which the limit is met is sharp.
    net, eta = unbalanced(rng, 1), 1.5
    run = db.gradient_descent(net, TARGET, db.BuresWasserstein(), 100, eta, num_records=50)
    assert run.result == db.Result.diverged
    assert "smaller step size" in run.message

    def size(weights):
        return sum((w**2).sum() for w in weights)

    limit = 1e4 * (size(net.weights) + SPECTRUM.sum())
    stopped = next(i for i in range(100) if size(naive.descend(net.weights, COVARIANCE, 0.0, eta, i + 1)) > limit)
    assert 3 < stopped < 15
    assert run.steps[-1] == stopped
    for weight, expected in zip(run.weights, naive.descend(net.weights, COVARIANCE, 0.0, eta, stopped), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-9)


@pytest.mark.parametrize("factor", [4.0, 30.0])
@pytest.mark.filterwarnings("ignore:.* above the stability limit:UserWarning")
def test_divergence_of_a_deep_network_leaves_everything_finite(rng, factor):
    net = unbalanced(rng, 10)
    start = db.DeepLinearNetwork([factor * w for w in net.weights])
    run = db.gradient_descent(start, TARGET, db.BuresWasserstein(), 100, 0.1)
    assert run.result == db.Result.diverged
    for leaf in jax.tree.leaves((run.records, run.weights)):
        assert np.isfinite(leaf).all()


def test_one_diverging_run_leaves_the_others_of_a_batch_alone(rng):
    tame = [unbalanced(rng, 3, 2) for _ in range(2)]
    wild = db.DeepLinearNetwork([4 * w for w in tame[0].weights])
    run = db.gradient_descent(
        db.stack_networks([tame[0], wild, tame[1]]), TARGET, db.BuresWasserstein(), 4000, tolerance=1e-8
    )
    np.testing.assert_array_equal(run.result == db.Result.converged, [True, False, True])
    np.testing.assert_array_equal(run.result == db.Result.diverged, [False, True, False])
    for leaf in jax.tree.leaves((run.records, run.weights)):
        assert np.isfinite(leaf).all()
    # The wild run stops where it is; from then on its records repeat its last state.
    assert run.steps[1, -1] < 20
    np.testing.assert_array_equal(run.losses[1, -1], run.losses[1, run.steps[1].argmax()])
    alone = db.gradient_descent(tame[1], TARGET, db.BuresWasserstein(), 4000, tolerance=1e-8)
    np.testing.assert_allclose(run.losses[2, -1], alone.losses[-1], rtol=1e-12)


def test_float32_stays_float32(rng):
    net, _ = aligned(rng, 3, np.array([0.5, 0.7, 0.4, 0.9]))
    single = db.DeepLinearNetwork([w.astype(np.float32) for w in net.weights])
    target = db.Target.from_spectrum(SPECTRUM.astype(np.float32), BASIS.astype(np.float32))
    run = db.gradient_descent(single, target, db.BuresWasserstein(), 2000, tolerance=0.0)
    assert {w.dtype for w in run.weights} == {np.dtype(np.float32)}
    assert run.losses.dtype == run.excess.dtype == np.float32
    np.testing.assert_allclose(run.network.end_to_end @ run.network.end_to_end.T, COVARIANCE, atol=1e-5)
    # A float64 target lifts the network to its own precision.
    assert db.gradient_descent(single, TARGET, db.BuresWasserstein(), 1, 0.01).weights[0].dtype == np.float64


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"step_size": 0.0}, ValueError, "step_size must be finite and positive, but 0.0 was given"),
        ({"step_size": -0.1}, ValueError, "step_size must be finite and positive, but -0.1"),
        ({"step_size": np.nan}, ValueError, "step_size must be finite and positive, but nan"),
        ({"step_size": np.inf}, ValueError, "step_size must be finite and positive, but inf"),
        (
            {"step_size": "sharp"},
            ValueError,
            'must be a positive number, "sharpness", "certified", "monotone", "accelerated" or an optax .* \'sharp\'',
        ),
        ({"step_size": None}, TypeError, "step_size must be .* or an optax optimizer, but a NoneType was given"),
        ({"num_steps": 0}, ValueError, "num_steps must be at least 1, but 0 was given"),
        ({"num_steps": 10.0}, TypeError, "num_steps must be a whole number, but 10.0 was given"),
        ({"num_steps": 2**31}, ValueError, "num_steps must be below 2³¹"),
        ({"num_records": 0}, ValueError, "num_records must be at least 1, but 0"),
        ({"steps": [1.5]}, ValueError, "steps must be whole numbers"),
        ({"steps": [-1]}, ValueError, r"steps must lie in 0..num_steps = 10, but reach from -1 to 10"),
        ({"steps": [5, 20]}, ValueError, r"steps must lie in 0..num_steps = 10, but reach from 0 to 20"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be finite and not negative, but -1.0"),
        ({"record": "losses"}, ValueError, "Unknown observable 'losses'"),
        ({"net": np.eye(4)}, TypeError, "net must be a DeepLinearNetwork, but a ndarray was given"),
        ({"target": COVARIANCE}, TypeError, "target must be a Target, but a ndarray was given"),
        (
            {"target": db.Target.from_spectrum([2.0, 1.0])},
            ValueError,
            "The network has 4 outputs, but the target has dimension 2",
        ),
        ({"loss": "bw"}, TypeError, "loss must be a loss such as BuresWasserstein"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {
        "net": db.DeepLinearNetwork([np.eye(4)]),
        "target": TARGET,
        "loss": db.BuresWasserstein(),
        "num_steps": 10,
        **change,
    }
    with pytest.raises(error, match=message):
        db.gradient_descent(**arguments)


@pytest.mark.parametrize(("widths", "tau"), [((2, 4), 0.0), ((4, 4, 4), 0.3), ((2,) * 10 + (4,), 0.0)])
def test_monotone_steps_never_rise_from_any_start(widths, tau):
    """Unbalanced starts too; and a constant step a thousand times a usual one does rise, so this can fail."""
    target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0, 0.5], key=0), db.BuresWasserstein(tau)
    options = {"record": ("loss",), "tolerance": 0.0}
    nets = [db.initialize(widths, scheme, key=2) for scheme in ("balanced", "xavier", "uniform")]
    run = db.gradient_descent(db.stack_networks(nets), target, loss, 100, "monotone", steps=np.arange(101), **options)
    assert (np.diff(run.losses, axis=-1) <= 1e-13).all() and (run.losses[:, -1] < run.losses[:, 0]).all()
    usual = 1 / float(db.sharpness(target, widths[0], loss, depth=len(widths) - 1))
    with pytest.warns(UserWarning, match="above the stability limit"):
        wild = db.gradient_descent(nets[0], target, loss, 1, 1000 * usual, **options)
    assert wild.result == db.Result.diverged or wild.losses[-1] > wild.losses[0]


def test_monotone_steps_need_a_bound_of_the_curvature():
    target = db.Target.from_spectrum([2.0, 1.0], key=0)
    with pytest.raises(ValueError, match="not known for a Frobenius"):
        db.gradient_descent(db.initialize((2, 2), key=0), target, db.Frobenius(), 3, "monotone")
