"""The report: every kind of fit gives one self-contained page that says what happened, and never a warning."""

import dataclasses
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import equinox as eqx
import numpy as np
import pytest

import deepbures as db
from deepbures.datasets import Dataset
from deepbures.report import render_report, write_report
from deepbures.training import Fit, Result

_VOID = {"meta", "br", "hr", "img", "input", "link", "wbr"}


class Page(HTMLParser):
    """A page taken apart: complains of tags that do not match and of identifiers that are not unique."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open, self.ids, self.labels, self.links = "", [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag not in _VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "svg":
            assert values["role"] == "img"
            self.labels.append(values["aria-label"])
        self.links += [values[name] for name in ("href", "src", "xlink:href") if name in values]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def page(fit: Fit, data: Dataset, **summary: object) -> Page:
    text = render_report(fit, data, summary)
    assert text == render_report(fit, data, summary)
    assert "\ufffd" not in text and "Undefined" not in text
    parsed = Page(text)
    # Nothing is fetched from anywhere: references within the page, and images in it.
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in parsed.links)
    assert not re.search(r"@import|url\((?!#)|<script", text)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    return parsed


@pytest.fixture(scope="module")
def images() -> Dataset:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((30, 12)) * np.array([6, 5, 4, 3, 2, 1, 1, 1, 1, 0, 0, 0.0]) + 1
    return Dataset("small", samples=samples, image_shape=(3, 4), description="Thirty <images>.")


@pytest.fixture(scope="module")
def covariance() -> Dataset:
    return Dataset("diagonal", covariance=np.diag([4.0, 2.0, 1.0, 0.0]))


@pytest.fixture(scope="module")
def descended(images: Dataset) -> Fit:
    return db.fit(db.Target.from_samples(images.samples), 2, depth=2, solver="descent", num_steps=3000)


def test_a_run_that_converged(images, descended):
    result = page(descended, images, seed=7, command="deepbures fit small --rank 2", seconds=1.25)
    assert "Reached the theoretical minimum" in result.text and "Warning" not in result.text
    assert "small: rank 2, depth 2" in result.text and "Thirty <images>." in result.text
    for title in ("Loss against theory", "Other records of the run", "Spectra", "Eigen-images", "Samples"):
        assert title in result.text
    assert "deepbures fit small --rank 2" in result.text and "1.25" in result.text
    assert "drawn with seed 7" in result.text
    cosine = re.search(r"Smallest \|cos\| between the two rows: ([\d.]+)", result.text)
    assert cosine and float(cosine[1].rstrip(".")) > 0.99
    assert "2 → 2 → 12" in result.text
    assert all(len(label) > 40 for label in result.labels)


def test_closed_form_has_no_trajectory(images):
    fit = db.fit(db.Target.from_samples(images.samples), 2, depth=1, solver="closed-form")
    result = page(fit, images)
    assert "in closed form" in result.text and fit.proved is None and "What is proved" not in result.text
    assert (
        "Loss against theory" not in result.text and "Balancedness gap" not in result.text and "Spectra" in result.text
    )


def test_covariance_has_no_images(covariance):
    fit = db.fit(db.Target.from_covariance(covariance.covariance), 2, solver="descent", num_steps=2000)
    result = page(fit, covariance)
    assert "a covariance matrix of dimension 4" in result.text and "Eigen-images" not in result.text
    assert "1 of 4 eigenvalues of the target are zero" in result.text


def test_images_of_a_covariance_without_samples():
    data = Dataset("c", covariance=np.diag([4.0, 2.0, 1.0, 0.0]), image_shape=(2, 2))
    result = page(db.fit(db.Target.from_covariance(data.covariance), 2, solver="closed-form"), data)
    assert "Eigen-images" in result.text and "model st. dev." in result.text and "data st. dev." not in result.text


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_color_images(rng, channels):
    samples = rng.uniform(size=(20, 4 * channels))
    data = Dataset("color", samples=samples, image_shape=(2, 2, channels))
    fit = db.fit(db.Target.from_samples(samples), 3, solver="closed-form")
    assert "Samples" in page(fit, data).text


def test_target_known_through_products_only():
    variances = np.arange(40.0, 0, -1)
    target = db.Target.from_operator(lambda w: variances[:, None] * w, 40, variances.sum())
    fit = db.fit(target, 2, solver="closed-form")
    data = Dataset("operator", covariance=np.diag(variances), image_shape=(5, 8))
    assert target.eigenvalues is None
    assert "leading 18 of 40 eigenvalues" in page(fit, data).text


def test_steps_that_did_not_suffice(covariance):
    fit = db.fit(db.Target.from_covariance(covariance.covariance), 2, depth=2, solver="descent", num_steps=1)
    text = page(fit, covariance).text
    assert "Ended at loss" in text and "above the theoretical minimum 1 (" in text and "allow more, or continue" in text


def test_divergence(covariance):
    target = db.Target.from_covariance(covariance.covariance)
    with pytest.warns(UserWarning, match="above the stability limit"):
        fit = db.fit(target, 2, depth=2, solver="descent", num_steps=300, step_size=50.0)
    assert "Use a smaller step size" in page(fit, covariance).text
    nothing = np.asarray(np.nan)
    lost = eqx.tree_at(lambda f: (f.final_loss, f.excess, f.relative_excess), fit, (nothing, nothing, nothing))
    lost = eqx.tree_at(lambda f: f.network.weights[1], lost, np.full((4, 2), np.nan))
    assert "left the range of finite numbers" in page(lost, covariance).text


@pytest.fixture(scope="module")
def certified() -> tuple[Fit, Dataset]:
    data = Dataset("diagonal", covariance=np.diag([4.0, 2.0, 1.0]))
    target = db.Target.from_covariance(data.covariance)
    return db.fit(target, 3, init="close", solver="descent", step_size=0.01, num_steps=300), data


def rows_of_certificates(text: str) -> dict[str, str]:
    table = text[text.index('<div class="promises') :]
    table = table[: table.index("</table>")]
    return {row[1]: row[0] for row in re.findall(r"(<tr[^>]*><th scope=\"row\"><code>([\w-]+)</code>.*?</tr>)", table)}


def test_certificates_are_a_table_and_bounds_in_the_figure(certified):
    fit, data = certified
    parsed = page(fit, data)
    rows = rows_of_certificates(render_report(fit, data, {}))
    assert list(rows) == [certificate.name for certificate in fit.certificates]
    assert "kept; observed rate 1 times this one" in rows["descent-exact"] and ">0.5<" in rows["descent-exact"]
    assert 'class="no"' in rows["flow-paper"] and "<td>no</td>" in rows["flow-paper"]
    assert "about gradient flow, and this is a descent" in rows["flow-exact"]
    assert all("smoothing τ: 0 (needed &gt; 0)" in rows[name] for name in ("flow-paper", "flow-authors-code"))
    assert not any("missed" in row for row in rows.values() if 'class="no"' not in row)
    # Guarantees that apply to the run are in the figure, and no others.
    approach = next(label for label in parsed.labels if "Distance of the loss" in label)
    assert "not to be crossed: bound descent-exact, bound descent-constant." in approach
    assert "bound descent-exact" in parsed.text and "predicted slope exp(−4 t)" in parsed.text
    assert "violated" not in parsed.text


def test_what_is_proved_comes_first_and_the_table_is_folded_away(certified):
    fit, data = certified
    parsed, text = page(fit, data), render_report(fit, data, {})
    order = [
        '<div class="verdict',
        "What is proved",
        "From step 0 on",
        "<svg",
        '<details class="statements">',
        "What was asked",
    ]
    found = [text.index(part, text.index("<main>")) for part in order]
    assert found == sorted(found)
    assert text.count("From step 0 on") == 1 and "(descent-exact)" in parsed.text
    assert parsed.labels[0].startswith("What is proved. ")
    promised = [check for check in fit.checks if check.applies and check.certificate.is_guarantee]
    assert [check.certificate.name for check in promised] == ["descent-exact", "descent-constant"]
    assert f"{len(fit.checks)} statements, 2 of them guarantees that apply" in parsed.text
    assert text.index('<details class="statements">') < text.index('<div class="promises') < text.index("</details>")


def test_a_proof_that_begins_on_the_way_is_marked_in_the_figure():
    data = Dataset("diagonal", covariance=np.diag([4.0, 2.0, 1.0]))
    fit = db.fit(db.Target.from_covariance(data.covariance), 2, depth=2)
    assert fit.proof.record > 0
    parsed = page(fit, data)
    assert fit.proved[1:40] in parsed.text and "the proof begins" in parsed.text
    assert "none of them a guarantee that applies" in parsed.text and not re.search(
        r"\de[-+]\d", parsed.text.split("What was asked")[0]
    )


def test_where_nothing_is_proved_the_page_says_what_is_missed(covariance):
    fit = db.fit(db.Target.from_covariance(covariance.covariance), 2, depth=2, solver="descent", num_steps=1)
    assert not fit.proof
    parsed = page(fit, covariance)
    assert f"Nothing is proved of this run: {'; '.join(fit.proof.missed)}" in parsed.text
    assert not any(label.startswith("What is proved") for label in parsed.labels)


def test_a_violated_guarantee_cannot_be_overlooked(certified):
    fit, data = certified
    broken = tuple(
        dataclasses.replace(check, violated=True, first_violation=7.0, largest_ratio=1.5)
        if check.certificate.name == "descent-exact"
        else check
        for check in fit.checks
    )
    other = dataclasses.replace(fit, checks=broken)
    text = render_report(other, data, {})
    assert text.index('role="alert"') < text.index("What was asked")
    assert (
        "descent-exact: VIOLATED, first at 7, excess up to 1.5 times the bound" in text and "please report it" in text
    )
    row = rows_of_certificates(text)["descent-exact"]
    assert 'class="violated"' in row and "VIOLATED: first at 7" in row and '<details class="statements" open>' in text
    # The warning of the run says the same: it is told once at the top.
    (warning,) = re.findall(r"<li>(descent-exact: VIOLATED.*?)</li>", text)
    told = render_report(other, data, {"warnings": [warning]})
    assert told.count("<li>descent-exact: VIOLATED") == 1 and "<strong>Warning" not in told


def test_rates_beyond_floating_point_are_powers_of_ten(certified, monkeypatch):
    fit, data = certified
    (exact,) = [type(certificate.theorem) for certificate in fit.certificates if certificate.name == "descent-exact"]
    monkeypatch.setattr(exact, "log_rate", lambda self, start: -1500.0)
    row = rows_of_certificates(render_report(fit, data, {}))["descent-exact"]
    assert ">10^−651.4<" in row


@pytest.mark.parametrize("name", ["stationary", "stalled", "max_steps", "interrupted", "running"])
def test_every_other_ending_says_what_to_do(covariance, descended, images, name):
    ending = getattr(Result, name)
    other = eqx.tree_at(lambda f: f.result, descended, ending)
    assert str(Result[ending]) in page(other, images).text


def test_one_record_and_no_excess(descended, images):
    run = descended.trajectory
    short = {name: np.asarray(values)[:1] for name, values in run.records.items()}
    short["excess"] = np.zeros(1)
    run = eqx.tree_at(lambda t: (t.times, t.steps, t.records), run, (run.times[:1], run.steps[:1], short))
    assert (
        "at or below rounding at every record" in page(eqx.tree_at(lambda f: f.trajectory, descended, run), images).text
    )


def test_smoothing_above_an_eigenvalue_is_explained(covariance):
    target = db.Target.from_covariance(covariance.covariance)
    with pytest.warns(UserWarning, match="cannot be used"):
        fit = db.fit(target, 3, depth=2, tau=1.5, solver="closed-form")
    text = page(fit, covariance).text
    assert "mode(s) 3 of the leading 3: they cannot be used" in text and "τ = 1.5" in text
    assert "0 (slower than exponential)" in text
    told = page(fit, covariance, warnings=["mode(s) 3 cannot be used."]).text
    assert told.count("cannot be used") == 2  # the warning, and the record of it: not a third of its own


def test_frobenius_loss_and_a_rank_that_reaches_zero(covariance):
    fit = db.fit(db.Target.from_covariance(covariance.covariance), 4, loss="frobenius", solver="closed-form")
    text = page(fit, covariance).text
    assert "squared Frobenius" in text and "of the loss of the zero network" in text and "Smoothing" not in text
    zero = Dataset("zero", covariance=np.zeros((3, 3)))
    target = db.Target.from_covariance(np.diag([1.0, 0.0, 0.0]))
    assert page(db.fit(target, 2, solver="closed-form"), zero).text


def test_summary_is_shown_whole_and_escaped(descended, images):
    summary = {
        "request": {"seed": 3, "data": "<b>x</b>"},
        "versions": {"jax": "0.10.2"},
        "widths": [2, 2],
        "none": None,
    }
    result = page(descended, images, **summary)
    assert "<b>x</b>" in result.text and "versions.jax" in result.text and "2, 2" in result.text
    assert "drawn with seed 3" in result.text
    listed = page(descended, images, certificates=[{"name": "flow-exact", "missed": ["τ"]}], pairs=[{"a": 1}])
    assert "certificates.flow-exact.missed" in listed.text and "pairs.0.a" in listed.text


def test_long_names_do_not_fill_the_heading(descended, images):
    name = "gaussian:dim=20,spectrum=zipf,kind=eig,seed=0"
    long = Dataset(name, samples=images.samples)
    text = page(descended, long).text
    assert "gaussian: rank 2" in text and name in text


def test_written_whole_or_not_at_all(tmp_path: Path, descended, images, monkeypatch):
    path = tmp_path / "report.html"
    write_report(path, descended, images, {})
    before = path.read_bytes()
    write_report(path, descended, images, {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, descended, images, {"seed": 1})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_template_is_part_of_the_package():
    assert resources.files("deepbures").joinpath("templates", "report.html.jinja").is_file()
