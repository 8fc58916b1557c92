"""What a fit says of the model: explained variance, the deviation of each feature, mixed scales."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import deepbures as db
from deepbures._words import in_percent
from deepbures.datasets import Dataset
from deepbures.report import render_report
from deepbures.training import FeatureDeviations


def closed_form(covariance, rank, **options):
    return db.fit(db.Target.from_covariance(np.asarray(covariance)), rank, solver="closed-form", **options)


def mixed(num=400, seed=0):
    """Samples of ten features: three common factors of large scale, and seven small features of their own."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(num, 3)) * [300, 200, 100], rng.normal(size=(num, 7)) * 0.5], axis=1)


@pytest.mark.parametrize("loss, tau", [("bw", 0.0), ("bw", 0.5), ("frobenius", 0.0)])
def test_explained_variance(loss, tau):
    values = np.array([4.0, 2.0, 1.0, 0.0])
    share = float(closed_form(np.diag(values), 2, loss=loss, tau=tau).explained_variance)
    # W Wᵀ + τ I and Σ0 commute: B² is the squared distance of the roots.
    roots = np.sqrt([max(values[0] - tau, 0) + tau, max(values[1] - tau, 0) + tau, tau, tau])
    assert share == pytest.approx(1 - ((roots - np.sqrt(values)) ** 2).sum() / values.sum(), rel=1e-12)
    if tau == 0:
        assert share == pytest.approx(6 / 7, rel=1e-12)


def test_explained_variance_away_from_the_minimum():
    target = db.Target.from_spectrum([4.0, 1.0])
    fitted = db.fit(target, 1, solver="descent", num_steps=1, step_size=1e-9)
    w = fitted.network.end_to_end
    expected = 1 - float(db.squared_bures_wasserstein(w @ w.T, np.diag([4.0, 1.0]))) / 5
    assert float(fitted.explained_variance) == pytest.approx(expected, rel=1e-9)


def test_explained_variance_of_a_target_known_through_products():
    target = db.Target.from_operator(lambda w: np.arange(1.0, 51.0)[:, None] * w, 50, 1275.0)
    fitted = db.fit(target, 2, solver="closed-form")
    assert float(fitted.explained_variance) == pytest.approx((50 + 49) / 1275, rel=1e-9)
    assert fitted.feature_deviations is None


@pytest.mark.parametrize("make", ["samples", "wide samples", "covariance", "factor with a floor"])
def test_deviations_are_those_of_the_features(make):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5 if make == "wide samples" else 30, 8)) * np.array([1e3, 1, 2, 3, 1e-4, 5, 0, 1]) + 7
    x[:, 6] = 7
    expected = x.std(0)
    if make == "covariance":
        target = db.Target.from_covariance(np.cov(x.T, bias=True))
    elif make == "factor with a floor":
        target = db.Target.from_factor((x - x.mean(0)).T / np.sqrt(30), 0.25)
        expected = np.sqrt(expected**2 + 0.25)
    else:
        target = db.Target.from_samples(x)
    fitted = db.fit(target, 2, solver="closed-form", tau=0.1)
    # A covariance has its small variances to rounding of the largest only.
    known = expected**2 > 1e-9 * expected.max() ** 2 if make == "covariance" else slice(None)
    np.testing.assert_allclose(fitted.feature_deviations.data[known], expected[known], rtol=1e-6)
    w = fitted.network.end_to_end
    np.testing.assert_allclose(fitted.feature_deviations.model, np.sqrt(np.diag(w @ w.T) + 0.1), rtol=1e-12)
    assert make == "factor with a floor" or fitted.feature_deviations.data[6] == 0


def test_order_losses_and_advice():
    deviations = FeatureDeviations(np.array([2.0, 0.0, 1.0, 4.0, 1.0]), np.array([0.9, 0.0, 0.0, 4.0, 3.0]))
    assert deviations.worst_first.tolist() == [2, 4, 0, 3]
    assert deviations.lost.tolist() == [0, 2]
    assert not deviations.mixed_scales and deviations.advice == ""
    scaled = FeatureDeviations(np.array([2.0, 0.19]), np.array([2.0, 0.0]))
    assert scaled.mixed_scales
    assert "1 of 2 features has less than half" in scaled.advice and "from 0.19 to 2" in scaled.advice
    assert "Standardize" in scaled.advice


