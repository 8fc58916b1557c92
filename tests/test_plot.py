"""Figures: what is drawn is what was recorded, in every degenerate case, without a warning and the same every time."""

import subprocess
import sys

import equinox as eqx
import numpy as np
import pytest
from matplotlib.figure import Figure

import deepbures as db
from deepbures import plot
from deepbures.training import Proof, Trajectory


@pytest.fixture(scope="module")
def run() -> Trajectory:
    target = db.Target.from_spectrum(np.array([4.0, 2.0, 1.0, 0.0]), key=0)
    start = db.initialize((2, 2, 4), "balanced", key=1)
    return db.gradient_descent(start, target, db.BuresWasserstein(), 60)


def with_record(run: Trajectory, name: str, values: np.ndarray) -> Trajectory:
    return eqx.tree_at(lambda t: t.records[name], run, values)


def first(run: Trajectory, num: int) -> Trajectory:
    cut = {name: np.asarray(values)[:num] for name, values in run.records.items()}
    return eqx.tree_at(lambda t: (t.times, t.steps, t.records), run, (run.times[:num], run.steps[:num], cut))


def drawn(figure: Figure, panel: int = 0, line: int = 0) -> tuple[np.ndarray, np.ndarray]:
    curve = figure.axes[panel].lines[line]
    return np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())


def texts(figure: Figure) -> str:
    return " | ".join(
        text for axes in figure.axes for text in (*(each.get_text() for each in axes.texts), axes.get_title(loc="left"))
    )


def test_loss_is_drawn_with_the_minimum(run):
    figure = plot.plot_loss(run)
    x, y = drawn(figure)
    np.testing.assert_array_equal(x, run.times)
    np.testing.assert_array_equal(y, run.losses)
    np.testing.assert_array_equal(drawn(figure, line=1)[1], float(run.minimal_loss))
    assert "theoretical minimum 1" in texts(figure)
    assert figure.axes[0].get_xlim()[0] == 0  # the start is there, on a scale that is logarithmic only later


def test_prediction_has_the_predicted_slope_and_meets_the_late_run():
    times = np.linspace(0, 10, 101)
    excess = 2 * np.exp(-1.5 * times) + 30 * np.exp(-9 * times)
    run = Trajectory(times, np.arange(101), {"loss": 1 + excess, "excess": excess}, None, np.asarray(1.0), None, None)
    figure = plot.plot_excess(run, rate=1.5)
    x, y = drawn(figure, line=1)
    np.testing.assert_allclose(np.diff(np.log(y)) / np.diff(x), -1.5, rtol=1e-9)
    np.testing.assert_allclose(y, 2 * np.exp(-1.5 * x), rtol=1e-6)
    assert "not a bound" in texts(figure)
    assert figure.axes[0].get_xscale() == "linear" and figure.axes[0].get_yscale() == "log"


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for part in figure.legends for text in part.get_texts()]


def test_bounds_are_labelled_lines_within_the_range_of_the_run():
    times = np.linspace(0, 10, 101)
    excess = 2 * np.exp(-1.5 * times)
    run = Trajectory(times, np.arange(101), {"loss": 1 + excess, "excess": excess}, None, np.asarray(1.0), None, None)
    bounds = {"bound a": 3 * np.exp(-times), "bound b": 2 * np.exp(-100 * times), "none": np.full(101, np.inf)}
    plain, figure = plot.plot_excess(run), plot.plot_excess(run, rate=1.5, bounds=bounds)
    for i, bound in enumerate(list(bounds.values())[:2], 1):
        y = drawn(figure, line=i)[1]
        np.testing.assert_array_equal(y, np.where(bound > 1e-200, bound, np.nan))
    assert np.isnan(drawn(figure, line=3)[1]).all()  # a bound that promises nothing
    assert legend(figure) == [*bounds, "predicted slope exp(−1.5 t)"] and legend(plain) == []
    assert [line.get_linestyle() for line in figure.axes[0].lines][:3] == ["-", ":", "-."]
    # Down to the lowest excess, and up to the highest bound.
    assert figure.axes[0].get_ylim()[0] == plain.axes[0].get_ylim()[0] and figure.axes[0].get_ylim()[1] > 3


