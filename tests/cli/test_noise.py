"""Samples on the command line: with the smoothing that was fitted, and with a word where the model is not finished."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import deepbures as db
from deepbures.runs import RunFolder, load_model, read_model

from .commands import SMALL

TAU = 0.1


@pytest.fixture
def network() -> db.DeepLinearNetwork:
    rng = np.random.default_rng(7)
    return db.DeepLinearNetwork([rng.standard_normal((2, 2)), rng.standard_normal((4, 2))], mean=np.arange(4.0))


@pytest.fixture
def run(tmp_path: Path, network: db.DeepLinearNetwork) -> Callable[..., Path]:
    """The folder of a run as `fit` leaves it, as far as `sample` reads it."""

    def make(*, noise_variance: float | None = None, **summary: Any) -> Path:
        folder = RunFolder(tmp_path / "run")
        folder.prepare(overwrite=True, resume=False)
        folder.write_model(network, noise_variance=noise_variance)
        folder.write_json("summary.json", {"widths": [2, 2, 4], **summary})
        return folder.path

    return make


def whitened_gap(x: np.ndarray, covariance: np.ndarray, mean: np.ndarray) -> tuple[float, float]:
    """How far samples are from N(mean, covariance), and what that stays below in all but one of 1e9 seeds.

    With y = C^{−1/2}(x − μ) standard normal and a unit vector v, N vᵀ(YᵀY/N)v ~ χ²_N. Laurent and Massart (2000):
    P(|χ²_N/N − 1| > 2 √(t/N) + 2 t/N) ≤ 2 exp(−t). Over v = e_i and (e_i ± e_j)/√2, less than 2 n² directions, a
    failure has probability below 1e-9 for t = log(4 n² 1e9); off-diagonal entries are half a difference of two of them.
    """
    values, vectors = np.linalg.eigh(covariance)
    y = (x - mean) @ vectors / np.sqrt(values)
    num, dim = y.shape
    t = math.log(4 * dim**2 * 1e9)
    return float(np.abs(y.T @ y / num - np.eye(dim)).max()), 2 * math.sqrt(t / num) + 2 * t / num


# ---------------------------------------------------------------------- smoothing


def test_draws_of_a_network_with_noise(network):
    """N(mean, W Wᵀ + τ I); without noise the bits of the definition W z + mean."""
    num = 100_000
    w = network.end_to_end
    x = network.sample(3, num, noise_variance=TAU)
    gap, bound = whitened_gap(x, w @ w.T + TAU * np.eye(4), network.mean)
    assert gap <= bound < 0.04
    np.testing.assert_array_equal(x, network.sample(3, num, noise_variance=TAU))
    plain = network.sample(3, num)
    np.testing.assert_array_equal(plain, network.sample(3, num, noise_variance=0.0))
    with jax.enable_x64(True):
        z = np.asarray(jax.random.normal(jax.random.key(3), (num, 2), np.float64))
    np.testing.assert_allclose(plain, z @ w.T + network.mean, rtol=1e-12, atol=1e-12)
    # The same latent variables, and noise that does not depend on them.
    together = np.hstack([z, (x - plain) / math.sqrt(TAU)])
    gap, bound = whitened_gap(together, np.eye(6), np.zeros(6))
    assert gap <= bound
    single = db.DeepLinearNetwork([np.ones((3, 1), np.float32)]).sample(0, 5, noise_variance=0.5)
    assert single.dtype == np.float32 and np.linalg.matrix_rank(single) == 3


def test_noise_under_transformations(network):
    import jax.numpy as jnp

    layers = [jnp.asarray(weight) for weight in network.weights]

    def draw(variance: Any) -> jax.Array:
        return db.DeepLinearNetwork(layers).sample(jax.random.key(1), 4, noise_variance=variance)

    variances = jnp.array([0.0, 0.5])
    drawn = jax.jit(jax.vmap(draw))(variances)
    for variance, rows in zip(variances, drawn, strict=True):
        np.testing.assert_allclose(rows, draw(float(variance)), rtol=1e-12)


@pytest.mark.parametrize(
    "variance, message",
    [
        (-0.1, "noise_variance must be finite and not negative, but -0.1 was given"),
        (math.nan, "noise_variance must be finite and not negative"),
        (np.ones(4), r"noise_variance must be one number, but has shape \(4,\)"),
    ],
)
def test_a_variance_that_is_none(network, variance, message):
    with pytest.raises(ValueError, match=message):
        network.sample(0, 3, noise_variance=variance)


def test_a_fit_with_smoothing_is_sampled_with_it(call, tmp_path):
    done = call("fit", SMALL, "--rank", 2, "--tau", TAU, "--solver", "closed-form", "--out", "run", "--json")
    assert done.code == 0 and done.json["noise_variance"] == TAU
    network = load_model(tmp_path / "run")
    assert read_model(tmp_path / "run").noise_variance == TAU
    w = network.end_to_end
    num = 100_000
    told = call("sample", "run", "--num", num, "--out", "x.npy", "--seed", 1, "--json")
    assert (told.code, told.err) == (0, "")
    assert (told.json["noise_variance"], told.json["tau"], told.json["status"]) == (TAU, TAU, "converged")
    x = np.load("x.npy")
    gap, bound = whitened_gap(x, w @ w.T + TAU * np.eye(6), network.mean)
    assert gap <= bound < 0.04
    assert call("sample", "run", "--num", num, "--out", "y.npy", "--seed", 1, "--noise", "tau").code == 0
    assert Path("x.npy").read_bytes() == Path("y.npy").read_bytes()
    shown = call("sample", "run", "--num", 5, "--out", "z.npy", "--seed", 1, "--noise", "none")
    assert shown.out == "5 samples of 6 features, without the noise of variance 0.1: z.npy\n"
    np.testing.assert_array_equal(np.load("z.npy"), network.sample(1, 5))
    shown = call("sample", "run/model.npz", "--num", 5, "--out", "w.csv")
    assert shown.out == "5 samples of 6 features, with noise of variance 0.1: w.csv\n"


def test_noise_in_blocks(call, run, network, tmp_path, monkeypatch):
    """Every block has noise of its own."""
    monkeypatch.setattr("deepbures.cli._sample._VALUES_PER_BLOCK", 40)
    folder = run(noise_variance=TAU)
    for name, noise in (("x.npy", "tau"), ("y.npy", "none")):
        assert call("sample", folder, "--num", 25, "--out", name, "--noise", noise).code == 0
    noise = np.load("x.npy") - np.load("y.npy")
    assert np.unique(noise.round(12)).size == noise.size
    np.testing.assert_array_equal(np.load("x.npy")[:10], network.sample(0, 10, noise_variance=TAU))


def test_a_model_that_does_not_say_its_tau(call, network, tmp_path):
    network.save(tmp_path / "model.npz")
    assert read_model(tmp_path).noise_variance is None
    done = call("sample", "model.npz", "--num", 3, "--out", "x.npy")
    assert (done.code, done.err) == (0, "")
    assert done.out == "3 samples of 4 features, without noise (the model does not say its tau): x.npy\n"
    np.testing.assert_array_equal(np.load("x.npy"), network.sample(0, 3))
    assert call("sample", "model.npz", "--num", 3, "--out", "x.npy", "--overwrite", "--json").json["tau"] is None
    done = call("sample", "model.npz", "--num", 3, "--out", "y.npy", "--noise", "tau")
    assert done.code == 2 and "model.npz does not say with which tau it was fitted" in done.err
    network.save(tmp_path / "model.npz", beside={"noise_variance": np.float64(0.25)})  # from Python, where it is known
    assert call("sample", "model.npz", "--num", 3, "--out", "y.npy", "--json").json["noise_variance"] == 0.25


def test_runs_of_before_the_model_kept_its_tau(call, run):
    assert read_model(run(request={"tau": 0.5})).noise_variance == 0.5
    for request in ({"tau": "0.5"}, {"tau": -1}, {"tau": None}, {"tau": True}, {}, None, [1]):
        assert read_model(run(request=request)).noise_variance is None
    # What the model says goes first; a summary of other widths is not of this model.
    assert read_model(run(request={"tau": 0.5}, noise_variance=TAU)).noise_variance == TAU
    assert read_model(run(request={"tau": 0.5}, widths=[3, 4])).noise_variance is None


@pytest.mark.parametrize("stored", [np.array([0.1]), np.array(-1.0), np.array(np.nan), np.array("0.1")])
def test_a_damaged_tau(call, network, tmp_path, stored):
    network.save(tmp_path / "model.npz", beside={"noise_variance": stored})
    done = call("sample", "model.npz", "--num", 3, "--out", "x.npy")
    assert done.code == 2 and "noise_variance must be one number, finite and not negative" in done.err


# ---------------------------------------------------------------------- models that are not finished


@pytest.mark.parametrize(
    "summary, words",
    [
        ({"status": "finished", "relative_excess": 2260.0}, "ended at a relative excess of 2.3e+03 over the theoret"),
        ({"status": "diverged", "relative_excess": None}, "ended at a relative excess of inf"),
        ({"status": "converged", "relative_excess": 0.02}, "ended at a relative excess of 0.02"),
        ({"status": "interrupted", "relative_excess": 1e-3}, "was interrupted at a relative excess of 0.001"),
        ({"status": "interrupted"}, "was interrupted: these are samples of an unfinished model"),
    ],
)
def test_samples_of_an_unfinished_model_come_with_a_warning(call, run, summary, words):
    folder = run(noise_variance=0.0, **summary)
    done = call("sample", folder, "--num", 3, "--out", "x.npy", "--json")
    assert done.code == 0 and done.err.count("\n") == 1
    assert done.err.startswith("deepbures: warning: ") and words in done.err
    assert done.json["warnings"] == [done.err.removeprefix("deepbures: warning: ").rstrip("\n")]
    assert done.json["status"] == summary["status"]
    beside = call("sample", folder / "model.npz", "--num", 3, "--out", "y.npy")
    assert beside.err == done.err.replace(str(folder), str(folder / "model.npz"))


def test_a_fit_that_ended_far_from_the_minimum(call):
    options = ["--rank", 2, "--solver", "descent", "--num-steps", 2, "--out", "run"]
    assert call("fit", SMALL, *options).code == 0
    assert "status finished" in call("sample", "run", "--num", 3, "--out", "x.npy").err


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "{", "[]", "3", "\udcff", '{"widths": [2, 2, 4]}'),
        '{"status": "finished", "relative_excess": 9}',
        '{"widths": [2, 2, 4], "status": 5, "relative_excess": "x"}',
    ],
)
def test_a_summary_that_is_missing_or_damaged_says_nothing(call, run, text):
    """Also one that does not name the widths of this model: it is of another."""
    folder = run(noise_variance=0.0)
    (folder / "summary.json").unlink()
    if text is not None:
        (folder / "summary.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    done = call("sample", folder, "--num", 3, "--out", "x.npy", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["warnings"] == [] and done.json["status"] is None and done.json["relative_excess"] is None


def test_certificates_of_a_model_tell_how_its_run_ended(call, tmp_path):
    target = db.Target.from_spectrum([3.0, 2.0, 1.0])
    np.save(tmp_path / "c.npy", np.diag([3.0, 2.0, 1.0]))
    folder = RunFolder(tmp_path / "run")
    folder.prepare(overwrite=False, resume=False)
    folder.write_model(db.fit(target, 2, tau=TAU, solver="closed-form").network, noise_variance=TAU)
    folder.write_json("summary.json", {"widths": [2, 3], "status": "interrupted", "relative_excess": 0.5})
    arguments = ["certify", "c.npy", "--covariance", "--model", "run"]
    done = call(*arguments, "--tau", TAU)
    assert (done.code, done.err) == (0, "") and "model run (interrupted, relative excess 0.5): widths" in done.out
    done = call(*arguments, "--json")
    assert done.code == 0 and "run was fitted with tau 0.1, but these certificates are of training it on" in done.err
    assert len(done.json["warnings"]) == 1 and done.json["start"]["status"] == "interrupted"
