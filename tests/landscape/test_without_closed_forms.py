"""Losses that do not tell their closed forms: what can be found without them is, and the rest is not known."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import deepbures as db
from deepbures.datasets import Dataset
from deepbures.report import render_report


class Untold(db.AbstractLoss):
    """A loss whose landscape is known to the test, but not to the package."""

    known: db.AbstractLoss

    def _value(self, w, target):
        return self.known._value(w, target)


class Logarithmic(db.AbstractLoss):
    """Without second derivatives at W = 0, where its gradient is zero by symmetry."""

    def _value(self, w, target):
        return (jnp.sqrt(jnp.abs(w)) ** 3).sum()


@pytest.fixture(scope="module")
def target():
    return db.Target.from_spectrum([4.0, 2.0, 1.0], key=0)


def test_a_saddle_is_told_by_its_curvature(target):
    saddle = db.critical_points(target, 2, db.Frobenius())[1].network()
    found = db.classify(saddle, target, Untold(db.Frobenius()))
    assert (found.point, found.escape, found.rank, found.alignments.size) == (None, None, 2, 0)
    assert np.isnan([found.distance, found.relative_distance]).all()
    assert found.is_at and found.is_stalled and found.kind == "strict saddle" and found.gradient_norm < 1e-12
    # 4 (λ_j − λ_i) for mode 2 in the place of mode 3; what is left out is λ² of mode 2; scale 8 λ_1.
    assert found.value == pytest.approx(4.0, rel=1e-12) and found.escape_curvature == pytest.approx(-4.0, rel=1e-6)
    assert found.extremes.largest == pytest.approx(32.0, rel=1e-6)
    assert found.message.startswith("At a strict saddle") and "curvature -4" in found.message


def test_minimizers_and_other_places(target):
    loss, smoothed = Untold(db.BuresWasserstein(0.5)), db.BuresWasserstein(0.5)
    minimizer = db.balanced_network(db.rank_k_minimizer(target, 2, smoothed), (2, 2, 3))
    at = db.classify(minimizer, target, loss)
    assert at.is_at and not at.is_stalled and at.kind == "not known" and at.escape_curvature == 0
    assert "without negative curvature" in at.message
    far = db.classify(db.DeepLinearNetwork([np.eye(2), np.ones((3, 2))]), target, loss)
    known = db.classify(db.DeepLinearNetwork([np.eye(2), np.ones((3, 2))]), target, smoothed)
    assert not far.is_at and not far.is_stalled and far.message.startswith("At no critical point")
    assert far.gradient_norm == pytest.approx(known.gradient_norm, rel=1e-12)
    assert far.value == pytest.approx(known.value, rel=1e-12) and far.effective_rank == known.effective_rank


def test_curvature_that_is_not_found_is_not_known(target):
    found = db.classify(db.DeepLinearNetwork([np.zeros((3, 2))]), target, Logarithmic())
    assert found.extremes is None and np.isnan(found.escape_curvature) and found.kind == "not known"
    assert not found.is_stalled and np.isfinite(found.value) and found.rank == 0


def test_what_needs_closed_forms_says_so_and_numbers_are_nan(target):
    loss = Untold(db.Frobenius())
    for number in (db.minimal_loss, db.sharpness, db.asymptotic_rate):
        assert np.isnan(number(target, 2, loss))
    for refused in (db.rank_k_minimizer, db.critical_points):
        with pytest.raises(TypeError, match="landscape of a Untold is not known in closed form"):
            refused(target, 2, loss)
    with pytest.raises(TypeError, match="landscape of a Untold is not known in closed form"):
        db.hessian_spectrum(target, (0,), loss)
    assert db.certify(db.DeepLinearNetwork([np.ones((3, 2))]), target, loss) == ()


def test_reports_say_that_it_is_not_known(target):
    fitted = db.fit(target, 1, loss=Untold(db.Frobenius()), horizon=0.5, num_records=3)
    text = render_report(fitted, Dataset(name="numbers", covariance=np.eye(3)), {})
    assert "Untold loss" in text and "not a number" not in text and "nan" not in re.sub("<[^>]*>", " ", text)
    rows = re.findall(r"<th[^>]*>([^<]*)</th>\s*<td[^>]*>not known</td>", text)
    assert [row.split(" ")[0] for row in rows] == ["Theoretical", "Excess", "Relative", "Sharpness", "Asymptotic"]