def proved_run(step_size: float | None = None) -> tuple[Trajectory, Proof]:
    """A run at a third of the height that is allowed for at record 20, and above all that is allowed before."""
    at = np.linspace(0, 10, 101) if step_size is None else np.arange(101.0)
    excess = 5 * np.exp(-0.5 * np.linspace(0, 10, 101))
    steps = np.arange(101)
    step = None if step_size is None else np.asarray(step_size)
    times = np.linspace(0, 10, 101)
    run = Trajectory(times, steps, {"loss": 1 + excess, "excess": excess}, None, np.asarray(1.0), step, None)
    start = db.initialize((2, 3), "close", target=(target := db.Target.from_spectrum([4.0, 2.0, 1.0])), key=0)
    name = "flow-below-saddle" if step_size is None else "descent-constant"
    (certificate,) = [c for c in db.certify(start, target, db.BuresWasserstein()) if c.name == name]
    return run, Proof(certificate, None, 20, float(at[20]), step_size)


@pytest.mark.parametrize("step_size", [None, 0.1])
def test_a_bound_is_drawn_from_the_record_on_at_which_the_proof_begins(step_size):
    run, proof = proved_run(step_size)
    figure = plot.plot_proof(run, proof)
    x, y = drawn(figure, line=1)
    np.testing.assert_array_equal(x, run.times[20:])  # in time also where steps are counted
    at = np.asarray(run.times[20:] - run.times[20] if step_size is None else run.steps[20:] - 20, np.float64)
    np.testing.assert_allclose(y, proof.certificate.bound(at, step_size=step_size), rtol=1e-9)
    np.testing.assert_array_equal(drawn(figure, line=2)[0], run.times[20])  # the mark
    assert "the proof begins" in texts(figure) and figure.axes[0].get_yscale() == "log"
    low, high = figure.axes[0].get_ylim()
    assert low < run.excess[-1] and high > max(run.excess[0], y[0])


def test_a_figure_of_nothing_proved_and_of_a_proof_of_another_run():
    run, proof = proved_run()
    figure = plot.plot_proof(run, Proof(missed=("the step size",)))
    assert "nothing is proved" in texts(figure) and len(figure.axes[0].lines) == 1
    with pytest.raises(ValueError, match="begins at record 20, but the run has 5 records"):
        plot.plot_proof(first(run, 5), proof)


def test_a_bound_needs_a_value_for_each_record(run):
    with pytest.raises(ValueError, match=r"bounds\['b'\] must have one value for each of the .* has shape \(3,\)"):
        plot.plot_excess(run, bounds={"b": np.ones(3)})


def test_no_exponential_rate_means_two_log_axes_and_no_prediction(run):
    figure = plot.plot_excess(run, rate=0.0)
    assert figure.axes[0].get_xscale() == "log" and len(figure.axes[0].lines) == 1


@pytest.mark.parametrize("bad", [0.0, -1e-18, np.nan, np.inf])
def test_excess_that_a_log_scale_cannot_show(run, bad):
    some = np.array(run.excess)
    some[-3:] = bad
    figure = plot.plot_excess(with_record(run, "excess", some), rate=1.0)
    assert np.isnan(drawn(figure)[1][-3:]).all()
    if bad <= 0:
        assert f"3 of {some.size} records at or below zero" in texts(figure)
    nothing = plot.plot_excess(with_record(run, "excess", np.full_like(some, bad)), rate=1.0)
    for each in (figure, nothing, plot.plot_loss(with_record(run, "loss", some))):
        assert plot.to_svg(each)


def test_loss_that_vanishes_or_explodes(run):
    whole = eqx.tree_at(lambda t: t.minimal_loss, run, np.asarray(0.0))
    assert plot.to_svg(plot.plot_loss(whole))
    exploding = with_record(whole, "loss", np.geomspace(1, 1e300, run.losses.size))
    figure = plot.plot_loss(exploding)
    assert figure.axes[0].get_yscale() == "log" and plot.to_svg(figure)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_few_records(run, num):
    short = first(run, num)
    for figure in (plot.plot_loss(short), plot.plot_excess(short, rate=1.0), plot.plot_records(short)):
        assert plot.to_svg(figure)
    assert drawn(plot.plot_loss(short))[0].size == num
    assert figure.axes[0].lines[0].get_marker() == "o"


