"""Grid, descent, bounds and smoothing: known answers, the rule for slopes, findings that can fail, figures."""

import dataclasses

import numpy as np
import pytest

import deepbures as db
from deepbures import plot
from deepbures.experiments import _smoothing, bounds, compute_all, descent, grid, smoothing
from deepbures.experiments._setting import close_start, slope, usable_tau, zipf_target


@pytest.fixture(scope="module")
def cells():
    return grid(losses=("bw",), taus=(0.0, 0.1), smins=(-1.0, 2.0), depths=(1, 10))


@pytest.fixture(scope="module")
def few():
    """Of depth 1 with k = n and τ = 0, of depth 2 with a bottleneck, and of depth 2 with smoothing."""
    return bounds(num_instances=3, dims=(2,), seed=2861)


@pytest.fixture(scope="module")
def rows():
    return smoothing(taus=(0.0, 0.1), depths=(1, 2))


def test_depth_one_without_smoothing_has_slope_four(cells):
    """L = L(0) exp(−4t)."""
    at = cells.where(tau=0.0, depth=1)
    np.testing.assert_allclose(cells.slope[at], -4 / np.log(10), rtol=1e-5)
    np.testing.assert_allclose(cells.predicted[at], -4 / np.log(10), rtol=1e-12)


def test_cells_above_the_smallest_eigenvalue_are_there_twice(cells):
    at = cells.where(smin=-1.0, tau=0.1, depth=10)
    assert cells.clipped[at].tolist() == [True, False]
    np.testing.assert_allclose(cells.tau_used[at], [0.05, 0.1])
    assert (cells.predicted[at] == 0).all()
    assert not cells.clipped[cells.where(smin=2.0)].any()


def test_the_target_and_the_start_are_the_authors():
    target = zipf_target(2.0, 0)
    assert target.eigenvalues[-1] == pytest.approx(2.05)
    assert usable_tau(3.0, target) == pytest.approx(2.05)
    w = close_start(target, 0.5, 0)
    loss = float(db.BuresWasserstein(0.5).value(w, target))
    assert 0.8 * 2.05 < loss <= 2.05  # the first that is below λ_n: hardly any margin


@pytest.mark.parametrize("with_rate", [True, False])
def test_slopes_of_made_up_curves(with_rate):
    """Fast until 10⁻²·⁵, then slow: the last 0.1 units of time are of the slow part, up to 10⁻³·⁵."""
    times = np.linspace(0, 2, 4001)
    logs = np.where(times < 0.5, -5 * times, -2.5 - (times - 0.5))
    rate = np.where(times < 0.5, 5.0, 1.0) * np.log(10) if with_rate else None
    found, residual = slope(times, 10.0**logs, rate)
    assert found == pytest.approx(-1.0, rel=1e-3)
    assert residual < 1e-3


def test_curves_that_do_not_cross_the_window_have_no_slope():
    times = np.linspace(0, 3, 100)
    assert np.isnan(slope(times, 10.0 ** (-0.5 * times))[0])
    assert np.isnan(slope(times, np.zeros(100))[0])


def test_few_records_are_enough_with_rates():
    """Twelve records of an exponential; the rate makes the interpolation exact."""
    times = np.geomspace(1e-3, 3, 12)
    found, residual = slope(times, np.exp(-7 * times), np.full(12, 7.0))
    assert found == pytest.approx(-7 / np.log(10), rel=1e-9)
    assert residual < 1e-9


def test_descent_agrees_with_the_flow():
    one = descent(cells=((25, 5.0, 0.0),))
    assert abs(one.ratio[0] - 1) < 0.01
    assert one.findings[0].held
    assert not dataclasses.replace(one, descent_slope=1.02 * one.flow_slope).findings[0].held
    assert plot.plot_descent_against_flow(one).axes[0].get_ylabel().startswith("descent / flow")


def test_bounds_hold_and_a_violation_would_be_told(few):
    assert few.findings[0].held
    assert few.findings[1].held
    assert not any(values.any() for name, values in few.violated.items() if name != "flow-authors-code")
    exact = few.applies["flow-exact"] & (few.depth == 1)
    assert exact.tolist() == [True, False, False]
    assert few.applies["flow-bottleneck"].tolist() == [False, True, False] and few.tau[2] > 0
    np.testing.assert_allclose(few.tightness["flow-exact"][exact], 1.0, rtol=1e-5)
    name = next(name for name in ("flow-derived", "flow-bottleneck") if few.applies[name].any())
    broken = dataclasses.replace(
        few,
        violated={**few.violated, name: few.applies[name]},
        smallest=few.margin / 2,
        monotone=np.zeros(len(few), bool),
        contraction=np.ones(len(few)),
    )
    held = [finding.held for finding in broken.findings]
    assert held[0] is False and held[1] is False and held[4] is False


