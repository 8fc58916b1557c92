"""Training in the subspace that it does not leave is training in the whole space, and costs what its dimension says."""

import numpy as np
import pytest

import deepbures as db
from deepbures.training import _enclosure
from deepbures.training._run import pose

N, RANK = 60, 7


def target(floor=0.0):
    rng = np.random.default_rng(0)
    return db.Target.from_factor(rng.normal(size=(N, RANK)) * np.linspace(3, 1, RANK), floor, mean=rng.normal(size=N))


LOSSES = {"exact": db.BuresWasserstein(), "smooth": db.BuresWasserstein(0.2), "frobenius": db.Frobenius()}


def both(monkeypatch, run):
    """The run as it is, and in the whole space."""
    taken = []
    monkeypatch.setattr(
        _enclosure, "enclose", lambda *args, _enclose=_enclosure.enclose: taken.append(_enclose(*args)) or taken[-1]
    )
    inside = run()
    assert taken[0] is not None and taken[0].problem.target.dim <= RANK + 4
    monkeypatch.setattr(_enclosure, "enclose", lambda *args: None)
    return inside, run()


@pytest.mark.parametrize("name, floor", [("exact", 0.0), ("smooth", 0.0), ("smooth", 0.5), ("frobenius", 0.5)])
def test_flow_is_the_same(monkeypatch, name, floor):
    start = db.initialize((3, 4, N), "gaussian", key=1, scale=0.5)
    horizon = 5 / float(db.sharpness(target(floor), 3, LOSSES[name], depth=2))
    options = {
        "times": [horizon / 10, horizon / 2],
        "record": ("rank", "singular_values", "alignment", "balancedness_gap"),
    }
    inside, whole = both(monkeypatch, lambda: db.gradient_flow(start, target(floor), LOSSES[name], horizon, **options))
    assert set(inside.records) == set(whole.records)
    for record in whole.records:
        np.testing.assert_allclose(inside[record], whole[record], rtol=2e-5, atol=1e-9, err_msg=record)
    for a, b in zip(inside.weights, whole.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert inside.minimal_loss == pytest.approx(float(whole.minimal_loss), rel=1e-12)
    assert np.array_equal(inside.network.mean, start.mean)
    # What is reported is true of the network that is handed back.
    assert inside.losses[-1] == pytest.approx(
        float(LOSSES[name].value(inside.network.end_to_end, target(floor))), rel=1e-10
    )


@pytest.mark.parametrize("name, floor", [("exact", 0.0), ("smooth", 0.0), ("smooth", 0.5), ("frobenius", 0.5)])
def test_descent_is_the_same_and_stops_at_the_same_excess(monkeypatch, name, floor):
    start = db.initialize((2, N), "gaussian", key=1, scale=0.5)
    told = []

    def run():
        return db.gradient_descent(
            start, target(floor), LOSSES[name], 4000, tolerance=1e-6, callback=lambda state: told.append(state)
        )

    inside, whole = both(monkeypatch, run)
    assert inside.result == whole.result == db.Result.converged
    assert len(inside.steps) == len(whole.steps)
    np.testing.assert_allclose(inside.excess, whole.excess, rtol=1e-6, atol=1e-12 * inside.losses[0])
    np.testing.assert_allclose(inside.losses, whole.losses, rtol=1e-10)
    assert all(state.minimal_loss == pytest.approx(float(whole.minimal_loss), rel=1e-12) for state in told)


def test_a_start_inside_the_range_of_the_target(monkeypatch):
    goal = target()
    start = db.balanced_network(0.3 * db.rank_k_minimizer(goal, 3, db.BuresWasserstein()), (3, 3, N))
    inside, whole = both(monkeypatch, lambda: db.gradient_flow(start, goal, db.BuresWasserstein(), 0.1))
    np.testing.assert_allclose(inside.excess, whole.excess, rtol=1e-6, atol=1e-9)


def test_an_interrupted_run_goes_on_with_the_same_bits():
    start = db.initialize((2, N), "gaussian", key=1)
    goal, loss = target(), db.BuresWasserstein(0.2)
    whole = db.gradient_flow(start, goal, loss, 1.0, num_records=30)

    def stop(state):
        raise KeyboardInterrupt

    parts = db.gradient_flow(start, goal, loss, 1.0, num_records=30, callback=stop)
    while parts.result == db.Result.interrupted:
        parts = db.gradient_flow(start, goal, loss, 1.0, num_records=30, resume=parts.snapshot)
    assert np.array_equal(parts.weights[0], whole.weights[0]) and np.array_equal(parts.losses, whole.losses)


@pytest.mark.parametrize("case", ["end_to_end", "function", "large rank", "batch", "rank of the bottleneck"])
def test_the_whole_space_where_it_is_needed_or_nothing_is_gained(case):
    loss, goal = db.BuresWasserstein(), target()
    start = db.initialize((2, N), key=1)
    record = {"end_to_end": ("end_to_end",), "function": {"rank": lambda net, target, loss: 0.0}}.get(case)
    if case == "large rank":
        goal = db.Target.from_factor(np.random.default_rng(0).normal(size=(N, N // 2)))
    if case == "batch":
        start = db.stack_networks([start, start])
    if case == "rank of the bottleneck":
        goal = db.Target.from_spectrum([3.0], basis=np.eye(N, 1))
        start = db.DeepLinearNetwork([np.eye(N, 1)])
    assert _enclosure.enclose(start, pose(start, goal, loss), record) is None


def test_a_step_does_not_depend_on_the_number_of_features():
    factor = np.random.default_rng(0).standard_normal((100_000, 10)) * np.linspace(2, 1, 10)
    goal, loss = db.Target.from_factor(factor), db.BuresWasserstein()
    start = db.initialize((3, 100_000), "balanced", key=0, scale=1.0)
    inner = _enclosure.enclose(start, pose(start, goal, loss), None)
    # Ten columns of the factor and three of the start: all that a step multiplies with has thirteen rows.
    assert {weight.shape[0] for weight in inner.net.weights} == {inner.problem.target.dim} == {13}
    run = db.gradient_descent(start, goal, loss, 20, 1e-4, tolerance=0.0)
    assert run.network.dim == 100_000 and run.steps[-1] == 20


def test_no_record_takes_memory_of_the_square_of_the_features():
    # A square matrix of this size, as a full decomposition of an n×2 matrix would have it, is 320 GB.
    factor = np.random.default_rng(0).standard_normal((200_000, 2))
    names = ("end_to_end", "smallest_singular_value", "effective_rank", "rank", "alignment")
    goal, start = db.Target.from_factor(factor), db.initialize((1, 200_000), "balanced", key=0, scale=1.0)
    run = db.gradient_descent(start, goal, db.BuresWasserstein(), 2, record=names)
    np.testing.assert_allclose(
        run["smallest_singular_value"], np.linalg.norm(run["end_to_end"], axis=(1, 2)), rtol=1e-10
    )
