"""The curves behind the grid: what is recorded, against constructions; findings that can fail; figures."""

import dataclasses

import numpy as np
import pytest

from deepbures import plot
from deepbures.experiments import Curves, compute_all, curves

RUNS = (("close", "bw", 1, 0.0), ("small", "bw", 2, 0.02))


@pytest.fixture(scope="module")
def pieces():
    """The pieces of two runs, as a keeper is given them."""
    kept = {}

    def keep(thunks):
        kept.update(compute_all(thunks))
        return dict(kept)

    curves(runs=RUNS, keep=keep)
    return kept


@pytest.fixture(scope="module")
def record(pieces):
    return curves(runs=RUNS, keep=lambda thunks: {key: pieces[key] for key in thunks})


def test_depth_one_is_exact(record):
    """e(t) = e(0) exp(−4t): excess, bound and distance to the minimizer are one curve."""
    run = record.curves[0]
    expected = run.excess[0] * np.exp(-4 * run.times)
    np.testing.assert_allclose(run.excess, expected, rtol=1e-6)
    np.testing.assert_allclose(run.bounds["flow-exact"], expected, rtol=1e-12)
    # B²(WWᵀ, W*W*ᵀ) is L itself, as W*W*ᵀ = Σ0.
    np.testing.assert_allclose(run.distance, expected, rtol=1e-6)
    assert run.violated == ()
    assert set(run.bounds) == {"flow-exact", "flow-derived"}
    assert run.label == "close, BW, depth 1"


def test_a_small_start_learns_five_modes_saddle_by_saddle(record):
    run = record.curves[1]
    np.testing.assert_allclose(run.singular_values[-1], np.sqrt([7.98, 3.98, 1.98, 0.98, 0.48]), rtol=1e-3)
    assert run.plateaus[:, 0].tolist() == [0, 1, 2, 3, 4]
    rest = (np.sqrt(8 * 0.5 ** np.arange(20)) - np.sqrt(0.02)) ** 2
    np.testing.assert_allclose(run.plateaus[:, 1], [rest[r:].sum() for r in range(5)], rtol=1e-9)
    assert (run.plateaus[1:, 2] >= run.plateaus[:-1, 3]).all()
    assert run.alignment[-1] > 0.9999


def test_findings_hold_and_can_fail(record):
    assert [finding.held for finding in record.findings] == [True, True, True, True]
    broken = dataclasses.replace(
        record.curves[0],
        violated=("flow-exact",),
        balancedness_gap=np.array([1e-3]),
        alignment=np.array([0.5]),
    )
    shuffled = dataclasses.replace(record.curves[1], plateaus=record.curves[1].plateaus[::-1])
    assert [finding.held for finding in Curves((broken, shuffled)).findings] == [False, False, False, False]


def test_findings_of_nothing_are_too_little_to_judge(record):
    """No bound to be kept, no close start whose balancedness was recorded, no end of a run."""
    without = dataclasses.replace(record.curves[1], bounds={}, violated=())
    assert [finding.held for finding in Curves((without,)).findings] == [None, None, True, True]
    assert [finding.held for finding in Curves(()).findings] == [None, None, None]
    lost = dataclasses.replace(record.curves[0], balancedness_gap=np.array([np.nan]))
    assert Curves((record.curves[0], lost)).findings[0].held is False


def test_tables(record):
    tables = record.tables()
    assert [row["run"] for row in tables["runs"]] == ["close, BW, depth 1", "small, BW, τ = 0.02, depth 2"]
    assert len(tables["plateaus"]) == 5


def test_figures(record):
    assert [axes.get_title(loc="left") for axes in plot.plot_bounds_on_curves(record).axes] == ["depth 1, τ = 0"]
    assert len(plot.plot_curve_records(record).axes) == 4
    left, right = plot.plot_saddles(record).axes
    assert left.get_title(loc="left") == "BW, τ = 0.02, depth 2"
    assert len(right.lines) == 5
    close, small = (Curves((curve,)) for curve in record.curves)
    for draw, wrong in (
        (plot.plot_bounds_on_curves, small),
        (plot.plot_curve_records, small),
        (plot.plot_saddles, close),
    ):
        with pytest.raises(ValueError, match="record must hold a run from a"):
            draw(wrong)


@pytest.mark.parametrize("run", [("near", "bw", 1, 0.0), ("close", "l2", 1, 0.0)])
def test_bad_input(run):
    with pytest.raises(ValueError, match=f"'{run[0]}', '{run[1]}', … was given|\\('{run[0]}', '{run[1]}', …\\)"):
        curves(runs=(run,))
