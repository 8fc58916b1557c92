"""Files that hold a covariance matrix, and files that only may."""

import re

import numpy as np
import pytest

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
    with pytest.raises(ValueError, match="1 entries that are not finite"):
        load_dataset(tmp_path / "x.npy", covariance=True)