def test_steps_of_varying_size_have_no_time(run):
    untimed = eqx.tree_at(lambda t: (t.times, t.step_size), run, (None, None), is_leaf=lambda x: x is None)
    figure = plot.plot_excess(untimed, rate=1.0)
    assert figure.axes[0].get_xlabel() == "steps" and len(figure.axes[0].lines) == 1


def test_records_have_panels(run):
    assert plot.panel_names(run) == ("gradient_norm", "balancedness_gap", "rank", "smallest_singular_value")
    figure = plot.plot_records(run, references={"smallest_singular_value": 2**0.5})
    np.testing.assert_array_equal(drawn(figure)[1], run["gradient_norm"])
    np.testing.assert_array_equal(drawn(figure, 2, 1)[1], run["effective_rank"])
    assert "at the minimum 1.414" in texts(figure)


def test_records_that_are_zero_custom_or_not_numbers(run):
    records = {**run.records, "balancedness_gap": np.zeros(run.steps.size), "my_own": np.arange(run.steps.size) * 1.0}
    records |= {"singular_values": np.ones((run.steps.size, 2)), "weights": (np.ones((run.steps.size, 2, 2)),)}
    odd = eqx.tree_at(lambda t: t.records, run, records)
    assert plot.panel_names(odd) == ("gradient_norm", "balancedness_gap", "rank", "smallest_singular_value", "my_own")
    figure = plot.plot_records(odd)
    assert "zero at every record" in texts(figure) and "my own" in texts(figure)
    bare = eqx.tree_at(lambda t: t.records, run, {name: run.records[name] for name in ("loss", "excess")})
    with pytest.raises(ValueError, match="no records besides loss and excess"):
        plot.plot_records(bare)


def test_a_batch_is_refused(run):
    batch = with_record(run, "loss", np.stack([run.losses, run.losses]))
    with pytest.raises(ValueError, match=r"single run, but holds a batch of shape \(2,\)"):
        plot.plot_loss(batch)


def test_spectra_show_deviation_and_count_zeros():
    figure = plot.plot_spectra([4.0, 2.0, 1.0, 0.0], [3.0, 0.0], rank=2, minimizer=[4.0, 0.0])
    np.testing.assert_array_equal(drawn(figure)[1], [4.0, 2.0, 1.0, np.nan])
    np.testing.assert_array_equal(drawn(figure, panel=1)[1], [0.25, np.nan])
    assert "1 of 4 eigenvalues of the target are zero" in texts(figure)
    assert plot.to_svg(figure)


@pytest.mark.parametrize(
    "target, model",
    [
        ([0.0, 0.0], [0.0]),
        ([1.0], [1.0]),
        (np.ones(5), np.ones(5)),
        (np.geomspace(1, 1e-30, 700), np.ones(3)),
        ([2.0], []),
    ],
)
def test_degenerate_spectra(target, model):
    figure = plot.plot_spectra(target, model, rank=max(1, len(model)), minimizer=model, dim=1000)
    assert plot.to_svg(figure) and "of 1000 eigenvalues" in texts(figure)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 3), (3, 4, 4), (200, 300), (1, 1)])
@pytest.mark.parametrize("signed", [False, True])
def test_images_of_every_kind(rng, shape, signed):
    rows = {"a": rng.standard_normal((3, int(np.prod(shape)))), "b": np.zeros((2, int(np.prod(shape))))}
    rows["a"][1] = np.nan
    figure = plot.plot_images(rows, shape, signed=signed, column_labels=["1", "2", "3"])
    svg = plot.to_svg(figure)
    assert svg == plot.to_svg(plot.plot_images(rows, shape, signed=signed, column_labels=["1", "2", "3"]))
    assert "image/png" in svg and len(svg) < 400_000


