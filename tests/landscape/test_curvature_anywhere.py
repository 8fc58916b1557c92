"""Lanczos, dense Hessians, classification and paths, at networks that need not be critical."""

import itertools
import re

import numpy as np
import pytest
import torch

import deepbures as db
from deepbures.torch import from_torch, to_torch

EXACT, SMOOTHED, FROBENIUS = db.BuresWasserstein(), db.BuresWasserstein(0.5), db.Frobenius()
EACH = pytest.mark.parametrize("loss", [EXACT, SMOOTHED, FROBENIUS], ids=["exact", "smoothed", "frobenius"])


@pytest.fixture(scope="module")
def target():
    return db.Target.from_spectrum([5.0, 3.2, 2.1, 1.0, 0.3], key=1)


def network(*widths, seed=0, scale=0.7):
    rng = np.random.default_rng(seed)
    return db.DeepLinearNetwork([scale * rng.normal(size=(d, c)) for c, d in itertools.pairwise(widths)])


def moved(net, direction, step):
    return db.DeepLinearNetwork([w + step * d for w, d in zip(net.weights, direction, strict=True)])


@EACH
def test_hessian_matrix_is_the_difference_of_losses(loss, target):
    net = network(3, 4, 5)
    hessian = db.hessian_matrix(net, target, loss)
    rng = np.random.default_rng(1)
    direction = [rng.normal(size=w.shape) for w in net.weights]
    flat = np.concatenate([d.ravel() for d in direction])
    step = 1e-4

    def value(t):
        return float(loss.value(moved(net, direction, t).end_to_end, target))

    second = (value(step) - 2 * value(0.0) + value(-step)) / step**2
    assert flat @ hessian @ flat == pytest.approx(second, rel=1e-5)


@EACH
def test_extremes_are_those_of_the_dense_matrix(loss, target):
    net = network(3, 4, 5)
    values = np.linalg.eigvalsh(db.hessian_matrix(net, target, loss))
    extremes = db.hessian_extremes(net, target, loss)
    assert extremes.smallest == pytest.approx(values[0], rel=1e-8)
    assert extremes.largest == pytest.approx(values[-1], rel=1e-8)
    assert max(extremes.smallest_residual, extremes.largest_residual) < 1e-6 * values[-1]
    model = db.quadratic_model(net, target, loss, extremes.smallest_direction, [0.0])
    assert model.curvature == pytest.approx(values[0], rel=1e-7)
    again = db.hessian_extremes(net, target, loss)
    assert (again.smallest, again.largest) == (extremes.smallest, extremes.largest)


def test_extremes_at_a_saddle_are_the_closed_form(target):
    point = db.critical_points(target, 3, SMOOTHED, depth=3)[2]
    extremes = db.hessian_extremes(point.network(), target, SMOOTHED)
    assert extremes.smallest == pytest.approx(point.spectrum().smallest, rel=1e-8)
    assert extremes.largest == pytest.approx(point.spectrum().largest, rel=1e-8)


def test_extremes_at_a_minimizer_have_a_zero_end(target):
    for loss in (EXACT, SMOOTHED, FROBENIUS):
        point = db.critical_points(target, 3, loss, depth=3)[0]
        extremes = db.hessian_extremes(point.network(), target, loss)
        assert extremes.largest == pytest.approx(point.spectrum().largest, rel=1e-8)
        assert abs(extremes.smallest) < 1e-8 * extremes.largest


def test_blow_up_of_the_hessian_as_a_singular_value_vanishes(target):
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=size))[0] for size in ((5, 3), (3, 3)))
    lowest = [
        db.hessian_extremes(db.DeepLinearNetwork([u * [2.0, 1.0, s] @ v]), target, EXACT).smallest
        for s in (1e-3, 1e-4, 1e-5)
    ]
    # Moving the small column out of its direction costs like the inverse of its length.
    assert lowest[1] / lowest[0] == pytest.approx(10, rel=0.02)
    assert lowest[2] / lowest[1] == pytest.approx(10, rel=0.002)