def test_bounds_without_instances_are_too_little_to_judge(few):
    """Zero violations in zero instances are no evidence: of one certificate, and of all of them."""
    untested = next(name for name in few.guarantees if few.applies[name].any())
    none = np.zeros(len(few), bool)
    some = dataclasses.replace(few, applies={**few.applies, untested: none})
    assert not any(f"{untested}: 0 violations" in finding.evidence for finding in some.findings)
    assert untested in some.findings[-1].statement and some.findings[-1].held is None
    nothing = dataclasses.replace(few, applies=dict.fromkeys(few.applies, none))
    assert nothing.findings[0].held is None and " 0 violations" not in nothing.findings[0].evidence
    assert {row["median"] for row in nothing.tables()["tightness"]} == {None}


def test_medians_of_bounds_are_over_the_same_runs(few):
    """The paper's rate is known of two runs, the derived one of another as well, which no median may count."""
    tightness = {
        **few.tightness,
        "flow-derived": np.array([1.0, 3.0, 1000.0]),
        "flow-paper": np.array([6.0, 8.0, np.nan]),
    }
    told = dataclasses.replace(few, tightness=tightness).findings[3].evidence
    assert told.endswith("over these: flow-derived 2, flow-paper 7.")
    unknown = {**tightness, "flow-derived": np.array([np.nan, np.nan, 1000.0])}
    finding = dataclasses.replace(few, tightness=unknown).findings[3]
    assert finding.held is None and "nan" not in finding.evidence and "edian" not in finding.evidence


def test_a_grid_without_clipped_cells_is_too_little_to_judge(cells):
    finding = dataclasses.replace(cells, clipped=np.zeros(len(cells), bool)).findings[-1]
    assert finding.statement.startswith("Where the authors' code clips") and finding.held is None


def test_smoothing_has_its_closed_forms(rows):
    """λ_5 = 8/5 and λ_6 = 8/6: condition 1/(1 − λ_6/λ_5) = 6; escape from s0 = 1e-3 √λ at depth 1 and 2, τ = 0."""
    exact = rows.tau == 0
    assert rows.condition[exact & (rows.depth == 1)] == pytest.approx(6.0)
    height = np.sqrt(1.6)
    np.testing.assert_allclose(rows.escape[exact], [np.log(0.999 / 0.5) / 2, np.log(999) / (4 * height)], rtol=5e-3)
    np.testing.assert_allclose(rows.aligned, rows.escape, rtol=0.02)
    lam = 8 / np.arange(1, 11)
    lost = ((np.sqrt(lam[:5]) - np.sqrt(lam[:5] - 0.1)) ** 2).sum() / lam[5:].sum()
    np.testing.assert_allclose(rows.bias, [1, 1, 1 + lost, 1 + lost], rtol=1e-9)


def test_the_escape_is_turned_on_the_left(rows, monkeypatch):
    """A turn on the left matters: where it is large, whole flow and scalar equation part, and the finding fails."""
    assert rows.findings[-1].held
    monkeypatch.setattr(_smoothing, "_TURN", 1.2)
    turned = smoothing(taus=(0.0,), depths=(1,))
    assert turned.findings[-1].statement == rows.findings[-1].statement and turned.findings[-1].held is False


def test_figures(cells, few, rows):
    assert len(plot.plot_slopes(cells).axes) == 3
    assert len(plot.plot_slopes(cells, ratio=True).axes) == 3
    assert len(plot.plot_slopes_by_depth(cells).axes) == 1
    assert plot.plot_tightness(few).axes[0].get_xscale() == "log"
    assert "0 of" in plot.plot_margins(few).axes[0].get_title(loc="left")
    assert len(plot.plot_smoothing(rows).axes) == 4
    with pytest.raises(ValueError, match="record must hold runs of the loss 'frobenius'"):
        plot.plot_slopes(cells, loss="frobenius")


def test_interrupted_and_resumed_is_uninterrupted(cells):
    kept = {}

    def keep(pieces):
        for key, compute in pieces.items():
            if key not in kept:
                kept.update(compute_all({key: compute}))
                if len(kept) == 2:
                    raise KeyboardInterrupt
        return dict(kept)

    arguments = {"losses": ("bw",), "taus": (0.0, 0.1), "smins": (-1.0, 2.0), "depths": (1, 10)}
    with pytest.raises(KeyboardInterrupt):
        grid(keep=keep, **arguments)
    again = grid(keep=keep, **arguments)
    for name in cells.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(cells, name))


def test_bad_input():
    with pytest.raises(ValueError, match=r"taus must begin with 0 and be below 1\.6"):
        smoothing(taus=(0.1, 0.2))
    with pytest.raises(ValueError, match="num_instances must be at least 1, but 0"):
        bounds(num_instances=0)
    with pytest.raises(ValueError, match="losses must be of 'bw' and 'frobenius', but 'l2' was given"):
        grid(losses=("l2",))
    with pytest.raises(ValueError, match="depths must be whole numbers from 1 on"):
        grid(depths=(0,))
    with pytest.raises(ValueError, match="taus must be finite and not negative"):
        grid(taus=(-1.0,))