def test_pixels_are_where_they_belong():
    image = np.array([[0.0, 1.0], [0.5, 2.0]])
    mosaic = plot.plot_images({"a": image.ravel()}, (2, 2), limits=(0.0, 1.0)).axes[0].images[0].get_array()
    assert mosaic.shape == (40, 40, 4)
    np.testing.assert_array_equal(mosaic[::20, ::20, 0], [[0, 255], [128, 255]])  # 2 is clipped
    color = np.array([1.0, 0.0, 0.5])
    mosaic = plot.plot_images({"a": color}, (1, 1, 3), limits=(0.0, 1.0)).axes[0].images[0].get_array()
    np.testing.assert_array_equal(mosaic[0, 0], [255, 0, 128, 255])


def test_images_that_cannot_be_shown():
    with pytest.raises(ValueError, match=r"1, 3 or 4\), but \(2, 2, 2\) was given"):
        plot.plot_images({"a": np.ones((1, 8))}, (2, 2, 2))
    with pytest.raises(ValueError, match="at least one image"):
        plot.plot_images({}, (2, 2))


def test_svg_has_no_date_and_no_random_identifier(run):
    svg = plot.to_svg(plot.plot_loss(run))
    assert svg == plot.to_svg(plot.plot_loss(run))
    assert svg.startswith("<svg") and "<metadata" not in svg and "dc:date" not in svg


@pytest.mark.parametrize(
    "value, text",
    [(180.9397, "180.9"), (123456.7, "123457"), (0.03, "0.03"), (-2e-5, "−2 × 10⁻⁵"), (0.0, "0"), (np.inf, "∞")],
)
def test_numbers_for_readers(value, text):
    assert plot.format_number(value) == text
    assert plot.format_number(np.nan) == "not a number"


@pytest.mark.parametrize("missing, module", [("matplotlib", "deepbures.plot"), ("jinja2", "deepbures.report")])
def test_a_missing_extra_is_named(missing, module):
    code = f"import sys; sys.modules[{missing!r}] = None\nimport {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError") and 'pip install "deepbures[plot]"' in last and missing in last


def test_no_prediction_where_a_run_does_not_end_in_its_late_part():
    times = np.linspace(0, 10, 101)
    for excess in (np.exp(times), 1 + np.exp(-5 * times[::-1]), np.exp(-1e-3 * times)):
        run = Trajectory(
            times, np.arange(101), {"loss": 1 + excess, "excess": excess}, None, np.asarray(1.0), None, None
        )
        assert len(plot.plot_excess(run, rate=0.01).axes[0].lines) == 1
        assert plot.prediction_height(run, 0.01) is None


def test_the_prediction_passes_through_the_late_part_of_a_run():
    times = np.linspace(0, 10, 101)
    excess = 3 * np.exp(-2 * times) + 5 * np.exp(-9 * times)
    run = Trajectory(times, np.arange(101), {"loss": 1 + excess, "excess": excess}, None, np.asarray(1.0), None, None)
    assert plot.prediction_height(run, 2.0) == pytest.approx(np.log(3), abs=1e-9)
    assert plot.prediction_height(run, 0.0) is None


def test_figures_of_the_landscape():
    target, loss = db.Target.from_spectrum([4.0, 2.0, 1.0, 0.5], key=0), db.BuresWasserstein(0.1)
    points = db.critical_points(target, 2, loss)
    figure = plot.plot_critical_points(points)
    shown = sorted((x, y) for line in figure.axes[0].lines for x, y in zip(*map(list, line.get_data()), strict=True))
    assert shown == sorted(zip(points.morse_index.tolist(), points.value.tolist(), strict=True))
    spectra = {str(point.eigen_indices): point.spectrum() for point in points[:3]}
    rows = plot.plot_hessian_spectra(spectra).axes[0]
    marks = np.concatenate([line.get_xdata() for line in rows.lines if line.get_marker() == "|"])
    expected = np.concatenate([s.values[s.values != 0] for s in spectra.values()])
    np.testing.assert_array_equal(np.sort(marks), np.sort(expected))
    profile = db.loss_along_path(points[1], points[0], target, loss, num=11)
    paths = plot.plot_paths({"down": profile})
    np.testing.assert_array_equal(drawn(paths)[1], profile.losses)
    assert plot.to_svg(paths) == plot.to_svg(plot.plot_paths({"down": profile}))
    for draw in (plot.plot_hessian_spectra, plot.plot_paths):
        with pytest.raises(ValueError, match="is empty"):
            draw({})
