"""Distances on the command line are those of the functions."""

import math

import numpy as np
import pytest

import deepbures as db
from deepbures.datasets import load_dataset

from .commands import SMALL


def test_distances_are_those_of_the_functions(call, tmp_path, rng):
    x, y = rng.standard_normal((50, 3)), rng.standard_normal((70, 3)) * [1, 2, 0] + 1
    f, g = rng.standard_normal((3, 1)), rng.standard_normal((3, 2))
    np.save(tmp_path / "x.npy", x)
    np.savetxt(tmp_path / "y.csv", y, delimiter=",", fmt="%.17g")
    np.savez(tmp_path / "f.npz", f=f)
    np.save(tmp_path / "g.npy", g)
    np.save(tmp_path / "a.npy", f @ f.T)
    np.save(tmp_path / "b.npy", g @ g.T)
    cases = [
        (["x.npy", "y.csv"], "samples", db.squared_frechet_distance(x, y)),
        (["x.npy", "y.csv", "--samples"], "samples", db.squared_frechet_distance(x, y)),
        (["x.npy", "y.csv", "--unbiased"], "samples", db.squared_frechet_distance(x, y, unbiased=True)),
        (["a.npy", "b.npy", "--covariances"], "covariances", db.squared_bures_wasserstein(f @ f.T, g @ g.T)),
        (["f.npz", "g.npy", "--factors"], "factors", db.squared_bures_wasserstein_factors(f, g)),
    ]
    for arguments, kind, squared in cases:
        result = call("distance", *arguments, "--json").json
        assert result["kind"] == kind and result["dim"] == 3
        assert result["squared_distance"] == float(squared)
        assert result["distance"] == math.sqrt(float(squared))
    assert cases[-2][2] == pytest.approx(cases[-1][2])
    printed = call("distance", "f.npz", "g.npy", "--factors")
    assert printed.code == 0
    assert printed.out == f"distance          {math.sqrt(squared)}\nsquared distance  {float(squared)}\n"


def test_distances_of_built_in_data(call):
    assert call("distance", SMALL, SMALL, "--covariances", "--json").json["distance"] == 0.0
    other = call("distance", SMALL, "gaussian:dim=6,seed=1", "--covariances", "--json").json
    a, b = (load_dataset(name).covariance for name in (SMALL, "gaussian:dim=6,seed=1"))
    assert other["distance"] == pytest.approx(float(db.bures_wasserstein_distance(a, b)), rel=1e-14)


def test_rounding_of_a_covariance_is_taken_away_on_request(call, refused, tmp_path):
    a = np.diag([4.0, 1.0, -1e-5])
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "eye.npy", np.eye(3))
    np.save(tmp_path / "x.npy", np.arange(12.0).reshape(4, 3))
    clipped = np.diag([4.0, 1.0, 0.0])
    message = (
        "an eigenvalue of -2.5e-06 times its largest entry (allowed: -6.7e-14). If that is rounding, pass --rtol 3e-06,"
    )
    assert message in refused("distance", "a.npy", "eye.npy", "--covariances")
    found = call("distance", "a.npy", "eye.npy", "--covariances", "--rtol", "1e-5", "--json").json
    assert found["squared_distance"] == pytest.approx(2.0, rel=1e-12) and found["rtol"] == 1e-5  # 1 + 0 + 1
    minimum = float(db.minimal_loss(db.Target.from_covariance(clipped), 1, db.BuresWasserstein()))
    for command in ("fit", "landscape", "certify"):
        arguments = [command, "a.npy", "--covariance", "--rank", "1"]
        assert message in refused(*arguments)
        assert "rtol must be finite and not negative" in refused(*arguments, "--rtol", "-1")
        result = call(*arguments, "--rtol", "1e-5", "--json").json
        assert result["minimal_loss"] == pytest.approx(minimum, rel=1e-12)
        assert "--rtol is about covariances, but" in refused(command, "x.npy", "--rank", "1", "--rtol", "1e-5")
    assert "--rtol is about covariances" in refused("distance", "a.npy", "eye.npy", "--rtol", "1e-5")


def test_bad_input_of_distance(refused, tmp_path):
    np.save(tmp_path / "x.npy", np.triu(np.ones((3, 3))))
    np.save(tmp_path / "y.npy", np.triu(np.ones((4, 4))))
    np.save(tmp_path / "row.npy", np.ones(3))
    np.save(tmp_path / "skew.npy", np.array([[1.0, 1.0], [0.0, 1.0]]))
    for arguments, message in [
        (["x.npy", "y.npy"], "x.npy and y.npy must have equally many columns, but have 3 and 4."),
        (["x.npy", "y.npy", "--covariances"], "equally many columns"),
        (["x.npy", "y.npy", "--factors"], "equally many rows (a factor F stands for F Fᵀ), but have 3 and 4."),
        (["x.npy", "x.npy", "--factors", "--samples"], "Choose one of --samples, --factors: all of them were given."),
        (["x.npy", "x.npy", "--factors", "--unbiased"], "--unbiased is about samples, but --factors was given."),
        (["row.npy", "x.npy", "--factors"], "'row.npy' must hold a non-empty matrix, but has shape (3,)."),
        ([SMALL, SMALL], "is a covariance matrix, not samples: pass --covariances"),
        ([SMALL, SMALL, "--factors"], "unknown data"),
        (["digits", "digits", "--covariances"], "(on the command line: --covariance; of distance, --covariances) out."),
        (["skew.npy", "skew.npy", "--covariances"], "symmetric"),
        (["x.npy", "z.npy"], "there is no file or folder 'z.npy'"),
        (["x.npy"], "Missing argument 'B'."),
    ]:
        assert message in refused("distance", *arguments), arguments


@pytest.mark.filterwarnings("default:overflow:RuntimeWarning")
def test_distances_beyond_the_range_of_numbers_are_null_in_json(call, tmp_path):
    np.save(tmp_path / "f.npy", np.array([[1e300]]))
    np.save(tmp_path / "g.npy", np.array([[1.0]]))
    done = call("distance", "f.npy", "g.npy", "--factors", "--json")
    assert done.code == 0 and done.json["squared_distance"] is None
    assert done.err.startswith("deepbures: warning: overflow") and done.err.count("\n") == 1
