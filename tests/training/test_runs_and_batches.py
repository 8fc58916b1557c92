"""Runs as runs: batches, tracing, records, interruption and resumption."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import deepbures as db
from deepbures.training import _host as host
from deepbures.training import load_snapshot, name_of, save_snapshot
from deepbures.training._result import NAMES, choose

from .problems import BASIS, SPECTRUM, TARGET, assert_same_bits, orthonormal, unbalanced

LOSS = db.BuresWasserstein()
DESCENT = functools.partial(db.gradient_descent, loss=LOSS, num_steps=60, step_size=0.02, num_records=8, tolerance=1e-4)
FLOW = functools.partial(
    db.gradient_flow, loss=LOSS, horizon=3.0, times=[0.1, 0.5, 1.0, 2.0, 3.0], tolerance=1e-4, solver="tsit5", rtol=1e-6
)
METHODS = pytest.mark.parametrize("run", [DESCENT, FLOW], ids=["descent", "flow"])
OTHER = db.Target.from_spectrum(SPECTRUM * [1.0, 0.8, 0.1, 0.1], orthonormal(np.random.default_rng(5), 4, 4))


def both_targets():
    covariances = [t.covariance.factor() @ t.covariance.factor().T for t in (TARGET, OTHER)]
    return db.Target.from_covariance(np.stack(covariances))


def starts(rng, count=3):
    return [unbalanced(rng, 2, 2, scale=0.2 + 0.3 * i) for i in range(count)]


def assert_a_run_of_the_batch(batch, index, single):
    """Equal to rounding wherever the single run has records, and its last record from there on."""
    length = single.losses.shape[0]
    for name, records in batch.records.items():
        for of_batch, of_single in zip(jax.tree.leaves(records), jax.tree.leaves(single[name]), strict=True):
            own = np.asarray(of_batch)[index]
            np.testing.assert_allclose(own[:length], of_single, rtol=1e-8, atol=1e-10, err_msg=name)
            np.testing.assert_array_equal(own[length:], np.broadcast_to(own[length - 1], own[length:].shape))
    np.testing.assert_array_equal(np.asarray(batch.steps)[index, :length], single.steps)
    for of_batch, of_single in zip(batch.weights, single.weights, strict=True):
        np.testing.assert_allclose(of_batch[index], of_single, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(np.resize(batch.minimal_loss, len(batch.losses))[index], single.minimal_loss, rtol=1e-12)
    assert np.asarray(batch.result == single.result)[index]


@METHODS
def test_a_batch_of_starts_is_its_runs(run, rng):
    nets = starts(rng)
    w = db.rank_k_minimizer(TARGET, 2, LOSS)
    nets[1] = db.balanced_network(w * 1.01, (2, 2, 4))  # converges early, and then stands still
    batch = run(db.stack_networks(nets), TARGET)
    singles = [run(net, TARGET) for net in nets]
    assert singles[1].losses.shape < batch.losses.shape[1:]
    for i, single in enumerate(singles):
        assert_a_run_of_the_batch(batch, i, single)


@METHODS
def test_a_batch_of_targets_and_a_batch_of_both_are_their_runs(run, rng):
    nets, targets = starts(rng, 2), both_targets()
    singles = [[run(net, target) for target in (TARGET, OTHER)] for net in nets]
    of_targets = run(nets[0], targets)
    of_both = run(db.stack_networks(nets), targets)
    for i in range(2):
        assert abs(singles[0][0].losses[-1] - singles[0][1].losses[-1]) > 0.1
        assert_a_run_of_the_batch(of_targets, i, singles[0][i])
        assert_a_run_of_the_batch(of_both, i, singles[i][i])


def test_every_target_of_a_batch_has_its_own_step_size(rng):
    net, targets = starts(rng)[0], both_targets()
    batch = db.gradient_descent(net, targets, LOSS, 60, num_records=8)
    expected = [1 / db.sharpness(target, 2, LOSS, depth=2) for target in (TARGET, OTHER)]
    np.testing.assert_allclose(batch.step_size, expected, rtol=1e-10)
    np.testing.assert_allclose(batch.times, batch.steps * np.array(expected)[:, None], rtol=1e-10)


# Under jit as under vmap the methods share the driver that is traced: one of either is enough of their combinations.
@pytest.mark.parametrize("run, transform", [(DESCENT, "jit"), (FLOW, "vmap")], ids=["descent-jit", "flow-vmap"])
def test_inside_a_transformation_a_run_is_the_same(run, transform, rng):
    nets = starts(rng)
    inner = lambda net: run(net, TARGET)  # noqa: E731
    if transform == "jit":
        traced = jax.jit(inner)(nets[0])
        traced = jax.tree.map(lambda leaf: leaf[None], traced)
    else:
        traced = jax.vmap(inner)(db.stack_networks(nets))
    for i in range(1 if transform == "jit" else 3):
        assert_a_run_of_the_batch(traced, i, run(nets[i], TARGET))
    assert traced.snapshot is None


def test_the_target_the_smoothing_and_the_step_size_may_be_traced(rng):
    net = starts(rng)[0]

    def last_loss(tau, eta, eigenvalues):
        target = db.Target.from_spectrum(eigenvalues, jnp.asarray(BASIS))
        return db.gradient_descent(net, target, db.BuresWasserstein(tau), 60, eta, num_records=8).losses[-1]

    taus, etas = jnp.array([0.05, 0.1]), jnp.array([0.02, 0.03])
    spectra = jnp.stack([jnp.asarray(SPECTRUM), 1.5 * jnp.asarray(SPECTRUM)])
    swept = jax.vmap(last_loss)(taus, etas, spectra)
    for i in range(2):
        target = db.Target.from_spectrum(np.asarray(spectra[i]), BASIS)
        alone = db.gradient_descent(net, target, db.BuresWasserstein(float(taus[i])), 60, float(etas[i]), num_records=8)
        np.testing.assert_allclose(swept[i], alone.losses[-1], rtol=1e-10)


def test_a_batch_inside_a_transformation_is_refused(rng):
    batch = db.stack_networks(starts(rng))
    with pytest.raises(ValueError, match=r"map over the batch with jax.vmap instead of passing a batch"):
        jax.jit(lambda net: DESCENT(net, TARGET))(batch)


def test_batches_that_do_not_fit_are_refused(rng):
    with pytest.raises(
        ValueError, match=r"A batch has one leading dimension, equal for networks and targets, but .*\(3,\) .*\(2, 4\)"
    ):
        DESCENT(db.stack_networks(starts(rng)), both_targets())


def test_a_step_size_is_one_number(rng):
    with pytest.raises(
        ValueError, match=r"step_size must be one number, but an array of shape \(2,\) was given.*jax.vmap"
    ):
        db.gradient_descent(starts(rng)[0], TARGET, LOSS, 5, np.array([0.1, 0.2]))


# -------------------------------------------------------------------------------------------------------------- records


@METHODS
def test_records_of_the_users_own(run, rng):
    net = starts(rng)[0]
    mine = {
        "corner": lambda net, target, loss: net.end_to_end[0, 0],
        "frobenius": lambda net, target, loss: db.Frobenius().value(net.end_to_end, target),
    }
    own = run(net, TARGET, record=mine)
    path = run(net, TARGET, record=("end_to_end", "weights"))
    assert set(own.records) == {"loss", "excess", "gradient_norm", "corner", "frobenius"}
    np.testing.assert_array_equal(own["corner"], path["end_to_end"][:, 0, 0])
    np.testing.assert_allclose(
        own["frobenius"], [db.Frobenius().value(w, TARGET) for w in path["end_to_end"]], rtol=1e-12
    )
    assert_same_bits(own.losses, path.losses)
    np.testing.assert_array_equal(path["weights"][0][0], net.weights[0])
    with pytest.raises(KeyError, match=r"'rank' was not recorded; recorded are .*corner.*loss"):
        own["rank"]
    assert set(path.to_dict()) >= {"times", "steps", "loss", "end_to_end"}


def test_steps_and_times_asked_for_are_the_grid(rng):
    net = starts(rng)[0]
    run = db.gradient_descent(net, TARGET, LOSS, 60, 0.02, steps=[7, 3, 3, 30], tolerance=0.0)
    np.testing.assert_array_equal(run.steps, [0, 3, 7, 30, 60])
    run = db.gradient_flow(net, TARGET, LOSS, 3.0, times=[1.0, 0.25], tolerance=0.0, solver="tsit5", rtol=1e-6)
    np.testing.assert_array_equal(run.times, [0.0, 0.25, 1.0, 3.0])
    assert np.all(np.diff(run.steps) > 0)


def test_default_grids_are_spaced_by_ratios(rng):
    net = starts(rng)[0]
    run = db.gradient_descent(net, TARGET, LOSS, 1000, 1e-4, num_records=4, tolerance=0.0)
    np.testing.assert_array_equal(run.steps, [0, 1, 10, 100, 1000])
    flow = db.gradient_flow(net, TARGET, LOSS, 3.0, num_records=5, tolerance=0.0, solver="tsit5", rtol=1e-6)
    ratios = flow.times[2:] / flow.times[1:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)
    np.testing.assert_allclose(flow.times[1], 0.1 / db.sharpness(TARGET, 2, LOSS, depth=2), rtol=1e-12)


# --------------------------------------------------------------------------------------------- interruption, resumption


def long_runs():
    """Per method: how to run, and for how long records are apart, so that interruptions fall between and at records."""
    near = db.Target.from_spectrum([4.0, 2.0, 1.99, 0.5], key=0)
    descent = functools.partial(
        db.gradient_descent, target=near, loss=LOSS, num_steps=300, num_records=6, tolerance=0.0
    )
    flow = functools.partial(
        db.gradient_flow, target=near, loss=LOSS, horizon=800.0, times=[1.0, 200.0, 700.0], tolerance=0.0, rtol=1e-6
    )
    return {
        "sharpness": functools.partial(descent, step_size="sharpness"),
        "accelerated": functools.partial(descent, step_size="accelerated"),
        "adam": functools.partial(descent, step_size=optax.adam(1e-2)),
        "flow": functools.partial(flow, solver="tsit5"),
        "relay": flow,
    }


class Interrupt:
    """A callback that interrupts at its nth call, as Ctrl-C would."""

    def __init__(self, call):
        self.call, self.calls = call, 0

    def __call__(self, progress):
        self.calls += 1
        if self.calls == self.call:
            raise KeyboardInterrupt


def interrupt_after_a_third(progress):
    if 3 * progress.position > progress.end:
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", long_runs())
def test_an_interrupted_run_goes_on_to_the_same_bits(name, rng, tmp_path, monkeypatch):
    """Interrupted, saved, loaded, resumed, twice in a row: weights and records as without."""
    monkeypatch.setattr(host, "_SECONDS_PER_CALLBACK", 0.0)
    run = functools.partial(long_runs()[name], starts(rng)[0], record=("weights", "rank"))
    whole = run()
    assert_same_bits(whole, run())
    positions = set()
    for call in (1, 3, 5):
        part = run(callback=Interrupt(call))
        assert part.result == db.Result.interrupted
        assert "resume=trajectory.snapshot" in part.message
        assert len(part.losses) < len(whole.losses)
        assert_same_bits(part.losses, whole.losses[: len(part.losses)])
        save_snapshot(part.snapshot, tmp_path / "run.npz")
        snapshot = load_snapshot(tmp_path / "run.npz")
        assert_same_bits(snapshot, part.snapshot)
        positions.add(float(snapshot.leaves[0]))
        again = run(resume=snapshot, callback=Interrupt(2))
        assert again.result == db.Result.interrupted
        done = run(resume=again.snapshot)
        assert_same_bits(done, whole)
    assert len(positions) == 3


def test_an_interrupted_batch_goes_on_to_the_same_bits(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(host, "_SECONDS_PER_CALLBACK", 0.0)
    batch = db.stack_networks(starts(rng))
    whole = DESCENT(batch, TARGET, record=("weights", "rank"))
    part = DESCENT(batch, TARGET, record=("weights", "rank"), callback=Interrupt(3))
    save_snapshot(part.snapshot, tmp_path / "run.npz")
    done = DESCENT(batch, TARGET, record=("weights", "rank"), resume=load_snapshot(tmp_path / "run.npz"))
    assert_same_bits(done, whole)
    np.testing.assert_array_equal(part.result == db.Result.interrupted, [True, True, True])


def test_a_snapshot_of_another_run_is_refused(rng):
    part = DESCENT(starts(rng)[0], TARGET)
    other = unbalanced(rng, 2, 3)
    with pytest.raises(
        ValueError, match=r"The snapshot does not belong to this run: its state has other shapes. Resume with"
    ):
        DESCENT(other, TARGET, resume=part.snapshot)
    with pytest.raises(ValueError, match="The snapshot does not belong to this run"):
        FLOW(starts(rng)[0], TARGET, resume=part.snapshot)


@METHODS
def test_a_snapshot_of_the_same_run_recorded_otherwise_is_refused(run, rng, monkeypatch):
    monkeypatch.setattr(host, "_SECONDS_PER_CALLBACK", 0.0)
    net = starts(rng)[0]
    part = run(net, TARGET, callback=interrupt_after_a_third)
    with pytest.raises(
        ValueError, match=r"holds the records .*effective_rank.* but excess, gradient_norm, loss, rank were"
    ):
        run(net, TARGET, resume=part.snapshot, record=("rank",))
    other = {"num_records": 4} if run is DESCENT else {"times": [0.2, 0.6, 1.0]}
    with pytest.raises(
        ValueError, match=r"recorded at other steps or times. Resume with the same num_steps or horizon"
    ):
        run(net, TARGET, resume=part.snapshot, **other)


def test_files_of_snapshots_say_by_name_how_runs_ended(rng, tmp_path, monkeypatch):
    """Whatever the numbers of the results are in the version that reads them, also of files that have no names."""
    monkeypatch.setattr(host, "_SECONDS_PER_CALLBACK", 0.0)
    part = DESCENT(starts(rng)[0], TARGET, callback=Interrupt(2))
    save_snapshot(part.snapshot, tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz") as archive:
        arrays = dict(archive)
    names = arrays.pop("results").tolist()
    assert names[int(part.snapshot.leaves[-1])] == "running" and len(names) == len(db.Result)

    def goes_on(**changed):
        np.savez(tmp_path / "other.npz", **arrays | changed)
        return DESCENT(starts(np.random.default_rng(20230303))[0], TARGET, resume=load_snapshot(tmp_path / "other.npz"))

    last = max(name for name in arrays if name.startswith("state_"))
    whole = DESCENT(starts(np.random.default_rng(20230303))[0], TARGET)
    assert_same_bits(goes_on(), whole)
    assert_same_bits(goes_on(results=np.array(names[::-1]), **{last: np.int32(len(names) - 1)}), whole)
    assert goes_on(results=np.array(names[::-1]), **{last: np.int32(names[::-1].index("stalled"))}).result == (
        db.Result.stalled
    )
    with pytest.raises(ValueError, match="of another version of deepbures: it knows the results lost, which"):
        goes_on(results=np.array(["running", "lost"]))
    with pytest.raises(ValueError, match="The snapshot is damaged: it has the codes 9 for how runs ended"):
        goes_on(**{last: np.int32(9)})


def test_results_have_their_names_and_batches_of_them():
    assert {str(name_of(getattr(db.Result, name))) for name in NAMES} == set(NAMES)
    assert len(NAMES) == len(db.Result)
    both = choose(np.array([True, False]), db.Result.diverged, db.Result.running)
    assert name_of(both).tolist() == ["diverged", "running"]


def test_progress_tells_where_the_run_is(rng, monkeypatch):
    monkeypatch.setattr(host, "_SECONDS_PER_CALLBACK", 0.0)
    told = []
    run = DESCENT(starts(rng)[0], TARGET, callback=told.append)
    positions = [progress.position for progress in told]
    assert positions == sorted(positions) and positions[-1] == 60.0
    assert {progress.end for progress in told} == {60.0}
    assert told[-1].loss == run.losses[-1] and told[-1].excess == run.excess[-1]
    assert {progress.minimal_loss for progress in told} == {float(run.minimal_loss)}
    assert {progress.unit for progress in told} == {"step"} and told[-1].share == 1.0
    # A snapshot taken on the way continues to the same end.
    middle = told[len(told) // 2].snapshot
    assert_same_bits(DESCENT(starts(np.random.default_rng(20230303))[0], TARGET, resume=middle()), run)


def test_callbacks_come_a_few_times_a_second_at_most(rng):
    told = []
    DESCENT(starts(rng)[0], TARGET, callback=told.append)
    began = len(told)
    DESCENT(starts(rng)[0], TARGET, callback=told.append)  # compiled by now: milliseconds
    assert len(told) - began <= 3


@pytest.mark.parametrize("batch", [(), (2,)])
def test_that_a_run_goes_on_is_seen_without_an_operation_of_jax(batch):
    ended = choose(
        jnp.zeros(batch, bool).at[..., :1].set(True) if batch else True, db.Result.finished, db.Result.running
    )
    state = host.with_result(host.State.at_start((), (), jnp.int32), ended)
    assert type(host._running(state)) in (np.ndarray, np.bool_)
    assert host._running(state).tolist() == np.asarray(state.is_running).tolist() == ([False, True] if batch else False)
