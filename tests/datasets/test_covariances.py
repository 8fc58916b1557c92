"""Files that hold a covariance matrix, and files that only may."""

import json
import re

import numpy as np
import pytest

from deepbures.cli import main
from deepbures.datasets import _files, load_dataset


def test_covariance_file(tmp_path, monkeypatch):
    covariance = np.array([[2, 1], [1, 3]])
    np.save(tmp_path / "c.npy", covariance)
    data = load_dataset(tmp_path / "c.npy", covariance=True)
    assert data.samples is None
    assert data.image_shape is None
    np.testing.assert_array_equal(data.covariance, covariance)
    assert data.covariance.dtype == np.float64
    (tmp_path / "c.csv").write_text("a,b\n2,1\n1,3\n")
    assert load_dataset(tmp_path / "c.csv", covariance=True).digest() == data.digest()
    monkeypatch.setattr(_files, "MEMORY_MAP_BYTES", 10)
    assert isinstance(load_dataset(tmp_path / "c.npy", covariance=True).covariance, np.memmap)


@pytest.mark.parametrize("shape", [(3, 2), (3,), (2, 3, 3), (0, 0)])
def test_covariance_that_is_not_square(tmp_path, shape):
    np.save(tmp_path / "x.npy", np.zeros(shape))
    with pytest.raises(ValueError, match=rf"square matrix .*, but has shape {re.escape(str(shape))}"):
        load_dataset(tmp_path / "x.npy", covariance=True)


def test_covariance_that_is_not_finite(tmp_path):
    np.save(tmp_path / "x.npy", np.diag([1.0, np.inf]))
    with pytest.raises(ValueError, match="1 entry that is not finite"):
        load_dataset(tmp_path / "x.npy", covariance=True)


# ---------------------------------------------------------------------- read as samples

COVARIANCE = np.array([[2.0, 0.5, 0.25], [0.5, 3.0, 1.0], [0.25, 1.0, 5.0]])
IS_TAKEN_FOR_SAMPLES = r"symmetric matrix of shape \(3, 3\), as covariances are, and is taken for samples in rows\."


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_a_covariance_that_is_read_as_samples_is_a_warning(tmp_path, suffix):
    path = tmp_path / f"c.{suffix}"
    match suffix:
        case "npy" | "npz":
            (np.save if suffix == "npy" else np.savez)(path, COVARIANCE)
        case "csv":
            np.savetxt(path, COVARIANCE, delimiter=",", header="a,b,c", comments="")
        case _:
            pytest.importorskip("pyarrow.parquet").write_table(
                pytest.importorskip("pyarrow").table(dict(zip("abc", COVARIANCE, strict=True))), path
            )
    message = rf"c\.{suffix}' holds a {IS_TAKEN_FOR_SAMPLES} .* covariance=True \(on the command line: --covariance;"
    with pytest.warns(UserWarning, match=message) as caught:
        data = load_dataset(path)
    np.testing.assert_array_equal(data.samples, COVARIANCE)
    assert [warning.filename for warning in caught] == [__file__]  # at the line that asked for the data
    np.testing.assert_array_equal(load_dataset(path, covariance=True).covariance, COVARIANCE)


def test_large_matrices_are_compared_with_their_mirror_images_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "MEMORY_MAP_BYTES", 10)
    symmetric = np.add.outer(np.arange(600.0), np.arange(600.0))
    np.save(tmp_path / "x.npy", symmetric)
    with pytest.warns(UserWarning, match=r"symmetric matrix of shape \(600, 600\)"):
        assert isinstance(load_dataset(tmp_path / "x.npy").samples, np.memmap)
    for entry, value in (((599, 300), 0.5), ((0, 1), 0.5), ((5, 5), -1.0)):
        other = symmetric.copy()
        other[entry] = value
        np.save(tmp_path / "x.npy", other)
        load_dataset(tmp_path / "x.npy")  # samples, without a warning


@pytest.mark.parametrize(
    "command", [["fit", "--rank", "1", "--solver", "closed-form"], ["landscape", "--rank", "1"],
                ["certify", "--rank", "1"], ["distance", "y.npy"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_every_command_tells_that_a_covariance_is_taken_for_samples(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    np.save("c.npy", COVARIANCE)
    np.save("y.npy", COVARIANCE[:2])
    name, *options = command
    assert main([name, "c.npy", *options, "--json"]) == 0
    shown = capsys.readouterr()
    (message,) = json.loads(shown.out)["warnings"]
    assert re.search(rf"'c\.npy' holds a {IS_TAKEN_FOR_SAMPLES} .* --covariance; of distance, --covariances\)", message)
    assert f"deepbures: warning: {message}\n" in shown.err
    if name == "fit":
        summary = next(tmp_path.rglob("summary.json")).read_text()
        assert json.loads(summary)["warnings"] == [message]
