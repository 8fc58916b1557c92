"""Plateaus: the saddles a run stayed at, against made-up runs and the scalar equation of the modes."""

import equinox as eqx
import numpy as np
import pytest

import deepbures as db
from deepbures.training import Plateau

TARGET = db.Target.from_spectrum([9.0, 4.0, 1.0], key=0)
LOSS = db.BuresWasserstein()


@pytest.fixture(scope="module")
def template():
    start = db.initialize((2, 3), "gaussian", key=0)
    return db.gradient_flow(start, TARGET, LOSS, 1.0, num_records=2)


def made_up(template, times, losses, speeds):
    """A run with bottleneck 2 and these records."""
    records = {"loss": np.array(losses), "gradient_norm": np.sqrt(np.array(speeds)), "excess": np.array(losses)}
    values = (np.array(times), np.arange(len(times)), records)
    return eqx.tree_at(lambda run: (run.times, run.steps, run.records), template, values)


def test_stays_at_the_losses_of_lower_rank(template):
    """L_0 = 14, L_1 = 5, L_2 = 1; bands at 5 %: above 13.55, and 4.8 to 5.45."""
    times = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    losses = [14.0, 13.9, 9.0, 5.2, 5.0, 3.0, 1.0]
    speeds = [0.1, 0.1, 5.0, 0.5, 0.01, 2.0, 0.0]
    first, second = db.plateaus(made_up(template, times, losses, speeds), TARGET, LOSS)
    assert (first.rank, first.level, first.begin, first.left) == (0, 14.0, 0.0, True)
    assert first.end == pytest.approx(2 ** ((13.9 - 13.55) / 4.9))
    assert (second.rank, second.level, second.left) == (1, 5.0, True)
    assert second.begin == pytest.approx(2 * 2 ** ((9 - 5.45) / 3.8))
    assert second.end == pytest.approx(8 * 2 ** ((5 - 4.8) / 2))
    assert second.duration == second.end - second.begin


def test_passing_a_level_at_full_speed_is_no_stay(template):
    run = made_up(template, [0.0, 1.0, 2.0, 3.0, 4.0], [12.0, 9.0, 5.0, 3.0, 1.0], [5.0, 5.0, 5.0, 5.0, 0.0])
    assert db.plateaus(run, TARGET, LOSS) == ()


def test_a_run_that_never_leaves(template):
    run = made_up(template, [0.0, 1.0, 50.0], [9.0, 5.01, 5.0], [5.0, 0.1, 0.0])
    assert db.plateaus(run, TARGET, LOSS) == (Plateau(1, 5.0, pytest.approx(1.0, rel=0.2), 50.0, left=False),)


def test_smoothed_plateaus_end_when_the_scalar_equation_of_the_next_mode_says():
    """An aligned start: rank 1 is left when the second mode has grown to what lowers the loss by 5 % of its drop."""
    loss, hidden = db.BuresWasserstein(0.1), np.array([0.01, 0.01])
    start = db.balanced_network(TARGET.covariance.basis[:, :2] * hidden, (2, 2, 3))
    run = db.gradient_flow(start, TARGET, loss, 40.0, num_records=1500, record=("loss",))
    stays = {plateau.rank: plateau for plateau in db.plateaus(run, TARGET, loss)}
    grid = np.linspace(0, 40, 40_001)
    mode = db.aligned_flow(hidden, TARGET.eigenvalues[:2], loss, grid, depth=2)[:, 1]
    cost = (np.sqrt(4.0) - np.sqrt(mode**2 + 0.1)) ** 2
    drop = (np.sqrt(4.0) - np.sqrt(0.1)) ** 2
    expected = grid[np.flatnonzero(cost < 0.95 * drop)[0]]
    assert stays[1].end == pytest.approx(expected, rel=2e-3)
    assert stays[0].end < stays[1].begin


def test_bad_input(template):
    with pytest.raises(ValueError, match=r"width must be below 1/2, but 0.7"):
        db.plateaus(template, TARGET, LOSS, width=0.7)
    with pytest.raises(ValueError, match=r"width must be finite and positive, but -0.1"):
        db.plateaus(template, TARGET, LOSS, width=-0.1)
    batch = eqx.tree_at(lambda run: run.records["loss"], template, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"plateaus takes a single run, but this is a batch of shape \(2,\)"):
        db.plateaus(batch, TARGET, LOSS)