def test_extremes_of_very_small_networks():
    target = db.Target.from_spectrum([4.0])
    extremes = db.hessian_extremes(db.DeepLinearNetwork([np.array([[3.0]])]), target, EXACT)
    assert extremes.smallest == extremes.largest == pytest.approx(2.0)


def test_extremes_that_are_not_found():
    target = db.Target.from_spectrum(np.linspace(2, 1, 12))
    with pytest.raises(RuntimeError, match="Raise max_products, or tol"):
        db.hessian_extremes(network(12, 12, 12), target, EXACT, tol=1e-15, max_products=1)


def test_quadratic_model_is_right_to_third_order(target):
    net = network(2, 3, 5)
    direction = network(2, 3, 5, seed=3).weights
    model = db.quadratic_model(net, target, SMOOTHED, direction, [1e-2, 2e-2])
    errors = np.abs(model.losses - model.model)
    assert errors[1] / errors[0] == pytest.approx(8, rel=0.1)


@EACH
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_critical_point_is_recognized(loss, depth, target):
    for point in db.critical_points(target, 2, loss, depth=depth):
        rng = np.random.default_rng(point.morse_index)
        rotation = np.linalg.qr(rng.normal(size=(2, 2)))[0]
        net = db.balanced_network(point.end_to_end() @ rotation, (2,) * depth + (5,))
        found = db.classify(net, target, loss)
        assert found.point.eigen_indices == point.eigen_indices
        assert (found.point.kind, found.point.morse_index) == (point.kind, point.morse_index)
        assert found.point.value == pytest.approx(point.value, rel=1e-12)
        assert found.is_at and found.relative_distance < 1e-7 and found.rank == point.rank
        assert found.gradient_norm < 1e-6
        assert found.is_stalled == (point.kind != "minimizer")
        np.testing.assert_allclose(found.alignments, 1, atol=1e-6)


def test_near_and_far(target):
    point = db.critical_points(target, 2, EXACT, depth=2)[1]
    rng = np.random.default_rng(0)
    w = point.end_to_end()
    near = db.classify(db.balanced_network(w + 0.05 * rng.normal(size=w.shape), (2, 2, 5)), target, EXACT)
    assert near.point.eigen_indices == point.eigen_indices and not near.is_at
    assert near.message.startswith("At no critical point; matched best by the strict saddle with modes 1, 3 (distance")
    at = db.classify(point.network(), target, EXACT)
    i, j = at.escape
    assert j in point.eigen_indices and i not in point.eigen_indices and i < j
    assert at.escape_curvature == pytest.approx(point.spectrum().smallest)
    assert f"mode {i + 1} in the place of mode {j + 1}" in at.message


def test_far_from_all_points_the_one_that_matches_best_is_not_called_the_nearest():
    # W = 10 (e_1 + e_2)/√2 in one of two columns. The squared distance from the point with modes J is
    # ‖W‖² + Σ_J λ − 2 (Σ_J λ_j W_j²)^½: with mode 1 104 − 2 √200, and less, 107 − 2 √350, with both, which would share
    # one singular vector.
    w = np.zeros((2, 2))
    w[:, 0] = 10 / np.sqrt(2)
    found = db.classify(db.DeepLinearNetwork([w]), db.Target.from_spectrum([4.0, 3.0]), EXACT)
    assert found.point.eigen_indices == (0,)
    assert found.distance**2 == pytest.approx(104 - 2 * np.sqrt(200), rel=1e-12)
    assert found.distance**2 > 107 - 2 * np.sqrt(350) + 6
    assert found.message.startswith("At no critical point; matched best by the degenerate saddle with modes 1 (")
    assert "earest" not in found.message


