"""Generators of images: eigenvectors and minima are found, from every kind of data, with the same bits always."""

import warnings

import numpy as np
import pytest

from deepbures import plot
from deepbures.datasets import Dataset, load_dataset
from deepbures.experiments import Images, compute_all, images


def stack(num=40, shape=(4, 4), seed=0):
    """Images with separated eigenvalues."""
    n = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    return (0.5 + (rng.standard_normal((num, n)) * 2.0 ** -np.arange(n)) @ basis.T).reshape(num, *shape)


@pytest.fixture(scope="module")
def kept():
    pieces = {}

    def keep(asked):
        pieces.update(compute_all(asked))
        return dict(pieces)

    return images(data=stack(), rank=3, keep=keep), pieces


@pytest.fixture(scope="module")
def record(kept) -> Images:
    return kept[0]


def closed_form_only(pieces):
    """A keeper for what does not depend on how training goes."""
    return {key: compute() for key, compute in pieces.items() if key in ("data", "solver=closed-form")}


def data_only(pieces):
    return {"data": pieces["data"]()}


def test_against_the_covariance(record):
    x = stack().reshape(40, -1)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    values, vectors = values[::-1], vectors[:, ::-1]
    np.testing.assert_allclose(record.eigenvalues, values[:4], rtol=1e-8)
    for solver, run in record.generators.items():
        np.testing.assert_allclose(np.abs((run.eigen_images * vectors[:, :3].T).sum(1)), 1.0, atol=1e-6)
        np.testing.assert_allclose(run.cosines, 1.0, atol=1e-6)
        np.testing.assert_allclose(run.singular_values**2, values[:3], rtol=1e-4)
        assert run.minimal_loss == pytest.approx(values[3:].sum(), rel=1e-8)
        assert run.loss == pytest.approx(run.minimal_loss, rel=1e-8), solver
        assert (run.eigen_images * record.eigen_images).sum(1).min() > 0  # the signs agree
    assert set(record.generators) == {"closed-form", "flow", "descent"}


def test_findings_hold_and_tables_are_plain(record):
    assert [finding.held for finding in record.findings] == [True, True, True]
    tables = record.tables()
    assert len(tables["runs"]) == 3 and len(tables["modes"]) == 9
    assert {row["solver"] for row in tables["curves"]} == {"flow", "descent"}
    for rows in tables.values():
        assert all(type(entry) in (int, float, str) for row in rows for entry in row.values())


def test_findings_notice_a_generator_that_has_not_learned(kept):
    _, pieces = kept
    bad = {**pieces, "solver=flow": {**pieces["solver=flow"], "relative-excess": np.array(1e-3)}}
    bad["solver=descent"] = {**pieces["solver=descent"], "vectors": pieces["solver=descent"]["vectors"][::-1]}
    found = images(data=stack(), rank=3, keep=lambda _: bad)
    assert [finding.held for finding in found.findings] == [False, False, True]


def test_quick_digits():
    def keep(pieces):
        assert set(pieces) == {"data", "solver=closed-form", "solver=descent"}
        return data_only(pieces)

    record = images(quick=True, keep=keep)
    assert record.name == "digits" and record.image_shape == (8, 8) and record.rank == 4
    data = load_dataset("digits").samples
    assert all((data == sample).all(1).any() for sample in record.data_samples)


def test_ranks_by_default():
    assert {name: images(data=name, keep=data_only).rank for name in ("digits", "faces")} == {"digits": 16, "faces": 32}
    assert images(data=stack(num=6), keep=data_only).rank == 5  # what six samples have


def test_every_kind_of_data_is_the_same_data(tmp_path):
    x = stack()
    np.save(tmp_path / "images.npy", x)
    np.save(tmp_path / "rows.npy", x.reshape(40, -1))
    sources = [
        x,
        x.reshape(40, -1),
        tmp_path / "images.npy",
        str(tmp_path / "rows.npy"),
        Dataset("set", x.reshape(40, -1)),
    ]
    records = [images(data=source, rank=3, keep=closed_form_only) for source in sources]
    for each in records:
        assert each.image_shape == (4, 4)
        np.testing.assert_array_equal(
            each.generators["closed-form"].samples, records[0].generators["closed-form"].samples
        )
    flat = images(data=x.reshape(40, -1), image_shape=(2, 8), keep=data_only)
    assert flat.image_shape == (2, 8)


