"""The Hessian experiment: entries by hand, automatic differentiation, the same bits however it is interrupted."""

import dataclasses
import math

import numpy as np
import pytest

import deepbures as db
from deepbures import plot
from deepbures.datasets import load_dataset
from deepbures.experiments import Hessians, compute_all, hessians

SMALL = {"quick": True, "dim": 5, "rank": 2, "depth": 3, "num_targets": 3}


@pytest.fixture(scope="module")
def kept():
    """The record, and its pieces as they were computed."""
    pieces = {}

    def keep(asked):
        pieces.update(compute_all(asked))
        return dict(pieces)

    return hessians(**SMALL, keep=keep), pieces


@pytest.fixture(scope="module")
def record(kept) -> Hessians:
    return kept[0]


def arrays(value):
    """Every array in a record, however deep, with its path."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {f"{name}/{path}": array for name, part in value.items() for path, array in arrays(part).items()}
    return {"": np.asarray(value)}


def assert_same(one, other):
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for path, array in first.items():
        np.testing.assert_array_equal(array, second[path], err_msg=path)


def test_targets_are_the_zipf_ones_plus_tau(record):
    for number, values in enumerate(record.eigenvalues):
        data = load_dataset(f"gaussian:dim=5,spectrum=zipf,seed={number}")
        expected = np.linalg.eigvalsh(data.covariance)[::-1] + 0.1
        np.testing.assert_allclose(values, expected, rtol=1e-12)
        assert values[-1] == pytest.approx(0.1 + 1 / 5)


def test_entries_by_hand_at_depth_one():
    record = hessians(quick=True, dim=3, rank=1, depth=1, tau=0.2, num_targets=1)
    (a, b, c), tau = record.eigenvalues[0], 0.2
    assert a > b > c > tau
    frobenius, bw = (record.curvatures["swap", loss] for loss in ("frobenius", "bw"))
    np.testing.assert_allclose(frobenius.smallest, [[4 * (a - b), 4 * (b - a), 4 * (c - a)]], rtol=1e-12)
    np.testing.assert_allclose(
        frobenius.largest, [[max(8 * a, 4 * (a - c)), max(8 * b, 4 * (b - c)), 8 * c]], rtol=1e-12
    )
    np.testing.assert_allclose(frobenius.value, [[b**2 + c**2, a**2 + c**2, a**2 + b**2]], rtol=1e-12)

    def exchange(i, j):
        return 2 * (j - i) / (j + math.sqrt(i * tau))

    def scale(j):
        return 2 * (j - tau) / j

    every = np.array(
        [
            [exchange(b, a), exchange(c, a), scale(a)],
            [exchange(a, b), exchange(c, b), scale(b)],
            [exchange(a, c), exchange(b, c), scale(c)],
        ]
    )
    np.testing.assert_allclose(bw.smallest[0], every.min(1), rtol=1e-10)
    np.testing.assert_allclose(bw.largest[0], every.max(1), rtol=1e-10)
    np.testing.assert_allclose(bw.least_nonzero[0], np.abs(every).min(1), rtol=1e-10)
    np.testing.assert_allclose(bw.relative_condition[0], every.max(1) / np.abs(every.min(1)), rtol=1e-10)
    assert bw.morse_index.tolist() == [[0, 1, 2]]
    cost = (np.sqrt([a, b, c]) - math.sqrt(tau)) ** 2
    np.testing.assert_allclose(bw.value[0], cost.sum() - cost, rtol=1e-10)
    assert all(finding.held is not False for finding in record.findings)


def test_minimizers_of_deep_networks_by_hand(record):
    power, tau = 2 / 3, 0.1  # (N − 1)/N, N = 3
    values = record.eigenvalues.T
    bw, frobenius = (record.curvatures["swap", loss] for loss in ("bw", "frobenius"))
    np.testing.assert_allclose(bw.largest[:, 0], 6 * (values[0] - tau) ** (1 + power) / values[0], rtol=1e-10)
    np.testing.assert_allclose(frobenius.largest[:, 0], 24 * values[0] ** (1 + power), rtol=1e-10)
    least = 2 * (values[1] - values[2]) / (values[1] + np.sqrt(values[2] * tau)) * (values[1] - tau) ** power
    np.testing.assert_allclose(bw.least_nonzero[:, 0], least, rtol=1e-8)
    np.testing.assert_allclose(
        frobenius.least_nonzero[:, 0], 4 * (values[1] - values[2]) * values[1] ** power, rtol=1e-8
    )
    assert np.isinf(bw.relative_condition[:, 0]).all() and (bw.smallest[:, 0] == 0).all()


def test_sequences_of_critical_points(record):
    swap = record.curvatures["swap", "bw"]
    assert swap.eigen_indices[0].tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
    for (order, loss), curvatures in record.curvatures.items():
        assert (np.diff(curvatures.value, axis=1) > 0).all(), (order, loss)
    target = db.Target.from_spectrum(record.eigenvalues[1])
    lowest = db.critical_points(target, 2, db.Frobenius(), ranks=2, num=4)
    np.testing.assert_array_equal(record.curvatures["loss", "frobenius"].eigen_indices[1], lowest.eigen_indices)
    np.testing.assert_allclose(record.curvatures["loss", "frobenius"].value[1], lowest.value, rtol=1e-10)


def test_statistics_are_those_over_the_targets(record):
    curvatures = record.curvatures["swap", "bw"]
    mean, std, median = curvatures.statistics("absolute_condition")
    condition = curvatures.largest / curvatures.least_nonzero
    np.testing.assert_allclose(mean, condition.mean(0))
    np.testing.assert_allclose(std, condition.std(0))
    np.testing.assert_allclose(median, np.median(condition, 0))
    assert math.isinf(curvatures.statistics("relative_condition")[0][0])


def test_closed_forms_agree_with_automatic_differentiation(record):
    for loss in ("bw", "frobenius"):
        assert record.lanczos[loss].shape == (1, 3)  # one target, points 0, 1 and the last
        assert record.lanczos[loss].max() < 1e-8 and record.dense[loss].max() < 1e-8
        models = record.models[loss]
        np.testing.assert_allclose(models.curvature, models.closed_form, rtol=1e-8)
        np.testing.assert_allclose(np.abs(models.model[..., [0, -1]]), 1.0, rtol=1e-8)  # the parabola ± x²
    blow_up = record.blow_up
    np.testing.assert_allclose(blow_up.by_tau, blow_up.by_tau_found, rtol=1e-8)
    steep = blow_up.by_scale < -2
    assert steep[0].sum() > 4
    np.testing.assert_allclose(blow_up.by_scale[steep], blow_up.by_scale_found[steep], rtol=1e-8)


def test_blow_up_by_hand(record):
    values, blow_up = record.eigenvalues[0], record.blow_up
    np.testing.assert_allclose(blow_up.by_tau, 2 * (1 - np.sqrt(values[1] / blow_up.taus)), rtol=1e-10)
    exact = 2 - 2 * values[2] / (values[1] * blow_up.scales)
    np.testing.assert_allclose(blow_up.by_scale[0], np.minimum(exact, 2), rtol=1e-10)
    assert (blow_up.by_scale[1:] >= 2 * (1 - np.sqrt(values[1] / blow_up.levels[1:, None])) * (1 + 1e-12)).all()


@pytest.mark.parametrize("seed", range(4))
def test_sign_of_the_second_derivative_decides_the_barrier(seed):
    """Between the modes b < a, along the geodesic: 2 (b + a − a²/b) without smoothing."""
    record = hessians(quick=True, seed=seed, dim=3, rank=1, depth=1, tau=1e-6, num_targets=1)
    values, paths = record.eigenvalues[0], record.paths["bw"]
    a, b = values[:-1], values[1:]
    np.testing.assert_allclose(paths.start_curvature[0], 2 * (b + a - a**2 / b), rtol=2e-2)
    np.testing.assert_array_equal(paths.barriers[0, 1] > 1e-12, a / b < (1 + math.sqrt(5)) / 2)
    frobenius = record.paths["frobenius"]
    np.testing.assert_array_equal(frobenius.barriers[0, 1] > 1e-12, a < 2 * b)
    for loss in ("bw", "frobenius"):
        ends = record.paths[loss].losses[0, :, :, [0, -1]]
        value = record.curvatures["swap", loss].value[0]
        np.testing.assert_allclose(ends, np.stack([np.stack([value[:-1]] * 2), np.stack([value[1:]] * 2)]), rtol=1e-8)


def test_findings_hold_and_tables_are_plain(record):
    for finding in record.findings:
        assert finding.held is not False, finding
        assert finding.statement.endswith(".") and finding.evidence.endswith(".")
    tables = record.tables()
    assert set(tables) == {"curvatures", "paths", "models", "blow-up-smoothing", "blow-up-singular-value"}
    assert len(tables["curvatures"]) == 2 * 2 * 4 and len(tables["paths"]) == 2 * 2 * 3
    for rows in tables.values():
        assert all(type(entry) in (int, float, str) for row in rows for entry in row.values())
        assert all(row.keys() == rows[0].keys() for row in rows)


def test_same_seed_same_bits_other_seed_other_targets(record):
    assert_same(record, hessians(**SMALL))
    assert not np.array_equal(record.eigenvalues, hessians(**SMALL, seed=1).eigenvalues)


def test_interrupted_and_resumed_is_uninterrupted(kept):
    record, pieces = kept
    half = dict(list(pieces.items())[::2])
    computed = []

    def resume(asked):
        done = {}
        for key, compute in asked.items():
            if key not in half:
                computed.append(key)
            done[key] = half[key] if key in half else compute()
        return done

    assert_same(record, hessians(**SMALL, keep=resume))
    assert set(computed) == set(pieces) - set(half)


def test_keys_and_pieces_can_be_files(kept):
    for key, piece in kept[1].items():
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-=."), key
        assert all(isinstance(array, np.ndarray) and array.dtype.kind in "biuf" for array in piece.values())


@pytest.mark.parametrize(
    "bad, error, text",
    [
        ({"rank": 5}, ValueError, "rank must be at least 1 and at most 4"),
        ({"tau": 0.0}, ValueError, "tau must be finite and positive"),
        ({"depth": 0}, ValueError, "depth must be at least 1"),
        ({"dim": 2.5}, TypeError, "dim must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"num_targets": 0}, ValueError, "num_targets must be at least 1"),
    ],
)
def test_bad_input(bad, error, text):
    with pytest.raises(error, match=text):
        hessians(**{**SMALL, **bad})


@pytest.mark.parametrize("order", ["swap", "loss"])
def test_curvatures_are_drawn(record, order):
    figure = plot.plot_curvatures(record, order=order)
    assert [axes.get_title(loc="left").split(" ")[0] for axes in figure.axes] == [
        "λ_min",
        "λ_max",
        "relative",
        "absolute",
    ]
    mean = figure.axes[1].lines[0].get_ydata()
    np.testing.assert_array_equal(mean, record.curvatures[order, "bw"].largest.mean(0))
    assert len(figure.axes[2].lines[0].get_xdata()) == 3  # the infinite one is left out
    assert "critical point i" in figure.axes[3].get_xlabel()
    assert plot.to_svg(figure) == plot.to_svg(plot.plot_curvatures(record, order=order))


def test_paths_models_and_blow_up_are_drawn(record):
    paths = plot.plot_critical_paths(record)
    np.testing.assert_array_equal(paths.axes[0].lines[1].get_ydata(), record.paths["bw"].losses[0, 1].ravel())
    models = plot.plot_quadratic_models(record)
    assert len(models.axes) == 6 and models.axes[0].get_title(loc="left") == "minimizer, i = 0"
    np.testing.assert_array_equal(models.axes[1].lines[1].get_ydata(), record.models["frobenius"].rise[0, 1, 0])
    blow_up = plot.plot_hessian_blow_up(record)
    np.testing.assert_array_equal(blow_up.axes[0].lines[0].get_ydata(), -record.blow_up.by_tau)
    for figure in (paths, models, blow_up):
        assert plot.to_svg(figure)


def test_figures_of_what_is_not_there(record):
    with pytest.raises(ValueError, match="order must be one of loss, swap"):
        plot.plot_curvatures(record, order="value")
    for draw in (plot.plot_critical_paths, plot.plot_quadratic_models):
        with pytest.raises(ValueError, match="one of the 1 shown"):
            draw(record, target=1)