def test_members_of_a_family_are_recognized():
    target = db.Target.from_spectrum([4.0, 2.0, 2.0, 2.0, 1.0], key=0)
    _, basis = target.spectrum(5)
    rng = np.random.default_rng(0)
    mixed = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    w = np.column_stack([2 * basis[:, 0], np.sqrt(2) * basis[:, 1:4] @ mixed[:, 0]])
    found = db.classify(db.DeepLinearNetwork([w]), target, EXACT)
    assert found.point.eigen_indices == (0, 1) and found.is_at
    assert found.point.kind == "minimizer" and found.point.family_dim == 2


def test_a_collapsed_network(target):
    for loss, depth in ((SMOOTHED, 1), (SMOOTHED, 2), (EXACT, 2)):
        net = db.DeepLinearNetwork([np.zeros((2, 2))] * (depth - 1) + [np.zeros((5, 2))])
        found = db.classify(net, target, loss)
        assert found.point.rank == found.rank == 0 and found.is_stalled
        assert found.point.kind == ("strict saddle" if depth == 1 else "degenerate saddle")
        if depth == 2:
            # Without smoothing a mode of size a² in the two layers takes 2 √λ a² off the loss: no Hessian shows that.
            assert ("kink" if loss is EXACT else "flat to second order") in found.message


def test_ends_of_paths_and_geodesics(target):
    low, _, high = db.critical_points(target, 2, EXACT, num=3)
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(2, 2)))[0]
    for kind in ("straight", "bures"):
        profile = db.loss_along_path(high.end_to_end() @ rotation, low, target, EXACT, kind=kind)
        assert profile.losses[0] == pytest.approx(high.value) and profile.losses[-1] == pytest.approx(low.value)
    # Along a geodesic, the distance from the start grows in proportion to the position, whatever the factors.
    a, b = rng.normal(size=(2, 5, 3))
    distance = float(db.bures_wasserstein_distance_factors(a, b))
    start = db.Target.from_factor(a)
    profile = db.loss_along_path(a, b, start, EXACT, kind="bures", num=5)
    np.testing.assert_allclose(np.sqrt(profile.losses), np.linspace(0, distance, 5), atol=1e-6)
    straight = db.loss_along_path(a, b, start, EXACT, num=5)
    assert (straight.losses[1:-1] > profile.losses[1:-1] + 1e-3).all()


def test_path_of_layers(target):
    first, second = network(2, 3, 5), network(2, 3, 5, seed=1)
    profile = db.loss_along_path(first, second, target, SMOOTHED, kind="layers", num=3)
    middle = db.DeepLinearNetwork([(a + b) / 2 for a, b in zip(first.weights, second.weights, strict=True)])
    assert profile.losses[1] == pytest.approx(float(SMOOTHED.value(middle.end_to_end, target)), rel=1e-12)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: db.loss_along_path(np.eye(5), np.eye(4), t, EXACT), "equally many rows"),
        (lambda t: db.loss_along_path(np.eye(5), np.eye(5), t, EXACT, kind="around"), "'around' was given"),
        (lambda t: db.loss_along_path(np.eye(5), np.eye(5), t, EXACT, kind="layers"), "start is a ndarray"),
        (lambda t: db.loss_along_path(network(2, 5), network(3, 5), t, EXACT, kind="layers"), "equal widths"),
        (lambda t: db.quadratic_model(network(2, 5), t, EXACT, [np.zeros((5, 2))], [1.0]), "not zero"),
        (lambda t: db.quadratic_model(network(2, 5), t, EXACT, [np.ones((2, 5))], [1.0]), "shapes of the weights"),
        (lambda t: db.classify(network(2, 4), t, EXACT), "dimension 4, but the target has 5"),
        (lambda t: db.hessian_extremes(network(2, 4), t, EXACT), "dimension 4, but the target has 5"),
        (lambda t: db.hessian_matrix(network(200, 60, 5), t, EXACT), "Ask for hessian_extremes"),
        (lambda t: db.classify(db.stack_networks([network(2, 5)] * 2), t, EXACT), "batch"),
        (lambda t: db.hessian_extremes(db.stack_networks([network(2, 5)] * 2), t, EXACT), "batch"),
        (lambda t: db.loss_along_path(np.full((5, 1), np.nan), np.eye(5), t, EXACT), "start has 5 entries"),
        (lambda t: db.quadratic_model(network(2, 5), t, EXACT, [np.ones((5, 2))], [np.nan]), "radii has 1 entry"),
        (lambda t: db.quadratic_model(network(2, 5), t, EXACT, [np.ones((5, 2))], [[1.0]]), "radii must be a list"),
    ],
)
def test_bad_input(call, message, target):
    with pytest.raises(ValueError, match=message):
        call(target)