def test_folder_of_color_images(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for number in range(5):
        pillow.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    record = images(data=tmp_path, rank=2, keep=data_only)
    assert record.image_shape == (3, 3, 3) and record.eigen_images.shape == (2, 27)
    assert plot.to_svg(plot.plot_eigen_images(record))


def test_modes_that_smoothing_does_not_use_are_blank():
    values = images(data=stack(), rank=3, keep=data_only).eigenvalues
    tau = float(values[1:3].mean())
    with pytest.warns(UserWarning, match=r"mode\(s\) 3"):
        record = images(data=stack(), rank=3, tau=tau, keep=closed_form_only)
    run = record.generators["closed-form"]
    assert np.isnan(run.eigen_images[2]).all() and np.isnan(run.cosines[2])
    np.testing.assert_allclose(run.singular_values**2, [values[0] - tau, values[1] - tau, 0], atol=1e-8 * values[0])
    assert all(finding.held for finding in record.findings)
    assert plot.to_svg(plot.plot_eigen_images(record))
    with pytest.warns(UserWarning, match="3 of the 3"):
        nothing = images(data=stack(), rank=3, tau=float(2 * values[0]), keep=closed_form_only)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [finding.held for finding in nothing.findings] == [True, None, True]  # no mode, no vector to judge
    assert nothing.tables()["runs"][0]["smallest_cosine"] is None


def test_same_seed_same_bits_and_resumed_is_uninterrupted(kept):
    record, pieces = kept
    half = {key: piece for key, piece in pieces.items() if key != "solver=descent"}

    def resume(asked):
        return {key: half[key] if key in half else compute() for key, compute in asked.items()}

    again = images(data=stack(), rank=3, keep=resume)
    for solver, run in record.generators.items():
        for name in vars(run):
            np.testing.assert_array_equal(getattr(run, name), getattr(again.generators[solver], name))
    other = images(data=stack(), rank=3, seed=1, keep=closed_form_only)
    assert not np.array_equal(other.generators["closed-form"].samples, record.generators["closed-form"].samples)


def test_keys_and_pieces_can_be_files(kept):
    for key, piece in kept[1].items():
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-=."), key
        assert all(isinstance(array, np.ndarray) and array.dtype.kind in "biufU" for array in piece.values())


@pytest.mark.parametrize(
    "bad, error, text",
    [
        ({"data": "digitz"}, ValueError, "unknown data 'digitz'"),
        ({"data": "gaussian:dim=9"}, ValueError, "is a covariance matrix. Give the samples"),
        ({"data": np.ones((4, 6))}, ValueError, r"6 is no square. Give image_shape=\(height, width\)"),
        ({"data": np.ones((1, 3, 3))}, ValueError, "at least two images"),
        ({"data": np.full((4, 9), np.nan)}, ValueError, "data has 36 entries that are not finite"),
        ({"data": np.ones((4, 9), complex)}, TypeError, "array of real numbers"),
        ({"data": stack(), "image_shape": (5, 5)}, ValueError, r"image_shape \(5, 5\) does not fit"),
        ({"rank": 65}, ValueError, "rank must be at least 1 and at most 64"),
        ({"data": stack(num=3), "rank": 3}, ValueError, r"at most 2 \(that of 3 centered images of 16 numbers\)"),
        ({"rank": 0}, ValueError, "rank must be at least 1"),
        ({"depth": 1.5}, TypeError, "depth must be a whole number"),
        ({"solvers": ["sgd"]}, ValueError, "some of closed-form, flow, descent, but 'sgd' was given"),
        ({"solvers": []}, ValueError, "but nothing was given"),
        ({"tau": -1.0}, ValueError, "tau must be finite and not negative"),
    ],
)
def test_bad_input(bad, error, text):
    with pytest.raises(error, match=text):
        images(quick=True, **bad)


def test_figures(record):
    eigen = plot.plot_eigen_images(record, num=2)
    axes = eigen.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["target", "closed-form", "flow", "descent"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    drawn = plot.plot_generated_images(record)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["data", "closed-form", "flow", "descent"]
    assert plot.to_svg(drawn) == plot.to_svg(plot.plot_generated_images(record))
    with pytest.raises(ValueError, match="num must be at least 1"):
        plot.plot_eigen_images(record, num=0)
