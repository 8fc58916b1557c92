"""Critical points on the command line are those of the functions."""

import numpy as np
import pytest

import deepbures as db
from deepbures.datasets import load_dataset

from .commands import SMALL


def test_landscape_is_that_of_the_functions(call, tmp_path):
    done = call("landscape", SMALL, "--rank", "2", "--depth", "2", "--covariance", "--json")
    target = db.Target.from_covariance(load_dataset(SMALL).covariance)
    points = db.critical_points(target, 2, db.BuresWasserstein(), depth=2, num=100)
    assert done.code == 0
    assert [row["eigen_indices"] for row in done.json["points"]] == [list(p.eigen_indices) for p in points]
    assert [row["value"] for row in done.json["points"]] == pytest.approx(points.value.tolist(), rel=1e-12)
    assert [row["lambda_max"] for row in done.json["points"]] == pytest.approx(
        [p.spectrum().largest for p in points], rel=1e-12
    )
    assert done.json["points"][0]["relative_condition"] is None  # infinite: there are flat directions
    assert done.json["total"] == points.total and done.json["minimal_loss"] == pytest.approx(points.value[0])
    shown = call("landscape", SMALL, "--rank", "2", "--tau", "0.01", "--covariance", "--num", "3")
    assert shown.code == 0 and "minimizer" in shown.out and "3 of " in shown.out


def test_landscape_writes_table_and_figures(call, tmp_path):
    done = call("landscape", SMALL, "--rank", "2", "--covariance", "--num", "5", "--out", "folder")
    assert done.code == 0
    names = ["critical_points.svg", "landscape.csv", "landscape.json", "paths.svg", "spectra.svg"]
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == names
    lines = (tmp_path / "folder" / "landscape.csv").read_text().splitlines()
    assert len(lines) == 6 and lines[0].startswith("eigen_indices,value,rank,morse_index")
    again = call("landscape", SMALL, "--rank", "2", "--covariance", "--out", "folder")
    assert again.code == 2 and "not empty" in again.err
    # One point has no path to another: nothing is left of the old one.
    assert call("landscape", SMALL, "--rank", "6", "--covariance", "--out", "folder", "--overwrite").code == 0
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [*names[:3], names[4]]


def test_a_large_covariance_is_decomposed_for_its_landscape(call, tmp_path, monkeypatch):
    monkeypatch.setattr("deepbures.model._target.LARGEST_DECOMPOSED", 5)
    done = call("landscape", SMALL, "--rank", "2", "--tau", "0.01", "--covariance", "--json")
    monkeypatch.undo()
    assert done.code == 0
    minimum = db.minimal_loss(db.Target.from_covariance(load_dataset(SMALL).covariance), 2, db.BuresWasserstein(0.01))
    assert done.json["minimal_loss"] == done.json["points"][0]["value"] == pytest.approx(float(minimum), rel=1e-12)


@pytest.mark.filterwarnings("default:overflow:RuntimeWarning")
def test_landscapes_without_curvature_families_and_points(call, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((3, 3)))
    np.save(tmp_path / "eye.npy", np.eye(30))
    for options in (["zero.npy", "--loss", "frobenius"], ["zero.npy", "--tau", 9, "--depth", 2]):
        done = call("landscape", *options, "--rank", 2, "--covariance")
        assert done.code == 0 and "sharpness 0, stability limit none" in done.out and "minimizer" in done.out
    huge = call("landscape", "zero.npy", "--tau", 1e308, "--rank", 1, "--covariance")
    assert huge.code == 0 and "minimal loss none" in huge.out
    family = call("landscape", "eye.npy", "--rank", 20, "--covariance").out
    assert "{1-20}" in family and "family" in family and " 200\n" in family
    none = call("landscape", SMALL, "--rank", 2, "--covariance", "--morse-index", 99)
    assert none.code == 0 and "0 of 15 critical points" in none.out


def test_bad_input_of_landscape(refused, tmp_path):
    np.save(tmp_path / "zero.npy", np.zeros((3, 3)))
    assert "the target has 0 positive eigenvalues" in refused("landscape", "zero.npy", "--covariance", "--rank", 1)
    for arguments, message in [
        (["--rank", "2", "--depth", 10**30], "depth must be at least 1 and at most"),
        (["--rank", "0"], "--rank must be at least 1"),
        (["--rank", "2", "--loss", "frobenius", "--tau", "1"], "--loss frobenius does not take it"),
        (["--rank", "2", "--num", "0"], "--num must be between 1 and 1000000"),
        (["--rank", "2", "--morse-index", "-1"], "--morse-index must be at least 0"),
        (["--rank", "99"], "rank must be at least 1 and at most"),
    ]:
        assert message in refused("landscape", SMALL, "--covariance", *arguments)
