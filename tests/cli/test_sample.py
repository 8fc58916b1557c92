"""Samples are those of the network, in every format."""

import math
import pickle
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

import deepbures as db
from deepbures.datasets import load_dataset
from deepbures.runs import load_model

from .commands import names


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    network = db.DeepLinearNetwork([rng.standard_normal((2, 2)), rng.standard_normal((4, 2))], mean=np.arange(4.0))
    network.save(tmp_path / "model.npz")
    return tmp_path / "model.npz"


def read(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    samples = load_dataset(path).samples
    assert samples is not None
    return samples


def test_samples_are_those_of_the_network_in_every_format(call, model, tmp_path):
    expected = load_model(model).sample(3, 50)
    for suffix in ("npy", "npz", "csv", "parquet", "NPY"):
        out = tmp_path / f"x.{suffix}"
        done = call("sample", model, "--num", 50, "--out", out, "--seed", 3, "--json")
        assert done.code == 0 and done.err == ""
        expected_words = {"model": str(model), "out": str(out), "num": 50, "dim": 4, "seed": 3, "noise_variance": 0.0}
        assert expected_words.items() <= done.json.items()
        np.testing.assert_array_equal(read(out) if suffix != "NPY" else np.load(out), expected)
    shown = call("sample", tmp_path, "--num", 2, "--out", "y.npy").out
    assert shown.startswith("2 samples of 4 features, without noise")


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_blocks_are_independent_and_the_same_every_time(call, model, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("deepbures.cli._sample._VALUES_PER_BLOCK", 40)  # ten rows
    paths = [tmp_path / f"{name}.{suffix}" for name in "abc"]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        assert call("sample", model, "--num", 95, "--out", path, "--seed", seed).code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    x, y = read(paths[0]), read(paths[2])
    assert x.shape == (95, 4)
    rows = np.concatenate([x, y])
    assert np.unique(rows.round(12), axis=0).shape == rows.shape


def test_covariance_of_the_samples_is_that_of_the_model(call, model, tmp_path):
    """With x = W z + μ, z = W⁺(x − μ) is standard normal; for a unit vector v, N vᵀ(ZᵀZ/N)v ~ χ²_N.

    Laurent and Massart (2000): P(|χ²_N/N − 1| > 2 √(t/N) + 2 t/N) ≤ 2 exp(−t). Over v = e_i and (e_i ± e_j)/√2, less
    than 2 k² directions, a failure has probability below 1e-9 for t = log(4 k² 1e9); off-diagonal entries are half the
    difference of two of these forms. The mean of each z_i is N(0, 1/N): P(|z̄_i| > √(2 t/N)) ≤ 2 exp(−t).
    """
    num, k = 100_000, 2
    assert call("sample", model, "--num", num, "--out", "x.npy").code == 0
    network = load_model(model)
    w = network.end_to_end
    x = np.load("x.npy") - network.mean
    z = x @ np.linalg.pinv(w).T
    np.testing.assert_allclose(z @ w.T, x, atol=1e-12)
    t = math.log(4 * k**2 * 1e9)
    bound = 2 * math.sqrt(t / num) + 2 * t / num
    assert bound < 0.04
    assert np.abs(z.T @ z / num - np.eye(k)).max() <= bound
    assert np.abs(z.mean(0)).max() <= math.sqrt(2 * t / num)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--num", 0, "--out", "x.npy"], "--num must be at least 1 and below 2⁶³, but 0 was given."),
        (["--num", 2**63, "--out", "x.npy"], "below 2⁶³, but 9223372036854775808 was given."),
        (["--num", 5, "--out", "x.npy", "--seed", -1], "--seed must be at least 0"),
        (["--num", 5, "--out", "x.txt"], "or be a folder with --images, but x.txt was given."),
        (["--num", 5, "--out", "x"], "--out must end in .npy"),
        (["--num", 5, "--out", "model.npz"], "model.npz exists: choose another --out, or pass --overwrite"),
        (["--num", 5, "--out", "folder.npy"], "--out must be a file, but folder.npy is a folder."),
        (["--num", 5, "--out", "nowhere/x.npy"], "There is no folder nowhere: make it, or choose another --out."),
        (["--out", "x.npy"], "Missing option '--num'."),
    ],
)
def test_bad_options_of_sample(refused, model, tmp_path, options, message):
    (tmp_path / "folder.npy").mkdir()
    before = model.read_bytes()
    assert message in refused("sample", model, *options)
    assert model.read_bytes() == before and names(tmp_path) == {"model.npz", "folder.npy"}


def test_models_that_are_none(refused, tmp_path):
    assert "nowhere does not exist" in refused("sample", "nowhere", "--num", 1, "--out", "x.npy")
    assert "has no model.npz" in refused("sample", tmp_path, "--num", 1, "--out", "x.npy")
    (tmp_path / "model.npz").write_bytes(pickle.dumps([1]))
    assert "cannot be read as a model" in refused("sample", tmp_path, "--num", 1, "--out", "x.npy")
    np.savez(tmp_path / "model.npz", weight_1=np.array([[np.nan]]))
    assert "not finite" in refused("sample", tmp_path, "--num", 1, "--out", "x.npy")


def test_parquet_without_pyarrow(refused, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert 'pip install "deepbures[data]"' in refused("sample", model, "--num", 1, "--out", "x.parquet")


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_samples_that_do_not_fit_on_the_disk(refused, model, tmp_path, suffix):
    out = tmp_path / f"x.{suffix}"
    out.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # a write beyond it fails as on a full disk
    try:
        message = refused("sample", model, "--num", 20_000, "--out", out, "--overwrite", code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(f"{out}: ") and "File too large" in message
    assert out.read_text() == "old" and names(tmp_path) == {"model.npz", out.name}


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
def test_more_samples_than_the_disk_holds_are_refused_before_they_are_drawn(refused, model, tmp_path, suffix):
    message = refused("sample", model, "--num", 2**61, "--out", f"x.{suffix}", code=1)
    assert message.startswith(f"x.{suffix} would take ") and "GiB are free there: lower --num" in message
    assert names(tmp_path) == {"model.npz"}