def test_report_of_mixed_scales_says_what_the_model_lacks():
    names = ("big", "large", "great", *(f"<small {i}>" for i in range(7)))
    data = Dataset("table", samples=mixed(), feature_names=names)
    fitted = db.fit(db.Target.from_samples(data.samples), 3, solver="closed-form")
    assert float(fitted.explained_variance) > 0.9999
    text = render_report(fitted, data, {"warnings": [fitted.feature_deviations.advice]})
    assert 'class="verdict caution"' in text
    assert "The model explains 99.99" in text
    assert text.index("7 of 10 features have less than half") < text.index("<section") and "<strong>Warning" not in text
    assert "Standardize the features" in text and "<h2>Features</h2>" in text
    rows = text[text.index("<h2>Features</h2>") :]
    assert rows.index("&lt;small 0&gt;") < rows.index(">big<")
    # What was advised works: all features have their share then, and the verdict is good.
    scaled = data.samples / data.samples.std(0)
    fitted = db.fit(db.Target.from_samples(scaled), 9, solver="closed-form")
    text = render_report(fitted, Dataset("table", samples=scaled), {})
    assert 'class="verdict good"' in text and "Every feature has at least half" in text and "column 9" in text


def test_table_is_limited_and_pixels_have_none():
    covariance = np.diag(np.linspace(1, 2, 100)) + np.ones((100, 100))
    covariance[7] = covariance[:, 7] = 0
    text = render_report(closed_form(covariance, 2), Dataset("wide", covariance=covariance), {})
    features = text[text.index("<h2>Features</h2>") :]
    features = features[: features.index("</section>")]
    assert features.count("<tr>") == 31 and "The 69 others" in features and "One feature is constant" in features
    pixels = Dataset("pixels", covariance=covariance, image_shape=(10, 10))
    assert "<h2>Features</h2>" not in render_report(closed_form(covariance, 2), pixels, {})


def test_numbers_stay_whole_and_wide_tables_scroll():
    data = Dataset("table", samples=mixed() * 1e-5)
    text = render_report(
        db.fit(db.Target.from_samples(data.samples), 3, solver="closed-form"), data, {"tolerance": 1e-7}
    )
    words = re.sub(r"<svg.*?</svg>|<style>.*?</style>", "", text, flags=re.DOTALL)
    assert not re.search(r"\d × 10|\d %", words)  # no-break spaces instead
    assert re.search("\\d\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}10", words)
    assert '<span class="number">1e-07</span>' in text
    assert "overflow-wrap: anywhere" not in text[text.index(".number {") : text.index(".scroll {")]
    assert text.count('<table class="data">') == text.count(
        'class="scroll" tabindex="0" role="region" aria-label="Table'
    )


@pytest.mark.parametrize(
    "share, words",
    [(0.5, "50.00"), (0.99989, "99.99"), (0.999996, "99.9996"), (1.0, "100"), (0.0, "0.00"), (-0.5, "−50.00")],
)
def test_percent(share, words):
    assert in_percent(share) == f"{words} %"


def test_command_line_warns_and_tells(tmp_path):
    path = tmp_path / "table.npy"
    np.save(path, mixed())
    command = [
        sys.executable,
        "-c",
        "from deepbures.cli import main; main()",
        "fit",
        str(path),
        "--rank",
        "3",
        "--solver",
        "closed-form",
    ]
    out = [*command, "--out", str(tmp_path / "run")]
    told = subprocess.run(out, capture_output=True, text=True, check=True)
    assert "variance explained" in told.stdout and "7 of 10 features" in told.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["lost_features"] == 7 and 0.9999 < summary["explained_variance"] < 1
    assert any("Standardize" in warning for warning in summary["warnings"])
