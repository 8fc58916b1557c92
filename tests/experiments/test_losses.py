"""Five losses side by side: known answers, findings that can fail, the figure."""

import dataclasses

import numpy as np
import pytest

from deepbures import plot
from deepbures.experiments import compute_all, losses
from deepbures.experiments._losses import _flows, _left, losses_of
from deepbures.experiments._losses_record import CLAIMS

LAM = np.array([6.0, 1.0, 0.5, 0.25, 0.125])
DEPTHS = (1, 2)
FLOW = "sinkhorn"


@pytest.fixture(scope="module")
def record():
    """Everything but four of five flows to and fro, which are put in as theory has them: a flow is a compilation."""

    def keep(pieces):
        made_up = [key for key in pieces if key.startswith("flows-") and not key.endswith(FLOW)]
        done = compute_all({key: compute for key, compute in pieces.items() if key not in made_up})
        like = done[f"flows-{FLOW}"]
        for key in made_up:
            known = done[key.replace("flows", "hessians")]
            growth = np.log(1 / np.array([1e-2, 1e-3, 1e-4, 1e-5]))
            done[key] = {
                "observed": known["rate"],
                "escape": growth / np.abs(known["saddle"])[:, None],
                "reached": known["minimizer"],
            }
            assert all(done[key][name].shape == like[name].shape for name in like)
        return {key: done[key] for key in pieces}

    return losses(quick=True, depths=DEPTHS, keep=keep)


def of(record, name):
    return record.names.index(name)


def test_every_finding_holds(record):
    assert [finding.held for finding in record.findings] == [True] * 8
    assert record.names == tuple(CLAIMS)
    sizes = {name: len(rows) for name, rows in record.tables().items()}
    assert sizes == {
        "depths": 2 * 5 * 2,  # of two targets
        "distances": 2 * 5,
        "measured": 5 * 2,
        "scales": 5 * 2 * 3,
        "spreads": 5 * 5,
        "missing": 5 * 6,
        "escapes": 5 * 2 * 4,
        "approach": 5 * 8,
    }


def test_extremes_are_those_of_theory(record):
    """For Frobenius 8 N λ_1^(1+p/2) and 2 · 4 (λ_2 − λ_3); for the others from the table of theory, at depth 1."""
    i, tau = of(record, "frobenius"), 0.1
    np.testing.assert_allclose(record.small.sharpness[i], [8 * 6, 16 * 6**1.5])
    np.testing.assert_allclose(record.small.rate[i], [4, 4])
    np.testing.assert_allclose(record.small.condition[i], record.small.sharpness[i] / 2)
    i = of(record, "bw")
    np.testing.assert_allclose(record.small.sharpness[i, 0], 2 * (6 - tau) / 6)
    np.testing.assert_allclose(record.small.rate[i, 0], 4 * 0.5 / (1 + np.sqrt(0.05)))
    np.testing.assert_allclose(record.small.saddle[i, 0], -2 * 0.5 / (0.5 + np.sqrt(tau)))
    np.testing.assert_allclose(record.by_share[i], (1 - record.shares**-0.5) / (1 - record.shares / 6))
    i = of(record, "entropic")
    np.testing.assert_allclose(record.small.sharpness[i, 0], max(4 * (6 - tau) / (12 - tau), 2 * (1 - 0.125 / 6)))
    np.testing.assert_allclose(record.small.saddle[i, 0], 2 * (0.5 - 1) / 0.5)
    i = of(record, "likelihood")
    np.testing.assert_allclose(record.small.sharpness[i, 0], (6 - 0.125) / (6 * tau))
    np.testing.assert_allclose(record.small.rate[i, 0], 4 * (6 - tau) / 36)


def test_the_bias_is_that_of_theory(record):
    lost = ((np.sqrt(LAM[:2]) - np.sqrt(LAM[:2] - 0.1)) ** 2).sum()
    np.testing.assert_allclose(record.small.minimizer - 0.875, [lost, 0, lost, lost, 0], rtol=0, atol=1e-13)
    noisy = ((np.sqrt(LAM[2:]) - np.sqrt(0.1)) ** 2).sum()
    at = [of(record, name) for name in ("bw", "likelihood")]
    np.testing.assert_allclose(record.small.with_noise[at], noisy, rtol=1e-12)
    np.testing.assert_allclose(record.small.reached[of(record, FLOW)], 0.875, rtol=1e-4)
    assert np.isnan(record.digits.reached).all()  # quick


def test_what_is_wrong_is_found(record):
    """Each finding fails with its number, and with a flow that never left or came to nothing."""
    half, nan = 0.5, np.where(np.arange(5) == 1, np.nan, 1.0)
    by_scale, by_spread, escape, reached = (
        np.array(x) for x in (record.by_scale, record.by_spread, record.escape, record.small.reached)
    )
    by_scale[2, 0, -1] *= 1.001
    by_spread[0, -1] *= 1.2
    escape[1, 0, -1] = np.nan
    reached[3] = np.nan
    approach = record.approach * np.where(np.arange(8) == 0, 1.2, 1.0)
    wrong = (
        {"dense": record.dense * half},
        {"by_scale": by_scale},
        {"by_spread": by_spread},
        {"approach": approach},
        {"by_share_found": record.by_share_found * record.shares**0.02},
        {"small": dataclasses.replace(record.small, reached=reached)},
        {"escape": escape},
        {"observed": record.observed * nan[:, None]},
    )
    for number, change in enumerate(wrong):
        assert dataclasses.replace(record, **change).findings[number].held is False


def test_the_time_of_leaving_is_read_between_records():
    """A logistic fall e = 1/(1 + exp(2 (t − 3))), half at 3, from records a unit apart."""
    times = np.array([0.0, 1.6, 2.6, 3.6, 4.6, 9.0])
    excess = 1 / (1 + np.exp(2 * (times - 3)))
    excess[0] = 1.0
    assert _left(times, excess) == pytest.approx(3.0, abs=1e-9)
    assert np.isnan(_left(times, np.ones(6)))


def test_same_seed_same_bits(record):
    again = _flows(FLOW, DEPTHS, 0)
    np.testing.assert_array_equal(again["escape"], record.escape[of(record, FLOW)])
    np.testing.assert_array_equal(again["observed"], record.observed[of(record, FLOW)])


def test_figure(record):
    svg = plot.to_svg(plot.plot_losses(record))
    assert all(text in svg for text in ("Sinkhorn", "condition at the minimizer", "|λ_min|/λ_max"))


def test_some_of_the_losses_and_bad_input():
    with pytest.raises(ValueError, match=r"names must be of bw, .* but 'l2' was given"):
        losses(names=("l2",))
    with pytest.raises(ValueError, match="depths must be whole numbers from 1 on"):
        losses(depths=(0,))
    assert list(losses_of(0.1)) == list(CLAIMS)