@pytest.mark.parametrize(
    "call",
    [
        lambda net, target, loss: db.classify(net, target, loss),
        lambda net, target, loss: db.hessian_extremes(net, target, loss),
        lambda net, target, loss: db.hessian_matrix(net, target, loss),
        lambda net, target, loss: db.loss_along_path(network(2, 5), network(2, 5), target, loss),
        lambda net, target, loss: db.quadratic_model(net, target, loss, [np.ones((5, 2))], [1.0]),
    ],
    ids=["classify", "extremes", "matrix", "path", "quadratic"],
)
def test_bad_types(call, target):
    with pytest.raises(TypeError, match=r"target must be a Target, but a ndarray was given\. Build one with"):
        call(network(2, 5), np.eye(5), EXACT)
    with pytest.raises(TypeError, match=r"'bw' was given|of a str is not known"):
        call(network(2, 5), target, "bw")
    with pytest.raises(TypeError, match=r"net must be a DeepLinearNetwork, but a ndarray was given|'bw' was given"):
        call(np.ones((5, 2)), target, "bw")


def test_at_zero_and_where_the_target_is_zero(target):
    zero = [np.zeros((2, 2)), np.zeros((5, 2))]
    for depth, words in ((1, "a kink here: .* to first order"), (2, "to second order"), (3, "flat to second order")):
        net = db.DeepLinearNetwork([np.zeros((2, 2)), *zero][-depth:])
        found = db.classify(net, target, EXACT)
        assert found.is_stalled and found.point.kind == "degenerate saddle" and re.search(words, found.message)
    none = db.Target.from_spectrum(np.zeros(5))
    for loss in (EXACT, SMOOTHED, FROBENIUS):
        found = db.classify(db.DeepLinearNetwork(zero), none, loss)
        assert found.is_at and found.point.kind == "minimizer" and found.relative_distance == 0
        far = db.classify(network(2, 2, 5), none, loss)
        assert not far.is_at and far.relative_distance == np.inf and far.distance > 0


def test_linear_stacks_of_pytorch(target):
    net = db.critical_points(target, 2, EXACT, depth=3)[1].network()
    module = to_torch(db.DeepLinearNetwork(net.weights, mean=np.arange(5.0)))
    back = from_torch(torch.nn.Sequential(module, torch.nn.Identity()))
    assert all(np.array_equal(a, b) for a, b in zip(back.weights, net.weights, strict=True))
    np.testing.assert_array_equal(back.mean, np.arange(5.0))
    assert db.classify(back, target, EXACT).is_stalled
    biased = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 4))
    z = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(from_torch(biased)(z.numpy()), biased(z).detach().numpy(), atol=1e-6)
    with pytest.raises(TypeError, match="has a ReLU"):
        from_torch(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))
    with pytest.raises(TypeError, match="holds none"):
        from_torch(torch.nn.Identity())


def test_where_no_direction_is_curved():
    """L(W_2 W_1) at zero: each layer alone changes nothing, both together to second order by ∇L(0), which is zero."""
    zero = db.DeepLinearNetwork([np.zeros((2, 2)), np.zeros((3, 2))])
    found = db.hessian_extremes(zero, db.Target.from_spectrum([4.0, 2.0, 1.0]), db.BuresWasserstein(0.5))
    assert found.smallest == found.largest == 0 and found.smallest_residual == found.largest_residual == 0
